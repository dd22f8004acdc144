//! No instruction set in particular.

use super::Vector;
use half::bf16;

/// Plain arrays, which the compiler maps to the baseline's registers. Multiplies and adds are not
/// fused: without the instruction, a fused one is a library call.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 4]);

impl Vector for Portable {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        for (lane, value) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller's contract; `lane < min(count, LANES)`.
            *value = unsafe { *from.add(lane) };
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for (lane, value) in self.0.iter().enumerate().take(count) {
            // SAFETY: the caller's contract; `lane < min(count, LANES)`.
            unsafe { *to.add(lane) = *value };
        }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * factor.0[lane] + term.0[lane]))
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        for (lane, value) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller's contract; `lane < min(count, LANES)`.
            *value = unsafe { *from.add(lane) }.to_f32();
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, count: usize) {
        for (lane, value) in self.0.iter().enumerate().take(count) {
            // SAFETY: the caller's contract; `lane < min(count, LANES)`.
            unsafe { *to.add(lane) = bf16::from_f32(*value) };
        }
    }
    #[inline(always)]
    unsafe fn pair(self, high: Self) -> Self {
        let bits = |value: f32| u32::from(bf16::from_f32(value).to_bits());
        Self(std::array::from_fn(|lane| f32::from_bits(bits(self.0[lane]) | bits(high.0[lane]) << 16)))
    }
    #[inline(always)]
    unsafe fn add_pair_products(self, a: Self, b: Self) -> Self {
        let low = |value: f32| f32::from_bits(value.to_bits() << 16);
        let high = |value: f32| f32::from_bits(value.to_bits() & !0xFFFF);
        Self(std::array::from_fn(|lane| {
            let (a, b) = (a.0[lane], b.0[lane]);
            self.0[lane] + low(a) * low(b) + high(a) * high(b)
        }))
    }
}

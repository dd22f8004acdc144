//! The few vector instructions the micro-kernels are written in, for each instruction set.
//!
//! Every method is `#[inline(always)]`, so that it becomes part of the `#[target_feature]` function
//! it is called from; on its own it would be compiled without the feature.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// A register of f32 lanes.
pub(crate) trait Vector: Copy {
    /// Number of lanes.
    const LANES: usize;

    /// Every lane set to `value`.
    ///
    /// # Safety
    /// The machine has the instruction set (the same for every method).
    unsafe fn splat(value: f32) -> Self;

    /// # Safety
    /// `from` is valid for reading `LANES` values.
    unsafe fn load(from: *const f32) -> Self;

    /// The first `count` lanes from memory, 0 in the others. `count` may be `LANES` or more.
    ///
    /// # Safety
    /// `from` is valid for reading `min(count, LANES)` values.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;

    /// # Safety
    /// `to` is valid for writing `LANES` values.
    unsafe fn store(self, to: *mut f32);

    /// Stores the first `count` lanes. `count` may be `LANES` or more.
    ///
    /// # Safety
    /// `to` is valid for writing `min(count, LANES)` values.
    unsafe fn store_first(self, to: *mut f32, count: usize);

    /// `self · factor + term`, fused where the machine can.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
}

/// AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

#[cfg(target_arch = "x86_64")]
impl F32x16 {
    #[inline(always)]
    fn mask(count: usize) -> __mmask16 {
        if count >= 16 { !0 } else { (1u16 << count) - 1 }
    }
}

// The blocks below are sound because the caller guarantees the instruction set and the pointers.
#[cfg(target_arch = "x86_64")]
impl Vector for F32x16 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller's contract; masked-off lanes are not accessed.
        Self(unsafe { _mm512_maskz_loadu_ps(Self::mask(count), from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's contract; masked-off lanes are not accessed.
        unsafe { _mm512_mask_storeu_ps(to, Self::mask(count), self.0) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
    }
}

/// AVX2 with FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

#[cfg(target_arch = "x86_64")]
impl F32x8 {
    /// # Safety
    /// The machine has AVX2.
    #[inline(always)]
    unsafe fn mask(count: usize) -> __m256i {
        const BITS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: 8 values from position 0 to 8 lie inside the table of 16.
        unsafe { _mm256_loadu_si256(BITS.as_ptr().add(8 - count.min(8)).cast()) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Vector for F32x8 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller's contract; masked-off lanes are not accessed.
        Self(unsafe { _mm256_maskload_ps(from, Self::mask(count)) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's contract; masked-off lanes are not accessed.
        unsafe { _mm256_maskstore_ps(to, Self::mask(count), self.0) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, term.0) })
    }
}

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
}

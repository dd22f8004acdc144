//! The few vector instructions the micro-kernels are written in, for each instruction set.
//!
//! bf16 values are read by widening them and written rounded to nearest even. A *pair* is two bf16
//! values in the 32 bits of a lane, the first in the low half: what `vdpbf16ps` multiplies.
//!
//! Every method is `#[inline(always)]`, so that it becomes part of the `#[target_feature]` function
//! it is called from; on its own it would be compiled without the feature.

use half::bf16;
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

    /// `self + other`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn add(self, other: Self) -> Self;

    /// `self - other`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn sub(self, other: Self) -> Self;

    /// The first `count` bf16 values from memory, widened; 0 in the other lanes. `count` may be
    /// `LANES` or more.
    ///
    /// # Safety
    /// `from` is valid for reading `min(count, LANES)` values.
    unsafe fn load_bf16(from: *const bf16, count: usize) -> Self;

    /// Stores the first `count` lanes rounded to bf16. `count` may be `LANES` or more.
    ///
    /// # Safety
    /// `to` is valid for writing `min(count, LANES)` values.
    unsafe fn store_bf16(self, to: *mut bf16, count: usize);

    /// Every lane's pair: `self` rounded to bf16 in the low half, `high` in the high half.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn pair(self, high: Self) -> Self;

    /// `self + a.low · b.low + a.high · b.high` for pairs of bf16.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn add_pair_products(self, a: Self, b: Self) -> Self;
}

/// A number format of activations, as vectors read and write it.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// 0.
    const ZERO: Self;

    /// The first `count` values, widened; 0 in the other lanes.
    ///
    /// # Safety
    /// As [`Vector::load_first`].
    unsafe fn load<V: Vector>(from: *const Self, count: usize) -> V;

    /// Stores the first `count` lanes, rounded.
    ///
    /// # Safety
    /// As [`Vector::store_first`].
    unsafe fn store<V: Vector>(value: V, to: *mut Self, count: usize);
}

impl Element for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self, count: usize) -> V {
        // SAFETY: the caller's contract; a full vector is read only if `count` covers it.
        unsafe { if count >= V::LANES { V::load(from) } else { V::load_first(from, count) } }
    }
    #[inline(always)]
    unsafe fn store<V: Vector>(value: V, to: *mut Self, count: usize) {
        // SAFETY: the caller's contract; a full vector is written only if `count` covers it.
        unsafe { if count >= V::LANES { value.store(to) } else { value.store_first(to, count) } }
    }
}

impl Element for bf16 {
    const ZERO: Self = bf16::ZERO;

    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self, count: usize) -> V {
        // SAFETY: the caller's contract.
        unsafe { V::load_bf16(from, count) }
    }
    #[inline(always)]
    unsafe fn store<V: Vector>(value: V, to: *mut Self, count: usize) {
        // SAFETY: the caller's contract.
        unsafe { value.store_bf16(to, count) }
    }
}

/// AVX-512, and with `BF16` its instructions on pairs.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool>(__m512);

/// AVX-512.
#[cfg(target_arch = "x86_64")]
pub(crate) type F32x16 = Avx512<false>;

/// AVX-512 with BF16.
#[cfg(target_arch = "x86_64")]
pub(crate) type F32x16Bf16 = Avx512<true>;

#[cfg(target_arch = "x86_64")]
impl<const BF16: bool> Avx512<BF16> {
    /// The bits of every lane rounded to bf16, in its high half; the low half is 0.
    ///
    /// # Safety
    /// The machine has AVX-512.
    #[inline(always)]
    unsafe fn rounded(self) -> __m512i {
        // SAFETY: the caller's contract.
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let carry = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
            let rounded = _mm512_add_epi32(bits, carry);
            // A NaN stays one: its first mantissa bit is set instead of a carry.
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            let rounded = _mm512_mask_mov_epi32(rounded, nan, quiet);
            _mm512_and_si512(rounded, _mm512_set1_epi32(!0xFFFF))
        }
    }

    #[inline(always)]
    fn mask(count: usize) -> __mmask16 {
        if count >= 16 { !0 } else { (1u16 << count) - 1 }
    }
}

// The blocks below are sound because the caller guarantees the instruction set and the pointers.
#[cfg(target_arch = "x86_64")]
impl<const BF16: bool> Vector for Avx512<BF16> {
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
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16, count: usize) -> Self {
        // SAFETY: the caller's contract; masked-off lanes are not accessed.
        unsafe {
            let halves = if count >= 16 {
                _mm256_loadu_si256(from.cast())
            } else {
                _mm256_maskz_loadu_epi16(Self::mask(count), from.cast())
            };
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, count: usize) {
        // SAFETY: the caller's contract; masked-off lanes are not accessed. `BF16` vectors are only
        // used where the machine has the instructions.
        unsafe {
            let halves = if BF16 {
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(self.0))
            } else {
                _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(self.rounded()))
            };
            if count >= 16 {
                _mm256_storeu_si256(to.cast(), halves);
            } else {
                _mm256_mask_storeu_epi16(to.cast(), Self::mask(count), halves);
            }
        }
    }
    #[inline(always)]
    unsafe fn pair(self, high: Self) -> Self {
        // SAFETY: the caller's contract. `BF16` vectors are only used where the machine has the
        // instructions.
        unsafe {
            let pairs = if BF16 {
                // One conversion leaves 16 low values, then 16 high ones; a permutation interleaves.
                #[rustfmt::skip]
                let order = _mm512_set_epi16(
                    31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                    23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0,
                );
                let halves = _mm512_cvtne2ps_pbh(high.0, self.0);
                _mm512_permutexvar_epi16(order, std::mem::transmute::<__m512bh, __m512i>(halves))
            } else {
                _mm512_or_si512(_mm512_srli_epi32::<16>(self.rounded()), high.rounded())
            };
            Self(_mm512_castsi512_ps(pairs))
        }
    }
    #[inline(always)]
    unsafe fn add_pair_products(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller's contract. `BF16` vectors are only used where the machine has the
        // instructions.
        unsafe {
            if BF16 {
                let bits = |v: __m512| std::mem::transmute::<__m512, __m512bh>(v);
                return Self(_mm512_dpbf16_ps(self.0, bits(a.0), bits(b.0)));
            }
            let low = |v: __m512| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(v)));
            let high = |v: __m512| {
                let bits = _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(!0xFFFF));
                _mm512_castsi512_ps(bits)
            };
            Self(_mm512_fmadd_ps(high(a.0), high(b.0), _mm512_fmadd_ps(low(a.0), low(b.0), self.0)))
        }
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

    /// The bits of every lane rounded to bf16, in its high half; the low half is 0.
    ///
    /// # Safety
    /// The machine has AVX2.
    #[inline(always)]
    unsafe fn rounded(self) -> __m256i {
        // SAFETY: the caller's contract.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let carry = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
            let rounded = _mm256_add_epi32(bits, carry);
            // A NaN stays one: its first mantissa bit is set instead of a carry.
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let rounded = _mm256_blendv_epi8(rounded, quiet, nan);
            _mm256_and_si256(rounded, _mm256_set1_epi32(!0xFFFF))
        }
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
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16, count: usize) -> Self {
        // SAFETY: the caller's contract; a short row is read through a copy.
        unsafe {
            let halves = if count >= 8 {
                _mm_loadu_si128(from.cast())
            } else {
                let mut copy = [bf16::ZERO; 8];
                std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), count);
                _mm_loadu_si128(copy.as_ptr().cast())
            };
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, count: usize) {
        // SAFETY: the caller's contract; a short row is written through a copy.
        unsafe {
            let words = _mm256_srli_epi32::<16>(self.rounded());
            let halves =
                _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            if count >= 8 {
                _mm_storeu_si128(to.cast(), halves);
            } else {
                let mut copy = [bf16::ZERO; 8];
                _mm_storeu_si128(copy.as_mut_ptr().cast(), halves);
                std::ptr::copy_nonoverlapping(copy.as_ptr(), to, count);
            }
        }
    }
    #[inline(always)]
    unsafe fn pair(self, high: Self) -> Self {
        // SAFETY: the caller's contract.
        unsafe {
            let low = _mm256_srli_epi32::<16>(self.rounded());
            Self(_mm256_castsi256_ps(_mm256_or_si256(low, high.rounded())))
        }
    }
    #[inline(always)]
    unsafe fn add_pair_products(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        unsafe {
            let low = |v: __m256| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)));
            let high = |v: __m256| {
                let bits = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(!0xFFFF));
                _mm256_castsi256_ps(bits)
            };
            Self(_mm256_fmadd_ps(high(a.0), high(b.0), _mm256_fmadd_ps(low(a.0), low(b.0), self.0)))
        }
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

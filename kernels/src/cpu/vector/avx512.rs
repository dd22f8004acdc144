//! AVX-512.

use super::Vector;
use half::bf16;
use std::arch::x86_64::*;

/// AVX-512, and with `BF16` its instructions on pairs.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool>(__m512);

/// AVX-512.
pub(crate) type F32x16 = Avx512<false>;

/// AVX-512 with BF16.
pub(crate) type F32x16Bf16 = Avx512<true>;

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
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { _mm512_stream_ps(to, self.0) }
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

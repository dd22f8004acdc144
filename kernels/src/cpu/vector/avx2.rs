//! AVX2.

use super::Vector;
use half::bf16;
use std::arch::x86_64::*;

/// AVX2 with FMA.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

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
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { _mm256_stream_ps(to, self.0) }
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

//! The machine's bf16 ceiling, measured: products of bf16 pairs in registers alone.

use crate::Isa;
use std::time::Instant;

/// bf16 operations a second of one thread with f32 sums, a multiply-add counting 2: the best of a few
/// short runs. None for an instruction set without bf16 products.
pub fn bf16_peak_flops(isa: Isa) -> Option<f64> {
    let work = match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` other than `Portable` is only handed out where it is available.
        Isa::Avx512Bf16 => |steps| unsafe { x86::dot_products(steps) },
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        // SAFETY: as above.
        Isa::Amx => |steps| unsafe { x86::tile_products(steps / 16) },
        _ => return None,
    };
    const STEPS: usize = 100_000;
    let mut best = 0.0f64;
    for _ in 0..20 {
        let start = Instant::now();
        let flops: usize = work(std::hint::black_box(STEPS));
        best = best.max(flops as f64 / start.elapsed().as_secs_f64());
    }
    Some(best)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Accumulators in flight: with their two factors no more than the 32 registers.
    const SUMS: usize = 24;

    /// # Safety
    /// The machine has AVX-512 with BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn dot_products(steps: usize) -> usize {
        // SAFETY: vectors of 512 bits, every pattern of which is valid in both types.
        let factor: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(black_box(0x3f00_3f00))) };
        let mut sums = [_mm512_set1_ps(black_box(1.0)); SUMS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, factor, factor);
            }
        }
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = _mm512_add_ps(total, *sum);
        }
        black_box(_mm512_reduce_add_ps(total));
        2 * 32 * SUMS * steps
    }

    /// # Safety
    /// The machine has AMX-BF16, and this process may use it.
    #[cfg(target_os = "linux")]
    pub unsafe fn tile_products(steps: usize) -> usize {
        // SAFETY: the caller's contract.
        let _tiles = unsafe { crate::cpu::amx::Tiles::configure() };
        for _ in 0..steps {
            // SAFETY: register arithmetic on configured tiles; no memory is touched.
            unsafe {
                std::arch::asm!(
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
        4 * 2 * 16 * 16 * 32 * steps
    }
}

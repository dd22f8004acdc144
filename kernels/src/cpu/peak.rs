//! The machine's ceilings, measured: multiply-adds in registers alone (f32, bf16), and a copy.

pub use super::peak_bf16::bf16_peak_flops;
use super::vector::{self, Vector};
use crate::{Context, Isa};
use std::hint::black_box;
use std::time::Instant;

/// Accumulators in flight: more than latency times throughput of any present machine, and with
/// their two factors no more than the registers of the instruction set.
const WIDE: usize = 24;
const NARROW: usize = 12;

/// f32 operations a second of one thread, a multiply-add counting 2: the best of a few short runs.
pub fn peak_flops(isa: Isa) -> f64 {
    const STEPS: usize = 100_000;
    let mut best = 0.0f64;
    for _ in 0..20 {
        let start = Instant::now();
        let flops = match isa.registers() {
            Isa::Portable => portable(black_box(STEPS)),
            // SAFETY: an `Isa` other than `Portable` is only handed out where it is available.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2(black_box(STEPS)) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512(black_box(STEPS)) },
            #[allow(unreachable_patterns)]
            _ => portable(black_box(STEPS)),
        };
        best = best.max(flops as f64 / start.elapsed().as_secs_f64());
    }
    best
}

/// f32 GFLOP/s of all threads of a context together.
pub fn f32_gflops(cx: &Context) -> f64 {
    together(cx, peak_flops)
}

/// bf16 GFLOP/s of all threads of a context together, or `None` as [`bf16_peak_flops`].
pub fn bf16_gflops(cx: &Context) -> Option<f64> {
    bf16_peak_flops(cx.isa).map(|_| together(cx, |isa| bf16_peak_flops(isa).unwrap_or(0.0)))
}

/// The sum over all threads, measured at the same time, in units of 1e9.
fn together(cx: &Context, one: impl Fn(Isa) -> f64 + Sync) -> f64 {
    let mut each = vec![0.0; cx.pool.threads()];
    cx.pool.run_pieces(&mut each, 1, |_, flops| flops[0] = one(cx.isa));
    each.iter().sum::<f64>() / 1e9
}

/// GB/s read plus written by all threads together, copying a buffer far larger than any cache: the
/// best of a few passes.
pub fn copy_gigabytes_per_second(cx: &Context) -> f64 {
    const ELEMENTS: usize = 32 << 20;
    let source = vec![1.0f32; ELEMENTS];
    let mut copy = vec![0.0f32; ELEMENTS];
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        cx.pool.run_pieces(&mut copy, 1 << 18, |index, piece| {
            piece.copy_from_slice(&source[index << 18..][..piece.len()]);
        });
        black_box(&copy);
        best = best.min(start.elapsed().as_secs_f64());
    }
    8.0 * ELEMENTS as f64 / best / 1e9
}

fn portable(steps: usize) -> usize {
    // SAFETY: plain Rust, no instruction set needed.
    unsafe { multiply_adds::<vector::Portable, NARROW>(steps) }
}

/// # Safety
/// The machine has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(steps: usize) -> usize {
    // SAFETY: the caller's contract.
    unsafe { multiply_adds::<vector::F32x8, NARROW>(steps) }
}

/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512(steps: usize) -> usize {
    // SAFETY: the caller's contract.
    unsafe { multiply_adds::<vector::F32x16, WIDE>(steps) }
}

/// # Safety
/// The machine has the instruction set of `V`.
#[inline(always)]
unsafe fn multiply_adds<V: Vector, const K: usize>(steps: usize) -> usize {
    let mut lanes = [0.0f32; 16];
    // SAFETY: the caller's contract; `lanes` holds any vector.
    unsafe {
        let (factor, mut sums) = (V::splat(black_box(0.5)), [V::splat(black_box(1.0)); K]);
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, factor);
            }
        }
        for sum in sums {
            sum.store(lanes.as_mut_ptr());
            black_box(&lanes);
        }
    }
    2 * V::LANES * K * steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No speed is asserted, only that every ceiling this machine has is a number above 0.
    #[test]
    fn every_instruction_set_has_its_peaks() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            assert!(peak_flops(isa) > 0.0, "{isa}");
            assert_eq!(bf16_peak_flops(isa).is_some_and(|peak| peak > 0.0), isa >= Isa::Avx512Bf16, "{isa}");
        }
    }
}

//! Loops over the lanes of a warp, compiled a second time for processors with AVX2 and FMA: most of a kernel's time in the
//! emulator is such loops. Which version runs is decided when a kernel is read; results are the same bits.

use super::lanes::{Compute, Registers};

/// A loop over lanes. Implementations are `#[inline(always)]`, so that each version has its own.
pub(super) trait Loop: Send + Sync + 'static {
    /// Computes the lanes of `mask`.
    fn run(&self, registers: &mut Registers, mask: u32);

    /// The same where the processor has a fused multiply-add.
    #[inline(always)]
    fn run_fused(&self, registers: &mut Registers, mask: u32) {
        self.run(registers, mask);
    }
}

/// The loop's version for this processor.
pub(super) fn compute(work: impl Loop) -> Compute {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return wide::compute(work);
    }
    Box::new(move |registers, mask| work.run(registers, mask))
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{Compute, Loop, Registers};

    #[target_feature(enable = "avx2,fma")]
    fn run(work: &impl Loop, registers: &mut Registers, mask: u32) {
        work.run_fused(registers, mask);
    }

    #[allow(unsafe_code)]
    pub fn compute(work: impl Loop) -> Compute {
        Box::new(move |registers, mask| {
            // SAFETY: only `super::compute` calls this, after it has asked the processor for AVX2 and FMA; `run` is safe code.
            unsafe { run(&work, registers, mask) }
        })
    }
}

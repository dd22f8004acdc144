//! Instruction sets, chosen at run time.

use super::vector::{self, Vector};
use std::fmt;
use std::str::FromStr;

/// An instruction set a kernel may use. Later ones include earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the compiler makes of plain Rust for the baseline target.
    Portable,
    /// AVX2 with FMA: 256-bit registers.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 512-bit registers with masks.
    Avx512,
    /// AVX-512 with `vdpbf16ps`: twice the multiply-adds an instruction on bf16 operands.
    Avx512Bf16,
    /// AVX-512 with BF16 and the tile registers of AMX-BF16, whose use the kernel has permitted.
    Amx,
}

impl Isa {
    /// Every instruction set, weakest first.
    pub const ALL: [Self; 5] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];

    /// True if this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx => Self::Avx512Bf16.is_available() && super::amx::permitted(),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The best instruction set of this machine, or the one that `GENESIS_ISA` names if the machine has
    /// it. (The program refuses a name that it does not know or have; see [`Isa::from_str`].)
    pub fn detect() -> Self {
        let named = std::env::var("GENESIS_ISA").ok().and_then(|name| name.parse().ok());
        let best = || Self::ALL.into_iter().rev().find(|isa| isa.is_available());
        named.or_else(best).unwrap_or(Self::Portable)
    }

    /// The instruction set whose f32 registers this one uses: what f32 kernels are chosen by.
    pub fn registers(self) -> Self {
        match self {
            Self::Avx512Bf16 | Self::Amx => Self::Avx512,
            other => other,
        }
    }

    /// Runs a kernel compiled for this instruction set: its `run` is inlined into a function with the
    /// wider registers enabled, so that the compiler's vectoriser may use them.
    #[inline]
    pub fn launch<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Portable => kernel.run(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` other than `Portable` reaches a context only if `is_available`
            // (`detect`, `from_str` and the tests check), so the features are there.
            Self::Avx2 => unsafe { run_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx512 | Self::Avx512Bf16 | Self::Amx => unsafe { run_avx512(kernel) },
            #[allow(unreachable_patterns)]
            _ => kernel.run(),
        }
    }

    /// Runs a kernel written in [`Vector`] instructions with the registers of this instruction set.
    pub(crate) fn launch_vector<K: VectorKernel>(self, kernel: K) {
        match self {
            // SAFETY: plain Rust, no instruction set needed.
            Self::Portable => unsafe { kernel.run::<vector::Portable>() },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `launch`.
            Self::Avx2 => unsafe { vector_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `launch`.
            Self::Avx512 => unsafe { vector_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `launch`.
            Self::Avx512Bf16 | Self::Amx => unsafe { vector_avx512bf16(kernel) },
            #[allow(unreachable_patterns)]
            // SAFETY: plain Rust, no instruction set needed.
            _ => unsafe { kernel.run::<vector::Portable>() },
        }
    }

    /// As [`Isa::launch`], for a closure. **Only for short ones**: a closure cannot be marked
    /// `#[inline(always)]`, and one that the compiler finds too long to inline stays a function for the
    /// baseline instruction set, correct but slow. Anything longer than a plain loop is a [`Kernel`].
    #[inline]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        struct Closure<F>(F);
        impl<R, F: FnOnce() -> R> Kernel for Closure<F> {
            type Output = R;
            #[inline(always)]
            fn run(self) -> R {
                (self.0)()
            }
        }
        self.launch(Closure(work))
    }
}

/// A loop with its arguments, to be compiled once for each instruction set; see [`Isa::launch`].
///
/// **`run` must be `#[inline(always)]`, and so must every function it calls**: what is not inlined is
/// compiled for the baseline instruction set.
pub trait Kernel {
    /// What the loop returns.
    type Output;
    /// Runs the loop.
    fn run(self) -> Self::Output;
}

/// A kernel written in [`Vector`] instructions; see [`Isa::launch_vector`].
///
/// **`run` must be `#[inline(always)]`, and so must every function it calls.**
pub(crate) trait VectorKernel {
    /// Runs the kernel.
    ///
    /// # Safety
    /// The machine has the instruction set of `V`; what the kernel's own fields ask for.
    unsafe fn run<V: Vector>(self);
}

/// # Safety
/// The machine has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn vector_avx2<K: VectorKernel>(kernel: K) {
    // SAFETY: the caller's contract.
    unsafe { kernel.run::<vector::F32x8>() }
}

/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn vector_avx512<K: VectorKernel>(kernel: K) {
    // SAFETY: the caller's contract.
    unsafe { kernel.run::<vector::F32x16>() }
}

/// # Safety
/// The machine has AVX-512 F, BW, DQ, VL and BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn vector_avx512bf16<K: VectorKernel>(kernel: K) {
    // SAFETY: the caller's contract.
    unsafe { kernel.run::<vector::F32x16Bf16>() }
}

/// # Safety
/// The machine must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// # Safety
/// The machine must have AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        })
    }
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let isa = Self::ALL.into_iter().find(|isa| isa.to_string() == name).ok_or_else(|| {
            format!("unknown instruction set '{name}' (portable, avx2, avx512, avx512bf16 or amx)")
        })?;
        if isa.is_available() { Ok(isa) } else { Err(format!("this machine does not have {isa}")) }
    }
}

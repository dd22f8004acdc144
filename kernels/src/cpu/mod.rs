//! What the CPU paths of several operations share: instruction sets, number formats, vectors, convolution
//! kernels, elementwise loops, reductions, the measured ceiling.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) mod amx;
pub(crate) mod convolution;
pub mod element;
pub mod elementwise;
pub(crate) mod implicit_gemm;
mod isa;
pub mod lanes;
pub mod math;
pub mod peak;
mod peak_bf16;
mod reduce;
pub(crate) mod vector;
pub(crate) mod winograd;

pub(crate) use convolution::activation_format;
pub(crate) use isa::VectorKernel;
pub use isa::{Isa, Kernel};
pub use reduce::sum_pieces;

use crate::{Error, Result};
use genesis_tensor::{DType, Tensor};

/// Elements one task of an elementwise kernel handles: small enough to balance, large enough that
/// handing it out costs nothing.
pub const PIECE: usize = 1 << 14;

/// Checks that every input of an operation is f32.
///
/// # Errors
/// [`genesis_tensor::Error::DType`], naming the operation.
pub fn require_f32(operation: &'static str, inputs: &[&Tensor]) -> Result<()> {
    match inputs.iter().find(|input| input.dtype() != DType::F32) {
        None => Ok(()),
        Some(input) => Err(Error::Tensor(genesis_tensor::Error::DType {
            operation,
            wanted: DType::F32,
            given: input.dtype(),
        })),
    }
}

//! Convolution on the CPU, shared by `conv3d` and `conv_transpose3d`.
//!
//! | what | of a convolution | of a transposed convolution |
//! | --- | --- | --- |
//! | [`Gather`] over [`Geometry::reading_image`] | forward | gradient of the input |
//! | [`Gather`] over [`Geometry::reading_result`] | gradient of the input | forward |
//! | [`weight_gradient`] | gradient of the weights | the same with the roles swapped |
//! | [`channel_sums`] | gradient of the bias | gradient of the bias |

mod channel_sums;
mod gather;
mod gather_tile;
mod geometry;
mod tiles;
mod weight_gradient;
mod weight_tile;

pub(crate) use channel_sums::channel_sums;
pub(crate) use gather::{Gather, Source, Weights};
pub(crate) use geometry::Geometry;
pub(crate) use weight_gradient::{WeightLayout, weight_gradient};

use crate::Result;
use genesis_tensor::{DType, Error, Tensor};

/// An error if a tensor is in another number format than these kernels read.
pub(crate) fn check_f32(operation: &'static str, tensors: &[&Tensor]) -> Result<()> {
    match tensors.iter().map(|tensor| tensor.dtype()).find(|&given| given != DType::F32) {
        Some(given) => Err(Error::DType { operation, wanted: DType::F32, given }.into()),
        None => Ok(()),
    }
}

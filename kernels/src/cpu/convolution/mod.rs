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

/// The number format of an operation's activations.
///
/// # Errors
/// If they differ, or a parameter is not f32.
pub(crate) fn activation_format(
    operation: &'static str,
    activations: &[&Tensor],
    parameters: &[&Tensor],
) -> Result<DType> {
    let wanted = activations.first().map_or(DType::F32, |first| first.dtype());
    let differs = |wanted, tensors: &[&Tensor]| match tensors.iter().find(|t| t.dtype() != wanted) {
        Some(tensor) => Err(Error::DType { operation, wanted, given: tensor.dtype() }.into()),
        None => Ok(()),
    };
    differs(wanted, activations).and(differs(DType::F32, parameters)).map(|()| wanted)
}

//! The fully connected layer of tensors on a card: a convolution of one voxel.

use crate::Result;
use crate::cuda::{CudaCard, Format};
use crate::ops::conv3d::{Conv3d, card as convolution};
use genesis_tensor::{Shape, Tensor};
use std::sync::Arc;

/// x `[N, F]` as `[N, 1, 1, 1, F]`.
fn voxels(x: &Tensor) -> Result<Tensor> {
    Ok(x.reshape([x.shape()[0], 1, 1, 1, x.shape()[1]])?)
}

/// The weight `[O, F]` as `[O, F, 1, 1, 1]`.
fn kernel(weight: &Tensor) -> Result<Tensor> {
    Ok(weight.reshape([weight.shape()[0], weight.shape()[1], 1, 1, 1])?)
}

/// y, of shape `output`, from x, weight and bias; `format` is that of x.
pub fn forward(card: &Arc<CudaCard>, inputs: &[&Tensor], output: Shape, format: Format) -> Result<Tensor> {
    let (x, weight) = (voxels(inputs[0])?, kernel(inputs[1])?);
    let y = convolution::forward(card, &Conv3d::same(1), &[&x, &weight, inputs[2]], format)?;
    Ok(y.reshape(output)?)
}

/// The gradients that are wanted, of x, weight and bias.
pub fn backward(
    card: &Arc<CudaCard>,
    [x, weight]: &[Tensor; 2],
    dy: &Tensor,
    need: &[bool],
    format: Format,
) -> Result<Vec<Option<Tensor>>> {
    let saved = [voxels(x)?, kernel(weight)?];
    let mut gradients = convolution::backward(card, &Conv3d::same(1), &saved, &voxels(dy)?, need, format)?;
    for (gradient, shape) in gradients.iter_mut().zip([x.shape(), weight.shape()]) {
        if let Some(found) = gradient.take() {
            *gradient = Some(found.reshape(shape)?);
        }
    }
    Ok(gradients)
}

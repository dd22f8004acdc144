//! Global average pooling of tensors on a card.

use crate::Result;
use crate::cuda::device::{address, address_mut};
use crate::cuda::{CudaCard, channels, elementwise};
use genesis_tensor::{Shape, Tensor};
use std::sync::Arc;

/// Batch, voxels, channels.
fn extents(x: Shape) -> [usize; 3] {
    [x[0], x[1] * x[2] * x[3], x[4]]
}

/// y.
pub fn forward(card: &Arc<CudaCard>, x: &Tensor, output: Shape) -> Result<Tensor> {
    let mut y = card.unspecified(output, x.dtype())?;
    if output.elements() > 0 {
        let (from, to, extents) = (address(x)?, address_mut(&mut y)?, extents(x.shape()));
        card.run_with(|workspace| channels::means(x.dtype().into(), extents, from, to, workspace))?;
    }
    Ok(y)
}

/// dx.
pub fn backward(card: &Arc<CudaCard>, input: Shape, dy: &Tensor) -> Result<Tensor> {
    let mut dx = card.unspecified(input, dy.dtype())?;
    if input.elements() > 0 {
        let extents = extents(input);
        let (from, to, scale) = (address(dy)?, address_mut(&mut dx)?, 1.0 / extents[1] as f32);
        card.run(&[elementwise::broadcast(dy.dtype(), extents, scale, from, to)?])?;
    }
    Ok(dx)
}

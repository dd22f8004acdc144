//! Maximum pooling of tensors on a card.

use super::cuda::Plan;
use super::{MaxPool3d, SavedMaxPool3d};
use crate::Result;
use crate::cuda::CudaCard;
use crate::cuda::device::{address, address_mut};
use genesis_tensor::{DType, Shape, Tensor};
use std::sync::Arc;

/// y, and the positions of its elements.
pub fn forward(card: &Arc<CudaCard>, op: &MaxPool3d, x: &Tensor, output: Shape) -> Result<(Tensor, Tensor)> {
    let plan = Plan::new(op, x.shape(), x.dtype().into())?;
    let mut y = card.unspecified(output, x.dtype())?;
    let mut positions = card.unspecified([plan.positions_bytes().div_ceil(4)], DType::F32)?;
    if output.elements() > 0 {
        let launch = plan.forward(address(x)?, address_mut(&mut y)?, address_mut(&mut positions)?)?;
        card.run(&[launch])?;
    }
    Ok((y, positions))
}

/// dx.
pub fn backward(card: &Arc<CudaCard>, op: &MaxPool3d, saved: &SavedMaxPool3d, dy: &Tensor) -> Result<Tensor> {
    let plan = Plan::new(op, saved.input, dy.dtype().into())?;
    let mut dx = card.unspecified(saved.input, dy.dtype())?;
    if saved.input.elements() > 0 {
        card.run(&[plan.backward(address(dy)?, address(&saved.positions)?, address_mut(&mut dx)?)?])?;
    }
    Ok(dx)
}

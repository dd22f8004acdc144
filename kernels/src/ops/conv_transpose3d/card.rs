//! The transposed convolution of tensors on a card.

use super::ConvTranspose3d;
use super::cuda::Plan;
use crate::Result;
use crate::cuda::device::{address, address_mut};
use crate::cuda::{CudaCard, Format, NULL};
use crate::op::Operation;
use genesis_tensor::{DType, Shape, Tensor};
use std::sync::Arc;

/// y; `format` is that of x.
pub fn forward(
    card: &Arc<CudaCard>,
    op: &ConvTranspose3d,
    inputs: &[&Tensor],
    format: Format,
) -> Result<Tensor> {
    let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
    let dtype = inputs[0].dtype();
    let plan = Plan::new(op, &shapes, format)?;
    let mut y = card.unspecified(op.infer(&shapes)?, dtype)?;
    let bias = inputs.get(2).map_or(Ok(NULL), |bias| address(bias))?;
    let (x, weight, out) = (address(inputs[0])?, address(inputs[1])?, address_mut(&mut y)?);
    card.run_with(|workspace| plan.forward(x, weight, bias, out, workspace))?;
    Ok(y)
}

/// The gradients that are wanted, of x, weight and bias.
pub fn backward(
    card: &Arc<CudaCard>,
    op: &ConvTranspose3d,
    [x, weight]: [&Tensor; 2],
    dy: &Tensor,
    need: &[bool],
    format: Format,
) -> Result<Vec<Option<Tensor>>> {
    let outputs = dy.shape().channels();
    let mut shapes = vec![x.shape(), weight.shape()];
    if need.len() > 2 {
        shapes.push(Shape::from([outputs]));
    }
    let plan = Plan::new(op, &shapes, format)?;
    let (x_address, weight_address, dy_address) = (address(x)?, address(weight)?, address(dy)?);
    let mut gradients = vec![None; need.len()];
    if need[0] {
        let mut dx = card.unspecified(x.shape(), dy.dtype())?;
        let out = address_mut(&mut dx)?;
        card.run_with(|workspace| plan.input_gradient(dy_address, weight_address, out, workspace))?;
        gradients[0] = Some(dx);
    }
    if need[1] {
        let mut dw = card.unspecified(weight.shape(), DType::F32)?;
        let out = address_mut(&mut dw)?;
        card.run_with(|workspace| plan.weight_gradient(x_address, dy_address, out, workspace))?;
        gradients[1] = Some(dw);
    }
    if need.get(2) == Some(&true) {
        let mut db = card.unspecified([outputs], DType::F32)?;
        let out = address_mut(&mut db)?;
        card.run_with(|workspace| plan.bias_gradient(dy_address, out, workspace))?;
        gradients[2] = Some(db);
    }
    Ok(gradients)
}

//! The convolution of tensors on a card.

use super::Conv3d;
use super::cuda::Plan;
use crate::Result;
use crate::cuda::device::{address, address_mut};
use crate::cuda::{CudaCard, Format, NULL};
use crate::op::Operation;
use genesis_tensor::{DType, Shape, Tensor};
use std::sync::Arc;

fn shapes(tensors: &[&Tensor]) -> Vec<Shape> {
    tensors.iter().map(|tensor| tensor.shape()).collect()
}

/// y; `format` is that of the activations.
pub fn forward(card: &Arc<CudaCard>, op: &Conv3d, inputs: &[&Tensor], format: Format) -> Result<Tensor> {
    let (shapes, dtype) = (shapes(inputs), inputs[0].dtype());
    let plan = Plan::new(op, &shapes, format)?;
    let mut y = card.unspecified(op.infer(&shapes)?, dtype)?;
    let addresses = inputs.iter().map(|input| address(input)).collect::<Result<Vec<_>>>()?;
    let (activations, parameters) = addresses.split_at(op.inputs);
    let (bias, out) = (parameters.get(1).copied().unwrap_or(NULL), address_mut(&mut y)?);
    card.run_with(|workspace| plan.forward(activations, parameters[0], bias, out, NULL, workspace))?;
    Ok(y)
}

/// The gradients that are wanted, of activations, weight and bias; `saved` holds the activations and the weight.
pub fn backward(
    card: &Arc<CudaCard>,
    op: &Conv3d,
    saved: &[Tensor],
    dy: &Tensor,
    need: &[bool],
    format: Format,
) -> Result<Vec<Option<Tensor>>> {
    let mut shapes = shapes(&saved.iter().collect::<Vec<_>>());
    let outputs = dy.shape().channels();
    if op.bias {
        shapes.push(Shape::from([outputs]));
    }
    let plan = Plan::new(op, &shapes, format)?;
    let addresses = saved.iter().map(address).collect::<Result<Vec<_>>>()?;
    let (activations, weight, dy_address) = (&addresses[..op.inputs], addresses[op.inputs], address(dy)?);
    let mut gradients = Vec::new();
    for input in 0..op.inputs {
        if !need[input] {
            gradients.push(None);
            continue;
        }
        let mut dx = card.unspecified(shapes[input], dy.dtype())?;
        let out = address_mut(&mut dx)?;
        card.run_with(|workspace| plan.input_gradient(input, dy_address, weight, out, workspace))?;
        gradients.push(Some(dx));
    }
    gradients.push(None);
    if need[op.inputs] {
        let mut dw = card.unspecified(shapes[op.inputs], DType::F32)?;
        let out = address_mut(&mut dw)?;
        card.run_with(|workspace| plan.weight_gradient(activations, dy_address, out, workspace))?;
        gradients[op.inputs] = Some(dw);
    }
    if op.bias {
        gradients.push(None);
        if need[op.inputs + 1] {
            let mut db = card.unspecified([outputs], DType::F32)?;
            let out = address_mut(&mut db)?;
            card.run_with(|workspace| plan.bias_gradient(dy_address, out, workspace))?;
            gradients[op.inputs + 1] = Some(db);
        }
    }
    Ok(gradients)
}

//! Losses of tensors on a card.

use super::cuda::{Buffers, Plan};
use super::{Loss, SavedLoss, Sums};
use crate::cuda::device::{address, address_mut};
use crate::cuda::{CudaCard, NULL};
use crate::op::Operation;
use crate::{Error, Result};
use genesis_tensor::{DType, Shape, Tensor};
use std::sync::Arc;

fn plan(op: Loss, tensors: &[&Tensor], dtype: DType) -> Result<Plan> {
    let shapes: Vec<Shape> = tensors.iter().map(|tensor| tensor.shape()).collect();
    Plan::new(op, &shapes, dtype.into())
}

/// The loss, and what backward reads. Waits for the card: what is no probability or no class is told at once, or after
/// each launch of the graph that is recorded.
pub fn forward(card: &Arc<CudaCard>, op: Loss, inputs: &[&Tensor]) -> Result<(Tensor, SavedLoss)> {
    let dtype = inputs[0].dtype();
    let plan = plan(op, inputs, dtype)?;
    let mut loss = card.unspecified([1], DType::F32)?;
    // f64 in the memory of f32.
    let mut sums = card.unspecified([plan.sums_bytes() / 4], DType::F32)?;
    let mut kept = match op {
        Loss::SigmoidMse => Some(card.unspecified(inputs[0].shape(), DType::F32)?),
        _ => None,
    };
    let buffers = Buffers {
        prediction: address(inputs[0])?,
        target: address(inputs[1])?,
        weights: inputs.get(2).map_or(Ok(NULL), |weights| address(weights))?,
        kept: kept.as_mut().map_or(Ok(NULL), address_mut)?,
        sums: address_mut(&mut sums)?,
        loss: address_mut(&mut loss)?,
    };
    card.run_with(|workspace| plan.forward(buffers, workspace))?;
    card.check(sums.window(2 * plan.invalid(), [2])?, move |invalid| {
        let invalid = bytemuck::pod_read_unaligned::<f64>(invalid.bytes());
        match invalid == 0.0 {
            true => Ok(()),
            false => Err(Error::operation(Loss::NAME, format!("{invalid} values are {}", out_of_range(op)))),
        }
    })?;
    let saved = SavedLoss {
        prediction: kept.unwrap_or_else(|| inputs[0].clone()),
        target: inputs[1].clone(),
        weights: inputs.get(2).map(|&weights| weights.clone()),
        sums: Sums { card: Some(sums), ..Sums::default() },
        format: dtype,
    };
    Ok((loss, saved))
}

/// What the kernels count, in words.
fn out_of_range(op: Loss) -> &'static str {
    match op {
        Loss::SigmoidFocal { .. } => "targets that are neither 0 nor 1",
        Loss::Bce => "probabilities outside of [0, 1]",
        _ => "labels that are no class, or class weights below 0",
    }
}

/// The prediction's gradient.
pub fn backward(card: &Arc<CudaCard>, op: Loss, saved: &SavedLoss, dy: &Tensor) -> Result<Tensor> {
    let inputs: Vec<&Tensor> = [&saved.prediction, &saved.target].into_iter().chain(&saved.weights).collect();
    let plan = plan(op, &inputs, saved.format)?;
    let sums = saved.sums.card.as_ref();
    let sums = sums.ok_or_else(|| Error::operation(Loss::NAME, "the forward pass ran on the CPU"))?;
    let mut gradient = card.unspecified(saved.prediction.shape(), saved.format)?;
    let kept = if op == Loss::SigmoidMse { address(&saved.prediction)? } else { NULL };
    let buffers = Buffers {
        prediction: address(&saved.prediction)?,
        target: address(&saved.target)?,
        weights: saved.weights.as_ref().map_or(Ok(NULL), address)?,
        kept,
        sums: address(sums)?,
        loss: NULL,
    };
    card.run(&[plan.backward(buffers, address(dy)?, address_mut(&mut gradient)?)?])?;
    Ok(gradient)
}

//! Batch normalisation of tensors on a card.

use super::cuda::{Moments, Plan, Running, Tables};
use super::{BatchNorm, Fused, SavedBatchNorm, Statistics};
use crate::Result;
use crate::cuda::device::{address, address_mut};
use crate::cuda::{CudaCard, NULL};
use genesis_tensor::{DType, Tensor};
use std::sync::Arc;

fn plan(op: BatchNorm, x: &Tensor) -> Result<Plan> {
    let channels = x.shape().channels();
    Plan::new(op, x.dtype().into(), x.elements() / channels, channels)
}

fn tables(saved: &SavedBatchNorm) -> Result<Tables> {
    Ok(Tables {
        mean: address(&saved.mean)?,
        remainder: address(&saved.remainder)?,
        variance: address(&saved.variance)?,
        inverse: address(&saved.inverse)?,
        gamma: address(&saved.gamma)?,
        beta: address(&saved.beta)?,
    })
}

/// y, and what backward reads.
pub fn forward(card: &Arc<CudaCard>, op: BatchNorm, inputs: &[&Tensor]) -> Result<(Tensor, SavedBatchNorm)> {
    let x = inputs[0];
    let channels = x.shape().channels();
    // One block of four tables.
    let all = card.unspecified([4 * channels.next_multiple_of(16)], DType::F32)?;
    let table = |number: usize| all.window(number * channels.next_multiple_of(16), [channels]);
    let saved = SavedBatchNorm {
        x: x.clone(),
        gamma: inputs[1].clone(),
        beta: inputs[2].clone(),
        mean: table(0)?,
        variance: table(1)?,
        count: x.elements() / channels,
        remainder: table(2)?,
        inverse: table(3)?,
    };
    drop(all);
    let (plan, tables, x_address) = (plan(op, x)?, tables(&saved)?, address(x)?);
    let (moments, running) = match op.statistics {
        Statistics::Batch => (None, Running::default()),
        Statistics::Sums => {
            let moments = Moments { address: address(inputs[3])?, pieces: 1, piece: saved.count };
            (Some(moments), Running::default())
        }
        Statistics::Running => {
            let (mean, variance) = (address(inputs[3])?, address(inputs[4])?);
            (None, Running { mean, variance, momentum: 0.0 })
        }
    };
    card.run_with(|workspace| plan.statistics(x_address, moments, tables, running, workspace))?;
    let y = apply(card, &plan, &saved)?;
    Ok((y, saved))
}

fn apply(card: &Arc<CudaCard>, plan: &Plan, saved: &SavedBatchNorm) -> Result<Tensor> {
    let mut y = card.unspecified(saved.x.shape(), saved.x.dtype())?;
    let out = address_mut(&mut y)?;
    card.run(&[plan.forward(address(&saved.x)?, tables(saved)?, out)?])?;
    Ok(y)
}

/// y again.
pub fn recompute(card: &Arc<CudaCard>, activation: Fused, saved: &SavedBatchNorm) -> Result<Tensor> {
    // Tables are given: where they came from, and ε within them, no longer matters.
    let op = BatchNorm { epsilon: 0.0, statistics: Statistics::Batch, activation };
    apply(card, &plan(op, &saved.x)?, saved)
}

/// dx in the memory of dy, dγ and dβ.
pub fn backward(
    card: &Arc<CudaCard>,
    op: BatchNorm,
    saved: &SavedBatchNorm,
    mut dy: Tensor,
    need: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    let channels = saved.gamma.elements();
    let mut total = card.unspecified([2 * channels], DType::F32)?;
    let (plan, tables, x) = (plan(op, &saved.x)?, tables(saved)?, address(&saved.x)?);
    let (total_address, dy_address) = (address_mut(&mut total)?, address_mut(&mut dy)?);
    let dx = if need[0] { dy_address } else { NULL };
    card.run_with(|workspace| plan.backward(x, tables, dy_address, total_address, dx, workspace))?;
    let part = |number: usize| total.window(number * channels, [channels]);
    let mut gradients = vec![need[0].then_some(dy)];
    gradients.push(need[1].then(|| part(1)).transpose()?);
    gradients.push(need[2].then(|| part(0)).transpose()?);
    gradients.resize(op.statistics.inputs(), None);
    Ok(gradients)
}

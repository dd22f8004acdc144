//! Optimisers over flat buffers on a card.

use super::{Optimizer, OptimizerStep};
use crate::cuda::device::{address, address_mut};
use crate::cuda::{CudaCard, NULL, elementwise};
use crate::op::Operation;
use crate::{Error, Result};
use genesis_tensor::{Card, DType, Shape, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// One step on the elements of `range`; the caller has checked shapes and formats.
#[expect(clippy::too_many_arguments, reason = "those of the optimiser's `update` and the range")]
pub fn update(
    card: &CudaCard,
    optimizer: &Optimizer,
    step: u64,
    rate: f32,
    range: Range<usize>,
    parameters: &mut Tensor,
    gradients: &Tensor,
    state: &mut [Tensor],
) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let mut addresses = [NULL; 2];
    for (address, state) in addresses.iter_mut().zip(state) {
        *address = address_mut(state)?;
    }
    let buffers = super::cuda::Buffers {
        parameters: address_mut(parameters)?,
        gradients: address(gradients)?,
        state: addresses,
        factor: NULL,
    };
    card.run(&[super::cuda::update(optimizer, step, rate, buffers, range)?])
}

/// `[norm, factor]` on the card: the norm, and what gradients are to be multiplied by for this limit, 0 for none.
fn norm_and_factor(card: &Arc<CudaCard>, gradients: &Tensor, limit: f64) -> Result<Tensor> {
    let mut norm = card.unspecified([2], DType::F32)?;
    let (from, to) = (address(gradients)?, address_mut(&mut norm)?);
    let elements = gradients.elements();
    card.run_with(|workspace| super::cuda::norm(from, elements, limit as f32, to, workspace))?;
    Ok(norm)
}

/// [`super::gradient_norm`], rounded to f32.
pub fn gradient_norm(card: &Arc<CudaCard>, gradients: &Tensor) -> Result<f64> {
    Ok(f64::from(norm_and_factor(card, gradients, 0.0)?.to_host()?.as_slice()[0]))
}

/// [`super::clip_gradients`].
pub fn clip_gradients(card: &Arc<CudaCard>, gradients: &mut Tensor, limit: f64) -> Result<f64> {
    let found = norm_and_factor(card, gradients, limit)?;
    let norm = f64::from(found.to_host()?.as_slice()[0]);
    if norm.is_finite() && limit / (norm + 1e-6) < 1.0 {
        let (factor, elements) = (address(&found)? + 4, gradients.elements());
        card.run(&[elementwise::scale(factor, address_mut(gradients)?, elements)?])?;
    }
    Ok(norm)
}

/// Tensors of one shape as the rows of one.
pub fn rows(card: &Arc<CudaCard>, output: Shape, tensors: &[&Tensor]) -> Result<Tensor> {
    let mut out = card.unspecified(output, DType::F32)?;
    let to = address_mut(&mut out)?;
    for (row, tensor) in tensors.iter().enumerate() {
        let bytes = tensor.size_in_bytes();
        card.copy(address(tensor)?, to + (row * bytes) as u64, bytes)
            .map_err(|error| Error::operation(OptimizerStep::NAME, error))?;
    }
    Ok(out)
}

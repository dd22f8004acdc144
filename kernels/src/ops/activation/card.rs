//! Activations of tensors on a card.

use super::Activation;
use super::cuda::{self, Slopes};
use crate::Result;
use crate::cuda::CudaCard;
use crate::cuda::device::{address, address_mut};
use genesis_tensor::{DType, Tensor};
use std::sync::Arc;

fn slopes(tensor: Option<&Tensor>) -> Result<Slopes> {
    Ok(match tensor {
        Some(slopes) => Slopes { address: address(slopes)?, count: slopes.elements() },
        None => Slopes::NONE,
    })
}

/// y.
pub fn forward(card: &Arc<CudaCard>, op: Activation, x: &Tensor, slope: Option<&Tensor>) -> Result<Tensor> {
    let mut y = card.unspecified(x.shape(), x.dtype())?;
    if x.elements() > 0 {
        let addresses = (address(x)?, address_mut(&mut y)?);
        let (format, count) = (x.dtype().into(), x.elements());
        card.run(&[cuda::forward(op, format, count, addresses.0, slopes(slope)?, addresses.1)?])?;
    }
    Ok(y)
}

/// dx, in the memory of dy.
pub fn backward(
    card: &CudaCard,
    op: Activation,
    kept: &Tensor,
    slope: Option<&Tensor>,
    mut dy: Tensor,
) -> Result<Tensor> {
    if dy.elements() > 0 {
        let (kept, dy_address) = (address(kept)?, address_mut(&mut dy)?);
        let (format, count) = (dy.dtype().into(), dy.elements());
        let launch = cuda::backward(op, format, count, kept, slopes(slope)?, dy_address, dy_address)?;
        card.run(&[launch])?;
    }
    Ok(dy)
}

/// The gradient of PReLU's slopes.
pub fn slope_gradient(card: &Arc<CudaCard>, x: &Tensor, slopes: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let mut gradient = card.unspecified(slopes.shape(), DType::F32)?;
    let (x_address, dy, out) = (address(x)?, address(dy)?, address_mut(&mut gradient)?);
    let (format, elements, count) = (x.dtype().into(), x.elements(), slopes.elements());
    card.run_with(|workspace| cuda::slope_gradient(format, elements, count, x_address, dy, out, workspace))?;
    Ok(gradient)
}

//! Concatenation of tensors on a card.

use crate::Result;
use crate::cuda::device::{address, address_mut};
use crate::cuda::elementwise::copy_slices;
use crate::cuda::{CudaCard, Operand};
use genesis_tensor::{Shape, Tensor};
use std::sync::Arc;

/// The channels of each part, and which of the whole's they are.
fn parts(shapes: [Shape; 2]) -> [(usize, usize); 2] {
    let [a, b] = shapes.map(|shape| shape.channels());
    [(a, 0), (b, a)]
}

/// a and b side by side.
pub fn join(card: &Arc<CudaCard>, a: &Tensor, b: &Tensor, output: Shape) -> Result<Tensor> {
    let mut y = card.unspecified(output, a.dtype())?;
    let (whole, pitch) = (address_mut(&mut y)?, output.channels());
    for (tensor, (channels, first)) in [a, b].into_iter().zip(parts([a.shape(), b.shape()])) {
        if tensor.elements() > 0 {
            let to = Operand { address: whole + (first * a.dtype().bytes()) as u64, channels, pitch };
            let from = Operand::dense(address(tensor)?, channels);
            card.run(&[copy_slices(a.dtype().into(), tensor.elements() / channels, from, to)?])?;
        }
    }
    Ok(y)
}

/// The parts of dy that are wanted.
pub fn cut(
    card: &Arc<CudaCard>,
    dy: &Tensor,
    shapes: [Shape; 2],
    need: [bool; 2],
) -> Result<Vec<Option<Tensor>>> {
    let (whole, pitch) = (address(dy)?, dy.shape().channels());
    let mut gradients = Vec::new();
    for ((shape, (channels, first)), need) in shapes.into_iter().zip(parts(shapes)).zip(need) {
        if !need {
            gradients.push(None);
            continue;
        }
        let mut gradient = card.unspecified(shape, dy.dtype())?;
        if shape.elements() > 0 {
            let from = Operand { address: whole + (first * dy.dtype().bytes()) as u64, channels, pitch };
            let to = Operand::dense(address_mut(&mut gradient)?, channels);
            card.run(&[copy_slices(dy.dtype().into(), shape.elements() / channels, from, to)?])?;
        }
        gradients.push(Some(gradient));
    }
    Ok(gradients)
}

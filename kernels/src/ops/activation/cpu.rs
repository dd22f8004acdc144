//! Elementwise loops that the compiler vectorises for each instruction set.

use super::Activation;
use crate::cpu::elementwise::{map, update};
use crate::cpu::{math, sum_pieces};
use crate::{Context, Result};
use genesis_tensor::{DType, Tensor};

pub fn forward(cx: &Context, activation: Activation, x: &Tensor, slope: f32) -> Result<Tensor> {
    let mut y = Tensor::unspecified(x.shape(), DType::F32)?;
    let (out, x) = (y.as_mut_slice()?, [x.as_slice()]);
    match activation {
        // Not `max`, which would turn a NaN into 0.
        Activation::Relu => map(cx, out, x, move |[x]| if x < 0.0 { 0.0 } else { x }),
        Activation::Prelu => map(cx, out, x, move |[x]| if x > 0.0 { x } else { slope * x }),
        Activation::Elu => map(cx, out, x, move |[x]| math::elu(x)),
        Activation::Sigmoid => map(cx, out, x, move |[x]| math::sigmoid(x)),
    }
    Ok(y)
}

/// dx, written over `dy` where that memory is free. `kept` is the output, for PReLU the input.
pub fn backward(
    cx: &Context,
    activation: Activation,
    kept: &Tensor,
    slope: f32,
    mut dy: Tensor,
) -> Result<Tensor> {
    let (out, kept) = (dy.as_mut_slice()?, [kept.as_slice()]);
    match activation {
        // A choice, not a product with 0 or 1: an infinite dy must not become NaN where x < 0.
        Activation::Relu => update(cx, out, kept, move |d, [y]| if y <= 0.0 { 0.0 } else { d }),
        Activation::Prelu => update(cx, out, kept, move |d, [x]| if x > 0.0 { d } else { slope * d }),
        Activation::Elu => update(cx, out, kept, move |d, [y]| if y > 0.0 { d } else { d * (y + 1.0) }),
        Activation::Sigmoid => update(cx, out, kept, move |d, [y]| d * y * (1.0 - y)),
    }
    Ok(dy)
}

/// Gradient of PReLU's slope: the sum of x·dy where x is not positive.
pub fn slope_gradient(cx: &Context, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (x, dy) = (x.as_slice(), dy.as_slice());
    let [sum] = sum_pieces(cx, [x, dy], |[x, dy]| [if x > 0.0 { 0.0 } else { f64::from(x) * f64::from(dy) }]);
    Ok(Tensor::full([1], sum as f32)?)
}

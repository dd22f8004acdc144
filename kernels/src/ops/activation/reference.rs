//! The definition, in f64.

use super::Activation;
use crate::Array;

/// PReLU's slope for the element at `index`: channels are innermost.
fn slope(inputs: &[Array], index: usize) -> f64 {
    inputs.get(1).map_or(0.0, |slopes| slopes.values[index % slopes.values.len()])
}

pub fn forward(activation: Activation, inputs: &[Array]) -> Array {
    let mut y = inputs[0].clone();
    for (index, y) in y.values.iter_mut().enumerate() {
        let x = *y;
        *y = match activation {
            Activation::Relu => x.max(0.0),
            Activation::Prelu if x <= 0.0 => slope(inputs, index) * x,
            Activation::Elu if x <= 0.0 => x.exp() - 1.0,
            Activation::Prelu | Activation::Elu => x,
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        };
    }
    y
}

pub fn backward(activation: Activation, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let mut dx = dy.clone();
    for (index, dx) in dx.values.iter_mut().enumerate() {
        let x = inputs[0].values[index];
        *dx *= match activation {
            Activation::Relu if x <= 0.0 => 0.0,
            Activation::Prelu if x <= 0.0 => slope(inputs, index),
            Activation::Elu if x <= 0.0 => x.exp(),
            Activation::Relu | Activation::Prelu | Activation::Elu => 1.0,
            Activation::Sigmoid => {
                let y = 1.0 / (1.0 + (-x).exp());
                y * (1.0 - y)
            }
        };
    }
    if activation != Activation::Prelu {
        return vec![Some(dx)];
    }
    let mut slopes = Array::zeros(inputs[1].shape);
    let count = slopes.values.len();
    for (index, (x, dy)) in inputs[0].values.iter().zip(&dy.values).enumerate() {
        slopes.values[index % count] += if *x > 0.0 { 0.0 } else { x * dy };
    }
    vec![Some(dx), Some(slopes)]
}

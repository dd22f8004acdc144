//! The definition, in f64.

use super::Activation;
use crate::Array;

fn slope(inputs: &[Array]) -> f64 {
    inputs.get(1).map_or(0.0, |slope| slope.values[0])
}

pub fn forward(activation: Activation, inputs: &[Array]) -> Array {
    let slope = slope(inputs);
    inputs[0].map(|x| match activation {
        Activation::Relu => x.max(0.0),
        Activation::Prelu => {
            if x > 0.0 {
                x
            } else {
                slope * x
            }
        }
        Activation::Elu => {
            if x > 0.0 {
                x
            } else {
                x.exp() - 1.0
            }
        }
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    })
}

pub fn backward(activation: Activation, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let slope = slope(inputs);
    let x = &inputs[0];
    let dx = x.zip(dy, |x, dy| {
        dy * match activation {
            Activation::Relu => {
                if x > 0.0 {
                    1.0
                } else {
                    0.0
                }
            }
            Activation::Prelu => {
                if x > 0.0 {
                    1.0
                } else {
                    slope
                }
            }
            Activation::Elu => {
                if x > 0.0 {
                    1.0
                } else {
                    x.exp()
                }
            }
            Activation::Sigmoid => {
                let y = 1.0 / (1.0 + (-x).exp());
                y * (1.0 - y)
            }
        }
    });
    if activation != Activation::Prelu {
        return vec![Some(dx)];
    }
    let slope_gradient =
        x.values.iter().zip(&dy.values).map(|(x, dy)| if *x > 0.0 { 0.0 } else { x * dy }).sum();
    vec![Some(dx), Some(Array { shape: inputs[1].shape, values: vec![slope_gradient] })]
}

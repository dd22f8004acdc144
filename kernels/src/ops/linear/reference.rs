//! The definition, in f64.

use crate::Array;

pub fn forward(inputs: &[Array]) -> Array {
    let (x, weight, bias) = (&inputs[0], &inputs[1], &inputs[2]);
    let (samples, features, outputs) = (x.shape[0], x.shape[1], weight.shape[0]);
    let mut y = Array::zeros([samples, outputs]);
    for n in 0..samples {
        for o in 0..outputs {
            y.values[n * outputs + o] = bias.values[o];
            for f in 0..features {
                y.values[n * outputs + o] += x.values[n * features + f] * weight.values[o * features + f];
            }
        }
    }
    y
}

pub fn backward(inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let (x, weight) = (&inputs[0], &inputs[1]);
    let (samples, features, outputs) = (x.shape[0], x.shape[1], weight.shape[0]);
    let mut gradients: Vec<Array> = inputs.iter().map(|input| Array::zeros(input.shape)).collect();
    for n in 0..samples {
        for o in 0..outputs {
            let dy = dy.values[n * outputs + o];
            for f in 0..features {
                gradients[0].values[n * features + f] += dy * weight.values[o * features + f];
                gradients[1].values[o * features + f] += dy * x.values[n * features + f];
            }
            gradients[2].values[o] += dy;
        }
    }
    gradients.into_iter().map(Some).collect()
}

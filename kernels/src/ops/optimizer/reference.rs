//! The definition, in f64, in the order of PyTorch's documentation.

use super::{Optimizer, OptimizerStep};
use crate::Array;

/// New parameters and state of one element.
fn element(op: &OptimizerStep, p: f64, g: f64, state: &[f64]) -> Vec<f64> {
    let rate = f64::from(op.rate);
    match op.optimizer {
        Optimizer::Sgd { momentum, dampening, weight_decay, nesterov } => {
            let g = g + f64::from(weight_decay) * p;
            if momentum == 0.0 {
                return vec![p - rate * g];
            }
            let momentum = f64::from(momentum);
            let buffer =
                if op.step == 1 { g } else { momentum * state[0] + (1.0 - f64::from(dampening)) * g };
            let direction = if nesterov { g + momentum * buffer } else { buffer };
            vec![p - rate * direction, buffer]
        }
        Optimizer::Adam(moments) | Optimizer::AdamW(moments) => {
            let decay = f64::from(moments.weight_decay);
            let (p, g) = match op.optimizer {
                Optimizer::AdamW(_) => (p - rate * decay * p, g),
                _ => (p, g + decay * p),
            };
            let (beta1, beta2) = (f64::from(moments.beta1), f64::from(moments.beta2));
            let mean = beta1 * state[0] + (1.0 - beta1) * g;
            let squares = beta2 * state[1] + (1.0 - beta2) * g * g;
            let corrected_mean = mean / (1.0 - beta1.powf(op.step as f64));
            let corrected_squares = squares / (1.0 - beta2.powf(op.step as f64));
            let change = corrected_mean / (corrected_squares.sqrt() + f64::from(moments.epsilon));
            vec![p - rate * change, mean, squares]
        }
    }
}

pub fn step(op: &OptimizerStep, inputs: &[Array]) -> Array {
    let length = inputs[0].values.len();
    let mut out = Array::zeros([1 + op.optimizer.state_count(), length]);
    for i in 0..length {
        let state: Vec<f64> = inputs[2..].iter().map(|state| state.values[i]).collect();
        for (row, value) in element(op, inputs[0].values[i], inputs[1].values[i], &state).iter().enumerate() {
            out.values[row * length + i] = *value;
        }
    }
    out
}

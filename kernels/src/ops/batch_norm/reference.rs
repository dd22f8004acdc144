//! The definition, in f64.

use super::{BatchNorm, Fused, Statistics};
use crate::Array;

/// Mean and biased variance of each channel. Moments handed in are those of x, so they are not read here:
/// x is what the output depends on, and what central differences vary.
fn statistics(op: &BatchNorm, inputs: &[Array]) -> (Vec<f64>, Vec<f64>) {
    if op.statistics == Statistics::Running {
        return (inputs[3].values.clone(), inputs[4].values.clone());
    }
    let x = &inputs[0];
    let channels = x.shape.channels();
    let values = |c: usize| x.values.iter().skip(c).step_by(channels);
    let count = (x.values.len() / channels) as f64;
    let mean: Vec<f64> = (0..channels).map(|c| values(c).sum::<f64>() / count).collect();
    let variance =
        (0..channels).map(|c| values(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() / count).collect();
    (mean, variance)
}

/// x̂ and γ·x̂ + β.
fn normalised(op: &BatchNorm, inputs: &[Array]) -> (Array, Array) {
    let (mean, variance) = statistics(op, inputs);
    let (x, gamma, beta) = (&inputs[0], &inputs[1], &inputs[2]);
    let channels = x.shape.channels();
    let (mut normalised, mut value) = (Array::zeros(x.shape), Array::zeros(x.shape));
    for i in 0..x.values.len() {
        let c = i % channels;
        normalised.values[i] = (x.values[i] - mean[c]) / (variance[c] + f64::from(op.epsilon)).sqrt();
        value.values[i] = gamma.values[c] * normalised.values[i] + beta.values[c];
    }
    (normalised, value)
}

pub fn forward(op: &BatchNorm, inputs: &[Array]) -> Array {
    let (_, value) = normalised(op, inputs);
    value.map(|v| match op.activation {
        Fused::Relu if v < 0.0 => 0.0,
        Fused::Elu if v < 0.0 => v.exp() - 1.0,
        _ => v,
    })
}

pub fn backward(op: &BatchNorm, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let (normalised, value) = normalised(op, inputs);
    let g = dy.zip(&value, |dy, v| match op.activation {
        Fused::Relu if v <= 0.0 => 0.0,
        Fused::Elu if v <= 0.0 => dy * v.exp(),
        _ => dy,
    });
    let channels = g.shape.channels();
    let count = (g.values.len() / channels) as f64;
    let (mut d_gamma, mut d_beta) = (Array::zeros([channels]), Array::zeros([channels]));
    for i in 0..g.values.len() {
        d_gamma.values[i % channels] += g.values[i] * normalised.values[i];
        d_beta.values[i % channels] += g.values[i];
    }
    let (_, variance) = statistics(op, inputs);
    let mut dx = Array::zeros(g.shape);
    for i in 0..g.values.len() {
        let c = i % channels;
        let scale = inputs[1].values[c] / (variance[c] + f64::from(op.epsilon)).sqrt();
        let through_statistics = match op.statistics {
            Statistics::Batch | Statistics::Sums => {
                d_beta.values[c] / count + normalised.values[i] * d_gamma.values[c] / count
            }
            Statistics::Running => 0.0,
        };
        dx.values[i] = scale * (g.values[i] - through_statistics);
    }
    let mut gradients = vec![Some(dx), Some(d_gamma), Some(d_beta)];
    gradients.resize(inputs.len(), None);
    gradients
}

//! The definition, in f64.

use super::Loss;
use crate::Array;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn mean(a: &Array, b: &Array, f: impl Fn(f64, f64) -> f64) -> f64 {
    a.zip(b, f).values.iter().sum::<f64>() / a.values.len() as f64
}

fn cross_entropy(p: f64, t: f64) -> f64 {
    -(t * p.ln().max(-100.0) + (1.0 - t) * (1.0 - p).ln().max(-100.0))
}

/// The probabilities of row `row`.
fn softmax(logits: &Array, row: usize) -> Vec<f64> {
    let classes = logits.shape.channels();
    let powers: Vec<f64> =
        logits.values[row * classes..(row + 1) * classes].iter().map(|x| x.exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// 2Σpt + s and Σp + Σt + s.
fn dice_sums(p: &Array, t: &Array, smooth: f32) -> (f64, f64) {
    let sum = |a: &Array| a.values.iter().sum::<f64>();
    let smooth = f64::from(smooth);
    (2.0 * sum(&p.zip(t, |p, t| p * t)) + smooth, sum(p) + sum(t) + smooth)
}

fn masked(p: &Array, t: &Array, mask: &Array, f: impl Fn(f64) -> f64) -> Array {
    let weight: f64 = mask.values.iter().sum();
    p.zip(t, |p, t| f(p - t)).zip(mask, |value, m| if weight == 0.0 { 0.0 } else { value * m / weight })
}

pub fn forward(loss: Loss, inputs: &[Array]) -> Array {
    let (p, t) = (&inputs[0], &inputs[1]);
    let value = match loss {
        Loss::Mse => mean(p, t, |p, t| (p - t).powi(2)),
        Loss::MaskedMse => masked(p, t, &inputs[2], |e| e * e).values.iter().sum(),
        Loss::Bce => mean(p, t, cross_entropy),
        Loss::BceWithLogits => mean(p, t, |x, t| cross_entropy(sigmoid(x), t)),
        Loss::CrossEntropy => {
            let losses = t.values.iter().enumerate().map(|(row, &t)| -softmax(p, row)[t as usize].ln());
            losses.sum::<f64>() / t.values.len() as f64
        }
        Loss::Dice { smooth } => {
            let (numerator, denominator) = dice_sums(p, t, smooth);
            1.0 - numerator / denominator
        }
        Loss::SigmoidMse => mean(p, t, |x, t| (sigmoid(x) - t).powi(2)),
    };
    Array { shape: [1].into(), values: vec![value] }
}

pub fn backward(loss: Loss, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let (p, t) = (&inputs[0], &inputs[1]);
    let count = p.values.len() as f64;
    let gradient = match loss {
        Loss::Mse => p.zip(t, |p, t| 2.0 * (p - t) / count),
        Loss::MaskedMse => masked(p, t, &inputs[2], |e| 2.0 * e),
        Loss::Bce => p.zip(t, |p, t| (p - t) / (p * (1.0 - p)).max(1e-12) / count),
        Loss::BceWithLogits => p.zip(t, |x, t| (sigmoid(x) - t) / count),
        Loss::CrossEntropy => {
            let mut gradient = Array::zeros(p.shape);
            let (rows, classes) = (t.values.len(), p.shape.channels());
            for row in 0..rows {
                let mut probabilities = softmax(p, row);
                probabilities[t.values[row] as usize] -= 1.0;
                for (class, value) in probabilities.iter().enumerate() {
                    gradient.values[row * classes + class] = value / rows as f64;
                }
            }
            gradient
        }
        Loss::Dice { smooth } => {
            let (numerator, denominator) = dice_sums(p, t, smooth);
            t.map(|t| -(2.0 * t * denominator - numerator) / denominator.powi(2))
        }
        Loss::SigmoidMse => p.zip(t, |x, t| {
            let y = sigmoid(x);
            2.0 * (y - t) * y * (1.0 - y) / count
        }),
    };
    let mut gradients = vec![None; inputs.len()];
    gradients[0] = Some(gradient.map(|g| g * dy.values[0]));
    gradients
}

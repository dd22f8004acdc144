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

/// -(1 - q)^γ·ln q, and its derivative by q.
fn focal(q: f64, gamma: f64) -> (f64, f64) {
    let u = 1.0 - q;
    let steep = if gamma == 0.0 { 0.0 } else { gamma * u.powf(gamma - 1.0) * q.ln() };
    (-u.powf(gamma) * q.ln(), steep - u.powf(gamma) / q)
}

/// a and q of an element of the binary focal loss, and dq/dx.
fn focal_parts(x: f64, t: f64, alpha: f32) -> (f64, f64, f64) {
    let (p, alpha) = (sigmoid(x), f64::from(alpha));
    let slope = p * sigmoid(-x);
    if t == 1.0 { (alpha, p, slope) } else { (1.0 - alpha, sigmoid(-x), -slope) }
}

fn positive_cross_entropy(x: f64, t: f64, positive: f32) -> f64 {
    -(f64::from(positive) * t * sigmoid(x).ln() + (1.0 - t) * sigmoid(-x).ln())
}

/// The weight of every row.
fn row_weights(inputs: &[Array]) -> Vec<f64> {
    let weight = |t: &f64| inputs.get(2).map_or(1.0, |weights| weights.values[*t as usize]);
    inputs[1].values.iter().map(weight).collect()
}

/// Σ w·focal(q) / Σw, and its gradient by the logits.
fn softmax_focal(inputs: &[Array], gamma: f64) -> (f64, Array) {
    let (logits, labels, weights) = (&inputs[0], &inputs[1], row_weights(inputs));
    let whole: f64 = weights.iter().sum();
    let classes = logits.shape.channels();
    let (mut value, mut gradient) = (0.0, Array::zeros(logits.shape));
    for (row, (&label, weight)) in labels.values.iter().zip(weights).enumerate() {
        let q = softmax(logits, row);
        let label = label as usize;
        let (loss, slope) = focal(q[label], gamma);
        // With one class only q = 1, a constant.
        let slope = if classes == 1 { 0.0 } else { slope };
        value += weight * loss / whole;
        for class in 0..classes {
            let hit = if class == label { 1.0 } else { 0.0 };
            gradient.values[row * classes + class] = weight / whole * slope * q[label] * (hit - q[class]);
        }
    }
    (value, gradient)
}

/// The mean over the classes from `first` on of their Dice, and its gradient by the logits.
fn softmax_dice(inputs: &[Array], smooth: f32, first: usize) -> (f64, Array) {
    let (logits, labels) = (&inputs[0], &inputs[1]);
    let (rows, classes) = (labels.values.len(), logits.shape.channels());
    let q: Vec<f64> = (0..rows).flat_map(|row| softmax(logits, row)).collect();
    let counted = (classes - first) as f64;
    let mut value = 0.0;
    let mut by_q = vec![0.0; q.len()];
    for class in first..classes {
        let of_class = |values: Vec<f64>| Array { shape: labels.shape, values };
        let p = of_class(q.iter().skip(class).step_by(classes).copied().collect());
        let t = labels.map(|label| if label == class as f64 { 1.0 } else { 0.0 });
        let (numerator, denominator) = dice_sums(&p, &t, smooth);
        value += (1.0 - numerator / denominator) / counted;
        for (row, t) in t.values.iter().enumerate() {
            by_q[row * classes + class] =
                -(2.0 * t * denominator - numerator) / denominator.powi(2) / counted;
        }
    }
    let mut gradient = Array::zeros(logits.shape);
    for row in 0..rows {
        let (q, g) = (&q[row * classes..][..classes], &by_q[row * classes..][..classes]);
        let mean: f64 = q.iter().zip(g).map(|(q, g)| q * g).sum();
        for class in 0..classes {
            gradient.values[row * classes + class] = q[class] * (g[class] - mean);
        }
    }
    (value, gradient)
}

pub fn forward(loss: Loss, inputs: &[Array]) -> Array {
    let (p, t) = (&inputs[0], &inputs[1]);
    let value = match loss {
        Loss::Mse => mean(p, t, |p, t| (p - t).powi(2)),
        Loss::MaskedMse => masked(p, t, &inputs[2], |e| e * e).values.iter().sum(),
        Loss::Bce => mean(p, t, cross_entropy),
        Loss::BceWithLogits => mean(p, t, |x, t| cross_entropy(sigmoid(x), t)),
        Loss::CrossEntropy => softmax_focal(inputs, 0.0).0,
        Loss::SoftmaxFocal { gamma } => softmax_focal(inputs, f64::from(gamma)).0,
        Loss::SoftmaxDice { smooth, background } => {
            softmax_dice(inputs, smooth, usize::from(!background)).0 //
        }
        Loss::SoftmaxDiceCrossEntropy { smooth, background } => {
            softmax_dice(inputs, smooth, usize::from(!background)).0 + softmax_focal(inputs, 0.0).0
        }
        Loss::WeightedBceWithLogits { positive } => mean(p, t, |x, t| positive_cross_entropy(x, t, positive)),
        Loss::SigmoidDice { smooth } => {
            let (numerator, denominator) = dice_sums(&p.map(sigmoid), t, smooth);
            1.0 - numerator / denominator
        }
        Loss::SigmoidDiceBce { smooth } => {
            let (numerator, denominator) = dice_sums(&p.map(sigmoid), t, smooth);
            1.0 - numerator / denominator + mean(p, t, |x, t| cross_entropy(sigmoid(x), t))
        }
        Loss::SigmoidFocal { alpha, gamma } => mean(p, t, |x, t| {
            let (weight, q, _) = focal_parts(x, t, alpha);
            weight * focal(q, f64::from(gamma)).0
        }),
        Loss::Dice { smooth } => {
            let (numerator, denominator) = dice_sums(p, t, smooth);
            1.0 - numerator / denominator
        }
        Loss::SigmoidMse => mean(p, t, |x, t| (sigmoid(x) - t).powi(2)),
    };
    Array { shape: [1].into(), values: vec![value] }
}

fn sigmoid_dice_gradient(p: &Array, t: &Array, smooth: f32) -> Array {
    let (numerator, denominator) = dice_sums(&p.map(sigmoid), t, smooth);
    p.zip(t, |x, t| -(2.0 * t * denominator - numerator) / denominator.powi(2) * sigmoid(x) * sigmoid(-x))
}

pub fn backward(loss: Loss, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let (p, t) = (&inputs[0], &inputs[1]);
    let count = p.values.len() as f64;
    let gradient = match loss {
        Loss::Mse => p.zip(t, |p, t| 2.0 * (p - t) / count),
        Loss::MaskedMse => masked(p, t, &inputs[2], |e| 2.0 * e),
        Loss::Bce => p.zip(t, |p, t| (p - t) / (p * (1.0 - p)).max(1e-12) / count),
        Loss::BceWithLogits => p.zip(t, |x, t| (sigmoid(x) - t) / count),
        Loss::CrossEntropy => softmax_focal(inputs, 0.0).1,
        Loss::SoftmaxFocal { gamma } => softmax_focal(inputs, f64::from(gamma)).1,
        Loss::SoftmaxDice { smooth, background } => {
            softmax_dice(inputs, smooth, usize::from(!background)).1 //
        }
        Loss::SoftmaxDiceCrossEntropy { smooth, background } => {
            let dice = softmax_dice(inputs, smooth, usize::from(!background)).1;
            dice.zip(&softmax_focal(inputs, 0.0).1, |a, b| a + b)
        }
        Loss::WeightedBceWithLogits { positive } => p.zip(t, |x, t| {
            ((1.0 - t) * sigmoid(x) - f64::from(positive) * t * sigmoid(-x)) / count //
        }),
        Loss::SigmoidDice { smooth } => sigmoid_dice_gradient(p, t, smooth),
        Loss::SigmoidDiceBce { smooth } => {
            let entropy = p.zip(t, |x, t| (sigmoid(x) - t) / count);
            sigmoid_dice_gradient(p, t, smooth).zip(&entropy, |a, b| a + b)
        }
        Loss::SigmoidFocal { alpha, gamma } => p.zip(t, |x, t| {
            let (weight, q, slope) = focal_parts(x, t, alpha);
            weight * focal(q, f64::from(gamma)).1 * slope / count
        }),
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

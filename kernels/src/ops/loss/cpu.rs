//! One pass forward that sums in f64, one pass backward that writes the gradient.

use super::{Loss, SavedLoss, Sums};
use crate::cpu::element::Element;
use crate::cpu::elementwise::map;
use crate::cpu::{PIECE, math, sum_pieces};
use crate::op::Operation;
use crate::{Context, Error, Result};
use genesis_tensor::{DType, Tensor};
use half::bf16;

/// ln p is cut off here, as in PyTorch.
const LOWEST_LOGARITHM: f64 = -100.0;
/// p(1 - p) is cut off here in the gradient, as in PyTorch.
const SMALLEST_PRODUCT: f32 = 1e-12;

fn square(v: f64) -> f64 {
    v * v
}

/// The value, and what backward reads.
pub fn forward(cx: &Context, loss: Loss, inputs: &[&Tensor]) -> Result<(f64, SavedLoss)> {
    match inputs[0].dtype() {
        DType::F32 => forward_of::<f32>(cx, loss, inputs),
        DType::Bf16 => forward_of::<bf16>(cx, loss, inputs),
    }
}

fn forward_of<E: Element>(cx: &Context, loss: Loss, inputs: &[&Tensor]) -> Result<(f64, SavedLoss)> {
    let (p, t) = (E::slice(inputs[0]), inputs[1].as_slice());
    let mut prediction = inputs[0].clone();
    let count = p.len() as f64;
    let squared = |(p, [t]): (f32, [f32; 1])| [square(f64::from(p) - f64::from(t))];
    let (numerator, denominator) = match loss {
        Loss::Mse => (sum_pieces(cx, (p, [t]), squared)[0], count),
        Loss::MaskedMse => {
            let [sum, weight] = sum_pieces(cx, (p, [t, inputs[2].as_slice()]), |(p, [t, m])| {
                let weight = f64::from(m);
                // Outside the mask anything goes, NaN included.
                let error = if m == 0.0 { 0.0 } else { square(f64::from(p) - f64::from(t)) };
                [weight * error, weight]
            });
            (sum, weight)
        }
        Loss::Bce => {
            if let Some(i) = p.iter().position(|p| !(0.0..=1.0).contains(&p.widen())) {
                let cause = format!("a probability must lie in [0, 1], element {i} is {}", p[i].widen());
                return Err(Error::operation(Loss::NAME, cause));
            }
            (sum_pieces(cx, (p, [t]), |(p, [t])| [binary_cross_entropy(p, t)])[0], count)
        }
        Loss::BceWithLogits => (sum_pieces(cx, (p, [t]), |(p, [t])| [logistic_loss(p, t)])[0], count),
        Loss::CrossEntropy => {
            let classes = inputs[0].shape().channels();
            check_labels(t, classes)?;
            (cross_entropy(cx, p, t, classes), t.len() as f64)
        }
        Loss::Dice { smooth } => {
            let [both, one, other] = sum_pieces(cx, (p, [t]), |(p, [t])| {
                [f64::from(p) * f64::from(t), f64::from(p), f64::from(t)]
            });
            (2.0 * both + f64::from(smooth), one + other + f64::from(smooth))
        }
        Loss::SigmoidMse => {
            prediction = sigmoid(cx, p, inputs[0])?;
            (sum_pieces(cx, (prediction.as_slice(), [t]), squared)[0], count)
        }
    };
    let value = match loss {
        Loss::Dice { .. } => 1.0 - numerator / denominator,
        Loss::MaskedMse if denominator == 0.0 => 0.0,
        _ => numerator / denominator,
    };
    let saved = SavedLoss {
        prediction,
        target: inputs[1].clone(),
        mask: inputs.get(2).map(|&mask| mask.clone()),
        sums: Sums { numerator, denominator },
        format: E::DTYPE,
    };
    Ok((value, saved))
}

/// f32 whatever the format of x: near 1 a bf16 would leave nothing of 1 - y, which the gradient is made
/// of, and this is the network's output, one channel.
fn sigmoid<E: Element>(cx: &Context, x: &[E], like: &Tensor) -> Result<Tensor> {
    let mut y = Tensor::unspecified(like.shape(), DType::F32)?;
    map(cx, y.as_mut_slice()?, [x], |[x]| math::sigmoid(x));
    Ok(y)
}

fn binary_cross_entropy(p: f32, t: f32) -> f64 {
    let (p, t) = (f64::from(p), f64::from(t));
    -(t * p.ln().max(LOWEST_LOGARITHM) + (1.0 - t) * (-p).ln_1p().max(LOWEST_LOGARITHM))
}

#[inline(always)]
fn logistic_loss(x: f32, t: f32) -> f64 {
    let positive = if x < 0.0 { 0.0 } else { x };
    f64::from(positive) - f64::from(x) * f64::from(t)
        + f64::from(math::ln_1p_of_fraction(math::exp(-x.abs())))
}

fn check_labels(labels: &[f32], classes: usize) -> Result<()> {
    let valid = |label: f32| label >= 0.0 && label < classes as f32 && label.fract() == 0.0;
    match labels.iter().position(|&label| !valid(label)) {
        None => Ok(()),
        Some(i) => {
            let cause = format!("label {i} is {}; wanted a whole number in 0..{classes}", labels[i]);
            Err(Error::operation(Loss::NAME, cause))
        }
    }
}

/// Rows of `classes` logits that one task handles.
fn rows_of_a_piece(classes: usize) -> usize {
    (PIECE / classes).max(1)
}

/// The largest logit of a row, and Σ exp(logit - largest).
fn softmax_sums<E: Element>(row: &[E]) -> (f64, f64) {
    let largest = row.iter().fold(f64::NEG_INFINITY, |largest, &x| largest.max(f64::from(x.widen())));
    (largest, row.iter().map(|&x| (f64::from(x.widen()) - largest).exp()).sum())
}

fn cross_entropy<E: Element>(cx: &Context, logits: &[E], labels: &[f32], classes: usize) -> f64 {
    let rows = rows_of_a_piece(classes);
    let mut partial = vec![0.0f64; labels.len().div_ceil(rows)];
    cx.pool.run_pieces(&mut partial, 1, |index, sum| {
        let labels = &labels[index * rows..labels.len().min((index + 1) * rows)];
        let logits = logits[index * rows * classes..].chunks_exact(classes);
        sum[0] = labels
            .iter()
            .zip(logits)
            .map(|(&label, row)| {
                let (largest, sum) = softmax_sums(row);
                largest - f64::from(row[label as usize].widen()) + sum.ln()
            })
            .sum();
    });
    partial.iter().sum()
}

/// Gradient of the prediction, times `dy`, in the format the prediction was given in.
pub fn backward(cx: &Context, loss: Loss, saved: &SavedLoss, dy: f32) -> Result<Tensor> {
    match saved.format {
        DType::F32 => backward_of::<f32>(cx, loss, saved, dy),
        DType::Bf16 => backward_of::<bf16>(cx, loss, saved, dy),
    }
}

fn backward_of<E: Element>(cx: &Context, loss: Loss, saved: &SavedLoss, dy: f32) -> Result<Tensor> {
    let mut out = Tensor::unspecified(saved.prediction.shape(), E::DTYPE)?;
    let t = saved.target.as_slice();
    let gradient = E::slice_mut(&mut out)?;
    let Sums { numerator, denominator } = saved.sums;
    let share = (f64::from(dy) / denominator) as f32;
    let twice = 2.0 * share;
    // Not called for `SigmoidMse`, whose saved prediction is f32.
    let p = || E::slice(&saved.prediction);
    match loss {
        Loss::Mse => map(cx, gradient, (p(), [t]), move |(p, [t])| twice * (p - t)),
        Loss::MaskedMse => {
            let twice = if denominator == 0.0 { 0.0 } else { twice };
            if let Some(mask) = &saved.mask {
                let inputs = (p(), [t, mask.as_slice()]);
                map(
                    cx,
                    gradient,
                    inputs,
                    move |(p, [t, m])| if m == 0.0 { 0.0 } else { twice * m * (p - t) },
                );
            }
        }
        Loss::Bce => map(cx, gradient, (p(), [t]), move |(p, [t])| {
            share * (p - t) / (p * (1.0 - p)).max(SMALLEST_PRODUCT) //
        }),
        Loss::BceWithLogits => {
            map(cx, gradient, (p(), [t]), move |(p, [t])| share * (math::sigmoid(p) - t));
        }
        Loss::CrossEntropy => {
            softmax_gradient(cx, gradient, p(), t, saved.prediction.shape().channels(), share);
        }
        Loss::Dice { .. } => {
            let base = (f64::from(dy) * numerator / (denominator * denominator)) as f32;
            map(cx, gradient, [t], move |[t]| base - twice * t);
        }
        Loss::SigmoidMse => {
            let y = saved.prediction.as_slice();
            map(cx, gradient, [y, t], move |[y, t]| twice * (y - t) * y * (1.0 - y));
        }
    }
    Ok(out)
}

fn softmax_gradient<E: Element>(
    cx: &Context,
    out: &mut [E],
    p: &[E],
    labels: &[f32],
    classes: usize,
    share: f32,
) {
    let rows = rows_of_a_piece(classes);
    cx.pool.run_pieces(out, rows * classes, |index, out| {
        let start = index * rows;
        let logits = p[start * classes..].chunks_exact(classes);
        for ((out, row), &label) in out.chunks_exact_mut(classes).zip(logits).zip(&labels[start..]) {
            let (largest, sum) = softmax_sums(row);
            for (class, (out, &x)) in out.iter_mut().zip(row).enumerate() {
                let one = if class == label as usize { 1.0 } else { 0.0 };
                let softmax = (f64::from(x.widen()) - largest).exp() / sum;
                *out = E::narrow((f64::from(share) * (softmax - one)) as f32);
            }
        }
    });
}

//! One pass forward that sums in f64, one pass backward that writes the gradient.

use super::focal::Focal;
use super::{Loss, SavedLoss, Sums, softmax};
use crate::cpu::element::Element;
use crate::cpu::elementwise::map;
use crate::cpu::{math, sum_pieces};
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
    let weights = inputs.get(2).map(|weights| weights.as_slice());
    let mut prediction = inputs[0].clone();
    let count = p.len() as f64;
    let squared = |(p, [t]): (f32, [f32; 1])| [square(f64::from(p) - f64::from(t))];
    let mut dice = Vec::new();
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
        Loss::WeightedBceWithLogits { positive } => {
            let term = move |(p, [t]): (f32, [f32; 1])| [weighted_logistic_loss(p, t, positive)];
            (sum_pieces(cx, (p, [t]), term)[0], count)
        }
        Loss::CrossEntropy
        | Loss::SoftmaxDice { .. }
        | Loss::SoftmaxDiceCrossEntropy { .. }
        | Loss::SoftmaxFocal { .. } => {
            let sums = softmax::forward(cx, loss, p, t, weights)?;
            dice = sums.dice;
            (sums.numerator, sums.denominator)
        }
        Loss::SigmoidDice { smooth } => {
            let sums = sum_pieces(cx, (p, [t]), |(p, [t])| dice_terms(math::sigmoid(p), t));
            let [numerator, denominator] = dice_of(sums, smooth);
            (numerator, denominator)
        }
        Loss::SigmoidDiceBce { smooth } => {
            let [both, one, other, entropy] = sum_pieces(cx, (p, [t]), |(p, [t])| {
                let [both, one, other] = dice_terms(math::sigmoid(p), t);
                [both, one, other, logistic_loss(p, t)]
            });
            dice = vec![dice_of([both, one, other], smooth)];
            (entropy, count)
        }
        Loss::SigmoidFocal { alpha, gamma } => (Focal { alpha, gamma }.sum(cx, p, t)?, count),
        Loss::Dice { smooth } => {
            let sums = sum_pieces(cx, (p, [t]), |(p, [t])| dice_terms(p, t));
            let [numerator, denominator] = dice_of(sums, smooth);
            (numerator, denominator)
        }
        Loss::SigmoidMse => {
            prediction = sigmoid(cx, p, inputs[0])?;
            (sum_pieces(cx, (prediction.as_slice(), [t]), squared)[0], count)
        }
    };
    let value = match loss {
        Loss::Dice { .. } | Loss::SigmoidDice { .. } => 1.0 - numerator / denominator,
        // An empty mask, labels of weight 0, Dice alone.
        _ if denominator == 0.0 => 0.0,
        _ => numerator / denominator,
    };
    let losses = dice.iter().filter(|[_, below]| *below != 0.0).map(|[above, below]| 1.0 - above / below);
    let (sum, counted) = losses.fold((0.0, 0.0), |(sum, counted), loss| (sum + loss, counted + 1.0));
    let value = if counted > 0.0 { value + sum / counted } else { value };
    let saved = SavedLoss {
        prediction,
        target: inputs[1].clone(),
        weights: inputs.get(2).map(|&weights| weights.clone()),
        sums: Sums { numerator, denominator, dice, card: None },
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

/// ln(1 + exp(x)) and ln(1 + exp(-x)).
#[inline(always)]
fn softplus(x: f32) -> [f32; 2] {
    let tail = math::ln_1p_of_fraction(math::exp(-x.abs()));
    let (up, down) = (if x < 0.0 { 0.0 } else { x }, if x > 0.0 { 0.0 } else { -x });
    [up + tail, down + tail]
}

#[inline(always)]
fn weighted_logistic_loss(x: f32, t: f32, positive: f32) -> f64 {
    let [no, yes] = softplus(x).map(f64::from);
    let t = f64::from(t);
    f64::from(positive) * t * yes + (1.0 - t) * no
}

#[inline(always)]
fn dice_terms(p: f32, t: f32) -> [f64; 3] {
    [f64::from(p) * f64::from(t), f64::from(p), f64::from(t)]
}

/// 2Σpt + s and Σp + Σt + s from Σpt, Σp and Σt.
pub fn dice_of([both, one, other]: [f64; 3], smooth: f32) -> [f64; 2] {
    [2.0 * both + f64::from(smooth), one + other + f64::from(smooth)]
}

/// Base and slope: the gradient of Dice by p is base - slope·t, times `dy`.
pub fn dice_gradient([numerator, denominator]: [f64; 2], dy: f64) -> [f64; 2] {
    [dy * numerator / (denominator * denominator), 2.0 * dy / denominator]
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
    let Sums { numerator, denominator, dice, .. } = &saved.sums;
    let (numerator, denominator) = (*numerator, *denominator);
    let share = (f64::from(dy) / denominator) as f32;
    let twice = 2.0 * share;
    // Not called for `SigmoidMse`, whose saved prediction is f32.
    let p = || E::slice(&saved.prediction);
    match loss {
        Loss::Mse => map(cx, gradient, (p(), [t]), move |(p, [t])| twice * (p - t)),
        Loss::MaskedMse => {
            let twice = if denominator == 0.0 { 0.0 } else { twice };
            if let Some(mask) = &saved.weights {
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
        Loss::WeightedBceWithLogits { positive } => map(cx, gradient, (p(), [t]), move |(p, [t])| {
            share * ((1.0 - t) * math::sigmoid(p) - positive * t * math::sigmoid(-p))
        }),
        Loss::CrossEntropy
        | Loss::SoftmaxDice { .. }
        | Loss::SoftmaxDiceCrossEntropy { .. }
        | Loss::SoftmaxFocal { .. } => softmax::backward(cx, loss, saved, p(), f64::from(dy), gradient),
        Loss::SigmoidDice { .. } => {
            let [base, slope] = dice_gradient([numerator, denominator], f64::from(dy)).map(|v| v as f32);
            map(cx, gradient, (p(), [t]), move |(p, [t])| {
                (base - slope * t) * math::sigmoid(p) * math::sigmoid(-p)
            });
        }
        Loss::SigmoidDiceBce { .. } => {
            let [base, slope] = dice_gradient(dice[0], f64::from(dy)).map(|v| v as f32);
            map(cx, gradient, (p(), [t]), move |(p, [t])| {
                let (yes, no) = (math::sigmoid(p), math::sigmoid(-p));
                (base - slope * t) * yes * no + share * (yes - t)
            });
        }
        Loss::SigmoidFocal { alpha, gamma } => {
            Focal { alpha, gamma }.gradient(cx, p(), t, share, gradient);
        }
        Loss::Dice { .. } => {
            let [base, slope] = dice_gradient([numerator, denominator], f64::from(dy)).map(|v| v as f32);
            map(cx, gradient, [t], move |[t]| base - slope * t);
        }
        Loss::SigmoidMse => {
            let y = saved.prediction.as_slice();
            map(cx, gradient, [y, t], move |[y, t]| twice * (y - t) * y * (1.0 - y));
        }
    }
    Ok(out)
}

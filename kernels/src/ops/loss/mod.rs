//! Losses: one number `[1]` from a prediction p and a target t, with the mean over all n elements.
//!
//! | name | value | gradient by p, times the incoming one |
//! | --- | --- | --- |
//! | `Mse` | Σ(p - t)² / n | 2(p - t) / n |
//! | `MaskedMse` | Σ m(p - t)² / Σm | 2m(p - t) / Σm |
//! | `Bce` | -Σ(t·ln p + (1 - t)·ln(1 - p)) / n | (p - t) / (p(1 - p)·n) |
//! | `BceWithLogits` | `Bce` of σ(p) | (σ(p) - t) / n |
//! | `CrossEntropy` | -Σ ln softmax(p)\[label\] / rows | (softmax(p) - one-hot(label)) / rows |
//! | `Dice` | 1 - (2Σpt + s) / (Σp + Σt + s) | -(2t·(Σp + Σt + s) - (2Σpt + s)) / (Σp + Σt + s)² |
//! | `SigmoidMse` | `Mse` of σ(p) | 2(σ(p) - t)·σ(p)(1 - σ(p)) / n |
//! | `WeightedBceWithLogits` | -Σ(w·t·ln σ(p) + (1 - t)·ln(1 - σ(p))) / n | ((1 - t)·σ(p) - w·t·(1 - σ(p))) / n |
//! | `SigmoidDice` | `Dice` of σ(p) | that of `Dice`, times σ(p)(1 - σ(p)) |
//! | `SigmoidDiceBce` | `SigmoidDice` + `BceWithLogits` | the sum |
//! | `SigmoidFocal` | -Σ a·(1 - q)^γ·ln q / n | ∓a·(1 - q)^γ·(1 - q - γ·q·ln q) / n |
//! | `SoftmaxDice` | mean over classes k of `Dice` of softmax(p)ₖ and \[label = k\] | qⱼ(gⱼ - Σₖ qₖgₖ) |
//! | `SoftmaxDiceCrossEntropy` | `SoftmaxDice` + `CrossEntropy` | the sum |
//! | `SoftmaxFocal` | -Σ w·(1 - q)^γ·ln q / Σw, q = softmax(p)\[label\] | below |
//!
//! σ is the sigmoid. In `SigmoidFocal` q = σ(p) and a = α where t = 1, q = 1 - σ(p) and a = 1 - α where t = 0
//! (Lin et al., *Focal loss for dense object detection*, 2017; torchvision's `sigmoid_focal_loss` with the mean).
//! In `SoftmaxDice` q = softmax(p), and g is the gradient of `Dice` by it. The gradient of `SoftmaxFocal` by logit
//! j is w·(1 - q)^γ·(1 - γ·q·ln q / (1 - q))·(qⱼ - \[label = j\]) / Σw; γ = 0 is the cross-entropy.
//!
//! `CrossEntropy`, `SoftmaxDiceCrossEntropy` and `SoftmaxFocal` take a third input if wanted: a weight for each
//! class, w = weight\[label\]. Sums over rows are then weighted and divided by Σw, as in PyTorch; Dice is not
//! weighted. Without it w = 1.
//!
//! Edges, as in PyTorch unless said otherwise:
//! - `Bce`: ln is cut off at -100, and p(1 - p) in the gradient at 1e-12, so that p = 0 and p = 1 give
//!   finite numbers; a p outside \[0, 1\] (or NaN) is an error.
//! - `BceWithLogits` is max(p, 0) - p·t + ln(1 + exp(-|p|)), and `CrossEntropy` subtracts the largest
//!   logit first: neither overflows.
//! - A label that is not a whole number in 0..K is an error, and so is a target of `SigmoidFocal` that is neither 0
//!   nor 1, and a class weight below 0.
//! - Labels whose classes all weigh 0 give cross-entropy 0 and gradient 0 (PyTorch: NaN).
//! - `MaskedMse`: an empty mask gives loss 0 and gradient 0 (PyTorch's mean of nothing is NaN).
//! - `Dice` (Milletari et al., *V-Net*, 2016, with plain sums below) runs over all elements of the
//!   batch together, and so do the Dice losses of logits, class by class. PyTorch has none.
//!
//! Sums are accumulated in f64. Only the prediction has a gradient. The prediction may be bf16, its gradient
//! then is too; targets, masks, labels and the loss are f32 always.

mod card;
mod cases;
mod cpu;
pub mod cuda;
mod focal;
mod reference;
mod softmax;
#[cfg(test)]
mod tests;

use crate::cpu::activation_format;
use crate::op::{Cost, Entry, Operation, Saved, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{DType, Shape, Tensor};

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: Loss::NAME,
    summary: "mean squared error, cross-entropies, focal losses and Dice, with their fused forms",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// A loss. Inputs: prediction and target of one shape, and for [`Loss::MaskedMse`] a mask of that shape;
/// for cross-entropy and the `Softmax` losses logits `[.., K]` and labels `[..]`, whole numbers 0..K as f32, and
/// for all of these but [`Loss::SoftmaxDice`] weights of the classes `[K]` if wanted. Output: `[1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Mean squared error.
    Mse,
    /// Mean squared error where the third input, weights ≥ 0 (usually 0 and 1), says so: in-painting.
    MaskedMse,
    /// Binary cross-entropy of probabilities.
    Bce,
    /// Binary cross-entropy of logits.
    BceWithLogits,
    /// Cross-entropy of logits `[.., K]` with class labels `[..]`, weighted by class if wanted.
    CrossEntropy,
    /// Soft Dice of probabilities and targets.
    Dice {
        /// s, added above and below so that two empty masks agree: 1 in the original. Positive.
        smooth: f32,
    },
    /// Mean squared error between the sigmoid of the prediction and the target, in one pass.
    SigmoidMse,
    /// Binary cross-entropy of logits, positive targets weighted: PyTorch's `pos_weight`.
    WeightedBceWithLogits {
        /// w, the weight of positive targets: negatives over positives balances them. Positive.
        positive: f32,
    },
    /// Soft Dice of the sigmoid of logits: one foreground class.
    SigmoidDice {
        /// s, as in [`Loss::Dice`].
        smooth: f32,
    },
    /// [`Loss::SigmoidDice`] plus [`Loss::BceWithLogits`], in one pass.
    SigmoidDiceBce {
        /// s, as in [`Loss::Dice`].
        smooth: f32,
    },
    /// Focal loss of logits with targets 0 and 1.
    SigmoidFocal {
        /// α, the weight of positive targets, in [0, 1]; negative ones have 1 - α. 0.25 in the paper.
        alpha: f32,
        /// γ ≥ 0: how much what is already right counts less. 2 in the paper.
        gamma: f32,
    },
    /// Soft Dice of the softmax of logits `[.., K]`, the mean over the classes.
    SoftmaxDice {
        /// s, as in [`Loss::Dice`].
        smooth: f32,
        /// Whether class 0 counts. Without it K must be at least 2.
        background: bool,
    },
    /// [`Loss::SoftmaxDice`] plus [`Loss::CrossEntropy`], in one pass.
    SoftmaxDiceCrossEntropy {
        /// s, as in [`Loss::Dice`].
        smooth: f32,
        /// Whether class 0 counts in Dice; in the cross-entropy it always does.
        background: bool,
    },
    /// Focal loss of the softmax of logits `[.., K]`.
    SoftmaxFocal {
        /// γ ≥ 0, as in [`Loss::SigmoidFocal`]; 0 is the cross-entropy.
        gamma: f32,
    },
}

/// What backward reads.
#[derive(Clone, Debug)]
pub struct SavedLoss {
    /// The prediction; for [`Loss::SigmoidMse`] its sigmoid, f32 in any case, so the network's output is to
    /// be had here without computing it again.
    pub prediction: Tensor,
    /// The target.
    pub target: Tensor,
    /// The mask of [`Loss::MaskedMse`], or the weights of the classes.
    pub weights: Option<Tensor>,
    /// What the value was divided by and, for Dice, what was divided.
    sums: Sums,
    /// The format of the prediction as it came, and so of its gradient.
    format: DType,
}

/// The sums that the gradient needs again.
#[derive(Clone, Debug, Default)]
struct Sums {
    numerator: f64,
    denominator: f64,
    /// Numerator and denominator of each Dice beside a cross-entropy, or of each class.
    dice: Vec<[f64; 2]>,
    /// All of it, where a card computed it: numbers that the kernels of `loss.cu` know.
    card: Option<Tensor>,
}

impl Saved for SavedLoss {
    fn tensors(&self) -> Vec<&Tensor> {
        [&self.prediction, &self.target].into_iter().chain(&self.weights).collect()
    }
}

impl Loss {
    /// True if the inputs are logits `[.., K]` and labels `[..]`.
    fn is_of_classes(&self) -> bool {
        softmax::Terms::of(*self).is_some()
    }

    /// Checks the loss's parameters.
    fn validate(&self) -> Result<()> {
        let positive = |v: f32| v > 0.0 && v.is_finite();
        let cause = match *self {
            Self::Dice { smooth }
            | Self::SigmoidDice { smooth }
            | Self::SigmoidDiceBce { smooth }
            | Self::SoftmaxDice { smooth, .. }
            | Self::SoftmaxDiceCrossEntropy { smooth, .. }
                if !positive(smooth) =>
            {
                format!("Dice wants smooth > 0, was given {smooth}")
            }
            Self::WeightedBceWithLogits { positive: weight } if !positive(weight) => {
                format!("the weight of positive targets must be above 0, was given {weight}")
            }
            Self::SigmoidFocal { alpha, .. } if !(0.0..=1.0).contains(&alpha) => {
                format!("the focal loss wants alpha in [0, 1], was given {alpha}")
            }
            Self::SigmoidFocal { gamma, .. } | Self::SoftmaxFocal { gamma }
                if !(gamma >= 0.0 && gamma.is_finite()) =>
            {
                format!("the focal loss wants gamma >= 0, was given {gamma}")
            }
            _ => return Ok(()),
        };
        Err(Error::operation(Self::NAME, cause))
    }

    /// What the inputs must be, in words.
    fn wanted(&self) -> &'static str {
        match self {
            Self::MaskedMse => "prediction, target and mask of one shape",
            Self::SoftmaxDice { background: true, .. } => "logits [.., K] and labels [..]",
            Self::SoftmaxDice { background: false, .. } => "logits [.., K], K at least 2, and labels [..]",
            Self::SoftmaxDiceCrossEntropy { background: false, .. } => {
                "logits [.., K], K at least 2, labels [..] and, if wanted, class weights [K]"
            }
            _ if self.is_of_classes() => "logits [.., K], labels [..] and, if wanted, class weights [K]",
            _ => "prediction and target of one shape",
        }
    }
}

impl Operation for Loss {
    const NAME: &'static str = "loss";

    type Saved = SavedLoss;

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        self.validate()?;
        let fits = match (softmax::Terms::of(*self), inputs) {
            (Some(terms), [logits, labels, weights @ ..]) => {
                let weighted = match weights {
                    [] => true,
                    [weights] => terms.entropy && weights.dims() == [logits.channels()],
                    _ => false,
                };
                weighted
                    && logits.channels() >= terms.least_classes()
                    && logits.dims().split_last().is_some_and(|(_, rows)| rows == labels.dims())
            }
            (None, [first, rest @ ..]) => {
                let count = if *self == Self::MaskedMse { 2 } else { 1 };
                rest.len() == count && rest.iter().all(|shape| shape == first)
            }
            _ => false,
        };
        if fits && inputs[0].elements() > 0 {
            return Ok(Shape::from([1]));
        }
        let wanted = format!("{}, not empty, for {self:?}", self.wanted());
        Err(Error::shape(Self::NAME, wanted, format!("{inputs:?}")))
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let read: usize = inputs.iter().map(Shape::elements).sum();
        let prediction = inputs.first().map_or(0, Shape::elements) as u64;
        let read = 4 * read as u64;
        let kept = if *self == Self::SigmoidMse { 4 * prediction } else { 0 };
        Cost {
            forward: Work { flops: 4 * prediction, bytes: read + kept },
            backward: Work { flops: 4 * prediction, bytes: read + 4 * prediction },
        }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, SavedLoss)> {
        self.infer(&inputs.iter().map(|input| input.shape()).collect::<Vec<_>>())?;
        activation_format(Self::NAME, &inputs[..1], &inputs[1..])?;
        if let Some(card) = &cx.card {
            return card::forward(card, *self, inputs);
        }
        let (value, saved) = cpu::forward(cx, *self, inputs)?;
        Ok((Tensor::full([1], value as f32)?, saved))
    }

    fn backward(
        &self,
        cx: &Context,
        saved: SavedLoss,
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; saved.tensors().len()];
        if need[0] {
            gradients[0] = Some(match &cx.card {
                Some(card) => card::backward(card, *self, &saved, &dy)?,
                None => cpu::backward(cx, *self, &saved, dy.as_slice()[0])?,
            });
        }
        Ok(gradients)
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        reference::forward(*self, inputs)
    }

    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
        reference::backward(*self, inputs, dy)
    }
}

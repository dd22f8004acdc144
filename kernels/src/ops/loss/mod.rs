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
//!
//! σ is the sigmoid. Edges, as in PyTorch unless said otherwise:
//! - `Bce`: ln is cut off at -100, and p(1 - p) in the gradient at 1e-12, so that p = 0 and p = 1 give
//!   finite numbers; a p outside \[0, 1\] (or NaN) is an error.
//! - `BceWithLogits` is max(p, 0) - p·t + ln(1 + exp(-|p|)), and `CrossEntropy` subtracts the largest
//!   logit first: neither overflows.
//! - `CrossEntropy`: a label that is not a whole number in 0..K is an error.
//! - `MaskedMse`: an empty mask gives loss 0 and gradient 0 (PyTorch's mean of nothing is NaN).
//! - `Dice` (Milletari et al., *V-Net*, 2016, with plain sums below) runs over all elements of the
//!   batch together. PyTorch has none.
//!
//! Sums are accumulated in f64. Only the prediction has a gradient. The prediction may be bf16, its gradient
//! then is too; targets, masks, labels and the loss are f32 always.

mod cases;
mod cpu;
mod reference;

use crate::cpu::activation_format;
use crate::op::{Cost, Entry, Operation, Saved, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{DType, Shape, Tensor};

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: Loss::NAME,
    summary: "mean squared error, cross-entropies and Dice, with their fused forms",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// A loss. Inputs: prediction and target of one shape, and for [`Loss::MaskedMse`] a mask of that shape;
/// for [`Loss::CrossEntropy`] logits `[.., K]` and labels `[..]`. Output: `[1]`.
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
    /// Cross-entropy of logits `[.., K]` with class labels `[..]`, whole numbers 0..K as f32.
    CrossEntropy,
    /// Soft Dice of probabilities and targets.
    Dice {
        /// s, added above and below so that two empty masks agree: 1 in the original. Positive.
        smooth: f32,
    },
    /// Mean squared error between the sigmoid of the prediction and the target, in one pass.
    SigmoidMse,
}

/// What backward reads.
#[derive(Clone, Debug)]
pub struct SavedLoss {
    /// The prediction; for [`Loss::SigmoidMse`] its sigmoid, f32 in any case, so the network's output is to
    /// be had here without computing it again.
    pub prediction: Tensor,
    /// The target.
    pub target: Tensor,
    /// The mask of [`Loss::MaskedMse`].
    pub mask: Option<Tensor>,
    /// What the value was divided by and, for Dice, what was divided.
    sums: Sums,
    /// The format of the prediction as it came, and so of its gradient.
    format: DType,
}

/// The sums that the gradient needs again.
#[derive(Clone, Copy, Debug)]
struct Sums {
    numerator: f64,
    denominator: f64,
}

impl Saved for SavedLoss {
    fn tensors(&self) -> Vec<&Tensor> {
        [&self.prediction, &self.target].into_iter().chain(&self.mask).collect()
    }
}

impl Loss {
    /// Number of inputs.
    fn arity(&self) -> usize {
        if *self == Self::MaskedMse { 3 } else { 2 }
    }
}

impl Operation for Loss {
    const NAME: &'static str = "loss";

    type Saved = SavedLoss;

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        if let Self::Dice { smooth } = self
            && !(*smooth > 0.0 && smooth.is_finite())
        {
            return Err(Error::operation(Self::NAME, format!("Dice wants smooth > 0, was given {smooth}")));
        }
        let fits = match (self, inputs) {
            (Self::CrossEntropy, [logits, labels]) => {
                logits.dims().split_last().is_some_and(|(_, rows)| rows == labels.dims())
            }
            (_, [first, rest @ ..]) => {
                inputs.len() == self.arity() && rest.iter().all(|shape| shape == first)
            }
            _ => false,
        };
        if fits && inputs[0].elements() > 0 {
            return Ok(Shape::from([1]));
        }
        let wanted = match self {
            Self::CrossEntropy => "logits [.., K] and labels [..]",
            Self::MaskedMse => "prediction, target and mask of one shape",
            _ => "prediction and target of one shape",
        };
        Err(Error::shape(Self::NAME, format!("{wanted}, not empty, for {self:?}"), format!("{inputs:?}")))
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
        let mut gradients = vec![None; self.arity()];
        if need[0] {
            gradients[0] = Some(cpu::backward(cx, *self, &saved, dy.as_slice()[0])?);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(loss: Loss, inputs: &[&[f32]]) -> Result<(f32, Vec<f32>)> {
        let cx = Context::new(2);
        let tensors: Vec<Tensor> =
            inputs.iter().map(|values| Tensor::from_slice([values.len()], values).unwrap()).collect();
        let (value, saved) = loss.forward(&cx, &tensors.iter().collect::<Vec<_>>())?;
        let dy = Tensor::full([1], 1.0)?;
        let gradients = loss.backward(&cx, saved, dy, &vec![true; inputs.len()])?;
        Ok((value.as_slice()[0], gradients[0].as_ref().unwrap().as_slice().to_vec()))
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let (value, gradient) =
            run(Loss::BceWithLogits, &[&[1e4, -1e4, 1e4, -1e4], &[1.0, 0.0, 0.0, 1.0]]).unwrap();
        assert_eq!(value, 5e3);
        assert_eq!(gradient, [0.0, 0.0, 0.25, -0.25]);

        let cx = Context::new(1);
        let logits = Tensor::from_slice([2, 2], &[1e4, -1e4, 3e38, -3e38]).unwrap();
        let labels = Tensor::from_slice([2], &[1.0, 0.0]).unwrap();
        let (value, saved) = Loss::CrossEntropy.forward(&cx, &[&logits, &labels]).unwrap();
        assert_eq!(value.as_slice(), [1e4]);
        let dy = Tensor::full([1], 1.0).unwrap();
        let gradient = Loss::CrossEntropy.backward(&cx, saved, dy, &[true, false]).unwrap();
        assert_eq!(gradient[0].as_ref().unwrap().as_slice(), [0.5, -0.5, 0.0, 0.0]);
    }

    #[test]
    fn certain_probabilities_stay_finite() {
        let (value, gradient) = run(Loss::Bce, &[&[0.0, 1.0, 0.0, 1.0], &[0.0, 1.0, 1.0, 0.0]]).unwrap();
        assert_eq!(value, 50.0);
        assert!(gradient.iter().all(|g| g.is_finite()));
        assert_eq!(gradient[..2], [0.0, 0.0]);
    }

    #[test]
    fn values_out_of_range_are_errors() {
        for bad in [-0.1, 1.5, f32::NAN] {
            let error = run(Loss::Bce, &[&[0.5, bad], &[0.0, 1.0]]).unwrap_err().to_string();
            assert!(error.contains("element 1"), "{error}");
        }
        let cx = Context::new(1);
        let logits = Tensor::zeros([2, 3]).unwrap();
        for bad in [-1.0, 3.0, 0.5, f32::NAN, 1e20] {
            let labels = Tensor::from_slice([2], &[2.0, bad]).unwrap();
            let error = Loss::CrossEntropy.forward(&cx, &[&logits, &labels]).unwrap_err().to_string();
            assert!(error.contains("label 1") && error.contains("0..3"), "{error}");
        }
        let error = run(Loss::Dice { smooth: 0.0 }, &[&[0.0], &[0.0]]).unwrap_err().to_string();
        assert!(error.contains("smooth"), "{error}");
        assert!(run(Loss::Mse, &[&[0.0, 1.0], &[0.0]]).is_err());
        assert!(run(Loss::Mse, &[&[], &[]]).is_err());
    }

    #[test]
    fn an_empty_mask_gives_nothing() {
        let (value, gradient) = run(Loss::MaskedMse, &[&[1.0, 2.0], &[0.0, 0.0], &[0.0, 0.0]]).unwrap();
        assert_eq!((value, gradient), (0.0, vec![0.0, 0.0]));
    }

    #[test]
    fn nan_reaches_the_value() {
        for loss in [Loss::Mse, Loss::BceWithLogits, Loss::SigmoidMse, Loss::Dice { smooth: 1.0 }] {
            assert!(run(loss, &[&[0.5, f32::NAN], &[0.0, 1.0]]).unwrap().0.is_nan(), "{loss:?}");
        }
    }

    #[test]
    fn two_empty_masks_have_dice_loss_zero_and_the_sigmoid_is_to_be_had() {
        assert_eq!(run(Loss::Dice { smooth: 1.0 }, &[&[0.0; 4], &[0.0; 4]]).unwrap().0, 0.0);
        let cx = Context::new(1);
        let x = Tensor::zeros([3]).unwrap();
        let (_, saved) = Loss::SigmoidMse.forward(&cx, &[&x, &x]).unwrap();
        assert_eq!(saved.prediction.as_slice(), [0.5; 3]);
    }
}

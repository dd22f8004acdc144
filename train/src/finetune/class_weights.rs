//! How much each class counts in the loss.

use super::target_trainer::TargetLoss;
use crate::{Error, Result};
use genesis_kernels::ops::loss::Loss;
use genesis_tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How much each class counts in the loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClassWeights {
    /// Each sample (of a segmentation: voxel) as much as any other.
    #[default]
    None,
    /// Each class as much as any other: weights N / (K·n) for n of the N training samples in one of K classes
    /// (scikit-learn's "balanced").
    Balanced,
    /// These weights, that of class 0 (the background) first; only their ratios matter.
    Given(Vec<f64>),
}

impl ClassWeights {
    /// The weights of all classes, of which there are so many training samples; `None` for equal ones.
    ///
    /// # Errors
    /// [`Error::Usage`] for weights of another number of classes; [`Error::Work`] where a class without any
    /// training sample is to be balanced.
    pub fn resolve(&self, names: &[String], samples: &[u64]) -> Result<Option<Vec<f32>>> {
        match self {
            Self::None => Ok(None),
            Self::Balanced => {
                if let Some(class) = samples.iter().position(|&count| count == 0) {
                    return Err(Error::Work(format!(
                        "class weights cannot be balanced: there is no training sample of {} (give the weights \
                         themselves, or leave the class out)",
                        names[class]
                    )));
                }
                let whole = samples.iter().sum::<u64>() as f64 / samples.len() as f64;
                Ok(Some(samples.iter().map(|&count| (whole / count as f64) as f32).collect()))
            }
            Self::Given(weights) if weights.len() == names.len() => {
                Ok(Some(weights.iter().map(|&weight| weight as f32).collect()))
            }
            Self::Given(weights) => Err(Error::Usage(format!(
                "--class-weights {self}: {} weights for {} classes ({})",
                weights.len(),
                names.len(),
                names.join(", ")
            ))),
        }
    }
}

/// What part of all samples each count is.
pub fn shares(samples: &[u64]) -> Vec<f64> {
    let all = samples.iter().sum::<u64>().max(1) as f64;
    samples.iter().map(|&count| count as f64 / all).collect()
}

/// The weights with the names of their classes.
pub fn described(names: &[String], weights: &[f32]) -> String {
    let weight = |(name, weight): (&String, &f32)| format!("{name} {weight:.4}");
    names.iter().zip(weights).map(weight).collect::<Vec<_>>().join(", ")
}

/// A loss on logits in which classes count as much as the weights say, if there are any.
///
/// Of one output, cross-entropy weighs class 1 by the ratio of the two weights (PyTorch's `pos_weight`), and the
/// focal loss has α = w₁ / (w₀ + w₁).
///
/// # Errors
/// [`Error::Usage`] for a loss that has no weights; `name` is what the user calls it.
pub fn weighted_loss(loss: Loss, weights: Option<Vec<f32>>, name: &dyn fmt::Display) -> Result<TargetLoss> {
    let Some(weights) = weights else { return Ok(loss.into()) };
    let refused = |cause: &str| Err(Error::Usage(format!("--class-weights with --loss {name}: {cause}")));
    let loss = match (loss, weights.as_slice()) {
        (Loss::CrossEntropy | Loss::SoftmaxDiceCrossEntropy { .. } | Loss::SoftmaxFocal { .. }, _) => {
            let weights = Some(Tensor::from_slice([weights.len()], &weights)?);
            return Ok(TargetLoss { loss, weights });
        }
        (Loss::BceWithLogits | Loss::SigmoidFocal { .. }, &[first, second])
            if first == 0.0 || second == 0.0 =>
        {
            return refused("of two classes, neither may weigh nothing");
        }
        // Not the weighted loss with weight 1, whose gradient rounds otherwise.
        (Loss::BceWithLogits, &[first, second]) if first == second => loss,
        (Loss::BceWithLogits, &[first, second]) => Loss::WeightedBceWithLogits { positive: second / first },
        (Loss::SigmoidFocal { gamma, .. }, &[first, second]) => {
            Loss::SigmoidFocal { alpha: second / (first + second), gamma }
        }
        (Loss::SigmoidDiceBce { .. }, _) => {
            return refused("has no weights for a single foreground class (use ce or focal)");
        }
        _ => return refused("Dice counts every class alike already (use ce, dice-ce or focal)"),
    };
    Ok(loss.into())
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Balanced => f.write_str("balanced"),
            Self::Given(weights) => {
                let weights: Vec<String> = weights.iter().map(f64::to_string).collect();
                f.write_str(&weights.join(","))
            }
        }
    }
}

impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => return Ok(Self::None),
            "balanced" => return Ok(Self::Balanced),
            _ => {}
        }
        let number = |part: &str| part.trim().parse().ok().filter(|w: &f64| *w >= 0.0 && w.is_finite());
        match text.split(',').map(number).collect::<Option<Vec<f64>>>() {
            Some(weights) if weights.iter().any(|&weight| weight > 0.0) => Ok(Self::Given(weights)),
            _ => {
                Err("use none, balanced, or a weight for each class such as 0.1,1,1 (that of class 0 first, \
                      none below 0, not all 0)"
                    .into())
            }
        }
    }
}

impl TryFrom<String> for ClassWeights {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ClassWeights> for String {
    fn from(weights: ClassWeights) -> Self {
        weights.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_none_balanced_or_given() {
        let names = ["background", "liver", "tumour"].map(String::from);
        let resolve = |text: &str, voxels: &[u64]| {
            text.parse::<ClassWeights>().unwrap().resolve(&names[..voxels.len()], voxels)
        };
        assert_eq!(resolve("none", &[1, 2]).unwrap(), None);
        assert_eq!(
            resolve("balanced", &[60, 30, 10]).unwrap(),
            Some(vec![100.0 / 180.0, 100.0 / 90.0, 10.0 / 3.0])
        );
        assert_eq!(resolve("0.5, 2", &[1, 0]).unwrap(), Some(vec![0.5, 2.0]));
        let line = resolve("balanced", &[5, 0, 1]).unwrap_err().to_string();
        assert!(line.contains("liver"), "{line}");
        let error = resolve("1,2", &[5, 1, 1]).unwrap_err();
        assert!(matches!(&error, Error::Usage(line) if line.contains("2 weights for 3 classes")), "{error}");
        for bad in ["", "balance", "1,-1", "1,inf", "0,0", "1,,2"] {
            assert!(bad.parse::<ClassWeights>().is_err(), "{bad}");
        }
        for text in ["none", "balanced", "0.25,1,3"] {
            assert_eq!(text.parse::<ClassWeights>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn each_loss_takes_weights_in_its_own_way_or_refuses() {
        let of = |loss: Loss, weights: &[f32]| weighted_loss(loss, Some(weights.to_vec()), &"dice-ce");
        let smooth = 1.0;
        let weighted = of(Loss::BceWithLogits, &[0.5, 2.0]).unwrap();
        assert!(weighted.loss == Loss::WeightedBceWithLogits { positive: 4.0 } && weighted.weights.is_none());
        assert_eq!(of(Loss::BceWithLogits, &[2.0, 2.0]).unwrap().loss, Loss::BceWithLogits);
        let weighted = of(Loss::SigmoidFocal { alpha: 0.25, gamma: 2.0 }, &[1.0, 3.0]).unwrap();
        assert_eq!(weighted.loss, Loss::SigmoidFocal { alpha: 0.75, gamma: 2.0 });
        for loss in [
            Loss::CrossEntropy,
            Loss::SoftmaxDiceCrossEntropy { smooth, background: false },
            Loss::SoftmaxFocal { gamma: 2.0 },
        ] {
            let weights = [0.1, 1.0, 2.0];
            let weighted = of(loss, &weights).unwrap();
            assert_eq!((weighted.loss, weighted.weights.unwrap().as_slice()), (loss, &weights[..]));
        }
        for (loss, weights, part) in [
            (Loss::SoftmaxDice { smooth, background: false }, &[1.0, 1.0, 2.0][..], "alike"),
            (Loss::SigmoidDice { smooth }, &[1.0, 2.0], "alike"),
            (Loss::SigmoidDiceBce { smooth }, &[1.0, 2.0], "single"),
            (Loss::BceWithLogits, &[0.0, 1.0], "nothing"),
        ] {
            let error = of(loss, weights).unwrap_err();
            assert!(matches!(&error, Error::Usage(line) if line.contains(part)), "{error}");
        }
        assert!(weighted_loss(Loss::CrossEntropy, None, &"ce").unwrap().weights.is_none());
    }
}

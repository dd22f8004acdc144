//! How much each class counts in the loss.

use super::config::LossName;
use crate::{Error, Result};
use genesis_kernels::ops::loss::Loss;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How much each class counts in the loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClassWeights {
    /// Each voxel as much as any other.
    #[default]
    None,
    /// Each class as much as any other: weights N / (K·n) for n of the N training voxels in one of K classes
    /// (scikit-learn's "balanced").
    Balanced,
    /// These weights, the background's first; only their ratios matter.
    Given(Vec<f64>),
}

impl ClassWeights {
    /// The weights of all classes, of whose voxels the training cases hold so many; `None` for equal ones.
    ///
    /// # Errors
    /// [`Error::Usage`] for weights of another number of classes; [`Error::Work`] where a class without any
    /// training voxel is to be balanced.
    pub fn resolve(&self, names: &[String], voxels: &[u64]) -> Result<Option<Vec<f32>>> {
        match self {
            Self::None => Ok(None),
            Self::Balanced => {
                if let Some(class) = voxels.iter().position(|&count| count == 0) {
                    return Err(Error::Work(format!(
                        "class weights cannot be balanced: no training case holds any voxel of {} (give the weights \
                         themselves, or leave the class out)",
                        names[class]
                    )));
                }
                let whole = voxels.iter().sum::<u64>() as f64 / voxels.len() as f64;
                Ok(Some(voxels.iter().map(|&count| (whole / count as f64) as f32).collect()))
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

/// The loss on the logits of a network with so many outputs, and the weights it takes as its third input.
///
/// Of one output, cross-entropy weighs the positive voxels by the ratio of the two weights, and the focal loss has
/// α = w₁ / (w₀ + w₁).
///
/// # Errors
/// [`Error::Usage`] for a loss that has no weights; those of [`LossName::on_logits`].
pub fn weighted_loss(
    name: LossName,
    outputs: usize,
    weights: Option<Vec<f32>>,
) -> Result<(Loss, Option<Vec<f32>>)> {
    let loss = name.on_logits(outputs)?;
    let Some(weights) = weights else { return Ok((loss, None)) };
    let refused = |cause: &str| Err(Error::Usage(format!("--class-weights with --loss {name}: {cause}")));
    match (loss, weights.as_slice()) {
        (Loss::CrossEntropy | Loss::SoftmaxDiceCrossEntropy { .. } | Loss::SoftmaxFocal { .. }, _) => {
            Ok((loss, Some(weights)))
        }
        (Loss::BceWithLogits | Loss::SigmoidFocal { .. }, &[background, foreground])
            if background == 0.0 || foreground == 0.0 =>
        {
            refused("of two classes, neither may weigh nothing")
        }
        (Loss::BceWithLogits, &[background, foreground]) => {
            Ok((Loss::WeightedBceWithLogits { positive: foreground / background }, None))
        }
        (Loss::SigmoidFocal { gamma, .. }, &[background, foreground]) => {
            Ok((Loss::SigmoidFocal { alpha: foreground / (background + foreground), gamma }, None))
        }
        (Loss::SigmoidDiceBce { .. }, _) => {
            refused("has no weights for a single foreground class (use ce or focal)")
        }
        _ => refused("Dice counts every class alike already (use ce, dice-ce or focal)"),
    }
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
            _ => Err(
                "use none, balanced, or a weight for each class such as 0.1,1,1 (the background's first, \
                      none below 0, not all 0)"
                    .into(),
            ),
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
        let of = |name, weights: &[f32]| {
            weighted_loss(name, if weights.len() == 2 { 1 } else { weights.len() }, Some(weights.to_vec()))
        };
        assert_eq!(
            of(LossName::Ce, &[0.5, 2.0]).unwrap(),
            (Loss::WeightedBceWithLogits { positive: 4.0 }, None)
        );
        assert_eq!(
            of(LossName::Focal, &[1.0, 3.0]).unwrap(),
            (Loss::SigmoidFocal { alpha: 0.75, gamma: 2.0 }, None)
        );
        for name in [LossName::Ce, LossName::DiceCe, LossName::Focal] {
            let weights = [0.1, 1.0, 2.0];
            let wanted = (name.on_logits(3).unwrap(), Some(weights.to_vec()));
            assert_eq!(of(name, &weights).unwrap(), wanted);
        }
        for (name, weights, part) in [
            (LossName::Dice, &[1.0, 1.0, 2.0][..], "alike"),
            (LossName::Dice, &[1.0, 2.0], "alike"),
            (LossName::DiceCe, &[1.0, 2.0], "single"),
            (LossName::Bce, &[0.0, 1.0], "nothing"),
            (LossName::Bce, &[1.0, 1.0, 1.0], "one foreground class"),
        ] {
            let error = of(name, weights).unwrap_err();
            assert!(matches!(&error, Error::Usage(line) if line.contains(part)), "{error}");
        }
        assert_eq!(weighted_loss(LossName::Dice, 3, None).unwrap().1, None);
    }
}

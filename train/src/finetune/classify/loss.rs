//! The loss of a classification, and what classes weigh in it.

use super::config::ClassLoss;
use crate::finetune::target_trainer::TargetLoss;
use crate::{Error, Result};
use genesis_kernels::ops::loss::Loss;
use genesis_tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What each class weighs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClassWeights {
    /// All the same.
    #[default]
    None,
    /// In inverse proportion to its training samples: n / (K·nₖ) for K classes, so that all classes together
    /// weigh the same and the mean weight of a sample is 1.
    Balanced,
    /// As given, one number a class.
    Given(Vec<f64>),
}

impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => return Ok(Self::None),
            "balanced" => return Ok(Self::Balanced),
            _ => {}
        }
        let weights: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        let positive = |weights: &Vec<f64>| weights.iter().all(|weight| weight.is_finite() && *weight > 0.0);
        let weights = weights.filter(|weights| weights.len() > 1 && positive(weights));
        weights.map(Self::Given).ok_or_else(|| "use none, balanced or a positive number a class: 1,5".into())
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

impl ClassWeights {
    /// The weights, for classes with so many training samples each; `None`: all 1.
    ///
    /// # Errors
    /// [`Error::Usage`] for another number of classes; a class without samples where they decide.
    pub fn resolve(&self, samples: &[usize]) -> Result<Option<Vec<f64>>> {
        match self {
            Self::None => Ok(None),
            Self::Given(weights) if weights.len() == samples.len() => Ok(Some(weights.clone())),
            Self::Given(weights) => Err(Error::Usage(format!(
                "--class-weights {self}: {} numbers for {} classes",
                weights.len(),
                samples.len()
            ))),
            Self::Balanced => {
                if let Some(class) = samples.iter().position(|&count| count == 0) {
                    let cause = format!("--class-weights balanced: class {class} has no training sample");
                    return Err(Error::Work(cause));
                }
                let (all, classes) = (samples.iter().sum::<usize>() as f64, samples.len() as f64);
                Ok(Some(samples.iter().map(|&count| all / (classes * count as f64)).collect()))
            }
        }
    }
}

/// The loss on logits of classes with so many training samples each: one logit for two classes, else one a
/// class.
///
/// With one logit the weights enter by their ratio: `BCE` weighs class 1 by w₁/w₀ (PyTorch's `pos_weight`), the
/// focal loss has α = w₁/(w₀ + w₁), which without weights is the paper's 0.25.
///
/// # Errors
/// As [`ClassWeights::resolve`].
pub fn class_loss(loss: ClassLoss, weights: &ClassWeights, samples: &[usize]) -> Result<TargetLoss> {
    let weights = weights.resolve(samples)?;
    if samples.len() == 2 {
        let loss = match (loss, weights.as_deref()) {
            (ClassLoss::Ce, None) => Loss::BceWithLogits,
            (ClassLoss::Ce, Some(w)) => Loss::WeightedBceWithLogits { positive: (w[1] / w[0]) as f32 },
            (ClassLoss::Focal, None) => Loss::SigmoidFocal { alpha: 0.25, gamma: 2.0 },
            (ClassLoss::Focal, Some(w)) => {
                Loss::SigmoidFocal { alpha: (w[1] / (w[0] + w[1])) as f32, gamma: 2.0 }
            }
        };
        return Ok(loss.into());
    }
    let loss = match loss {
        ClassLoss::Ce => Loss::CrossEntropy,
        ClassLoss::Focal => Loss::SoftmaxFocal { gamma: 2.0 },
    };
    let weights = weights.map(|weights| {
        let values: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
        Tensor::from_slice([values.len()], &values)
    });
    Ok(TargetLoss { loss, weights: weights.transpose()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_resolved_and_refused() {
        for text in ["none", "balanced", "1,2.5"] {
            let weights: ClassWeights = text.parse().unwrap();
            assert_eq!(weights.to_string(), text);
        }
        for bad in ["heavy", "1", "1,-2", "1,0", "1,nan", ""] {
            assert!(bad.parse::<ClassWeights>().is_err(), "{bad}");
        }
        let balanced = ClassWeights::Balanced.resolve(&[30, 10]).unwrap().unwrap();
        assert!((balanced[0] - 2.0 / 3.0).abs() < 1e-12 && (balanced[1] - 2.0).abs() < 1e-12);
        assert!(ClassWeights::Balanced.resolve(&[3, 0]).is_err());
        let error = ClassWeights::Given(vec![1.0, 2.0]).resolve(&[1, 1, 1]).unwrap_err();
        assert!(error.to_string().contains("2 numbers for 3 classes"), "{error}");
    }

    #[test]
    fn two_classes_have_one_logit_and_more_have_weights_of_their_own() {
        let loss = |loss, weights: &ClassWeights, samples: &[usize]| class_loss(loss, weights, samples).unwrap();
        let two = loss(ClassLoss::Ce, &ClassWeights::Balanced, &[30, 10]);
        assert_eq!(two.loss, Loss::WeightedBceWithLogits { positive: 3.0 });
        assert_eq!(loss(ClassLoss::Ce, &ClassWeights::None, &[1, 1]).loss, Loss::BceWithLogits);
        let focal = loss(ClassLoss::Focal, &ClassWeights::Given(vec![1.0, 3.0]), &[1, 1]);
        assert_eq!(focal.loss, Loss::SigmoidFocal { alpha: 0.75, gamma: 2.0 });
        let three = loss(ClassLoss::Ce, &ClassWeights::Given(vec![1.0, 2.0, 4.0]), &[1, 1, 1]);
        assert_eq!((three.loss, three.weights.unwrap().as_slice()), (Loss::CrossEntropy, &[1.0, 2.0, 4.0][..]));
    }
}

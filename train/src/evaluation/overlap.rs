//! Counts of agreement between a prediction and a reference, and the ratios made of them.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The four counts of a binary decision, over voxels or over cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Positive in both.
    pub true_positives: u64,
    /// Positive in the prediction alone.
    pub false_positives: u64,
    /// Positive in the reference alone.
    pub false_negatives: u64,
    /// Negative in both.
    pub true_negatives: u64,
}

impl Counts {
    /// The counts of two masks.
    ///
    /// # Errors
    /// [`Error::Work`] if their lengths differ.
    pub fn of(prediction: &[bool], reference: &[bool]) -> Result<Self> {
        if prediction.len() != reference.len() {
            return Err(Error::Work(format!(
                "{} predictions for {} references",
                prediction.len(),
                reference.len()
            )));
        }
        // By pair: 2 for the prediction, 1 for the reference.
        let mut pairs = [0u64; 4];
        for (&predicted, &real) in prediction.iter().zip(reference) {
            pairs[usize::from(predicted) * 2 + usize::from(real)] += 1;
        }
        let [true_negatives, false_negatives, false_positives, true_positives] = pairs;
        Ok(Self { true_positives, false_positives, false_negatives, true_negatives })
    }

    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.true_positives + self.false_positives + self.false_negatives + self.true_negatives
    }

    /// Positives of the prediction.
    pub fn predicted(&self) -> u64 {
        self.true_positives + self.false_positives
    }

    /// Positives of the reference.
    pub fn positives(&self) -> u64 {
        self.true_positives + self.false_negatives
    }

    /// Dice coefficient, 2 TP / (2 TP + FP + FN); 1 if both are empty.
    pub fn dice(&self) -> f64 {
        self.f1().unwrap_or(1.0)
    }

    /// Intersection over union (Jaccard index), TP / (TP + FP + FN); 1 if both are empty.
    pub fn iou(&self) -> f64 {
        let union = self.true_positives + self.false_positives + self.false_negatives;
        ratio(self.true_positives, union).unwrap_or(1.0)
    }

    /// Sensitivity (recall), TP / (TP + FN); `None` without positives in the reference.
    pub fn sensitivity(&self) -> Option<f64> {
        ratio(self.true_positives, self.positives())
    }

    /// Specificity, TN / (TN + FP); `None` without negatives in the reference.
    pub fn specificity(&self) -> Option<f64> {
        ratio(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// Precision (positive predictive value), TP / (TP + FP); `None` without positive predictions.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positives, self.predicted())
    }

    /// F1, the same formula as [`Counts::dice`]; `None` where neither side has positives.
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.true_positives, self.predicted() + self.positives())
    }

    /// Accuracy, (TP + TN) / all; `None` for nothing.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.true_positives + self.true_negatives, self.total())
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            true_positives: self.true_positives + other.true_positives,
            false_positives: self.false_positives + other.false_positives,
            false_negatives: self.false_negatives + other.false_negatives,
            true_negatives: self.true_negatives + other.true_negatives,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Counts pooled over cases, as the original pools its Dice over all test voxels.
impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// `part / whole`, undefined for an empty whole.
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratios_of_known_counts() {
        let prediction = [true, true, true, false, false, false, false];
        let reference = [true, true, false, true, false, false, false];
        let counts = Counts::of(&prediction, &reference).unwrap();
        let want = Counts { true_positives: 2, false_positives: 1, false_negatives: 1, true_negatives: 3 };
        assert_eq!(counts, want);
        assert_eq!((counts.dice(), counts.iou()), (4.0 / 6.0, 0.5));
        assert_eq!((counts.sensitivity(), counts.precision()), (Some(2.0 / 3.0), Some(2.0 / 3.0)));
        assert_eq!((counts.specificity(), counts.accuracy()), (Some(0.75), Some(5.0 / 7.0)));
        assert_eq!([counts, counts].into_iter().sum::<Counts>().true_negatives, 6);
    }

    #[test]
    fn the_empty_cases() {
        let (none, some) = ([false, false], [true, false]);
        let both = Counts::of(&none, &none).unwrap();
        assert_eq!((both.dice(), both.iou(), both.f1()), (1.0, 1.0, None));
        assert_eq!((both.sensitivity(), both.precision(), both.specificity()), (None, None, Some(1.0)));
        let missed = Counts::of(&none, &some).unwrap();
        assert_eq!((missed.dice(), missed.iou()), (0.0, 0.0));
        assert_eq!((missed.sensitivity(), missed.precision()), (Some(0.0), None));
        let invented = Counts::of(&some, &none).unwrap();
        assert_eq!((invented.dice(), invented.iou()), (0.0, 0.0));
        assert_eq!((invented.sensitivity(), invented.precision()), (None, Some(0.0)));
        let full = Counts::of(&[true], &[true]).unwrap();
        assert_eq!(full.specificity(), None);
        assert_eq!(Counts::default().accuracy(), None);
    }

    #[test]
    fn different_lengths_are_an_error() {
        assert!(Counts::of(&[true], &[]).unwrap_err().to_string().contains("1 predictions for 0"));
    }
}

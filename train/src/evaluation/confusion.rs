//! The confusion matrix of a classification.

use serde::{Deserialize, Serialize};

use super::overlap::{Counts, ratio};
use super::ranking::check_classes;
use crate::error::{Error, Result};

/// Cases by true and by predicted class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// `counts[true class][predicted class]`.
    pub counts: Vec<Vec<u64>>,
}

impl ConfusionMatrix {
    /// Counts pairs of true and predicted classes, each below `classes`.
    ///
    /// # Errors
    /// [`Error::Work`] if the numbers differ or a class is out of range.
    pub fn new(labels: &[usize], predictions: &[usize], classes: usize) -> Result<Self> {
        if labels.len() != predictions.len() {
            return Err(Error::Work(format!(
                "{} predictions for {} labels",
                predictions.len(),
                labels.len()
            )));
        }
        let mut counts = vec![vec![0; classes]; classes];
        for (case, (&label, &prediction)) in labels.iter().zip(predictions).enumerate() {
            let cell = counts.get_mut(label).and_then(|row| row.get_mut(prediction));
            *cell.ok_or_else(|| {
                Error::Work(format!(
                    "case {case}: label {label}, prediction {prediction} of {classes} classes"
                ))
            })? += 1;
        }
        Ok(Self { counts })
    }

    /// Predicts the class of highest probability, the first of equals; probabilities are
    /// `[cases, classes]`.
    ///
    /// # Errors
    /// [`Error::Work`] if the numbers do not fit, a label is not a class or a probability is not finite.
    pub fn of_probabilities(probabilities: &[f64], labels: &[usize], classes: usize) -> Result<Self> {
        check_classes(probabilities, labels, classes)?;
        if let Some(at) = probabilities.iter().position(|probability| !probability.is_finite()) {
            return Err(Error::Work(format!(
                "a probability of case {} is {}",
                at / classes,
                probabilities[at]
            )));
        }
        let highest = |row: &[f64]| {
            let best = row.iter().enumerate().rev().max_by(|(_, a), (_, b)| a.total_cmp(b));
            best.map_or(0, |(class, _)| class)
        };
        let predictions: Vec<usize> = probabilities.chunks_exact(classes).map(highest).collect();
        Self::new(labels, &predictions, classes)
    }

    /// The two-class matrix (negative, positive) of binary counts.
    pub fn of_counts(counts: &Counts) -> Self {
        let negative = vec![counts.true_negatives, counts.false_positives];
        Self { counts: vec![negative, vec![counts.false_negatives, counts.true_positives]] }
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.counts.len()
    }

    /// The share of cases on the diagonal; `None` for no case.
    pub fn accuracy(&self) -> Option<f64> {
        let right = (0..self.classes()).map(|class| self.counts[class][class]).sum();
        ratio(right, self.counts.iter().flatten().sum())
    }

    /// The counts of one class against all others; all zero for a class that is not there.
    pub fn one_vs_rest(&self, class: usize) -> Counts {
        let mut counts = Counts::default();
        for (label, row) in self.counts.iter().enumerate() {
            for (prediction, &cases) in row.iter().enumerate() {
                *match (label == class, prediction == class) {
                    (true, true) => &mut counts.true_positives,
                    (true, false) => &mut counts.false_negatives,
                    (false, true) => &mut counts.false_positives,
                    (false, false) => &mut counts.true_negatives,
                } += cases;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_true_and_columns_predicted() {
        let matrix = ConfusionMatrix::new(&[0, 0, 1, 2, 2], &[0, 1, 1, 2, 0], 3).unwrap();
        assert_eq!(matrix.counts, [[1, 1, 0], [0, 1, 0], [1, 0, 1]]);
        assert_eq!(matrix.accuracy(), Some(0.6));
        let want = Counts { true_positives: 1, false_positives: 0, false_negatives: 1, true_negatives: 3 };
        assert_eq!(matrix.one_vs_rest(2), want);
        assert_eq!(ConfusionMatrix::of_counts(&want).one_vs_rest(1), want);
    }

    #[test]
    fn the_first_of_equal_probabilities_is_predicted() {
        let matrix =
            ConfusionMatrix::of_probabilities(&[0.4, 0.4, 0.2, 0.1, 0.45, 0.45], &[0, 2], 3).unwrap();
        assert_eq!(matrix.counts, [[1, 0, 0], [0, 0, 0], [0, 1, 0]]);
    }

    #[test]
    fn bad_input_is_named() {
        assert!(ConfusionMatrix::new(&[0], &[], 2).is_err());
        assert!(ConfusionMatrix::new(&[0], &[2], 2).unwrap_err().to_string().contains("prediction 2"));
        let error = ConfusionMatrix::of_probabilities(&[0.5, f64::NAN], &[0], 2).unwrap_err();
        assert_eq!(error.to_string(), "a probability of case 0 is NaN");
        assert_eq!(ConfusionMatrix::new(&[], &[], 2).unwrap().accuracy(), None);
    }
}

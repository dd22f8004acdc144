//! The original's "IoU": background and foreground averaged, over ten thresholds.

use serde::Serialize;

use super::overlap::Counts;
use crate::error::{Error, Result};

/// The thresholds 0.50, 0.55, … 0.95, as the single-precision constants of the original.
const THRESHOLDS: [f32; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

/// The mean over ten thresholds (strictly above 0.50, 0.55, … 0.95) of the mean of background's and
/// foreground's IoU: `mean_iou` of the original's released code for target tasks, which its tables call
/// "IoU". It lies far above the plain foreground IoU wherever background is plenty, so it stands beside
/// it under its own name.
///
/// Voxels may be added case by case: the original pools them over the test set. (It also never resets
/// its counts between training and validation; that error is not repeated.) A class that is in neither
/// prediction nor reference is left out of the mean, as in TensorFlow's `mean_iou`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TwoClassIou {
    /// Voxels by reference (background, foreground) and number of thresholds below their probability.
    voxels: [[u64; THRESHOLDS.len() + 1]; 2],
}

impl TwoClassIou {
    /// Adds the voxels of one case: probabilities of the foreground, and whether each is foreground.
    ///
    /// # Errors
    /// [`Error::Work`] if their numbers differ.
    pub fn add(&mut self, probabilities: &[f32], reference: &[bool]) -> Result<()> {
        if probabilities.len() != reference.len() {
            return Err(Error::Work(format!(
                "{} probabilities for {} references",
                probabilities.len(),
                reference.len()
            )));
        }
        for (&probability, &foreground) in probabilities.iter().zip(reference) {
            let above =
                THRESHOLDS.iter().map(|&threshold| usize::from(probability > threshold)).sum::<usize>();
            self.voxels[usize::from(foreground)][above] += 1;
        }
        Ok(())
    }

    /// Adds all voxels of another.
    pub fn merge(&mut self, other: &Self) {
        let pairs = self.voxels.iter_mut().flatten().zip(other.voxels.iter().flatten());
        pairs.for_each(|(sum, more)| *sum += more);
    }

    /// The mean, or `None` before any voxel was added.
    pub fn value(&self) -> Option<f64> {
        let [background, foreground] = &self.voxels;
        let mut sum = 0.0;
        for threshold in 0..THRESHOLDS.len() {
            let split = |voxels: &[u64]| {
                let (below, above) = voxels.split_at(threshold + 1);
                (below.iter().sum::<u64>(), above.iter().sum::<u64>())
            };
            let (true_negatives, false_positives) = split(background);
            let (false_negatives, true_positives) = split(foreground);
            let counts = Counts { true_positives, false_positives, false_negatives, true_negatives };
            sum += mean_over_classes(&counts)?;
        }
        Some(sum / THRESHOLDS.len() as f64)
    }
}

/// The mean IoU of those of the two classes that occur.
fn mean_over_classes(counts: &Counts) -> Option<f64> {
    let errors = counts.false_positives + counts.false_negatives;
    let ious: Vec<f64> = [counts.true_negatives, counts.true_positives]
        .into_iter()
        .filter(|agreement| agreement + errors > 0)
        .map(|agreement| agreement as f64 / (agreement + errors) as f64)
        .collect();
    (!ious.is_empty()).then(|| ious.iter().sum::<f64>() / ious.len() as f64)
}

/// [`TwoClassIou`] of one case; `None` without voxels.
///
/// # Errors
/// As [`TwoClassIou::add`].
pub fn iou_two_class_mean(probabilities: &[f32], reference: &[bool]) -> Result<Option<f64>> {
    let mut iou = TwoClassIou::default();
    iou.add(probabilities, reference)?;
    Ok(iou.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_by_hand() {
        // Foreground at 0.7 (above 0.5 … 0.65: four thresholds), background at 0.1 and 0.52 (one).
        let value = iou_two_class_mean(&[0.7, 0.1, 0.52], &[true, false, false]).unwrap().unwrap();
        let first = (0.5 + 0.5) / 2.0;
        let perfect = 1.0;
        let missed = (2.0 / 3.0 + 0.0) / 2.0;
        assert!((value - (first + 3.0 * perfect + 6.0 * missed) / 10.0).abs() < 1e-12, "{value}");
    }

    #[test]
    fn the_comparison_is_strict() {
        assert_eq!(iou_two_class_mean(&[0.95, 0.0], &[true, false]).unwrap().unwrap(), (9.0 + 0.25) / 10.0);
    }

    #[test]
    fn an_absent_class_is_left_out() {
        assert_eq!(iou_two_class_mean(&[0.2, 0.1], &[false, false]).unwrap(), Some(1.0));
        assert_eq!(iou_two_class_mean(&[], &[]).unwrap(), None);
        assert!(iou_two_class_mean(&[0.5], &[]).is_err());
    }

    #[test]
    fn cases_are_pooled() {
        let mut pooled = TwoClassIou::default();
        pooled.add(&[0.7, 0.1], &[true, false]).unwrap();
        pooled.add(&[0.52], &[false]).unwrap();
        assert_eq!(pooled.value(), iou_two_class_mean(&[0.7, 0.1, 0.52], &[true, false, false]).unwrap());
        let [mut first, mut second] = [TwoClassIou::default(), TwoClassIou::default()];
        first.add(&[0.7, 0.1], &[true, false]).unwrap();
        second.add(&[0.52], &[false]).unwrap();
        first.merge(&second);
        assert_eq!(first, pooled);
    }
}

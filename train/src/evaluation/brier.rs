//! The Brier score (Brier, *Monthly Weather Review* 78, 1950): how far probabilities are from what was true.

use super::ranking::check_classes;
use crate::error::Result;

/// The mean squared error of probabilities `[cases, classes]`. With two classes that of the second one
/// (scikit-learn's `brier_score_loss`, 0 to 1), with several the sum over the classes (Brier's own, 0 to 2).
/// `None` for no case.
///
/// # Errors
/// [`crate::Error::Work`] if the numbers do not fit or a label is not a class.
pub fn brier_score(probabilities: &[f64], labels: &[usize], classes: usize) -> Result<Option<f64>> {
    check_classes(probabilities, labels, classes)?;
    let first = usize::from(classes == 2);
    let error = |(row, &label): (&[f64], &usize)| -> f64 {
        let square = |(class, value): (usize, &f64)| (value - f64::from(u8::from(class == label))).powi(2);
        row.iter().enumerate().skip(first).map(square).sum()
    };
    let sum: f64 = probabilities.chunks_exact(classes).zip(labels).map(error).sum();
    Ok((!labels.is_empty()).then(|| sum / labels.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_values() {
        // scikit-learn's own example: 0.0375.
        let positive = [0.1, 0.9, 0.8, 0.3];
        let probabilities: Vec<f64> = positive.iter().flat_map(|p| [1.0 - p, *p]).collect();
        let score = brier_score(&probabilities, &[0, 1, 1, 0], 2).unwrap().unwrap();
        assert!((score - 0.0375).abs() < 1e-12);
        // (0.3² + 0.2² + 0.1² + 0.5² + 0.5²) / 2
        let score = brier_score(&[0.7, 0.2, 0.1, 0.5, 0.0, 0.5], &[0, 2], 3).unwrap().unwrap();
        assert!((score - 0.32).abs() < 1e-12);
        assert_eq!(brier_score(&[], &[], 2).unwrap(), None);
        assert!(brier_score(&[0.5], &[0], 2).is_err());
    }
}

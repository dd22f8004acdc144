//! How well scores order positives above negatives: ROC, AUC, precision-recall, average precision,
//! by scikit-learn's definitions.

use serde::{Deserialize, Serialize};

use super::overlap::{Counts, ratio};
use crate::error::{Error, Result};

/// Cases with one score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tie {
    pub score: f64,
    pub positives: u64,
    pub negatives: u64,
}

/// Scored cases of a binary task, ordered once. A case counts as positive from a threshold on if its
/// score is at least the threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// By falling score, no score twice.
    pub(super) ties: Vec<Tie>,
    positives: u64,
    negatives: u64,
}

/// A point of the ROC curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RocPoint {
    /// Share of negatives with at least the threshold's score: 1 - specificity.
    pub false_positive_rate: f64,
    /// Share of positives with at least the threshold's score: sensitivity.
    pub true_positive_rate: f64,
    /// The threshold; `None` for the first point, at which nothing is positive.
    pub threshold: Option<f64>,
}

/// A point of the precision-recall curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionRecallPoint {
    /// Share of positives among the cases with at least the threshold's score.
    pub precision: f64,
    /// Share of positives with at least the threshold's score.
    pub recall: f64,
    /// The threshold; `None` for the last point (precision 1, recall 0), a convention.
    pub threshold: Option<f64>,
}

/// The most sensitive threshold that keeps a specificity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// The specificity asked for.
    pub wanted_specificity: f64,
    /// The specificity reached, at least that.
    pub specificity: f64,
    /// The sensitivity there.
    pub sensitivity: f64,
    /// The threshold; `None` if only calling everything negative is specific enough.
    pub threshold: Option<f64>,
}

impl Ranking {
    /// Orders cases by score; `labels` says which are positive.
    ///
    /// # Errors
    /// [`Error::Work`] if the numbers of scores and labels differ or a score is not finite.
    pub fn new(scores: &[f64], labels: &[bool]) -> Result<Self> {
        if scores.len() != labels.len() {
            return Err(Error::Work(format!("{} scores for {} labels", scores.len(), labels.len())));
        }
        if let Some((case, score)) = scores.iter().enumerate().find(|(_, score)| !score.is_finite()) {
            return Err(Error::Work(format!("the score of case {case} is {score}")));
        }
        let mut order: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
        order.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut ties: Vec<Tie> = Vec::new();
        for (score, positive) in order {
            let (positives, negatives) = (u64::from(positive), u64::from(!positive));
            match ties.last_mut().filter(|tie| tie.score == score) {
                Some(tie) => {
                    tie.positives += positives;
                    tie.negatives += negatives;
                }
                None => ties.push(Tie { score, positives, negatives }),
            }
        }
        let positives = ties.iter().map(|tie| tie.positives).sum();
        Ok(Self { positives, negatives: labels.len() as u64 - positives, ties })
    }

    /// The number of positive cases.
    pub fn positives(&self) -> u64 {
        self.positives
    }

    /// The number of negative cases.
    pub fn negatives(&self) -> u64 {
        self.negatives
    }

    /// Area under the ROC curve: the probability that a positive scores above a negative, ties
    /// counting half (midranks). `None` unless both classes occur.
    pub fn auc(&self) -> Option<f64> {
        area(self.ties.iter().map(|tie| (tie.positives, tie.negatives)))
    }

    /// The counts at every distinct score, falling, after those at which nothing is positive.
    fn cumulative(&self) -> impl Iterator<Item = (Option<f64>, Counts)> + '_ {
        let none =
            Counts { false_negatives: self.positives, true_negatives: self.negatives, ..Counts::default() };
        let steps = self.ties.iter().scan(none, |counts, tie| {
            counts.true_positives += tie.positives;
            counts.false_negatives -= tie.positives;
            counts.false_positives += tie.negatives;
            counts.true_negatives -= tie.negatives;
            Some((Some(tie.score), *counts))
        });
        std::iter::once((None, none)).chain(steps)
    }

    /// The ROC curve by falling threshold from (0, 0) to (1, 1), without the points that lie halfway
    /// between equal steps (scikit-learn's `roc_curve`). Empty unless both classes occur.
    pub fn roc(&self) -> Vec<RocPoint> {
        let all: Vec<(Option<f64>, Counts)> = self.cumulative().collect();
        if self.positives == 0 || self.negatives == 0 {
            return Vec::new();
        }
        let bends = |at: usize| {
            // The first two and the last point always stay.
            if at < 2 || at + 1 == all.len() {
                return true;
            }
            let [before, here, after] = [at - 1, at, at + 1].map(|i| all[i].1);
            before.true_positives + after.true_positives != 2 * here.true_positives
                || before.false_positives + after.false_positives != 2 * here.false_positives
        };
        let kept = (0..all.len()).filter(|&at| bends(at)).map(|at| all[at]);
        kept.map(|(threshold, counts)| RocPoint {
            false_positive_rate: counts.false_positives as f64 / self.negatives as f64,
            true_positive_rate: counts.true_positives as f64 / self.positives as f64,
            threshold,
        })
        .collect()
    }

    /// The precision-recall curve by rising threshold, ended by precision 1 at recall 0
    /// (scikit-learn's `precision_recall_curve`). Empty without positives.
    pub fn precision_recall(&self) -> Vec<PrecisionRecallPoint> {
        if self.positives == 0 {
            return Vec::new();
        }
        let mut points = vec![PrecisionRecallPoint { precision: 1.0, recall: 0.0, threshold: None }];
        points.extend(self.cumulative().skip(1).map(|(threshold, counts)| PrecisionRecallPoint {
            precision: counts.true_positives as f64 / counts.predicted() as f64,
            recall: counts.true_positives as f64 / self.positives as f64,
            threshold,
        }));
        points.reverse();
        points
    }

    /// Average precision: the precisions at every threshold, weighted by the recall each adds, without
    /// interpolation (scikit-learn's `average_precision_score`). `None` without positives.
    pub fn average_precision(&self) -> Option<f64> {
        let points = self.precision_recall();
        let steps = points.windows(2).map(|pair| (pair[0].recall - pair[1].recall) * pair[0].precision);
        (!points.is_empty()).then(|| steps.sum())
    }

    /// The highest sensitivity that a threshold reaches with at least this specificity (no
    /// interpolation between thresholds), at the highest such threshold. `None` unless both classes
    /// occur.
    pub fn sensitivity_at_specificity(&self, wanted_specificity: f64) -> Option<OperatingPoint> {
        let mut best: Option<OperatingPoint> = None;
        for (threshold, counts) in self.cumulative() {
            let (sensitivity, specificity) = (counts.sensitivity()?, counts.specificity()?);
            let better = best.is_none_or(|best| sensitivity > best.sensitivity);
            if specificity >= wanted_specificity && better {
                best = Some(OperatingPoint { wanted_specificity, specificity, sensitivity, threshold });
            }
        }
        best
    }

    /// The counts if every case that scores at least `threshold` is called positive.
    pub fn at_threshold(&self, threshold: f64) -> Counts {
        let called = self.cumulative().take_while(|(score, _)| score.is_none_or(|score| score >= threshold));
        called.last().map(|(_, counts)| counts).unwrap_or_default()
    }
}

/// The area under the ROC curve of (positives, negatives) at falling scores.
pub(super) fn area(ties: impl Iterator<Item = (u64, u64)>) -> Option<f64> {
    // Twice the pairs in the right order, a tied pair counting one: exact in integers.
    let (mut ordered, mut positives, mut negatives) = (0u128, 0u64, 0u64);
    for (tied_positives, tied_negatives) in ties {
        // Each negative stands below every positive met before, beside those it is tied with.
        ordered += u128::from(tied_negatives) * u128::from(2 * positives + tied_positives);
        positives += tied_positives;
        negatives += tied_negatives;
    }
    let pairs = u128::from(positives) * u128::from(negatives);
    (pairs > 0).then(|| ordered as f64 / (2 * pairs) as f64)
}

/// One class's ranking against all others: column `class` of probabilities `[cases, classes]`.
///
/// # Errors
/// [`Error::Work`] if the numbers do not fit, a label is not a class, or a score is not finite.
pub fn one_vs_rest(probabilities: &[f64], labels: &[usize], classes: usize, class: usize) -> Result<Ranking> {
    check_classes(probabilities, labels, classes)?;
    if class >= classes {
        return Err(Error::Work(format!("class {class} of {classes}")));
    }
    let column: Vec<f64> = probabilities.iter().skip(class).step_by(classes).copied().collect();
    let positive: Vec<bool> = labels.iter().map(|&label| label == class).collect();
    Ranking::new(&column, &positive)
}

/// Fails unless probabilities are `[cases, classes]` for as many labels, each below `classes`.
pub(super) fn check_classes(probabilities: &[f64], labels: &[usize], classes: usize) -> Result<()> {
    if classes == 0 || Some(probabilities.len()) != labels.len().checked_mul(classes) {
        return Err(Error::Work(format!(
            "{} probabilities for {} cases of {classes} classes",
            probabilities.len(),
            labels.len()
        )));
    }
    match labels.iter().enumerate().find(|(_, label)| **label >= classes) {
        Some((case, label)) => {
            Err(Error::Work(format!("case {case} has label {label} of {classes} classes")))
        }
        None => Ok(()),
    }
}

/// The share of positives among all cases, the precision of guessing; `None` for no case.
pub fn prevalence(ranking: &Ranking) -> Option<f64> {
    ratio(ranking.positives, ranking.positives + ranking.negatives)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scikit-learn's own example.
    fn example() -> Ranking {
        Ranking::new(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]).unwrap()
    }

    #[test]
    fn the_documented_example() {
        let ranking = example();
        assert_eq!(ranking.auc(), Some(0.75));
        let roc: Vec<_> = ranking
            .roc()
            .iter()
            .map(|p| (p.false_positive_rate, p.true_positive_rate, p.threshold))
            .collect();
        let want = [
            (0.0, 0.0, None),
            (0.0, 0.5, Some(0.8)),
            (0.5, 0.5, Some(0.4)),
            (0.5, 1.0, Some(0.35)),
            (1.0, 1.0, Some(0.1)),
        ];
        assert_eq!(roc, want);
        let precisions: Vec<_> = ranking.precision_recall().iter().map(|point| point.precision).collect();
        assert_eq!(precisions, [0.5, 2.0 / 3.0, 0.5, 1.0, 1.0]);
        assert!((ranking.average_precision().unwrap() - 5.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn ties_count_half() {
        let ranking = Ranking::new(&[0.5, 0.5, 0.5, 0.9], &[true, false, false, true]).unwrap();
        assert_eq!(ranking.auc(), Some(0.75));
        assert_eq!(Ranking::new(&[0.0, -0.0], &[true, false]).unwrap().auc(), Some(0.5));
    }

    #[test]
    fn thresholds_are_inclusive() {
        let ranking = example();
        let at = |threshold| ranking.at_threshold(threshold);
        assert_eq!((at(0.4).true_positives, at(0.4).false_positives), (1, 1));
        assert_eq!((at(0.41).true_positives, at(0.41).false_positives), (1, 0));
        assert_eq!((at(2.0).predicted(), at(-1.0).predicted()), (0, 4));
    }

    #[test]
    fn sensitivity_at_a_specificity_takes_the_best_threshold() {
        let ranking = example();
        let at = |wanted| ranking.sensitivity_at_specificity(wanted).unwrap();
        assert_eq!((at(0.5).sensitivity, at(0.5).specificity, at(0.5).threshold), (1.0, 0.5, Some(0.35)));
        assert_eq!((at(0.9).sensitivity, at(0.9).threshold), (0.5, Some(0.8)));
        let hopeless = Ranking::new(&[0.2, 0.8], &[true, false]).unwrap();
        assert_eq!(hopeless.sensitivity_at_specificity(1.0).unwrap().threshold, None);
    }

    #[test]
    fn one_class_has_no_curve() {
        for labels in [[true, true], [false, false]] {
            let ranking = Ranking::new(&[0.1, 0.2], &labels).unwrap();
            assert_eq!((ranking.auc(), ranking.roc().len()), (None, 0));
            assert_eq!(ranking.sensitivity_at_specificity(0.5), None);
            assert_eq!(ranking.average_precision(), labels[0].then_some(1.0));
        }
        assert_eq!(Ranking::new(&[], &[]).unwrap().auc(), None);
    }

    #[test]
    fn bad_input_is_named() {
        let message = Ranking::new(&[0.1, f64::NAN], &[true, false]).unwrap_err().to_string();
        assert_eq!(message, "the score of case 1 is NaN");
        assert!(Ranking::new(&[0.1], &[]).is_err());
        assert!(one_vs_rest(&[0.1, 0.9], &[0], 3, 0).is_err());
        assert!(one_vs_rest(&[0.1, 0.9], &[2], 2, 0).unwrap_err().to_string().contains("label 2"));
        assert!(one_vs_rest(&[0.1, 0.9], &[1], 2, 2).is_err());
    }
}

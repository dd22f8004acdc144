//! All metrics of a classified test set, binary or of several classes.

use serde::{Deserialize, Serialize};

use super::bootstrap::{Bootstrap, Interval};
use super::confusion::ConfusionMatrix;
use super::overlap::Counts;
use super::ranking::{OperatingPoint, Ranking, one_vs_rest};
use super::statistics::mean;
use crate::error::Result;

/// What is asked of a classification.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassificationOptions {
    /// A case is called positive if its score is at least this; for binary tasks.
    pub threshold: f64,
    /// Specificities at which the sensitivity is wanted.
    pub specificities: Vec<f64>,
    /// How AUC's intervals are drawn.
    pub bootstrap: Bootstrap,
}

impl Default for ClassificationOptions {
    /// Threshold 0.5; sensitivity at specificities 0.90, 0.95 and 0.99.
    fn default() -> Self {
        Self { threshold: 0.5, specificities: vec![0.90, 0.95, 0.99], bootstrap: Bootstrap::default() }
    }
}

/// How well one class is told from the rest; see [`super`] for what is undefined when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Cases of the class.
    pub positives: u64,
    /// Cases of all others.
    pub negatives: u64,
    /// Area under the ROC curve.
    pub auc: Option<f64>,
    /// Its bootstrap interval.
    pub auc_interval: Option<Interval>,
    /// Average precision.
    pub average_precision: Option<f64>,
    /// Accuracy of the decisions.
    pub accuracy: Option<f64>,
    /// Sensitivity (recall) of the decisions.
    pub sensitivity: Option<f64>,
    /// Specificity of the decisions.
    pub specificity: Option<f64>,
    /// Precision of the decisions.
    pub precision: Option<f64>,
    /// F1 of the decisions.
    pub f1: Option<f64>,
    /// Sensitivity at given specificities.
    pub sensitivity_at_specificity: Vec<OperatingPoint>,
}

impl ClassScores {
    fn new(ranking: &Ranking, decisions: &Counts, options: &ClassificationOptions) -> Self {
        Self {
            positives: ranking.positives(),
            negatives: ranking.negatives(),
            auc: ranking.auc(),
            auc_interval: options.bootstrap.auc(ranking),
            average_precision: ranking.average_precision(),
            accuracy: decisions.accuracy(),
            sensitivity: decisions.sensitivity(),
            specificity: decisions.specificity(),
            precision: decisions.precision(),
            f1: decisions.f1(),
            sensitivity_at_specificity: options
                .specificities
                .iter()
                .filter_map(|&specificity| ranking.sensitivity_at_specificity(specificity))
                .collect(),
        }
    }
}

/// Metrics of a binary classification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BinaryScores {
    /// The positive class.
    #[serde(flatten)]
    pub scores: ClassScores,
    /// The threshold of the decisions.
    pub threshold: f64,
    /// Decisions by true class (negative, positive).
    pub confusion: ConfusionMatrix,
}

impl BinaryScores {
    /// Evaluates one score a case against whether it is positive.
    ///
    /// # Errors
    /// As [`Ranking::new`].
    pub fn new(scores: &[f64], labels: &[bool], options: &ClassificationOptions) -> Result<Self> {
        let ranking = Ranking::new(scores, labels)?;
        let decisions = ranking.at_threshold(options.threshold);
        Ok(Self {
            scores: ClassScores::new(&ranking, &decisions, options),
            threshold: options.threshold,
            confusion: ConfusionMatrix::of_counts(&decisions),
        })
    }
}

/// Metrics of a classification into several classes; the class of highest probability is the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultiClassScores {
    /// Share of right decisions.
    pub accuracy: Option<f64>,
    /// The mean of the classes' AUCs one-vs-rest; `None` if one is undefined.
    pub macro_auc: Option<f64>,
    /// Each class against the rest.
    pub classes: Vec<ClassScores>,
    /// Decisions by true class.
    pub confusion: ConfusionMatrix,
}

impl MultiClassScores {
    /// Evaluates probabilities `[cases, classes]` against class numbers.
    ///
    /// # Errors
    /// As [`one_vs_rest`].
    pub fn new(
        probabilities: &[f64],
        labels: &[usize],
        classes: usize,
        options: &ClassificationOptions,
    ) -> Result<Self> {
        let confusion = ConfusionMatrix::of_probabilities(probabilities, labels, classes)?;
        let mut scores = Vec::with_capacity(classes);
        for class in 0..classes {
            let ranking = one_vs_rest(probabilities, labels, classes, class)?;
            scores.push(ClassScores::new(&ranking, &confusion.one_vs_rest(class), options));
        }
        let aucs: Option<Vec<f64>> = scores.iter().map(|class| class.auc).collect();
        Ok(Self {
            accuracy: confusion.accuracy(),
            macro_auc: aucs.and_then(|aucs| mean(&aucs)),
            classes: scores,
            confusion,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_scores_have_plain_names() {
        let options = ClassificationOptions::default();
        let labels = [false, true, true, false];
        let scores = BinaryScores::new(&[0.2, 0.5, 0.4, 0.1], &labels, &options).unwrap();
        let json = serde_json::to_value(&scores).unwrap();
        assert_eq!((json["auc"].as_f64(), json["sensitivity"].as_f64()), (Some(1.0), Some(0.5)));
        assert_eq!(json["confusion"]["counts"], serde_json::json!([[2, 0], [1, 1]]));
        assert_eq!(json["sensitivity_at_specificity"].as_array().unwrap().len(), 3);
        assert_eq!(serde_json::from_value::<BinaryScores>(json).unwrap(), scores);
    }

    #[test]
    fn an_absent_class_leaves_the_mean_auc_undefined() {
        let options = ClassificationOptions::default();
        let probabilities = [0.7, 0.2, 0.1, 0.3, 0.6, 0.1];
        let scores = MultiClassScores::new(&probabilities, &[0, 1], 3, &options).unwrap();
        assert_eq!((scores.accuracy, scores.macro_auc), (Some(1.0), None));
        assert_eq!((scores.classes[0].auc, scores.classes[2].auc), (Some(1.0), None));
        assert!(scores.classes[2].sensitivity_at_specificity.is_empty());
    }

    #[test]
    fn two_columns_agree_with_one_score() {
        let options = ClassificationOptions::default();
        let probabilities = [0.75, 0.25, 0.5, 0.5, 0.125, 0.875, 0.25, 0.75];
        let multi = MultiClassScores::new(&probabilities, &[0, 0, 1, 1], 2, &options).unwrap();
        let single =
            BinaryScores::new(&[0.25, 0.5, 0.875, 0.75], &[false, false, true, true], &options).unwrap();
        assert_eq!(multi.classes[1].auc_interval, single.scores.auc_interval);
        assert_eq!((multi.macro_auc, single.scores.auc), (Some(1.0), Some(1.0)));
    }
}

//! `metrics.json`: what all candidates come to.

use super::aggregate::Aggregate;
use super::froc::{FrocReport, FrocSettings};
use super::scored::Scored;
use crate::evaluation::brier::brier_score;
use crate::evaluation::classification::{BinaryScores, ClassScores, ClassificationOptions, MultiClassScores};
use crate::evaluation::confusion::ConfusionMatrix;
use crate::evaluation::statistics::mean;
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The metrics, of the kind the task has.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ClassificationScores {
    /// Of the second of two classes, the positive one.
    Binary(BinaryScores),
    /// Of each class against the rest.
    Multi {
        /// Every class, and the decisions.
        #[serde(flatten)]
        scores: MultiClassScores,
        /// The means over the classes.
        #[serde(rename = "macro")]
        macro_scores: MacroScores,
    },
}

/// Plain means over the classes; undefined where one class's value is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MacroScores {
    /// Of the areas under the ROC curves.
    pub auc: Option<f64>,
    /// Of the average precisions.
    pub average_precision: Option<f64>,
    /// Of the sensitivities: the balanced accuracy.
    pub sensitivity: Option<f64>,
    /// Of the specificities.
    pub specificity: Option<f64>,
    /// Of the precisions.
    pub precision: Option<f64>,
    /// Of the F1.
    pub f1: Option<f64>,
}

impl MacroScores {
    fn of(classes: &[ClassScores]) -> Self {
        let over = |value: fn(&ClassScores) -> Option<f64>| {
            classes.iter().map(value).collect::<Option<Vec<f64>>>().and_then(|values| mean(&values))
        };
        Self {
            auc: over(|class| class.auc),
            average_precision: over(|class| class.average_precision),
            sensitivity: over(|class| class.sensitivity),
            specificity: over(|class| class.specificity),
            precision: over(|class| class.precision),
            f1: over(|class| class.f1),
        }
    }
}

impl ClassificationScores {
    /// Scores labelled candidates, and their Brier score.
    ///
    /// # Errors
    /// A row without a label; fewer than two classes.
    pub fn of(scored: &Scored, options: &ClassificationOptions) -> Result<(Self, Option<f64>)> {
        let (classes, labels) = (scored.classes(), scored.table.labels()?);
        let brier = brier_score(&scored.probabilities, &labels, classes)?;
        let scores = match classes {
            0 | 1 => {
                return Err(Error::file(
                    &scored.table.file,
                    "has a single class: two are needed to be told apart",
                ));
            }
            2 => {
                let positive: Vec<bool> = labels.iter().map(|&label| label == 1).collect();
                Self::Binary(BinaryScores::new(&scored.of_class(1), &positive, options)?)
            }
            _ => {
                let scores = MultiClassScores::new(&scored.probabilities, &labels, classes, options)?;
                let macro_scores = MacroScores::of(&scores.classes);
                Self::Multi { scores, macro_scores }
            }
        };
        Ok((scores, brier))
    }

    /// Decisions by true class.
    pub fn confusion(&self) -> &ConfusionMatrix {
        match self {
            Self::Binary(scores) => &scores.confusion,
            Self::Multi { scores, .. } => &scores.confusion,
        }
    }
}

/// Everything an evaluation found but the single candidates, which are in `cases.csv`.
#[derive(Clone, Debug, Serialize)]
pub struct ClassificationReport {
    /// `classify`.
    pub task: &'static str,
    /// `complete`.
    pub status: &'static str,
    /// The table of candidates.
    pub data: Option<PathBuf>,
    /// The weights, if a network was run.
    pub weights: Option<PathBuf>,
    /// The table of probabilities, if they were made elsewhere.
    pub predictions: Option<PathBuf>,
    /// The splits that were scored; nothing: all rows.
    pub splits: Vec<String>,
    /// Rows of these.
    pub rows: usize,
    /// How rows of a group became one score.
    pub score_by_group: Option<Aggregate>,
    /// Scores, after that.
    pub cases: usize,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Scores of each class.
    pub cases_of_class: BTreeMap<String, usize>,
    /// The metrics.
    #[serde(flatten)]
    pub scores: ClassificationScores,
    /// Mean squared error of the probabilities: of the positive class with two, summed over the classes with
    /// several.
    pub brier: Option<f64>,
    /// Candidates in scans.
    pub froc: Option<FrocReport>,
    /// The settings that decide the figures.
    pub settings: Settings,
    /// Seconds it took.
    pub seconds: f64,
    /// Highest memory use of the process in bytes, where the system tells.
    pub peak_memory_bytes: Option<usize>,
}

/// The settings that decide the figures.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The threshold of the decisions between two classes.
    pub threshold: f64,
    /// Specificities at which sensitivities are given.
    pub specificities: Vec<f64>,
    /// Resamples of the intervals.
    pub resamples: u32,
    /// Seed of the resampling.
    pub seed: u64,
    /// True numbers for the FROC that the table cannot know.
    pub froc: Option<FrocSettings>,
}

//! `metrics.json`: what all cases come to.

use super::case::{CaseScores, METRICS};
use super::selection::{Part, SplitFile};
use crate::evaluation::overlap::Counts;
use crate::evaluation::statistics::{Better, Summary};
use crate::evaluation::two_class_iou::TwoClassIou;
use crate::inference::PredictionSettings;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A case that could not be scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its name.
    pub case: String,
    /// Why, in one line that names the file.
    pub error: String,
}

/// Mean and spread of one number over the cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Arithmetic mean of the defined values.
    pub mean: Option<f64>,
    /// Their sample standard deviation (n - 1).
    pub standard_deviation: Option<f64>,
    /// Their median.
    pub median: Option<f64>,
    /// The smallest.
    pub minimum: Option<f64>,
    /// The largest.
    pub maximum: Option<f64>,
    /// Cases with a value.
    pub defined: usize,
    /// Cases without.
    pub undefined: usize,
}

impl Spread {
    /// The spread of one value a case.
    pub fn of(values: &[Option<f64>]) -> Self {
        let Summary { defined, undefined, mean, standard_deviation, median, minimum, maximum, .. } =
            Summary::of(values, Better::Higher);
        Self { mean, standard_deviation, median, minimum, maximum, defined, undefined }
    }

    /// `0.853 ± 0.021`; `-` where nothing is defined.
    pub fn text(&self, decimals: usize) -> String {
        match (self.mean, self.standard_deviation) {
            (Some(mean), Some(deviation)) => format!("{mean:.decimals$} ± {deviation:.decimals$}"),
            (Some(mean), None) => format!("{mean:.decimals$}"),
            (None, _) => "-".into(),
        }
    }
}

/// One class over all cases.
#[derive(Clone, Debug, Serialize)]
pub struct ClassSummary {
    /// Its name.
    pub class: String,
    /// Every metric by its name.
    pub metrics: BTreeMap<&'static str, Spread>,
    /// Voxels of all cases together.
    pub voxels: Counts,
    /// The Dice of all voxels together, in which large cases count for more.
    pub pooled_dice: f64,
    /// The IoU of all voxels together.
    pub pooled_iou: f64,
}

/// The original's IoU; see [`TwoClassIou`].
#[derive(Clone, Debug, Serialize)]
pub struct TwoClassSummary {
    /// Of all voxels together, as the original computes it.
    pub pooled: Option<f64>,
    /// Over the cases.
    pub cases: Spread,
}

/// The settings that decide the figures.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// How the network was run; nothing for predictions made elsewhere.
    pub prediction: Option<PredictionSettings>,
    /// The tolerance of the surface Dice, mm.
    pub surface_dice_tolerance_mm: f64,
}

/// Everything an evaluation found but the single cases, which are in `cases.csv`.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentationReport {
    /// `segment`.
    pub task: &'static str,
    /// `complete`, or `incomplete` where cases failed.
    pub status: &'static str,
    /// The folder of scans and references.
    pub data: PathBuf,
    /// The weights, if a network was run.
    pub weights: Option<PathBuf>,
    /// The folder of predictions, if they were made elsewhere.
    pub predictions: Option<PathBuf>,
    /// The file of splits.
    pub splits: Option<SplitFile>,
    /// The part that was scored.
    pub split: Part,
    /// Cases scored.
    pub cases: usize,
    /// Of these, cases of a name that the checkpoint was trained on.
    pub trained_on: usize,
    /// The foreground classes.
    pub classes: Vec<ClassSummary>,
    /// Every metric over the cases, a case's value being the mean over the classes that have one.
    pub mean_of_classes: BTreeMap<&'static str, Spread>,
    /// The original's IoU, where there are probabilities of a single foreground class.
    pub iou_two_class_mean: Option<TwoClassSummary>,
    /// The case of the highest mean Dice, which `overlay-best.png` shows.
    pub best_case: Option<String>,
    /// The middle one.
    pub median_case: Option<String>,
    /// The lowest.
    pub worst_case: Option<String>,
    /// Cases that are missing in all of this.
    pub failed: Vec<Failure>,
    /// Settings.
    pub settings: Settings,
    /// Seconds it took.
    pub seconds: f64,
    /// Highest memory use of the process in bytes, where the system tells.
    pub peak_memory_bytes: Option<usize>,
}

/// The numbers of the best, the median and the worst case by mean Dice.
pub fn ranked(cases: &[CaseScores]) -> Option<[usize; 3]> {
    let dice: Vec<Option<f64>> = cases.iter().map(|case| case.mean(&METRICS[0])).collect();
    let summary = Summary::of(&dice, Better::Higher);
    Some([summary.best_case?, summary.median_case?, summary.worst_case?])
}

/// The summaries of all classes, in their order.
pub fn per_class(cases: &[CaseScores], names: &[String]) -> Vec<ClassSummary> {
    let summary = |(class, name): (usize, &String)| {
        let spread = |value: fn(&_) -> Option<f64>| {
            Spread::of(&cases.iter().map(|case| value(&case.classes[class])).collect::<Vec<_>>())
        };
        let voxels: Counts = cases.iter().map(|case| case.classes[class].voxels).sum();
        ClassSummary {
            class: name.clone(),
            metrics: METRICS.iter().map(|metric| (metric.name, spread(metric.value))).collect(),
            voxels,
            pooled_dice: voxels.dice(),
            pooled_iou: voxels.iou(),
        }
    };
    names.iter().enumerate().map(summary).collect()
}

/// Every metric over the cases, a case's value being the mean over its classes.
pub fn mean_of_classes(cases: &[CaseScores]) -> BTreeMap<&'static str, Spread> {
    let spread = |metric| Spread::of(&cases.iter().map(|case| case.mean(metric)).collect::<Vec<_>>());
    METRICS.iter().map(|metric| (metric.name, spread(metric))).collect()
}

/// The original's IoU, if every case has it.
pub fn two_class(cases: &[CaseScores]) -> Option<TwoClassSummary> {
    let single: Vec<&TwoClassIou> =
        cases.iter().map(|case| case.two_class_iou.as_ref()).collect::<Option<_>>()?;
    let mut pooled = TwoClassIou::default();
    single.iter().for_each(|iou| pooled.merge(iou));
    let values: Vec<Option<f64>> = single.iter().map(|iou| iou.value()).collect();
    (!single.is_empty()).then(|| TwoClassSummary { pooled: pooled.value(), cases: Spread::of(&values) })
}

//! The scores of one case.

use crate::evaluation::Grid;
use crate::evaluation::segmentation::SegmentationScores;
use crate::evaluation::statistics::Better;
use crate::evaluation::two_class_iou::TwoClassIou;
use crate::{Error, Result};

/// What a labeller says of a case, on the grid of its scan.
pub struct Labels {
    /// The class of every voxel.
    pub predicted: Vec<u8>,
    /// The original's IoU, where there are probabilities of a single foreground class.
    pub two_class_iou: Option<TwoClassIou>,
}

/// The scores of one case.
#[derive(Clone, Debug)]
pub struct CaseScores {
    /// Its name.
    pub name: String,
    /// The scores of every foreground class.
    pub classes: Vec<SegmentationScores>,
    /// The original's IoU, where there are probabilities of a single foreground class.
    pub two_class_iou: Option<TwoClassIou>,
}

impl CaseScores {
    /// Compares labels with the reference, `[X, Y, Z]` both, for classes 1 to `foreground`.
    ///
    /// # Errors
    /// Arrays that do not fill the grid; a tolerance that is negative.
    pub fn new(
        name: &str,
        labels: &Labels,
        reference: &[u8],
        grid: &Grid,
        foreground: usize,
        tolerance_mm: f64,
    ) -> Result<Self> {
        let score = |class: usize| {
            let class =
                u8::try_from(class).map_err(|_| Error::Work(format!("class {class} is above 255")))?;
            SegmentationScores::of_label(&labels.predicted, reference, class, grid, tolerance_mm)
        };
        let classes = (1..=foreground).map(score).collect::<Result<_>>()?;
        Ok(Self { name: name.to_string(), classes, two_class_iou: labels.two_class_iou.clone() })
    }

    /// The mean of a metric over the classes for which it is defined.
    pub fn mean(&self, metric: &Metric) -> Option<f64> {
        let values: Vec<f64> = self.classes.iter().filter_map(metric.value).collect();
        crate::evaluation::statistics::mean(&values)
    }
}

/// A number of a case's class that is written and summarised.
pub struct Metric {
    /// Its name in files.
    pub name: &'static str,
    /// Which end is the good one; `None` where neither is.
    pub better: Option<Better>,
    /// The number.
    pub value: fn(&SegmentationScores) -> Option<f64>,
}

/// The metrics, in the order of the columns. The first ranks the cases.
pub const METRICS: [Metric; 12] = {
    use Better::{Higher, Lower};
    const fn metric(
        name: &'static str,
        better: Option<Better>,
        value: fn(&SegmentationScores) -> Option<f64>,
    ) -> Metric {
        Metric { name, better, value }
    }
    [
        metric("dice", Some(Higher), |scores| Some(scores.dice)),
        metric("iou", Some(Higher), |scores| Some(scores.iou)),
        metric("sensitivity", Some(Higher), |scores| scores.sensitivity),
        metric("precision", Some(Higher), |scores| scores.precision),
        metric("specificity", Some(Higher), |scores| scores.specificity),
        metric("surface_dice", Some(Higher), |scores| Some(scores.surface_dice)),
        metric("hausdorff_95_mm", Some(Lower), |scores| scores.hausdorff_95_mm),
        metric("hausdorff_mm", Some(Lower), |scores| scores.hausdorff_mm),
        metric("average_surface_distance_mm", Some(Lower), |scores| scores.average_surface_distance_mm),
        metric("reference_volume_ml", None, |scores| Some(scores.reference_volume_ml)),
        metric("predicted_volume_ml", None, |scores| Some(scores.predicted_volume_ml)),
        metric("volume_error_ml", None, |scores| Some(scores.volume_error_ml)),
    ]
};

//! All metrics of one class of one case.

use serde::{Deserialize, Serialize};

use super::grid::Grid;
use super::overlap::Counts;
use super::surface::SurfaceDistances;
use crate::error::{Error, Result};

/// What a segmentation of one class is worth; see [`super`] for what is undefined when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentationScores {
    /// Dice coefficient.
    pub dice: f64,
    /// Intersection over union of the foreground.
    pub iou: f64,
    /// Sensitivity (recall).
    pub sensitivity: Option<f64>,
    /// Precision.
    pub precision: Option<f64>,
    /// Specificity.
    pub specificity: Option<f64>,
    /// Volume of the prediction, ml.
    pub predicted_volume_ml: f64,
    /// Volume of the reference, ml.
    pub reference_volume_ml: f64,
    /// Prediction's volume minus reference's, ml.
    pub volume_error_ml: f64,
    /// Hausdorff distance, mm.
    pub hausdorff_mm: Option<f64>,
    /// 95 % Hausdorff distance (MedPy's), mm.
    pub hausdorff_95_mm: Option<f64>,
    /// Average symmetric surface distance, mm.
    pub average_surface_distance_mm: Option<f64>,
    /// Surface Dice (MONAI's) at the tolerance below.
    pub surface_dice: f64,
    /// The tolerance of the surface Dice, mm.
    pub surface_dice_tolerance_mm: f64,
    /// The voxels counted, to pool cases.
    pub voxels: Counts,
}

impl SegmentationScores {
    /// Compares two masks in the grid's order `[x][y][z]`.
    ///
    /// # Errors
    /// [`Error::Work`] if a mask does not fill the grid or the tolerance is negative or not a number.
    pub fn of_masks(
        prediction: &[bool],
        reference: &[bool],
        grid: &Grid,
        surface_dice_tolerance_mm: f64,
    ) -> Result<Self> {
        if !(surface_dice_tolerance_mm >= 0.0 && surface_dice_tolerance_mm.is_finite()) {
            return Err(Error::Work(format!(
                "a surface Dice tolerance of {surface_dice_tolerance_mm} mm: it must not be negative"
            )));
        }
        let distances = SurfaceDistances::between(prediction, reference, grid)?;
        let voxels = Counts::of(prediction, reference)?;
        let predicted_volume_ml = voxels.predicted() as f64 * grid.voxel_ml();
        let reference_volume_ml = voxels.positives() as f64 * grid.voxel_ml();
        let both_empty = voxels.predicted() + voxels.positives() == 0;
        Ok(Self {
            dice: voxels.dice(),
            iou: voxels.iou(),
            sensitivity: voxels.sensitivity(),
            precision: voxels.precision(),
            specificity: voxels.specificity(),
            predicted_volume_ml,
            reference_volume_ml,
            volume_error_ml: predicted_volume_ml - reference_volume_ml,
            hausdorff_mm: distances.as_ref().map(SurfaceDistances::hausdorff_mm),
            hausdorff_95_mm: distances.as_ref().map(SurfaceDistances::hausdorff_95_mm),
            average_surface_distance_mm: distances.as_ref().map(SurfaceDistances::average_mm),
            surface_dice: match &distances {
                Some(distances) => distances.surface_dice(surface_dice_tolerance_mm),
                None => f64::from(u8::from(both_empty)),
            },
            surface_dice_tolerance_mm,
            voxels,
        })
    }

    /// Compares one class of two label volumes.
    ///
    /// # Errors
    /// As [`SegmentationScores::of_masks`].
    pub fn of_label<L: Copy + PartialEq>(
        prediction: &[L],
        reference: &[L],
        label: L,
        grid: &Grid,
        surface_dice_tolerance_mm: f64,
    ) -> Result<Self> {
        let mask = |labels: &[L]| labels.iter().map(|&voxel| voxel == label).collect::<Vec<bool>>();
        Self::of_masks(&mask(prediction), &mask(reference), grid, surface_dice_tolerance_mm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(prediction: &[u8], reference: &[u8]) -> SegmentationScores {
        let grid = Grid::new([1, 2, 3], [1.0, 2.0, 5.0]).unwrap();
        SegmentationScores::of_label(prediction, reference, 2, &grid, 1.0).unwrap()
    }

    #[test]
    fn one_class_of_several() {
        let got = scores(&[2, 2, 0, 1, 1, 1], &[2, 0, 0, 2, 1, 1]);
        assert_eq!((got.dice, got.iou), (0.5, 1.0 / 3.0));
        assert_eq!((got.predicted_volume_ml, got.volume_error_ml), (0.02, 0.0));
        assert_eq!((got.hausdorff_mm, got.surface_dice), (Some(5.0), 0.5));
    }

    #[test]
    fn the_empty_cases() {
        let (none, some) = ([1, 1, 0, 0, 0, 0], [2, 1, 0, 0, 0, 0]);
        let both = scores(&none, &none);
        assert_eq!((both.dice, both.iou, both.surface_dice), (1.0, 1.0, 1.0));
        assert_eq!((both.sensitivity, both.precision), (None, None));
        let missed = scores(&none, &some);
        let invented = scores(&some, &none);
        for one in [&missed, &invented] {
            assert_eq!((one.dice, one.iou, one.surface_dice), (0.0, 0.0, 0.0));
        }
        for case in [&both, &missed, &invented] {
            assert_eq!((case.hausdorff_mm, case.hausdorff_95_mm), (None, None));
            assert_eq!(case.average_surface_distance_mm, None);
        }
        assert_eq!((missed.volume_error_ml, invented.volume_error_ml), (-0.01, 0.01));
        let json = serde_json::to_value(&both).unwrap();
        assert!(json["hausdorff_95_mm"].is_null() && json["dice"] == 1.0, "{json}");
    }

    #[test]
    fn wrong_sizes_and_tolerances_are_errors() {
        let grid = Grid::new([1, 1, 2], [1.0; 3]).unwrap();
        assert!(SegmentationScores::of_label(&[0u16, 1], &[1u16], 1, &grid, 1.0).is_err());
        for tolerance in [-1.0, f64::NAN] {
            assert!(SegmentationScores::of_label(&[0u16, 1], &[1, 1], 1, &grid, tolerance).is_err());
        }
    }
}

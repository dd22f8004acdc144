//! What cubes to cut.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::volume::ReadOptions;

/// The kind of scan, which decides the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Modality {
    /// Computed tomography of the chest, in Hounsfield units.
    Ct,
    /// Magnetic resonance, in arbitrary units.
    Mri,
}

/// The dense-tissue level of CT in Hounsfield units: above it is soft tissue, below it lung and air.
const CT_TISSUE: f64 = -150.0;

/// Which cubes are cut and which are kept. Sizes and borders are in voxels of the LPS volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CubeSettings {
    /// Size of a cube.
    pub cube: [usize; 3],
    /// In-plane size cut from the volume, resized to that of the cube if it differs.
    pub crop: [usize; 2],
    /// Cubes wanted from each volume; 50 times as many corners are tried.
    pub per_volume: usize,
    /// Which volume of a file of several is read, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<usize>,
    /// Intensities that become 0 and 1; those outside are clipped.
    pub window: [f64; 2],
    /// Percentiles of each volume that become 0 and 1 instead of `window`, for MRI whose units differ from
    /// scanner to scanner. Tissue is then what is above a tenth of the way between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentiles: Option<[f64; 2]>,
    /// Voxels left out at both ends of each axis.
    pub border: [usize; 3],
    /// The largest tissue score, as a share of the cube's voxels, of a cube that is kept.
    pub max_tissue: f64,
    /// The smallest tissue score of a cube that is kept.
    pub min_tissue: f64,
    /// The intensity from which on a voxel counts as tissue.
    pub tissue_level: f64,
}

impl CubeSettings {
    /// The defaults of a modality.
    ///
    /// CT: the released values (window -1000 to 1000, border 100, 100, 30, at most 0.15 tissue from
    /// -150 HU on). MRI: the released window 0 to 4000, but no border and no upper bound, since a head
    /// or an organ has neither the margins nor the air of a chest; tissue is what is above a tenth of
    /// the window.
    pub fn new(modality: Modality) -> Self {
        let common = Self {
            cube: [64, 64, 32],
            crop: [64, 64],
            per_volume: 32,
            frame: None,
            window: [-1000.0, 1000.0],
            percentiles: None,
            border: [100, 100, 30],
            max_tissue: 0.15,
            min_tissue: 0.0,
            tissue_level: CT_TISSUE,
        };
        match modality {
            Modality::Ct => common,
            Modality::Mri => Self {
                window: [0.0, 4000.0],
                border: [0, 0, 0],
                max_tissue: 1.0,
                tissue_level: Self::mri_tissue_level([0.0, 4000.0]),
                ..common
            },
        }
    }

    /// How each volume is read.
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions::frame(self.frame)
    }

    /// The tissue level of MRI for a window: a tenth of the way up.
    pub fn mri_tissue_level([low, high]: [f64; 2]) -> f64 {
        low + 0.1 * (high - low)
    }

    /// The share of the window from which on a voxel counts as tissue.
    pub(super) fn threshold(&self) -> f32 {
        if self.percentiles.is_some() {
            return Self::mri_tissue_level([0.0, 1.0]) as f32;
        }
        let [low, high] = self.window.map(|bound| bound as f32);
        (self.tissue_level as f32 - low) / (high - low)
    }

    /// True if some tissue score leads to rejection.
    pub fn filters(&self) -> bool {
        self.max_tissue < 1.0 || self.min_tissue > 0.0
    }

    /// Refuses settings that cannot give a cube.
    ///
    /// # Errors
    /// [`Error::Usage`], naming the setting.
    pub fn check(&self) -> Result<()> {
        let usage = |message: String| Err(Error::Usage(message));
        let sizes = self.cube.iter().chain(&self.crop);
        if sizes.into_iter().any(|&n| n == 0 || n > 1024) {
            let (cube, crop) = (self.cube, self.crop);
            return usage(format!(
                "cube {cube:?} and crop {crop:?} must be of 1 to 1024 voxels along each axis"
            ));
        }
        if self.border.iter().any(|&n| n > 1 << 20) {
            return usage(format!("a border of {:?} voxels is larger than any volume", self.border));
        }
        if self.per_volume == 0 || self.per_volume > 1 << 20 {
            return usage(format!("{} cubes per volume cannot be cut, 1 to 1048576 can", self.per_volume));
        }
        let [low, high] = self.window;
        if !(low.is_finite() && high.is_finite() && low < high) {
            return usage(format!("the window {low},{high} must be two numbers, the lower one first"));
        }
        if let Some([low, high]) = self.percentiles
            && !(0.0 <= low && low < high && high <= 100.0)
        {
            return usage(format!("percentiles {low},{high} must be in order between 0 and 100"));
        }
        let (least, most) = (self.min_tissue, self.max_tissue);
        if !(0.0..=1.0).contains(&least) || !(0.0..=1.0).contains(&most) || least > most {
            return usage(format!(
                "min-tissue {least} and max-tissue {most} must be in order between 0 and 1"
            ));
        }
        let level = self.tissue_level;
        if self.percentiles.is_none() && self.filters() && !(level > low && level <= high) {
            return usage(format!(
                "the tissue level {level} lies outside the window {low},{high}, so every voxel would count \
                 alike; give --tissue-level inside it, or switch the filter off with --max-tissue 1 --min-tissue 0"
            ));
        }
        Ok(())
    }

    /// The smallest volume cubes can be cut from: cube or crop, 3 more slices for the tissue score, one
    /// voxel (the original's range ends one early), and the border on both sides.
    pub fn needed_size(&self) -> [usize; 3] {
        let [x, y] = self.crop;
        let inner = [x, y, self.cube[2] + LOOK_AHEAD];
        std::array::from_fn(|axis| inner[axis] + 1 + 2 * self.border[axis])
    }
}

/// Slices beyond the cube that are cut with it.
pub(super) const LOOK_AHEAD: usize = 3;

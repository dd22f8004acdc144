//! From a volume as it was scanned to what a network for a target task sees, and back.
//!
//! In this order: voxels that are not numbers are replaced, intensities are scaled, axes are brought
//! to one orientation, and the volume is resampled to one spacing: the *working grid*. [`Grid`]
//! carries label maps there and predictions back onto the input's exact grid.
//!
//! Voxels that are not finite follow one rule: NaN and -∞ become the volume's lowest finite intensity
//! (air in CT, background in MRI), +∞ its highest; a volume without any finite voxel is refused.
//!
//! ```
//! use genesis_tensor::parallel::ThreadPool;
//! use genesis_train::preprocess::{Intensity, Preprocessing};
//! use genesis_train::volume::{Volume, affine};
//!
//! let pool = ThreadPool::new(1);
//! let volume = Volume::new(vec![0.0; 4 * 4 * 2], [4, 4, 2], affine::IDENTITY)?;
//! let preprocessing = Preprocessing { spacing: Some([2.0, 2.0, 0.5]), ..Preprocessing::default() };
//! let prepared = preprocessing.apply(&pool, volume)?;
//! assert_eq!(prepared.grid.size(), [2, 2, 4]);
//! assert!((prepared.channels[0][0] - 0.5).abs() < 1e-6); // 0 HU in a window of -1000 to 1000
//! let labels = prepared.grid.labels_back(&pool, &[1; 16])?;
//! assert_eq!(labels, [1; 32]);
//! # Ok::<(), genesis_train::Error>(())
//! ```

mod axis;
mod grid;
mod intensity;
mod labels;
mod planes;
mod resample;
#[cfg(test)]
mod tests;

pub use grid::Grid;
pub use intensity::{Intensity, percentiles};
pub use labels::label_map;
pub use planes::PlaneStream;

use crate::volume::Volume;
use crate::{Error, Result};
use genesis_tensor::parallel::ThreadPool;
use serde::{Deserialize, Serialize};

/// Which way the axes of the working grid run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orientation {
    /// [LPS](crate::volume::CANONICAL), as the cubes of pre-training. Only whole axes are exchanged and
    /// reversed: an oblique scan keeps its angle.
    #[default]
    Canonical,
    /// As the file has them.
    Keep,
}

/// What is done to a volume before a network sees it; part of every checkpoint of a target task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preprocessing {
    /// Which way the axes run.
    pub orientation: Orientation,
    /// Millimetres between voxels along x, y and z of the oriented volume; `None` keeps the file's.
    pub spacing: Option<[f64; 3]>,
    /// How intensities are scaled.
    pub intensity: Intensity,
}

/// A volume on the working grid.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// For each channel the scaled intensities `[X, Y, Z]`, z fastest.
    pub channels: Vec<Vec<f32>>,
    /// The working grid, and the way back.
    pub grid: Grid,
    /// Voxels of the input that were not finite and were replaced.
    pub replaced: usize,
}

impl Preprocessing {
    /// Refuses settings that mean nothing.
    ///
    /// # Errors
    /// A spacing that is not positive, a window without width, percentiles outside 0 to 100.
    pub fn check(&self) -> Result<()> {
        if let Some(spacing) = self.spacing
            && !spacing.iter().all(|&length| length.is_finite() && length > 0.0)
        {
            return Err(Error::Work(format!("spacing {spacing:?}: every length must be above 0 mm")));
        }
        self.intensity.check()
    }

    /// Prepares a volume of one channel.
    ///
    /// # Errors
    /// Settings that mean nothing; no finite voxel; a working grid beyond
    /// [`MAX_VOXELS`](crate::volume::MAX_VOXELS); memory.
    pub fn apply(&self, pool: &ThreadPool, volume: Volume) -> Result<Prepared> {
        self.apply_channels(pool, vec![volume])
    }

    /// Prepares the channels of one scan; each is scaled by itself.
    ///
    /// # Errors
    /// As [`Preprocessing::apply`]; no channel, or channels that lie on different grids.
    pub fn apply_channels(&self, pool: &ThreadPool, volumes: Vec<Volume>) -> Result<Prepared> {
        self.check()?;
        let first = volumes.first().ok_or_else(|| Error::Work("a scan without channels".into()))?;
        let grid = Grid::new(first, self)?;
        if let Some(other) = volumes.iter().position(|volume| !grid.is_of(volume)) {
            return Err(Error::Work(format!(
                "channel {other} ({:?} voxels) lies on another grid than channel 0 ({:?} voxels)",
                volumes[other].size, volumes[0].size
            )));
        }
        let mut replaced = 0;
        let mut channels = Vec::with_capacity(volumes.len());
        // One after another, so that the unscaled volumes are given back as early as possible.
        for mut volume in volumes {
            replaced += intensity::replace_not_finite(&mut volume.voxels)?;
            self.intensity.apply(pool, &mut volume.voxels);
            channels.push(grid.image_forward(pool, volume.voxels)?);
        }
        Ok(Prepared { channels, grid, replaced })
    }
}

/// Zeroed memory for an array.
pub(crate) fn zeros<T: Copy + Default>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(count)
        .map_err(|_| Error::Work(format!("not enough memory for an array of {count} voxels")))?;
    values.resize(count, T::default());
    Ok(values)
}

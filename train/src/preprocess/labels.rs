//! Label maps from volumes.

use crate::volume::Volume;
use crate::{Error, Result};

/// The labels of a label volume, as they lie in it.
///
/// # Errors
/// A voxel that is not a whole number from 0 to `classes - 1` (its value and place are named), or more
/// than 256 classes.
pub fn label_map(volume: &Volume, classes: usize) -> Result<Vec<u8>> {
    if classes > 256 {
        return Err(Error::Work(format!("{classes} classes: at most 256 are possible")));
    }
    let valid = |value: f32| value >= 0.0 && value < classes as f32 && value.fract() == 0.0;
    if let Some(place) = volume.voxels.iter().position(|&value| !valid(value)) {
        let [_, ny, nz] = volume.size;
        let (x, y, z) = (place / (ny * nz), place / nz % ny, place % nz);
        return Err(Error::Work(format!(
            "the label {} at (x, y, z) = ({x}, {y}, {z}) is not a whole number from 0 to {}",
            volume.voxels[place],
            classes.saturating_sub(1)
        )));
    }
    Ok(volume.voxels.iter().map(|&value| value as u8).collect())
}

//! The grid two label volumes share.

use crate::error::{Error, Result};
use crate::volume::Volume;

/// Extents and spacing of a volume; voxel (x, y, z) is element `(x * Y + y) * Z + z`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    size: [usize; 3],
    spacing: [f64; 3],
}

impl Grid {
    /// A grid of `size` voxels (x, y, z) whose centres lie `spacing` millimetres apart.
    ///
    /// # Errors
    /// [`Error::Work`] if the number of voxels overflows or a spacing is not a positive length.
    pub fn new(size: [usize; 3], spacing: [f64; 3]) -> Result<Self> {
        if size.iter().try_fold(1usize, |voxels, &extent| voxels.checked_mul(extent)).is_none() {
            return Err(Error::Work(format!("a grid of {size:?} voxels is too large")));
        }
        // Squares are what the distance transform adds up.
        if spacing.iter().any(|&step| step <= 0.0 || !(step * step).is_normal()) {
            return Err(Error::Work(format!("a spacing of {spacing:?} mm: every step must be positive")));
        }
        Ok(Self { size, spacing })
    }

    /// The grid of a volume.
    ///
    /// # Errors
    /// As [`Grid::new`].
    pub fn of(volume: &Volume) -> Result<Self> {
        Self::new(volume.size, volume.spacing)
    }

    /// Voxels along x, y and z.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Millimetres between voxel centres along x, y and z.
    pub fn spacing(&self) -> [f64; 3] {
        self.spacing
    }

    /// The number of voxels.
    pub fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// Millilitres a voxel.
    pub fn voxel_ml(&self) -> f64 {
        self.spacing.iter().product::<f64>() / 1000.0
    }

    /// Fails unless `count` values fill the grid; `what` names them in the message.
    pub(super) fn check(&self, what: &str, count: usize) -> Result<()> {
        if count == self.voxels() {
            return Ok(());
        }
        let [x, y, z] = self.size;
        Err(Error::Work(format!("the {what} has {count} voxels, not {x}x{y}x{z} = {}", self.voxels())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_voxels() {
        let grid = Grid::new([2, 3, 4], [0.5, 2.0, 10.0]).unwrap();
        assert_eq!(grid.voxels(), 24);
        assert_eq!(grid.voxel_ml(), 0.01);
        let message = grid.check("prediction", 23).unwrap_err().to_string();
        assert_eq!(message, "the prediction has 23 voxels, not 2x3x4 = 24");
    }

    #[test]
    fn refuses_what_has_no_geometry() {
        for step in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-200] {
            assert!(Grid::new([2, 2, 2], [1.0, step, 1.0]).is_err(), "{step}");
        }
        assert!(Grid::new([usize::MAX, 2, 1], [1.0; 3]).is_err());
    }
}

//! The working grid of one volume, and the ways to it and back.

use super::{Orientation, Preprocessing, resample};
use crate::volume::{Affine, MAX_VOXELS, Reorientation, Volume};
use crate::{Error, Result};
use genesis_tensor::parallel::ThreadPool;

/// Where the working grid of a volume lies.
///
/// Along each axis it has `round(n · old spacing / new spacing)` voxels, at least one, spread evenly over
/// the same field of view; the spacing is therefore met to within half a voxel over the whole length.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    input_size: [usize; 3],
    input_affine: Affine,
    change: Reorientation,
    /// Size and affine after the reorientation.
    oriented_size: [usize; 3],
    size: [usize; 3],
    affine: Affine,
}

impl Grid {
    /// The working grid of a volume.
    ///
    /// # Errors
    /// More than [`MAX_VOXELS`] voxels.
    pub fn new(volume: &Volume, preprocessing: &Preprocessing) -> Result<Self> {
        let change = match preprocessing.orientation {
            Orientation::Canonical => Reorientation::to_canonical(volume),
            Orientation::Keep => Reorientation::IDENTITY,
        };
        let oriented_size = change.size(volume.size);
        let spacing = change.from_axis.map(|axis| volume.spacing[axis]);
        let mut size = oriented_size;
        if let Some(wanted) = preprocessing.spacing {
            for axis in 0..3 {
                let extent = (oriented_size[axis] as f64 * spacing[axis] / wanted[axis]).round();
                if extent > MAX_VOXELS as f64 {
                    return Err(too_large(oriented_size, spacing, wanted));
                }
                size[axis] = (extent as usize).max(1);
            }
            if size.iter().map(|&extent| extent as u128).product::<u128>() > u128::from(MAX_VOXELS) {
                return Err(too_large(oriented_size, spacing, wanted));
            }
        }
        let mut affine = change.affine(&volume.affine, volume.size);
        for axis in 0..3 {
            let ratio = oriented_size[axis] as f64 / size[axis] as f64;
            for row in affine.iter_mut().take(3) {
                row[3] += row[axis] * (ratio - 1.0) / 2.0;
                row[axis] *= ratio;
            }
        }
        let (input_size, input_affine) = (volume.size, volume.affine);
        Ok(Self { input_size, input_affine, change, oriented_size, size, affine })
    }

    /// Voxels of the working grid along x, y and z.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Working voxel index to RAS millimetres.
    pub fn affine(&self) -> &Affine {
        &self.affine
    }

    /// Millimetres between the voxels of the working grid.
    pub fn spacing(&self) -> [f64; 3] {
        crate::volume::affine::spacing(&self.affine)
    }

    /// Voxels of the input along x, y and z.
    pub fn input_size(&self) -> [usize; 3] {
        self.input_size
    }

    /// Voxels of the input after reorientation, along the axes of the working grid.
    pub fn oriented_size(&self) -> [usize; 3] {
        self.oriented_size
    }

    /// True if a volume (another channel, a label map) lies where the input does: equal sizes, and
    /// corners within a hundredth of a millimetre and of a voxel's edge.
    pub fn is_of(&self, volume: &Volume) -> bool {
        let tolerance = 0.01 * volume.spacing.iter().copied().fold(1.0, f64::min);
        let near = |corner: usize| {
            (0..3).all(|row| {
                let place = |affine: &Affine| {
                    let along = |axis: usize| {
                        let index = if corner >> axis & 1 == 1 { self.input_size[axis] - 1 } else { 0 };
                        affine[row][axis] * index as f64
                    };
                    (0..3).map(along).sum::<f64>() + affine[row][3]
                };
                (place(&self.input_affine) - place(&volume.affine)).abs() <= tolerance
            })
        };
        volume.size == self.input_size && (0..8).all(near)
    }

    /// Intensities `[X, Y, Z]` of the input, on the working grid.
    ///
    /// # Errors
    /// Another number of voxels; memory.
    pub fn image_forward(&self, pool: &ThreadPool, voxels: Vec<f32>) -> Result<Vec<f32>> {
        expect(voxels.len(), self.input_size)?;
        let oriented = self.orient(voxels, &self.change, self.input_size);
        if self.size == self.oriented_size {
            return Ok(oriented);
        }
        resample::image(pool, &oriented, self.oriented_size, self.size)
    }

    /// Labels `[X, Y, Z]` of the input, on the working grid: the class with the largest share of a new
    /// voxel, the lower one where two are equal.
    ///
    /// # Errors
    /// As [`Grid::image_forward`].
    pub fn labels_forward(&self, pool: &ThreadPool, labels: &[u8]) -> Result<Vec<u8>> {
        expect(labels.len(), self.input_size)?;
        let oriented = self.change.apply(labels, self.input_size);
        if self.size == self.oriented_size {
            return Ok(oriented);
        }
        resample::labels(pool, &oriented, self.oriented_size, self.size)
    }

    /// Intensities or probabilities of the working grid, on the input's grid.
    ///
    /// # Errors
    /// As [`Grid::image_forward`].
    pub fn image_back(&self, pool: &ThreadPool, voxels: Vec<f32>) -> Result<Vec<f32>> {
        expect(voxels.len(), self.size)?;
        let oriented = if self.size == self.oriented_size {
            voxels
        } else {
            resample::image(pool, &voxels, self.size, self.oriented_size)?
        };
        Ok(self.from_oriented(oriented))
    }

    /// Labels of the working grid, on the input's grid, by the rule of [`Grid::labels_forward`].
    ///
    /// # Errors
    /// As [`Grid::image_forward`].
    pub fn labels_back(&self, pool: &ThreadPool, labels: &[u8]) -> Result<Vec<u8>> {
        expect(labels.len(), self.size)?;
        let oriented = if self.size == self.oriented_size {
            labels.to_vec()
        } else {
            resample::labels(pool, labels, self.size, self.oriented_size)?
        };
        Ok(self.from_oriented(oriented))
    }

    /// An array of the [oriented input](Grid::oriented_size), with axes as the file has them.
    ///
    /// # Panics
    /// If it has another number of voxels.
    pub fn from_oriented<T: Copy>(&self, voxels: Vec<T>) -> Vec<T> {
        self.orient(voxels, &self.change.inverse(), self.oriented_size)
    }

    /// An array of the input, with axes as those of the [oriented input](Grid::oriented_size).
    ///
    /// # Panics
    /// If it has another number of voxels.
    pub fn to_oriented<T: Copy>(&self, voxels: Vec<T>) -> Vec<T> {
        self.orient(voxels, &self.change, self.input_size)
    }

    fn orient<T: Copy>(&self, voxels: Vec<T>, change: &Reorientation, size: [usize; 3]) -> Vec<T> {
        if *change == Reorientation::IDENTITY { voxels } else { change.apply(&voxels, size) }
    }
}

fn expect(count: usize, size: [usize; 3]) -> Result<()> {
    let [x, y, z] = size;
    if count != x * y * z {
        return Err(Error::Work(format!("{count} voxels do not fill a grid of {x}x{y}x{z}")));
    }
    Ok(())
}

fn too_large(size: [usize; 3], spacing: [f64; 3], wanted: [f64; 3]) -> Error {
    Error::Work(format!(
        "{size:?} voxels of {spacing:?} mm become more than {MAX_VOXELS} at the spacing {wanted:?} mm"
    ))
}

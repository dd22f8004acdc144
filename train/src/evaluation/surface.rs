//! Distances in mm between the surfaces of two masks.
//!
//! **Surface**: the mask's voxels of which at least one of the six neighbours is not in the mask, or
//! lies outside the volume (mask XOR its erosion with the 6-neighbourhood, as MedPy and MONAI).
//! **Directed distances**: from each surface voxel's centre to the nearest centre of the other surface.

use super::distance_transform::squared_distances;
use super::grid::Grid;
use super::statistics::percentile;
use crate::error::Result;

/// Both sets of directed distances.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceDistances {
    /// From each surface voxel of the prediction to the reference's surface, mm.
    pub prediction_to_reference: Vec<f64>,
    /// From each surface voxel of the reference to the prediction's surface, mm.
    pub reference_to_prediction: Vec<f64>,
    /// Both, rising.
    pooled: Vec<f64>,
}

impl SurfaceDistances {
    /// The distances between two masks on one grid; `None` if either is empty. Time and memory (10
    /// bytes a voxel) grow with the box around both masks, not with the volume.
    ///
    /// # Errors
    /// [`Error::Work`](crate::Error::Work) if a mask does not fill the grid.
    pub fn between(prediction: &[bool], reference: &[bool], grid: &Grid) -> Result<Option<Self>> {
        grid.check("prediction", prediction.len())?;
        grid.check("reference", reference.len())?;
        if !prediction.contains(&true) || !reference.contains(&true) {
            return Ok(None);
        }
        let window = Window::around(prediction, reference, grid);
        let box_grid = Grid::new(window.size, grid.spacing())?;
        let surfaces = [prediction, reference].map(|mask| surface(&window.cut(mask, grid), window.size));
        let directed = |from: usize, to: usize| -> Result<Vec<f64>> {
            let squares = squared_distances(&surfaces[to], &box_grid)?;
            let on_surface = squares.iter().zip(&surfaces[from]).filter(|(_, surface)| **surface);
            Ok(on_surface.map(|(square, _)| square.sqrt()).collect())
        };
        let prediction_to_reference = directed(0, 1)?;
        let reference_to_prediction = directed(1, 0)?;
        let mut pooled = [&prediction_to_reference[..], &reference_to_prediction[..]].concat();
        pooled.sort_by(f64::total_cmp);
        Ok(Some(Self { prediction_to_reference, reference_to_prediction, pooled }))
    }

    /// Hausdorff distance: the largest directed distance, in either direction (MedPy's `hd`).
    pub fn hausdorff_mm(&self) -> f64 {
        self.pooled.last().copied().unwrap_or(0.0)
    }

    /// 95 % Hausdorff distance as MedPy's `hd95` defines it: the 95th percentile, linearly
    /// interpolated, of both sets of directed distances pooled. (MONAI and others take the larger of
    /// the two sets' percentiles, which is never smaller.)
    pub fn hausdorff_95_mm(&self) -> f64 {
        percentile(&self.pooled, 95.0).unwrap_or(0.0)
    }

    /// Average symmetric surface distance as MedPy's `assd`: the mean over both sets pooled.
    pub fn average_mm(&self) -> f64 {
        self.pooled.iter().sum::<f64>() / self.pooled.len().max(1) as f64
    }

    /// Surface Dice (normalised surface distance; Nikolov et al. 2018, arXiv:1809.04430) as MONAI's
    /// `compute_surface_dice` without sub-voxels: the share of both surfaces' voxels that lie within
    /// `tolerance_mm` of the other surface, the tolerance itself included. Compared in single
    /// precision, as there: a distance equal to the tolerance but for rounding is within it.
    pub fn surface_dice(&self, tolerance_mm: f64) -> f64 {
        let within = self.pooled.iter().filter(|&&distance| distance as f32 <= tolerance_mm as f32).count();
        within as f64 / self.pooled.len().max(1) as f64
    }
}

/// The box around two masks.
struct Window {
    start: [usize; 3],
    size: [usize; 3],
}

impl Window {
    /// The smallest box that holds every voxel of both; one of them must not be empty.
    fn around(a: &[bool], b: &[bool], grid: &Grid) -> Self {
        let [_, y, z] = grid.size();
        let (mut low, mut high) = (grid.size(), [0; 3]);
        for voxel in (0..a.len()).filter(|&voxel| a[voxel] || b[voxel]) {
            for (axis, position) in [voxel / (y * z), voxel / z % y, voxel % z].into_iter().enumerate() {
                low[axis] = low[axis].min(position);
                high[axis] = high[axis].max(position + 1);
            }
        }
        Self { start: low, size: [0, 1, 2].map(|axis| high[axis].saturating_sub(low[axis])) }
    }

    /// The mask within the box.
    fn cut(&self, mask: &[bool], grid: &Grid) -> Vec<bool> {
        let [_, y, z] = grid.size();
        let mut inside = Vec::with_capacity(self.size.iter().product());
        for row in self.start[0]..self.start[0] + self.size[0] {
            for column in self.start[1]..self.start[1] + self.size[1] {
                let start = (row * y + column) * z + self.start[2];
                inside.extend_from_slice(&mask[start..start + self.size[2]]);
            }
        }
        inside
    }
}

/// The surface voxels of a mask of extents `size`.
fn surface(mask: &[bool], size: [usize; 3]) -> Vec<bool> {
    let strides = [size[1] * size[2], size[2], 1];
    let mut edge = vec![false; mask.len()];
    for voxel in (0..mask.len()).filter(|&voxel| mask[voxel]) {
        edge[voxel] = (0..3).any(|axis| {
            let position = voxel / strides[axis] % size[axis];
            position == 0
                || position + 1 == size[axis]
                || !mask[voxel - strides[axis]]
                || !mask[voxel + strides[axis]]
        });
    }
    edge
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A box of ones from `start`, `extent` voxels long, in a volume of `size`.
    fn solid(size: [usize; 3], start: [usize; 3], extent: [usize; 3]) -> Vec<bool> {
        let inside = |axis: usize, at: usize| (start[axis]..start[axis] + extent[axis]).contains(&at);
        let mut mask = Vec::new();
        for x in 0..size[0] {
            for y in 0..size[1] {
                mask.extend((0..size[2]).map(|z| inside(0, x) && inside(1, y) && inside(2, z)));
            }
        }
        mask
    }

    #[test]
    fn a_box_has_the_surface_of_a_box() {
        let size = [6, 7, 8];
        let edge = surface(&solid(size, [1, 1, 1], [4, 5, 6]), size);
        assert_eq!(edge.iter().filter(|edge| **edge).count(), 4 * 5 * 6 - 2 * 3 * 4);
        let full = surface(&solid(size, [0; 3], size), size);
        assert_eq!(full.iter().filter(|edge| **edge).count(), 6 * 7 * 8 - 4 * 5 * 6);
    }

    #[test]
    fn two_voxels_are_their_distance_apart() {
        let size = [5, 4, 9];
        let grid = Grid::new(size, [2.0, 1.0, 0.5]).unwrap();
        let (a, b) = (solid(size, [0, 0, 0], [1, 1, 1]), solid(size, [3, 2, 8], [1, 1, 1]));
        let distances = SurfaceDistances::between(&a, &b, &grid).unwrap().unwrap();
        let want = (36.0f64 + 4.0 + 16.0).sqrt();
        assert_eq!(distances.hausdorff_mm(), want);
        assert_eq!((distances.hausdorff_95_mm(), distances.average_mm()), (want, want));
        assert_eq!((distances.surface_dice(want - 0.01), distances.surface_dice(want)), (0.0, 1.0));
    }

    #[test]
    fn the_tolerance_includes_what_equals_it_but_for_rounding() {
        let size = [1, 1, 5];
        let grid = Grid::new(size, [1.0, 1.0, 0.1]).unwrap();
        let (a, b) = (solid(size, [0, 0, 0], [1, 1, 1]), solid(size, [0, 0, 3], [1, 1, 1]));
        let distances = SurfaceDistances::between(&a, &b, &grid).unwrap().unwrap();
        assert!(distances.hausdorff_mm() > 0.3);
        assert_eq!(distances.surface_dice(0.3), 1.0);
    }

    #[test]
    fn equal_masks_are_no_distance_apart_and_empty_ones_have_none() {
        let size = [6, 7, 8];
        let grid = Grid::new(size, [1.0, 2.0, 3.0]).unwrap();
        let (some, none) = (solid(size, [1, 1, 1], [4, 5, 6]), vec![false; 336]);
        let same = SurfaceDistances::between(&some, &some, &grid).unwrap().unwrap();
        assert_eq!((same.hausdorff_mm(), same.average_mm(), same.surface_dice(0.0)), (0.0, 0.0, 1.0));
        for (a, b) in [(&some, &none), (&none, &some), (&none, &none)] {
            assert_eq!(SurfaceDistances::between(a, b, &grid).unwrap(), None);
        }
        assert!(SurfaceDistances::between(&some, &none[1..], &grid).is_err());
    }
}

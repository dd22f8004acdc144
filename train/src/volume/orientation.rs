//! Bringing volumes of any axis order and direction to one orientation, and back.
//!
//! The canonical orientation is **LPS**: x grows to the patient's left, y to the back, z to the head.
//! It is the direction of the arrays of the original's training data (LUNA16 MetaImage files with an
//! identity `TransformMatrix`, read with SimpleITK and transposed to x, y, z), so cubes cut from any
//! file show lungs the way the released weights saw them. Only whole axes are exchanged and
//! reversed, nothing is interpolated: an oblique scan keeps its angle, and the way back is exact.

use super::Volume;
use super::affine::{Affine, AxisDirection, axis_directions};

/// The direction in which x, y and z grow in canonical orientation: left, back, head.
pub const CANONICAL: [AxisDirection; 3] = [
    AxisDirection { world_axis: 0, towards_ras: false },
    AxisDirection { world_axis: 1, towards_ras: false },
    AxisDirection { world_axis: 2, towards_ras: true },
];

/// An exchange and reversal of axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorientation {
    /// For each new axis, the old axis it is.
    pub from_axis: [usize; 3],
    /// For each new axis, whether it runs against the old one.
    pub reversed: [bool; 3],
}

impl Reorientation {
    /// Leaves everything as it is.
    pub const IDENTITY: Self = Self { from_axis: [0, 1, 2], reversed: [false; 3] };

    /// What brings `volume` to the [canonical](CANONICAL) orientation.
    pub fn to_canonical(volume: &Volume) -> Self {
        let current = axis_directions(&volume.affine);
        let mut result = Self::IDENTITY;
        for (axis, wanted) in CANONICAL.iter().enumerate() {
            // `axis_directions` pairs every world axis with exactly one voxel axis.
            for (old, direction) in current.iter().enumerate() {
                if direction.world_axis == wanted.world_axis {
                    result.from_axis[axis] = old;
                    result.reversed[axis] = direction.towards_ras != wanted.towards_ras;
                }
            }
        }
        result
    }

    /// What undoes this one.
    pub fn inverse(&self) -> Self {
        let mut result = Self::IDENTITY;
        for axis in 0..3 {
            result.from_axis[self.from_axis[axis]] = axis;
            result.reversed[self.from_axis[axis]] = self.reversed[axis];
        }
        result
    }

    /// The size after reorientation.
    pub fn size(&self, size: [usize; 3]) -> [usize; 3] {
        self.from_axis.map(|axis| size[axis])
    }

    /// The affine matrix after reorientation of a grid of this size.
    pub fn affine(&self, old: &Affine, size: [usize; 3]) -> Affine {
        let mut affine = *old;
        for axis in 0..3 {
            let from = self.from_axis[axis];
            for row in 0..3 {
                if self.reversed[axis] {
                    affine[row][axis] = -old[row][from];
                    affine[row][3] += old[row][from] * (size[from] as f64 - 1.0);
                } else {
                    affine[row][axis] = old[row][from];
                }
            }
        }
        affine
    }

    /// Reorients an array (z fastest, `size` before the change), e.g. a label map or a prediction.
    ///
    /// # Panics
    /// If `values` does not have the product of `size` elements.
    pub fn apply<T: Copy>(&self, values: &[T], size: [usize; 3]) -> Vec<T> {
        assert_eq!(values.len(), size.iter().product::<usize>(), "array and size disagree");
        if *self == Self::IDENTITY {
            return values.to_vec();
        }
        let old_strides = [size[1] * size[2], size[2], 1];
        let new_size = self.size(size);
        let mut start = 0isize;
        let mut strides = [0isize; 3];
        for axis in 0..3 {
            let old = self.from_axis[axis];
            strides[axis] = old_strides[old] as isize;
            if self.reversed[axis] {
                start += (size[old] as isize - 1) * strides[axis];
                strides[axis] = -strides[axis];
            }
        }
        let mut out = Vec::with_capacity(values.len());
        for x in 0..new_size[0] {
            for y in 0..new_size[1] {
                let row = start + x as isize * strides[0] + y as isize * strides[1];
                out.extend((0..new_size[2]).map(|z| values[(row + z as isize * strides[2]) as usize]));
            }
        }
        out
    }
}

impl Volume {
    /// Exchanges and reverses axes; the affine matrix follows, so every voxel keeps its place.
    pub fn reorient(mut self, change: &Reorientation) -> Self {
        if *change == Reorientation::IDENTITY {
            return self;
        }
        self.voxels = change.apply(&self.voxels, self.size);
        self.affine = change.affine(&self.affine, self.size);
        self.spacing = change.from_axis.map(|axis| self.spacing[axis]);
        self.size = change.size(self.size);
        self
    }

    /// The volume in [canonical](CANONICAL) orientation, and what was done to it
    /// ([`Reorientation::inverse`] leads back).
    pub fn to_canonical(self) -> (Self, Reorientation) {
        let change = Reorientation::to_canonical(&self);
        (self.reorient(&change), change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(affine: &Affine, index: [usize; 3]) -> [f64; 3] {
        std::array::from_fn(|row| {
            (0..3).map(|axis| affine[row][axis] * index[axis] as f64).sum::<f64>() + affine[row][3]
        })
    }

    /// All 48 axis orders and directions, each slightly oblique.
    fn every_orientation() -> Vec<Volume> {
        let mut volumes = Vec::new();
        let (s, c) = 0.1f64.sin_cos();
        let tilt = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for flips in 0..8 {
                let mut affine = crate::volume::affine::IDENTITY;
                for row in 0..3 {
                    for axis in 0..3 {
                        let sign = if flips >> axis & 1 == 1 { -1.0 } else { 1.0 };
                        affine[row][axis] = tilt[row][order[axis]] * sign * (axis as f64 + 1.0);
                    }
                    affine[row][3] = row as f64 * 10.0 - 7.0;
                }
                let voxels = (0..60).map(|i| i as f32).collect();
                volumes.push(Volume::new(voxels, [3, 4, 5], affine).expect("valid"));
            }
        }
        volumes
    }

    #[test]
    fn all_48_orientations_become_lps_with_every_voxel_at_its_place_and_return_exactly() {
        for volume in every_orientation() {
            let (canonical, change) = volume.clone().to_canonical();
            assert_eq!(canonical.orientation_code(), "LPS");
            for x in 0..canonical.size[0] {
                for y in 0..canonical.size[1] {
                    for z in 0..canonical.size[2] {
                        // The value of a voxel is its index in the original array.
                        let old = canonical.voxels[canonical.index([x, y, z])] as usize;
                        let place = world(&volume.affine, [old / 20, old / 5 % 4, old % 5]);
                        for (a, b) in place.iter().zip(world(&canonical.affine, [x, y, z])) {
                            assert!((a - b).abs() < 1e-9);
                        }
                    }
                }
            }
            let back = canonical.reorient(&change.inverse());
            assert_eq!(back.voxels, volume.voxels);
            assert_eq!((back.size, back.spacing), (volume.size, volume.spacing));
            for (a, b) in back.affine.iter().flatten().zip(volume.affine.iter().flatten()) {
                assert!((a - b).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_canonical_volume_is_left_alone() {
        let mut affine = crate::volume::affine::IDENTITY;
        affine[0][0] = -1.0;
        affine[1][1] = -1.0;
        let volume = Volume::new(vec![1.0; 8], [2, 2, 2], affine).expect("valid");
        assert_eq!(Reorientation::to_canonical(&volume), Reorientation::IDENTITY);
    }
}

//! Rectangular blocks of voxels within a cube.

use std::ops::Range;

use genesis_tensor::random::Stream;

/// A block `[corner, corner + size)` of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// First voxel in each direction.
    pub corner: [usize; 3],
    /// Extent in each direction.
    pub size: [usize; 3],
}

impl Block {
    /// A block with each side uniform in `[shortest, longest]` and then its corner uniform in
    /// `[border, extent - side - border]`, all ends included.
    pub fn draw(
        cube: [usize; 3],
        shortest: [usize; 3],
        longest: [usize; 3],
        border: usize,
        stream: &mut Stream,
    ) -> Self {
        let mut block = Self { corner: [0; 3], size: [0; 3] };
        for axis in 0..3 {
            let side = stream.between(shortest[axis], longest[axis]);
            block.size[axis] = side;
            block.corner[axis] = stream.between(border, cube[axis] - side - border);
        }
        block
    }

    /// The positions of the block's rows along the last axis, as ranges of a C-order array.
    pub fn rows(self, cube: [usize; 3]) -> impl Iterator<Item = Range<usize>> {
        let Self { corner: [x0, y0, z0], size: [sx, sy, sz] } = self;
        (x0..x0 + sx).flat_map(move |x| {
            (y0..y0 + sy).map(move |y| {
                let start = (x * cube[1] + y) * cube[2] + z0;
                start..start + sz
            })
        })
    }

    /// Whether two blocks share no voxel.
    pub fn disjoint(self, other: Self) -> bool {
        (0..3).any(|axis| {
            self.corner[axis] + self.size[axis] <= other.corner[axis]
                || other.corner[axis] + other.size[axis] <= self.corner[axis]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_visit_each_voxel_of_the_block_once() {
        let cube = [5, 6, 7];
        let block = Block { corner: [1, 2, 3], size: [2, 3, 4] };
        let visited: Vec<usize> = block.rows(cube).flatten().collect();
        let mut want = Vec::new();
        for index in 0..5 * 6 * 7 {
            let position = [index / 42, index / 7 % 6, index % 7];
            if (0..3).all(|a| (block.corner[a]..block.corner[a] + block.size[a]).contains(&position[a])) {
                want.push(index);
            }
        }
        assert_eq!(visited, want);
    }

    #[test]
    fn disjoint_means_no_common_voxel() {
        let cube = [4, 4, 4];
        let a = Block { corner: [0, 1, 1], size: [2, 2, 2] };
        for index in 0..27 {
            let b = Block { corner: [index / 9, index / 3 % 3, index % 3], size: [1, 2, 1] };
            let common = a.rows(cube).flatten().any(|voxel| b.rows(cube).flatten().any(|v| v == voxel));
            assert_eq!(a.disjoint(b), !common, "{b:?}");
        }
    }
}

//! Cuts output positions into blocks, the work of one task.

use super::axis::Axis;
use std::ops::Range;

/// Output positions of one sample.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub sample: usize,
    pub ranges: [Range<usize>; 3],
}

impl Block {
    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).product()
    }

    /// The block cut into blocks of one plane each.
    pub fn planes(&self) -> impl Iterator<Item = Self> {
        let [depths, rows, columns] = self.ranges.clone();
        let sample = self.sample;
        depths.map(move |d| Self { sample, ranges: [d..d + 1, rows.clone(), columns.clone()] })
    }
}

/// A row longer than this is cut where neighbouring positions read the same voxels.
const LONGEST_ROW: usize = 96;
/// Rows are cut into multiples of this, the rows of an AMX tile.
const ROW_STEP: usize = 16;

/// Blocks of about `voxels` positions, as high as they are deep: blocks read voxels around them, and so
/// they read the fewest.
pub(super) fn blocks(axes: &[Axis; 3], batch: usize, voxels: usize) -> Vec<Block> {
    let [depth, height, width] = [0, 1, 2].map(|axis| axes[axis].count());
    let most = if axes[2].is_identity() { voxels } else { LONGEST_ROW };
    let even = |extent: usize, most: usize| extent.div_ceil(extent.div_ceil(most.max(1)).max(1));
    let columns = match width {
        0 => 1,
        width if width <= most => width,
        width => even(width, most).next_multiple_of(ROW_STEP),
    };
    let rows = (voxels / columns).max(1);
    let square = (1..).find(|side| side * side >= rows).unwrap_or(1);
    let planes = depth.clamp(1, square);
    let high = height.clamp(1, (rows / planes).max(1));
    let planes = depth.clamp(1, (rows / high).max(1));
    let steps = [even(depth, planes), even(height, high), columns].map(|step| step.max(1));
    let mut blocks = Vec::new();
    for sample in 0..batch {
        for d in (0..depth).step_by(steps[0]) {
            for h in (0..height).step_by(steps[1]) {
                for w in (0..width).step_by(steps[2]) {
                    let ranges =
                        [d..depth.min(d + steps[0]), h..height.min(h + steps[1]), w..width.min(w + steps[2])];
                    blocks.push(Block { sample, ranges });
                }
            }
        }
    }
    blocks
}

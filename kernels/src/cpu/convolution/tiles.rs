//! Which voxels a task's tiles hold and what their taps read, computed once for all channels.

use super::gather::Gather;
use super::geometry::{AxisClass, OUTSIDE};
use std::ops::Range;

/// A block of voxels of one class, for some blocks of output channels.
pub(super) struct Task {
    pub class: [usize; 3],
    pub voxels: Range<usize>,
    pub blocks: Range<usize>,
}

/// The tiles of a task with their tap lists, used again for every block of channels.
pub(super) struct Tiles {
    pub list: Vec<TileVoxels>,
    /// For each tap of each tile its number and what it reads, as [`super::gather_tile::Tile`] wants.
    pub taps: Vec<i32>,
}

/// The most voxels any micro-kernel's tile has.
const MOST_TILE: usize = 16;

/// One tile: its output voxels, and its part of the tap list.
pub(super) struct TileVoxels {
    pub voxels: [i32; MOST_TILE],
    pub count: usize,
    pub first_tap: usize,
    pub tap_count: usize,
}

impl Tiles {
    pub fn new(gather: &Gather, size: usize, task: &Task) -> Self {
        let axes: [&AxisClass; 3] = std::array::from_fn(|axis| &gather.classes[axis][task.class[axis]]);
        let [d, h, w] = axes;
        let tap_count: usize = axes.iter().map(|axis| axis.taps.len()).product();
        let tiles = task.voxels.len().div_ceil(size);
        let mut all = Self {
            list: Vec::with_capacity(tiles),
            taps: Vec::with_capacity(tiles * tap_count * (1 + size) + MOST_TILE),
        };
        let mut columns: Vec<[i32; MOST_TILE]> = Vec::with_capacity(w.taps.len());
        for first in task.voxels.clone().step_by(size) {
            let count = size.min(task.voxels.end - first);
            let mut positions = [[0usize; 4]; MOST_TILE];
            let mut voxels = [0i32; MOST_TILE];
            for m in 0..count {
                let index = first + m;
                let (rest, iw) = (index / w.count, index % w.count);
                let (rest, ih) = (rest / h.count, rest % h.count);
                let (n, id) = (rest / d.count, rest % d.count);
                positions[m] = [n, id, ih, iw];
                let at = |axis: &AxisClass, i: usize| axis.first + axis.step * i;
                let row = (n * gather.output[0] + at(d, id)) * gather.output[1] + at(h, ih);
                voxels[m] = (row * gather.output[2] + at(w, iw)) as i32;
            }
            let first_tap = all.taps.len();
            let mut listed = 0;
            columns.clear();
            for tap in &w.taps {
                let reads = |m: usize| if m < count { tap.reads[positions[m][3]] } else { OUTSIDE };
                columns.push(std::array::from_fn::<i32, MOST_TILE, _>(reads));
            }
            for td in &d.taps {
                for th in &h.taps {
                    let mut rows = [OUTSIDE; MOST_TILE];
                    for m in 0..count {
                        let [n, id, ih, _] = positions[m];
                        let (rd, rh) = (td.reads[id], th.reads[ih]);
                        if rd >= 0 && rh >= 0 {
                            let row = (n * gather.input[0] + rd as usize) * gather.input[1] + rh as usize;
                            rows[m] = (row * gather.input[2]) as i32;
                        }
                    }
                    let tap = (td.position * gather.kernel[1] + th.position) * gather.kernel[2];
                    for (tw, column) in w.taps.iter().zip(&columns) {
                        let reads: [i32; MOST_TILE] = std::array::from_fn(|m| rows[m] + column[m]);
                        if reads.iter().any(|&read| read >= 0) {
                            all.taps.push((tap + tw.position) as i32);
                            // A copy of constant size, then cut: cheaper than a call to copy fewer.
                            all.taps.extend_from_slice(&reads);
                            all.taps.truncate(all.taps.len() - (MOST_TILE - size));
                            listed += 1;
                        }
                    }
                }
            }
            all.list.push(TileVoxels { voxels, count, first_tap, tap_count: listed });
        }
        all
    }
}

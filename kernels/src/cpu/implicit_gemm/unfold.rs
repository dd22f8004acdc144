//! Few channels: the taps of a voxel are laid side by side, so that they become one deep product.

use super::axis::Line;
use super::block::Block;
use super::pack::Layout;

/// Runs of packed values that are consecutive in the packed voxels and in the unfolded one.
struct Run {
    from: usize,
    to: usize,
    length: usize,
}

/// Unfolds packed voxels of `channels` values into `[output position][depth]`, taps in the kernel's order,
/// zeros after the last. `to` has one value to spare for each position's last run.
pub(super) fn unfold<T: bytemuck::Pod>(
    layout: &Layout,
    lines: [&Line; 3],
    block: &Block,
    (packed, channels): (&[T], usize),
    (to, depth): (&mut [T], usize),
    kernel: [usize; 3],
) {
    let mut runs: Vec<Run> = Vec::new();
    let mut filled = vec![false; depth];
    for &d in &lines[0].taps {
        for &h in &lines[1].taps {
            for &w in &lines[2].taps {
                let tap = (d.position * kernel[1] + h.position) * kernel[2] + w.position;
                let (from, to) = (layout.place([d, h, w]) * channels, tap * channels);
                filled[to..to + channels].fill(true);
                match runs.last_mut() {
                    Some(run) if run.from + run.length == from && run.to + run.length == to => {
                        run.length += channels;
                    }
                    _ => runs.push(Run { from, to, length: channels }),
                }
            }
        }
    }
    // Taps that read padding alone are no run, nor is what pads the depth.
    let gaps: Vec<usize> = (0..depth).filter(|&place| !filled[place]).collect();
    let [depths, rows, columns] = [0, 1, 2].map(|axis| block.ranges[axis].len());
    let mut voxels = to.chunks_exact_mut(depth);
    for d in 0..depths {
        for h in 0..rows {
            let row = (d * layout.plane() + h * layout.row()) * channels;
            for w in 0..columns {
                let Some(voxel) = voxels.next() else { return };
                let packed = &packed[row + w * channels..];
                for run in &runs {
                    let (from, to) = (&packed[run.from..], &mut voxel[run.to..]);
                    // Three taps of one channel is what a first layer has.
                    match run.length {
                        1 => to[0] = from[0],
                        3 => to[..3].copy_from_slice(&from[..3]),
                        length => to[..length].copy_from_slice(&from[..length]),
                    }
                }
                for &gap in &gaps {
                    voxel[gap] = T::zeroed();
                }
            }
        }
    }
}

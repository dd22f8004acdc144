//! The matrix products of one point of the transformed domain: a small block of sums in registers,
//! one factor broadcast value by value, the other read by vectors.

use super::LINE;
use super::cube::prefetch;
use crate::cpu::vector::Vector;

/// Where a block's factors and sums lie, in 32-bit words. A word holds an f32, or a pair of bf16 values
/// that are neighbours in the summed dimension.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// The broadcast factor, row m at `m · row`.
    pub broadcast: *const f32,
    pub row: usize,
    /// Words from one group of steps to the next; of a sum over channels, from one line to the next.
    pub group: usize,
    /// Groups of INNER steps.
    pub groups: usize,
    /// The vector factor: the words of step k of group g are at `g · vectors_group + k · NV · LANES`.
    pub vectors: *const f32,
    pub vectors_group: usize,
    /// Lines of it that are wanted soon: the hardware does not foresee where they begin.
    pub ahead: *const f32,
    pub ahead_lines: usize,
    /// The sums: vector v of row m is at `m · sums_row + v · sums_vector`.
    pub sums: *mut f32,
    pub sums_row: usize,
    pub sums_vector: usize,
    /// True to start from 0 rather than from what `sums` holds.
    pub fresh: bool,
    /// True to store the sums past the caches, where they fill whole lines.
    pub streamed: bool,
}

/// `sums[m][v] (+)= Σ broadcast[m][k] · vectors[k][v]`.
///
/// A sum over channels has the steps of a row in consecutive words, LINE / INNER groups to a line. With
/// `OVER_TILES` it is one over tiles: a row's steps are vectors apart, and the sums come from beyond the L2
/// cache; they are asked for first and added last.
///
/// Every address follows from constants and a few pointers: strides known only at run time made the
/// compiler load the vectors of all INNER steps first and spill them.
///
/// # Safety
/// The machine has the instruction set of `V`; MR rows, all steps and NV vectors are valid; the sums are
/// aligned to vectors where `streamed`.
#[inline(always)]
pub(super) unsafe fn multiply<
    V: Vector,
    const MR: usize,
    const NV: usize,
    const INNER: usize,
    const PAIRS: bool,
    const OVER_TILES: bool,
>(
    block: &Block,
) {
    let share = if OVER_TILES { 1 } else { LINE / INNER };
    let step = if OVER_TILES { V::LANES } else { 1 };
    // SAFETY: the caller's contract; a prefetch reads nothing.
    unsafe {
        let mut sums = [[V::splat(0.0); NV]; MR];
        if !block.fresh {
            for m in 0..MR {
                for v in 0..NV {
                    let held = block.sums.add(m * block.sums_row + v * block.sums_vector);
                    if OVER_TILES {
                        prefetch(held);
                    } else {
                        sums[m][v] = V::load(held);
                    }
                }
            }
        }
        let mut rows = [block.broadcast; MR];
        for m in 0..MR {
            rows[m] = block.broadcast.add(m * block.row);
        }
        for line in 0..block.ahead_lines {
            prefetch(block.ahead.wrapping_add(line * LINE));
        }
        if !OVER_TILES {
            // The rows after these.
            for m in MR..2 * MR {
                prefetch(block.broadcast.wrapping_add(m * block.row));
                for v in (0..NV).step_by(LINE / V::LANES) {
                    prefetch(block.sums.wrapping_add(m * block.sums_row + v * block.sums_vector));
                }
            }
        }
        let mut vectors = block.vectors;
        for index in 0..block.groups {
            if !OVER_TILES && index % share == 0 {
                for row in rows {
                    prefetch(row.wrapping_add(block.group));
                }
            }
            for k in 0..INNER {
                let mut right = [V::splat(0.0); NV];
                for v in 0..NV {
                    right[v] = V::load(vectors.add((k * NV + v) * V::LANES));
                }
                for m in 0..MR {
                    let left = V::splat(*rows[m].add(k * step));
                    for v in 0..NV {
                        sums[m][v] = if PAIRS {
                            sums[m][v].add_pair_products(left, right[v])
                        } else {
                            left.mul_add(right[v], sums[m][v])
                        };
                    }
                }
            }
            let end_of_line = (index + 1) % share == 0;
            let on = if end_of_line { block.group - (share - 1) * INNER } else { INNER };
            for m in 0..MR {
                rows[m] = rows[m].wrapping_add(on);
            }
            vectors = vectors.wrapping_add(block.vectors_group);
        }
        for m in 0..MR {
            for v in 0..NV {
                let held = block.sums.add(m * block.sums_row + v * block.sums_vector);
                if OVER_TILES && !block.fresh {
                    sums[m][v] = V::load(held).add(sums[m][v]);
                }
                if OVER_TILES && block.streamed {
                    sums[m][v].stream(held);
                } else {
                    sums[m][v].store(held);
                }
            }
        }
    }
}

//! The matrix products of one point of the transformed domain: a small block of sums in registers,
//! one factor broadcast value by value, the other read by vectors.

use crate::cpu::vector::Vector;

/// Where a block's factors and sums lie, in 32-bit words. A word holds an f32, or a pair of bf16 values
/// that are neighbours in the summed dimension.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// The broadcast factor: the word of row m and step k of group g is at
    /// `m · row + g · group + k · step`.
    pub broadcast: *const f32,
    pub row: usize,
    pub step: usize,
    pub group: usize,
    /// Groups of INNER steps.
    pub groups: usize,
    /// The vector factor: the words of that step are at `g · vectors_group + k · vectors_step`.
    pub vectors: *const f32,
    pub vectors_step: usize,
    pub vectors_group: usize,
    /// The sums: vector v of row m is at `m · sums_row + v · sums_vector`.
    pub sums: *mut f32,
    pub sums_row: usize,
    pub sums_vector: usize,
    /// True to start from 0 rather than from what `sums` holds.
    pub fresh: bool,
}

/// `sums[m][v] (+)= Σ broadcast[m][k] · vectors[k][v]`; `FAR` where the sums come from beyond the L2 cache:
/// they are then asked for first and added last.
///
/// # Safety
/// The machine has the instruction set of `V`; MR rows, all steps and NV vectors are valid.
#[inline(always)]
pub(super) unsafe fn multiply<
    V: Vector,
    const MR: usize,
    const NV: usize,
    const INNER: usize,
    const PAIRS: bool,
    const FAR: bool,
>(
    block: &Block,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[V::splat(0.0); NV]; MR];
        if !block.fresh {
            for m in 0..MR {
                for v in 0..NV {
                    let held = block.sums.add(m * block.sums_row + v * block.sums_vector);
                    if FAR {
                        super::cube::prefetch(held);
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
        let mut vectors = block.vectors;
        for _ in 0..block.groups {
            for k in 0..INNER {
                let mut right = [V::splat(0.0); NV];
                for v in 0..NV {
                    right[v] = V::load(vectors.add(k * block.vectors_step + v * V::LANES));
                }
                for m in 0..MR {
                    let left = V::splat(*rows[m].add(k * block.step));
                    for v in 0..NV {
                        sums[m][v] = if PAIRS {
                            sums[m][v].add_pair_products(left, right[v])
                        } else {
                            left.mul_add(right[v], sums[m][v])
                        };
                    }
                }
            }
            for m in 0..MR {
                rows[m] = rows[m].wrapping_add(block.group);
            }
            vectors = vectors.wrapping_add(block.vectors_group);
        }
        if FAR && !block.fresh {
            for m in 0..MR {
                for v in 0..NV {
                    let held = V::load(block.sums.add(m * block.sums_row + v * block.sums_vector));
                    sums[m][v] = held.add(sums[m][v]);
                }
            }
        }
        for m in 0..MR {
            for v in 0..NV {
                sums[m][v].store(block.sums.add(m * block.sums_row + v * block.sums_vector));
            }
        }
    }
}

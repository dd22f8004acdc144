//! The matrix products of one point of the transformed domain: a small block of sums in registers,
//! one factor broadcast value by value, the other read by vectors.

use crate::cpu::vector::Vector;

/// Where a block's factors and sums lie, in 32-bit words. A word holds an f32, or a pair of bf16 values
/// that are neighbours in the summed dimension.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// The broadcast factor: the word of row m and step k is at `m · row + k · step`.
    pub broadcast: *const f32,
    pub row: usize,
    pub step: usize,
    /// The vector factor: the words of step k are at `k · pitch`.
    pub vectors: *const f32,
    pub pitch: usize,
    /// Steps of the sum.
    pub steps: usize,
    /// The sums: row m is at `m · sums_row`.
    pub sums: *mut f32,
    pub sums_row: usize,
    /// True to start from 0 rather than from what `sums` holds.
    pub fresh: bool,
}

/// `sums[m][v] (+)= Σ broadcast[m][k] · vectors[k][v]`.
///
/// # Safety
/// The machine has the instruction set of `V`; MR rows, `steps` steps and NV vectors are valid.
#[inline(always)]
pub(super) unsafe fn multiply<V: Vector, const MR: usize, const NV: usize, const PAIRS: bool>(
    block: &Block,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[V::splat(0.0); NV]; MR];
        if !block.fresh {
            for m in 0..MR {
                for v in 0..NV {
                    sums[m][v] = V::load(block.sums.add(m * block.sums_row + v * V::LANES));
                }
            }
        }
        let mut rows = [block.broadcast; MR];
        for m in 0..MR {
            rows[m] = block.broadcast.add(m * block.row);
        }
        let mut vectors = block.vectors;
        for k in 0..block.steps {
            let mut right = [V::splat(0.0); NV];
            for v in 0..NV {
                right[v] = V::load(vectors.add(v * V::LANES));
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
            vectors = vectors.add(block.pitch);
        }
        for m in 0..MR {
            for v in 0..NV {
                sums[m][v].store(block.sums.add(m * block.sums_row + v * V::LANES));
            }
        }
    }
}

//! The micro-kernel of the weight gradient: a block of input channels times a block of output
//! channels of one tap, held in registers over rows of voxels.

use crate::Isa;
use crate::cpu::vector::{self, Vector};

/// One call of the micro-kernel. `MR` is the kernel's `rows`, `NR` its `lanes`.
pub(super) struct WeightTile {
    /// Packed input, `MR` channels a voxel.
    pub input: *const f32,
    /// Values from the input voxel of one output voxel to that of the next.
    pub input_step: usize,
    /// Packed output gradient, `NR` channels a voxel, voxels of a row consecutive.
    pub gradient: *const f32,
    /// Where each row starts: its value in the input, its value in the output gradient.
    pub rows: *const [u32; 2],
    /// Number of rows.
    pub row_count: usize,
    /// Output voxels of a row.
    pub voxels: usize,
    /// The sums to add to, `[MR][NR]`.
    pub sums: *mut f32,
}

/// A micro-kernel and its block's extents.
#[derive(Clone, Copy)]
pub(super) struct WeightKernel {
    /// Input channels of a block.
    pub rows: usize,
    /// Output channels of a block.
    pub lanes: usize,
    /// # Safety
    /// The pointers of the tile are valid as documented, and the machine has the instruction set.
    pub run: unsafe fn(&WeightTile),
}

impl WeightKernel {
    /// The micro-kernel for an instruction set; a single input channel gets one row, narrow outputs
    /// one register of channels.
    pub fn select(isa: Isa, input_channels: usize, output_channels: usize) -> Self {
        match isa.registers() {
            Isa::Portable if input_channels == 1 => Self { rows: 1, lanes: 8, run: portable::<1, 2> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if input_channels == 1 => Self { rows: 1, lanes: 32, run: avx2::<1, 4> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if input_channels == 1 => Self { rows: 1, lanes: 32, run: avx512::<1, 2> },
            Isa::Portable if output_channels <= 4 => Self { rows: 4, lanes: 4, run: portable::<4, 1> },
            Isa::Portable => Self { rows: 4, lanes: 8, run: portable::<4, 2> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if output_channels <= 8 => Self { rows: 6, lanes: 8, run: avx2::<6, 1> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self { rows: 6, lanes: 16, run: avx2::<6, 2> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if output_channels <= 16 => Self { rows: 8, lanes: 16, run: avx512::<8, 1> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Self { rows: 8, lanes: 32, run: avx512::<8, 2> },
            #[allow(unreachable_patterns)]
            _ => Self { rows: 4, lanes: 8, run: portable::<4, 2> },
        }
    }
}

/// # Safety
/// As [`WeightKernel::run`].
unsafe fn portable<const MR: usize, const NV: usize>(tile: &WeightTile) {
    // SAFETY: the caller's contract.
    unsafe { accumulate::<vector::Portable, MR, NV>(tile) }
}

/// # Safety
/// As [`WeightKernel::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const MR: usize, const NV: usize>(tile: &WeightTile) {
    // SAFETY: the caller's contract.
    unsafe { accumulate::<vector::F32x8, MR, NV>(tile) }
}

/// # Safety
/// As [`WeightKernel::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<const MR: usize, const NV: usize>(tile: &WeightTile) {
    // SAFETY: the caller's contract.
    unsafe { accumulate::<vector::F32x16, MR, NV>(tile) }
}

/// # Safety
/// As [`WeightKernel::run`].
#[inline(always)]
unsafe fn accumulate<V: Vector, const MR: usize, const NV: usize>(tile: &WeightTile) {
    let lanes = NV * V::LANES;
    // SAFETY: the tile's documentation: a row has `voxels` voxels of `NR` gradients, its input
    // voxels are `input_step` apart and have `MR` values each, and there are `MR · NR` sums.
    unsafe {
        let mut sums = [[V::splat(0.0); NV]; MR];
        for m in 0..MR {
            for v in 0..NV {
                sums[m][v] = V::load(tile.sums.add(m * lanes + v * V::LANES));
            }
        }
        for row in 0..tile.row_count {
            let [input, gradient] = *tile.rows.add(row);
            let mut input = tile.input.add(input as usize);
            let mut gradient = tile.gradient.add(gradient as usize);
            let mut left = tile.voxels;
            while left >= 2 {
                add_products(&mut sums, input, gradient);
                add_products(&mut sums, input.add(tile.input_step), gradient.add(lanes));
                input = input.wrapping_add(2 * tile.input_step);
                gradient = gradient.add(2 * lanes);
                left -= 2;
            }
            if left > 0 {
                add_products(&mut sums, input, gradient);
            }
        }
        for m in 0..MR {
            for v in 0..NV {
                sums[m][v].store(tile.sums.add(m * lanes + v * V::LANES));
            }
        }
    }
}

/// Adds the products of one voxel's `MR` inputs and `NR` gradients.
///
/// # Safety
/// Both pointers are valid for as many values, and the machine has the instruction set.
#[inline(always)]
unsafe fn add_products<V: Vector, const MR: usize, const NV: usize>(
    sums: &mut [[V; NV]; MR],
    input: *const f32,
    gradient: *const f32,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut values = [V::splat(0.0); NV];
        for v in 0..NV {
            values[v] = V::load(gradient.add(v * V::LANES));
        }
        for m in 0..MR {
            let factor = V::splat(*input.add(m));
            for v in 0..NV {
                sums[m][v] = factor.mul_add(values[v], sums[m][v]);
            }
        }
    }
}

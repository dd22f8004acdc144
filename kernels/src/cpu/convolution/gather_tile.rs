//! The micro-kernel of forward and data gradient: a tile of voxels times a block of output
//! channels, held in registers over all taps.

use crate::Isa;
use crate::cpu::vector::{self, Vector};

/// One call of the micro-kernel. `MR` is the kernel's `voxels`, `NR` its `lanes`.
pub(super) struct Tile {
    /// The first channel of this segment in voxel 0 of the source.
    pub source: *const f32,
    /// Channels from one source voxel to the next.
    pub source_pitch: usize,
    /// Channels of this segment.
    pub channels: usize,
    /// At least `channels` zeros: what a voxel outside of the source reads.
    pub zeros: *const f32,
    /// `1 + MR` values a tap: its number, and the source voxel of each tile voxel (negative: outside).
    pub taps: *const i32,
    /// Number of taps listed.
    pub tap_count: usize,
    /// Weights of this segment and block, `[tap][channel][NR]`.
    pub panel: *const f32,
    /// The block's first channel in voxel 0 of the output.
    pub output: *mut f32,
    /// Channels from one output voxel to the next.
    pub output_pitch: usize,
    /// The `MR` output voxels; those from `count` on are not written.
    pub voxels: *const i32,
    /// Output voxels of this tile.
    pub count: usize,
    /// Output channels of this block that exist.
    pub lanes: usize,
    /// `NR` values to start the sums from; null to continue from what the output holds.
    pub start: *const f32,
}

/// A micro-kernel and its tile's extents.
#[derive(Clone, Copy)]
pub(super) struct GatherKernel {
    /// Voxels of a tile.
    pub voxels: usize,
    /// Output channels of a block.
    pub lanes: usize,
    /// # Safety
    /// The pointers of the tile are valid as documented, and the machine has the instruction set.
    pub run: unsafe fn(&Tile),
}

impl GatherKernel {
    /// The micro-kernel for an instruction set; narrow outputs get one register of channels.
    pub fn select(isa: Isa, output_channels: usize) -> Self {
        match isa.registers() {
            Isa::Portable if output_channels <= 4 => Self { voxels: 4, lanes: 4, run: portable::<4, 1> },
            Isa::Portable => Self { voxels: 4, lanes: 8, run: portable::<4, 2> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if output_channels <= 8 => Self { voxels: 6, lanes: 8, run: avx2::<6, 1> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self { voxels: 6, lanes: 16, run: avx2::<6, 2> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if output_channels <= 16 => Self { voxels: 8, lanes: 16, run: avx512::<8, 1> },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Self { voxels: 8, lanes: 32, run: avx512::<8, 2> },
            #[allow(unreachable_patterns)]
            _ => Self { voxels: 4, lanes: 8, run: portable::<4, 2> },
        }
    }
}

/// # Safety
/// As [`GatherKernel::run`].
unsafe fn portable<const MR: usize, const NV: usize>(tile: &Tile) {
    // SAFETY: the caller's contract.
    unsafe { gather::<vector::Portable, MR, NV>(tile) }
}

/// # Safety
/// As [`GatherKernel::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const MR: usize, const NV: usize>(tile: &Tile) {
    // SAFETY: the caller's contract.
    unsafe { gather::<vector::F32x8, MR, NV>(tile) }
}

/// # Safety
/// As [`GatherKernel::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<const MR: usize, const NV: usize>(tile: &Tile) {
    // SAFETY: the caller's contract.
    unsafe { gather::<vector::F32x16, MR, NV>(tile) }
}

/// # Safety
/// As [`GatherKernel::run`].
#[inline(always)]
unsafe fn gather<V: Vector, const MR: usize, const NV: usize>(tile: &Tile) {
    let lanes = NV * V::LANES;
    // SAFETY: the tile's documentation: `start` has NR values; an output voxel below `count` has
    // `lanes` channels from `output` on, so a vector from channel v on may touch `lanes - v` of
    // them; source voxels have `channels` values, as `zeros` has; the panel has `[tap][channel][NR]`.
    unsafe {
        let mut sums = [[V::splat(0.0); NV]; MR];
        if tile.start.is_null() {
            for m in 0..MR {
                if m < tile.count {
                    let from = tile.output.add(*tile.voxels.add(m) as usize * tile.output_pitch);
                    for v in 0..NV {
                        let offset = (v * V::LANES).min(tile.lanes);
                        sums[m][v] = V::load_first(from.add(offset), tile.lanes - offset);
                    }
                }
            }
        } else {
            for v in 0..NV {
                let start = V::load(tile.start.add(v * V::LANES));
                for m in 0..MR {
                    sums[m][v] = start;
                }
            }
        }
        for tap in 0..tile.tap_count {
            let entry = tile.taps.add(tap * (1 + MR));
            let mut reads = [tile.zeros; MR];
            for m in 0..MR {
                let voxel = *entry.add(1 + m);
                if voxel >= 0 {
                    reads[m] = tile.source.add(voxel as usize * tile.source_pitch);
                }
            }
            let mut weights = tile.panel.add(*entry as usize * tile.channels * lanes);
            let mut channel = 0;
            while channel + 4 <= tile.channels {
                for unrolled in 0..4 {
                    add_products(&mut sums, &reads, channel + unrolled, weights.add(unrolled * lanes));
                }
                weights = weights.add(4 * lanes);
                channel += 4;
            }
            while channel < tile.channels {
                add_products(&mut sums, &reads, channel, weights);
                weights = weights.add(lanes);
                channel += 1;
            }
        }
        // The place for more epilogues: the finished sums are in registers here.
        for m in 0..MR {
            if m < tile.count {
                let to = tile.output.add(*tile.voxels.add(m) as usize * tile.output_pitch);
                for v in 0..NV {
                    let offset = (v * V::LANES).min(tile.lanes);
                    sums[m][v].store_first(to.add(offset), tile.lanes - offset);
                }
            }
        }
    }
}

/// Adds the products of one channel of the `MR` voxels and its `NR` weights.
///
/// # Safety
/// Each read is valid at `channel`, `weights` for `NR` values, and the machine has the instruction
/// set.
#[inline(always)]
unsafe fn add_products<V: Vector, const MR: usize, const NV: usize>(
    sums: &mut [[V; NV]; MR],
    reads: &[*const f32; MR],
    channel: usize,
    weights: *const f32,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut weight = [V::splat(0.0); NV];
        for v in 0..NV {
            weight[v] = V::load(weights.add(v * V::LANES));
        }
        for m in 0..MR {
            let value = V::splat(*reads[m].add(channel));
            for v in 0..NV {
                sums[m][v] = value.mul_add(weight[v], sums[m][v]);
            }
        }
    }
}

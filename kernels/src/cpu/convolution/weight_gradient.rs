//! Weight gradient: for every tap the product of input and output gradient, summed over voxels.
//!
//! Rows of voxels are divided into a number of parts that depends on the shape alone. Each part sums
//! its rows into a block of its own; the blocks are then added in order and put into the weights'
//! layout. A few rows at a time of both operands are packed so that the micro-kernel's reads are
//! consecutive and stay in the L1 cache; padding becomes zeros there.

use super::geometry::{Geometry, MOST_VOXELS};
use super::weight_tile::{WeightKernel, WeightTile};
use crate::{Context, Error, Result};
use genesis_tensor::parallel::SendPointer;
use genesis_tensor::{DType, Tensor};
use std::ops::Range;

/// Output voxels whose gradients are packed at a time: 24 KB in blocks of 32 channels.
const CHUNK_VOXELS: usize = 192;
/// Input channels a task handles.
const TASK_INPUTS: usize = 64;
/// Bytes of a task's sums, half of a core's L2 cache: this many output channels share packed input.
const TASK_BYTES: usize = 512 << 10;
/// Tasks wanted, so that many threads share them evenly.
const TASKS: usize = 48;
/// Values that the sums of all parts may take.
const MOST_SUMS: usize = 6 << 20;

/// Where a weight's gradient goes: that of (output channel o, input channel c, tap t) to
/// `first + o · output_stride + c · input_stride + t`.
#[derive(Clone, Copy)]
pub(crate) struct WeightLayout {
    pub first: usize,
    pub output_stride: usize,
    pub input_stride: usize,
}

/// One weight gradient.
struct WeightGradient<'a> {
    geometry: &'a Geometry,
    input: &'a [f32],
    inputs: usize,
    gradient: &'a [f32],
    outputs: usize,
    kernel: WeightKernel,
    /// Rows of output voxels packed at a time.
    chunk: usize,
}

/// Computes the gradient of the weights between `input`, `[batch, image…, inputs]`, and `gradient`,
/// `[batch, result…, outputs]`.
pub(crate) fn weight_gradient(
    cx: &Context,
    geometry: &Geometry,
    (input, inputs): (&[f32], usize),
    (gradient, outputs): (&[f32], usize),
    layout: WeightLayout,
    weights: &mut [f32],
) -> Result<()> {
    let voxels = |extents: &[usize; 3]| extents.iter().product::<usize>() * geometry.batch;
    assert_eq!(input.len(), voxels(&geometry.image) * inputs);
    assert_eq!(gradient.len(), voxels(&geometry.result) * outputs);
    if voxels(&geometry.image).max(voxels(&geometry.result)) > MOST_VOXELS {
        return Err(Error::operation("convolution", format!("more than {MOST_VOXELS} voxels")));
    }
    let kernel = WeightKernel::select(cx.isa, inputs, outputs);
    let chunk = (CHUNK_VOXELS / geometry.result[2]).max(1);
    let job = WeightGradient { geometry, input, inputs, gradient, outputs, kernel, chunk };

    let (input_blocks, output_blocks) = (inputs.div_ceil(kernel.rows), outputs.div_ceil(kernel.lanes));
    let size = kernel.rows * kernel.lanes * geometry.taps();
    let input_group = (TASK_INPUTS / kernel.rows).min(input_blocks);
    let output_group = (TASK_BYTES / (4 * input_group * size)).clamp(1, output_blocks);
    let groups = [input_blocks.div_ceil(input_group), output_blocks.div_ceil(output_group)];
    let all = input_blocks * output_blocks * size;
    let rows = geometry.batch * geometry.result[0] * geometry.result[1];
    let chunks = rows.div_ceil(chunk);
    let wanted = TASKS.div_ceil(groups[0] * groups[1]).min((MOST_SUMS / all).max(1)).min(chunks);
    let part_rows = chunks.div_ceil(wanted) * chunk;
    let parts = rows.div_ceil(part_rows);

    let mut sums = Tensor::unspecified([parts * all], DType::F32)?;
    let out = SendPointer(sums.as_mut_slice()?.as_mut_ptr());
    cx.pool.run(parts * groups[0] * groups[1], |task| {
        let (part, group) = (task / (groups[0] * groups[1]), task % (groups[0] * groups[1]));
        let (ig, og) = (group % groups[0], group / groups[0]);
        let ib = ig * input_group..input_blocks.min((ig + 1) * input_group);
        let ob = og * output_group..output_blocks.min((og + 1) * output_group);
        let rows = part * part_rows..rows.min((part + 1) * part_rows);
        // The sums are `[part][output block][input block][tap][MR][NR]`.
        let at = |o: usize| {
            // SAFETY: inside the tensor, and (part, o, ib) belongs to this task alone.
            unsafe {
                let start = out.get().add(part * all + (o * input_blocks + ib.start) * size);
                std::slice::from_raw_parts_mut(start, ib.len() * size)
            }
        };
        job.sum(rows, ib.clone(), ob, at);
    });

    let (sums, out) = (sums.as_slice(), SendPointer(weights.as_mut_ptr()));
    let (taps, total) = (geometry.taps(), weights.len());
    cx.pool.run(input_blocks * output_blocks, |pair| {
        let (o0, c0) = (pair / input_blocks * kernel.lanes, pair % input_blocks * kernel.rows);
        let mut sum = sums[pair * size..][..size].to_vec();
        for part in 1..parts {
            for (sum, value) in sum.iter_mut().zip(&sums[part * all + pair * size..][..size]) {
                *sum += value;
            }
        }
        for o in o0..outputs.min(o0 + kernel.lanes) {
            for c in c0..inputs.min(c0 + kernel.rows) {
                let start = layout.first + o * layout.output_stride + c * layout.input_stride;
                assert!(start + taps <= total);
                for tap in 0..taps {
                    let value = sum[(tap * kernel.rows + c - c0) * kernel.lanes + o - o0];
                    // SAFETY: inside the weights (asserted); each (o, c) belongs to one pair alone.
                    unsafe { *out.get().add(start + tap) = value };
                }
            }
        }
    });
    Ok(())
}

impl WeightGradient<'_> {
    /// Sums over `rows` of output voxels, for blocks of channels.
    fn sum<'s>(
        &self,
        rows: Range<usize>,
        input_blocks: Range<usize>,
        output_blocks: Range<usize>,
        sums_of: impl Fn(usize) -> &'s mut [f32],
    ) {
        let (geometry, kernel) = (self.geometry, self.kernel);
        let [kernel_d, kernel_h, kernel_w] = geometry.kernel;
        let size = kernel.rows * kernel.lanes * geometry.taps();
        for block in output_blocks.clone() {
            sums_of(block).fill(0.0);
        }
        let mut packed_input = PackedInput::new(geometry);
        let mut packed_gradient = Vec::new();
        let mut lists: Vec<Vec<[u32; 2]>> = vec![Vec::new(); kernel_d * kernel_h];
        for first in rows.clone().step_by(self.chunk) {
            let chunk = first..rows.end.min(first + self.chunk);
            packed_input.list_rows(geometry, chunk.clone(), kernel, &mut lists);
            packed_input.pack(self, input_blocks.clone());
            self.pack_gradient(chunk.clone(), output_blocks.clone(), &mut packed_gradient);
            let gradients = chunk.len() * geometry.result[2] * kernel.lanes;
            for (index, block) in output_blocks.clone().enumerate() {
                let sums = sums_of(block);
                let gradient = &packed_gradient[index * gradients..][..gradients];
                for (index, sums) in sums.chunks_exact_mut(size).enumerate() {
                    let input = packed_input.block(index);
                    for (tap, sums) in sums.chunks_exact_mut(kernel.rows * kernel.lanes).enumerate() {
                        let rows = &lists[tap / kernel_w];
                        let shift = tap % kernel_w * geometry.dilation[2] * kernel.rows;
                        let tile = WeightTile {
                            input: input[shift..].as_ptr(),
                            input_step: geometry.stride[2] * kernel.rows,
                            gradient: gradient.as_ptr(),
                            rows: rows.as_ptr(),
                            row_count: rows.len(),
                            voxels: geometry.result[2],
                            sums: sums.as_mut_ptr(),
                        };
                        // SAFETY: the lists hold starts of packed rows; a packed input row has the
                        // padded width, which the last output voxel's last tap just reaches; a
                        // packed gradient row has `voxels · NR` values. The kernel was selected for
                        // this context's instruction set.
                        unsafe { (kernel.run)(&tile) };
                    }
                }
            }
        }
    }

    /// Packs gradients of rows as `[block][row][w][NR]`, zero in lanes without a channel.
    fn pack_gradient(&self, rows: Range<usize>, blocks: Range<usize>, packed: &mut Vec<f32>) {
        let (lanes, width) = (self.kernel.lanes, self.geometry.result[2]);
        packed.resize(blocks.len() * rows.len() * width * lanes, 0.0);
        let voxels = &self.gradient[rows.start * width * self.outputs..rows.end * width * self.outputs];
        let block_size = rows.len() * width * lanes;
        for (place, voxel) in voxels.chunks_exact(self.outputs).enumerate() {
            for (index, block) in blocks.clone().enumerate() {
                let to = &mut packed[index * block_size + place * lanes..][..lanes];
                copy_channels(to, &voxel[block * lanes..self.outputs.min((block + 1) * lanes)]);
            }
        }
    }
}

/// Copies a voxel's channels and fills up with zeros. Whole blocks are copied by their size, known
/// to the compiler: the general copy costs several times as much on so few values.
#[inline(always)]
fn copy_channels(to: &mut [f32], from: &[f32]) {
    #[inline(always)]
    fn whole<const N: usize>(to: &mut [f32], from: &[f32]) -> bool {
        match (<&mut [f32; N]>::try_from(to), <&[f32; N]>::try_from(from)) {
            (Ok(to), Ok(from)) => {
                *to = *from;
                true
            }
            _ => false,
        }
    }
    let copied = match to.len() {
        1 => whole::<1>(to, from),
        4 => whole::<4>(to, from),
        6 => whole::<6>(to, from),
        8 => whole::<8>(to, from),
        16 => whole::<16>(to, from),
        32 => whole::<32>(to, from),
        _ => false,
    };
    if !copied {
        to[..from.len()].copy_from_slice(from);
        to[from.len()..].fill(0.0);
    }
}

/// Rows of the image that a chunk of output rows reads, `[block][row][padded w][MR]`.
struct PackedInput {
    values: Vec<f32>,
    /// The place of each image row in the pack, or `NOWHERE`.
    places: Vec<u32>,
    /// The image rows packed, by place.
    rows: Vec<usize>,
    /// Width of a packed row in voxels: what all taps of all output voxels of a row reach.
    width: usize,
    block_size: usize,
}

const NOWHERE: u32 = u32::MAX;

impl PackedInput {
    fn new(geometry: &Geometry) -> Self {
        let rows = geometry.batch * geometry.image[0] * geometry.image[1];
        let last = (geometry.result[2] - 1) * geometry.stride[2];
        let width = last + (geometry.kernel[2] - 1) * geometry.dilation[2] + 1;
        Self { values: Vec::new(), places: vec![NOWHERE; rows], rows: Vec::new(), width, block_size: 0 }
    }

    /// Lists for each (kernel d, kernel h) the pairs of packed rows that meet; gives each image row
    /// that occurs a place.
    fn list_rows(
        &mut self,
        geometry: &Geometry,
        chunk: Range<usize>,
        kernel: WeightKernel,
        lists: &mut [Vec<[u32; 2]>],
    ) {
        for row in self.rows.drain(..) {
            self.places[row] = NOWHERE;
        }
        let [depth, height, width] = geometry.result;
        for (index, list) in lists.iter_mut().enumerate() {
            let (kd, kh) = (index / geometry.kernel[1], index % geometry.kernel[1]);
            list.clear();
            for (position, row) in chunk.clone().enumerate() {
                let (n, d, h) = (row / height / depth, row / height % depth, row % height);
                let d = geometry.image_coordinate(0, d, kd);
                let h = geometry.image_coordinate(1, h, kh);
                if d < 0 || h < 0 {
                    continue;
                }
                let image_row = (n * geometry.image[0] + d as usize) * geometry.image[1] + h as usize;
                if self.places[image_row] == NOWHERE {
                    self.places[image_row] = self.rows.len() as u32;
                    self.rows.push(image_row);
                }
                let place = self.places[image_row] as usize * self.width * kernel.rows;
                list.push([place as u32, (position * width * kernel.lanes) as u32]);
            }
        }
    }

    /// Packs the listed rows, zero where there is no voxel or no channel.
    fn pack(&mut self, job: &WeightGradient, blocks: Range<usize>) {
        let (geometry, lanes) = (job.geometry, job.kernel.rows);
        self.block_size = self.rows.len() * self.width * lanes;
        self.values.resize(blocks.len() * self.block_size, 0.0);
        let (extent, low) = (geometry.image[2], geometry.low[2]);
        let row_size = self.width * lanes;
        for (place, &row) in self.rows.iter().enumerate() {
            let voxels = &job.input[row * extent * job.inputs..][..extent * job.inputs];
            // Voxel by voxel, not block by block: memory is then read in order.
            for w in 0..self.width {
                let voxel = w.checked_sub(low).filter(|&w| w < extent);
                let voxel = voxel.map(|w| &voxels[w * job.inputs..][..job.inputs]);
                for (index, block) in blocks.clone().enumerate() {
                    let at = index * self.block_size + place * row_size + w * lanes;
                    let to = &mut self.values[at..at + lanes];
                    match voxel {
                        Some(voxel) => {
                            copy_channels(to, &voxel[block * lanes..job.inputs.min((block + 1) * lanes)]);
                        }
                        None => to.fill(0.0),
                    }
                }
            }
        }
    }

    fn block(&self, index: usize) -> &[f32] {
        &self.values[index * self.block_size..][..self.block_size]
    }
}

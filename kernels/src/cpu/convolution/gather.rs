//! Convolution as a gather: tiles of output voxels read the voxels their taps point at.
//!
//! Serves a convolution's forward pass, its data gradient, and both of a transposed one: they differ
//! in [`AxisClass`]es and in how weights are addressed, nothing else.

use super::gather_tile::{GatherKernel, Tile};
use super::geometry::{AxisClass, MOST_VOXELS};
use super::tiles::{Task, Tiles};
use crate::{Context, Error, Result};
use genesis_tensor::parallel::SendPointer;
use genesis_tensor::{DType, Tensor};

/// Bytes of a packed weight panel that is reused over a block of tiles: half of a core's L2 cache.
const PANEL_BYTES: usize = 448 << 10;
/// Output voxels a task handles before it moves to the next panel.
const BLOCK_VOXELS: usize = 256;
/// Tasks wanted, so that many threads share them evenly.
const TASKS: usize = 48;

/// An activation that is read: `[voxels][channels]`.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub values: &'a [f32],
    pub channels: usize,
}

/// Weights; that of (output channel o, input channel c, tap t) is at
/// `o · output_stride + c · input_stride + t`.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub values: &'a [f32],
    pub output_stride: usize,
    pub input_stride: usize,
}

/// One gather convolution. Input channels are those of all sources, one after the other.
pub(crate) struct Gather<'a> {
    pub batch: usize,
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub classes: [Vec<AxisClass>; 3],
    pub sources: &'a [Source<'a>],
    pub weights: Weights<'a>,
    pub bias: Option<&'a [f32]>,
    pub output_channels: usize,
}

/// Consecutive channels of one source, few enough for their panel to stay in cache.
struct Segment<'a> {
    source: Source<'a>,
    /// First channel within the source.
    first: usize,
    /// First channel among those of all sources.
    first_of_all: usize,
    channels: usize,
}

impl Gather<'_> {
    /// Computes the output, `[batch, output…, output_channels]`, every element of it.
    pub fn run(&self, cx: &Context, output: &mut [f32]) -> Result<()> {
        let voxels = |extents: &[usize; 3]| extents.iter().product::<usize>() * self.batch;
        if voxels(&self.input).max(voxels(&self.output)) > MOST_VOXELS {
            return Err(Error::operation("convolution", format!("more than {MOST_VOXELS} voxels")));
        }
        assert_eq!(output.len(), voxels(&self.output) * self.output_channels);
        for source in self.sources {
            assert_eq!(source.values.len(), voxels(&self.input) * source.channels);
        }
        let kernel = GatherKernel::select(cx.isa, self.output_channels);
        let segments = self.segments(kernel.lanes);
        let panels = self.pack(cx, kernel.lanes, &segments)?;
        let most = segments.iter().map(|segment| segment.channels).max().unwrap_or(0);
        let zeros = vec![0.0f32; most];
        let mut bias = vec![0.0f32; self.output_channels.next_multiple_of(kernel.lanes)];
        if let Some(values) = self.bias {
            bias[..self.output_channels].copy_from_slice(values);
        }
        let tasks = self.tasks(kernel);
        let out = SendPointer(output.as_mut_ptr());
        cx.pool.run(tasks.len(), |index| {
            let task = &tasks[index];
            let tiles = Tiles::new(self, kernel.voxels, task);
            for block in task.blocks.clone() {
                let first = block * kernel.lanes;
                for (number, segment) in segments.iter().enumerate() {
                    let panel = &panels.as_slice()[self.panel_start(kernel.lanes, block, segment)..]
                        [..self.taps() * segment.channels * kernel.lanes];
                    for tile in &tiles.list {
                        let call = Tile {
                            source: segment.source.values[segment.first..].as_ptr(),
                            source_pitch: segment.source.channels,
                            channels: segment.channels,
                            zeros: zeros.as_ptr(),
                            taps: tiles.taps[tile.first_tap..].as_ptr(),
                            tap_count: tile.tap_count,
                            panel: panel.as_ptr(),
                            output: out.get().wrapping_add(first),
                            output_pitch: self.output_channels,
                            voxels: tile.voxels.as_ptr(),
                            count: tile.count,
                            lanes: (self.output_channels - first).min(kernel.lanes),
                            start: if number == 0 { bias[first..].as_ptr() } else { std::ptr::null() },
                        };
                        // SAFETY: tap entries hold voxels of the source or negative ones, so each
                        // read stays inside the source's slice (lengths asserted above) or `zeros`;
                        // tap numbers are below `taps()`, so weights stay inside `panel`; output
                        // voxels are below the output's number of voxels, and each (voxel, channel
                        // block) belongs to one task alone. The kernel was selected for `cx.isa`.
                        unsafe { (kernel.run)(&call) };
                    }
                }
            }
        });
        Ok(())
    }

    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    fn channels(&self) -> usize {
        self.sources.iter().map(|source| source.channels).sum()
    }

    /// Equal parts of each source whose panels fit [`PANEL_BYTES`].
    fn segments(&self, lanes: usize) -> Vec<Segment<'_>> {
        let most = (PANEL_BYTES / (4 * lanes * self.taps())).max(16);
        let mut segments = Vec::new();
        let mut before = 0;
        for &source in self.sources {
            let parts = source.channels.div_ceil(most);
            let length = source.channels.div_ceil(parts).next_multiple_of(4);
            for first in (0..source.channels).step_by(length) {
                let channels = length.min(source.channels - first);
                segments.push(Segment { source, first, first_of_all: before + first, channels });
            }
            before += source.channels;
        }
        segments
    }

    fn panel_start(&self, lanes: usize, block: usize, segment: &Segment) -> usize {
        (block * self.channels() + segment.first_of_all) * self.taps() * lanes
    }

    /// The weights as `[block][segment][tap][channel][lanes]`, zero in lanes without a channel.
    fn pack(&self, cx: &Context, lanes: usize, segments: &[Segment]) -> Result<Tensor> {
        let (taps, blocks) = (self.taps(), self.output_channels.div_ceil(lanes));
        let mut panels = Tensor::unspecified([blocks * self.channels() * taps * lanes], DType::F32)?;
        let out = SendPointer(panels.as_mut_slice()?.as_mut_ptr());
        cx.pool.run(blocks * segments.len(), |index| {
            let (block, segment) = (index / segments.len(), &segments[index % segments.len()]);
            let start = self.panel_start(lanes, block, segment);
            // SAFETY: panels of different (block, segment) do not overlap and lie inside the tensor.
            let panel = unsafe {
                let start = out.get().add(start);
                std::slice::from_raw_parts_mut(start, taps * segment.channels * lanes)
            };
            let outputs = (self.output_channels - block * lanes).min(lanes);
            // One channel at a time is transposed in a buffer that fits the L1 cache.
            let mut buffer = vec![0.0f32; taps * lanes];
            for channel in 0..segment.channels {
                for lane in 0..outputs {
                    let from = (block * lanes + lane) * self.weights.output_stride
                        + (segment.first_of_all + channel) * self.weights.input_stride;
                    for (tap, &weight) in self.weights.values[from..from + taps].iter().enumerate() {
                        buffer[tap * lanes + lane] = weight;
                    }
                }
                for (tap, row) in buffer.chunks_exact(lanes).enumerate() {
                    panel[(tap * segment.channels + channel) * lanes..][..lanes].copy_from_slice(row);
                }
            }
        });
        Ok(panels)
    }

    /// Blocks of voxels of every class; where these are few, blocks of channels are shared out too.
    fn tasks(&self, kernel: GatherKernel) -> Vec<Task> {
        let size = (BLOCK_VOXELS / kernel.voxels).max(1) * kernel.voxels;
        let mut ranges = Vec::new();
        for d in 0..self.classes[0].len() {
            for h in 0..self.classes[1].len() {
                for w in 0..self.classes[2].len() {
                    let count = self.class_voxels([d, h, w]);
                    for first in (0..count).step_by(size) {
                        ranges.push(([d, h, w], first..count.min(first + size)));
                    }
                }
            }
        }
        // Neighbouring tasks read the same voxels for different classes.
        ranges.sort_by_key(|(class, voxels)| (voxels.start, *class));
        let blocks = self.output_channels.div_ceil(kernel.lanes);
        let groups = TASKS.div_ceil(ranges.len().max(1)).min(blocks);
        let length = blocks.div_ceil(groups);
        let mut tasks = Vec::new();
        for (class, voxels) in ranges {
            for first in (0..blocks).step_by(length) {
                let blocks = first..blocks.min(first + length);
                tasks.push(Task { class, voxels: voxels.clone(), blocks });
            }
        }
        tasks
    }

    fn class_voxels(&self, class: [usize; 3]) -> usize {
        (0..3).map(|axis| self.classes[axis][class[axis]].count).product::<usize>() * self.batch
    }
}

//! Weights in the order the micro-kernel reads them.

use super::pack::Packed;
use super::tile::Kernel;
use crate::cpu::convolution::Weights;
use crate::{Context, Result};
use genesis_tensor::parallel::SendPointer;
use genesis_tensor::{DType, Tensor};

/// Consecutive channels of one source, few enough for their panel to stay in cache.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub source: usize,
    /// First channel within the source.
    pub first: usize,
    /// First channel among those of all sources.
    pub first_of_all: usize,
    pub channels: usize,
    /// Products of a tap in the panel: the channels and zeros, or, with `unfolded`, of all taps.
    pub depth: usize,
    /// Products of all segments before this one.
    pub before: usize,
}

/// How weights are packed: `[block of outputs][segment][tap][depth / group][lanes][group]`.
pub(super) struct Panels {
    pub segments: Vec<Segment>,
    pub taps: usize,
    /// True if a segment's `depth` runs over `[tap][channel]`, as one long tap.
    pub unfolded: bool,
    pub outputs: usize,
}

impl Panels {
    /// Cuts each source's channels into equal parts whose panels take at most about `bytes`.
    pub fn new(
        kernel: &Kernel,
        channels: &[usize],
        taps: usize,
        unfolded: bool,
        outputs: usize,
        bytes: usize,
    ) -> Self {
        let most = (bytes / (kernel.element * kernel.lanes * taps)).max(32);
        let mut segments: Vec<Segment> = Vec::new();
        let (mut before, mut first_of_all) = (0, 0);
        for (source, &all) in channels.iter().enumerate() {
            let length = all.div_ceil(all.div_ceil(most)).next_multiple_of(kernel.depth.max(4));
            for first in (0..all).step_by(length) {
                let channels = length.min(all - first);
                let depth = if unfolded { taps * channels } else { channels }.next_multiple_of(kernel.depth);
                segments.push(Segment { source, first, first_of_all, channels, depth, before });
                before += if unfolded { depth } else { taps * depth };
                first_of_all += channels;
            }
        }
        Self { segments, taps, unfolded, outputs }
    }

    /// Products of one segment.
    pub fn products(&self, segment: &Segment) -> usize {
        if self.unfolded { segment.depth } else { self.taps * segment.depth }
    }

    fn all_products(&self) -> usize {
        self.segments.last().map_or(0, |last| last.before + self.products(last))
    }

    /// The first element of a panel.
    pub fn start(&self, kernel: &Kernel, block: usize, segment: &Segment) -> usize {
        (block * self.all_products() + segment.before) * kernel.lanes
    }

    /// Packs the weights, zero in lanes without a channel and beyond the channels. The tensor is f32 or
    /// bf16 as the kernel's elements are.
    pub fn pack(&self, cx: &Context, kernel: &Kernel, weights: Weights) -> Result<Tensor> {
        let elements = self.outputs.div_ceil(kernel.lanes) * self.all_products() * kernel.lanes;
        if kernel.element == 2 {
            let mut panels = Tensor::unspecified([elements], DType::Bf16)?;
            self.fill(cx, kernel, weights, panels.as_bf16_mut()?);
            Ok(panels)
        } else {
            let mut panels = Tensor::unspecified([elements], DType::F32)?;
            self.fill(cx, kernel, weights, panels.as_mut_slice()?);
            Ok(panels)
        }
    }

    fn fill<T: Packed>(&self, cx: &Context, kernel: &Kernel, weights: Weights, panels: &mut [T]) {
        let (lanes, group, blocks) = (kernel.lanes, kernel.group, self.outputs.div_ceil(kernel.lanes));
        let out = SendPointer(panels.as_mut_ptr());
        // Tasks of about 64 channels, however few segments there are.
        let mut tasks = Vec::new();
        for block in 0..blocks {
            for segment in &self.segments {
                let step = if self.unfolded { segment.channels } else { 64 };
                tasks.extend((0..segment.channels).step_by(step).map(|first| (block, segment, first, step)));
            }
        }
        cx.pool.run(tasks.len(), |index| {
            let (block, segment, first, step) = tasks[index];
            let start = self.start(kernel, block, segment);
            let outputs = (self.outputs - block * lanes).min(lanes);
            let taps = self.taps;
            // The place of a channel's tap among the segment's products.
            let product = |tap: usize, channel: usize| {
                if self.unfolded { tap * segment.channels + channel } else { tap * segment.depth + channel }
            };
            // SAFETY: (block, segment, channel) belongs to one task, and so do its places, padding
            // included: that beyond the last channel belongs to the task of the last channel.
            let write = |product: usize, lane: usize, value: T| unsafe {
                let place = (product / group * lanes + lane) * group + product % group;
                *out.get().add(start + place) = value;
            };
            // One channel's taps of all lanes are turned over in a buffer that fits the L1 cache.
            let mut buffer = vec![T::zeroed(); taps * lanes];
            let end = segment.channels.min(first + step);
            for channel in first..end {
                for lane in 0..outputs {
                    let from = (block * lanes + lane) * weights.output_stride
                        + (segment.first_of_all + channel) * weights.input_stride;
                    for (tap, &weight) in weights.values[from..from + taps].iter().enumerate() {
                        buffer[tap * lanes + lane] = T::nearest(weight);
                    }
                }
                for (tap, row) in buffer.chunks_exact(lanes).enumerate() {
                    let product = product(tap, channel);
                    for (lane, &value) in row.iter().enumerate() {
                        write(product, lane, value);
                    }
                }
            }
            if end == segment.channels {
                let padding = if self.unfolded { taps * segment.channels } else { segment.channels };
                for tap in 0..if self.unfolded { 1 } else { taps } {
                    for product in padding..segment.depth {
                        for lane in 0..lanes {
                            write(tap * segment.depth + product, lane, T::zeroed());
                        }
                    }
                }
            }
        });
    }
}

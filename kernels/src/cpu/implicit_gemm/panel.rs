//! Weights in the order the micro-kernel reads them.

use super::pack::Packed;
use super::tile::Kernel;
use crate::cpu::convolution::Weights;
use crate::{Context, Result, cpu};
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
        if self.unfolded {
            // Few channels: weight by weight.
            panels.fill(T::zeroed());
            for output in 0..self.outputs {
                for channel in 0..self.segments[0].channels {
                    let from = output * weights.output_stride + channel * weights.input_stride;
                    for tap in 0..self.taps {
                        let product = tap * self.segments[0].channels + channel;
                        let row = self.start(kernel, output / lanes, &self.segments[0]) / group
                            + product / group * lanes
                            + output % lanes;
                        panels[row * group + product % group] = T::nearest(weights.values[from + tap]);
                    }
                }
            }
            return;
        }
        // Tasks of about 64 channels, however few segments there are.
        let mut tasks = Vec::new();
        for block in 0..blocks {
            for segment in &self.segments {
                tasks.extend((0..segment.depth).step_by(64).map(|first| (block, segment, first)));
            }
        }
        cx.pool.run(tasks.len(), |index| {
            let (block, segment, first) = tasks[index];
            let start = self.start(kernel, block, segment);
            let part = Part {
                weights: &weights,
                first_output: block * lanes,
                outputs: (self.outputs - block * lanes).min(lanes),
                taps: self.taps,
            };
            // The taps of a few channels, for all lanes, are turned over in buffers that fit the L1 cache.
            let size = FEW * lanes;
            let mut turned = vec![T::zeroed(); self.taps * size];
            let mut row = vec![T::zeroed(); self.taps * group];
            for product in (first..segment.depth.min(first + 64)).step_by(FEW) {
                let products = (segment.depth - product).min(FEW);
                cx.isa.launch(Turn {
                    part: &part,
                    channel: segment.first_of_all + product,
                    channels: segment.channels.saturating_sub(product).min(FEW),
                    group,
                    lanes,
                    row: &mut row,
                    turned: &mut turned,
                });
                for (tap, turned) in turned.chunks_exact(size).enumerate() {
                    let at = start + (tap * segment.depth + product) * lanes;
                    // SAFETY: inside the panels, and (block, segment, product) belongs to this task alone.
                    let to = unsafe { std::slice::from_raw_parts_mut(out.get().add(at), products * lanes) };
                    to.copy_from_slice(&turned[..products * lanes]);
                }
            }
        });
    }
}

/// The weights of a block of outputs.
struct Part<'a> {
    weights: &'a Weights<'a>,
    first_output: usize,
    outputs: usize,
    taps: usize,
}

/// Channels turned at a time.
const FEW: usize = 8;

/// Brings the taps of a few channels into the order `[tap][group of channels][lane][channel]`.
struct Turn<'a, T> {
    part: &'a Part<'a>,
    channel: usize,
    /// Channels that exist, at most [`FEW`].
    channels: usize,
    group: usize,
    lanes: usize,
    /// Room for the taps of one lane of one group, `[tap][channel of the group]`.
    row: &'a mut [T],
    turned: &'a mut [T],
}

impl<T: Packed> cpu::Kernel for Turn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Part { weights, first_output, outputs, taps } = *self.part;
        let (group, lanes) = (self.group, self.lanes);
        if outputs < lanes || self.channels < FEW {
            self.turned.fill(T::zeroed());
        }
        for lane in 0..outputs {
            let from = (first_output + lane) * weights.output_stride + self.channel * weights.input_stride;
            let taps_of = |channel: usize| &weights.values[from + channel * weights.input_stride..][..taps];
            for channel in (0..self.channels).step_by(group) {
                if group == 2 && channel + 1 < self.channels {
                    let (pairs, _) = self.row.as_chunks_mut::<2>();
                    for ((pair, a), b) in pairs.iter_mut().zip(taps_of(channel)).zip(taps_of(channel + 1)) {
                        *pair = [T::nearest(*a), T::nearest(*b)];
                    }
                    let (turned, _) = self.turned.as_chunks_mut::<2>();
                    let turned = turned[channel / 2 * lanes + lane..].iter_mut().step_by(FEW / 2 * lanes);
                    for (turned, pair) in turned.zip(pairs) {
                        *turned = *pair;
                    }
                } else {
                    let place = (channel / group * lanes + lane) * group;
                    let turned = self.turned[place..].iter_mut().step_by(FEW * lanes);
                    for (turned, weight) in turned.zip(taps_of(channel)) {
                        *turned = T::nearest(*weight);
                    }
                }
            }
        }
    }
}

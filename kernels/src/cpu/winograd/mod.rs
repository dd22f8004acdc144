//! Winograd convolution: 3³ taps, stride 1, with 3.4 or 8 times fewer multiplications.
//!
//! Winograd, *Arithmetic Complexity of Computations*, 1980; Lavin and Gray, CVPR 2016; in three
//! dimensions Budden et al., *Deep Tensor Convolution on Multicores*, 2017, and Jia et al., *Optimizing
//! N-dimensional, Winograd-based convolution for manycore CPUs*, PPoPP 2018. The output is cut into tiles
//! of M³ voxels. Each reads N³ = (M + 2)³ input voxels, which are transformed channel by channel into N³
//! *points*; at each point the channels of all tiles are multiplied with the transformed weights, a matrix
//! product; the result is transformed back.
//!
//! A NaN or infinity in the input reaches every output of the tiles that read it, not only those whose
//! taps do; never another sample.

mod cube;
mod forward;
mod grid;
mod operand;
mod plan;
mod product;
mod scheme;
mod scratch;
mod weight_gradient;
mod weights;

use crate::cpu::Isa;
use crate::cpu::convolution::{WeightLayout, Weights};
use crate::cpu::vector::VectorElement;
use crate::{Context, Result};
pub(crate) use grid::{Grid, Source};
pub(crate) use plan::{Method, Size};
use scheme::{Four, Two};
use scratch::Scratch;

/// Words of a cache line.
const LINE: usize = 16;

/// Words between the points of a buffer beyond their content: without, the same place of all points
/// would fall into one set of the cache. With a single line reading all points took two to three times as
/// long where they are a power of two apart, in one bank of the memory presumably.
const STAGGER: usize = 17 * LINE;

/// Consecutive channels of one source that are transformed together.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    source: usize,
    /// First channel within the source.
    first: usize,
    /// First channel among those of all sources.
    of_all: usize,
    count: usize,
    /// `count` rounded up to whole vectors.
    padded: usize,
    /// First word in the depth of the transformed weights.
    word: usize,
}

/// How channels are cut: the inputs into chunks, the outputs into blocks.
#[derive(Clone, Debug)]
struct Panels {
    chunks: Vec<Chunk>,
    /// Words of all chunks.
    depth: usize,
    outputs: usize,
    /// Output channels of a block.
    width: usize,
    blocks: usize,
}

impl Panels {
    /// Chunks of at most `most` channels (a multiple of `lanes`); blocks of `vectors` vectors.
    fn new(
        channels: &[usize],
        outputs: usize,
        lanes: usize,
        most: usize,
        vectors: usize,
        pairs: bool,
    ) -> Self {
        let (mut chunks, mut of_all, mut word) = (Vec::new(), 0, 0);
        for (source, &channels) in channels.iter().enumerate() {
            let parts = channels.div_ceil(most);
            let length = channels.div_ceil(parts).next_multiple_of(lanes);
            for first in (0..channels).step_by(length) {
                let count = length.min(channels - first);
                let padded = count.next_multiple_of(lanes);
                chunks.push(Chunk { source, first, of_all: of_all + first, count, padded, word });
                word += if pairs { padded / 2 } else { padded };
            }
            of_all += channels;
        }
        let width = vectors * lanes;
        Self { chunks, depth: word, outputs, width, blocks: outputs.div_ceil(width) }
    }

    fn most_padded(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.padded).max().unwrap_or(0)
    }
}

/// A convolution of 3³ taps and stride 1 (or the gradient of its input).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution {
    pub batch: usize,
    pub input: [usize; 3],
    pub output: [usize; 3],
    /// Padding before the first voxel; negative where voxels are cut off.
    pub low: [isize; 3],
    pub method: Method,
}

/// Vector lanes of an instruction set.
fn lanes(isa: Isa) -> usize {
    match isa.registers() {
        Isa::Portable => 4,
        Isa::Avx2 => 8,
        _ => 16,
    }
}

impl Convolution {
    fn grid(&self) -> Grid {
        let (batch, input, output, low) = (self.batch, self.input, self.output, self.low);
        Grid { batch, input, output, low, tile: self.method.tile() }
    }

    /// The convolution that takes the gradient of this one's output to that of its input.
    fn transposed(&self) -> Self {
        Self { input: self.output, output: self.input, low: self.low.map(|low| 2 - low), ..*self }
    }

    /// Computes the results `[batch, output…, channels]`, which together have all output channels, from
    /// sources `[batch, input…, channels]`; `flip` mirrors the taps. The channels of all results but the
    /// last are [whole vectors](Self::divisible).
    pub fn forward<E: VectorElement>(
        &self,
        cx: &Context,
        sources: &[Source<E>],
        (weights, flip): (Weights, bool),
        bias: Option<&[f32]>,
        results: &[usize],
        values: &mut [&mut [E]],
    ) -> Result<()> {
        let (lanes, outputs) = (lanes(cx.isa), results.iter().sum());
        let channels: Vec<usize> = sources.iter().map(|source| source.channels).collect();
        let all: usize = channels.iter().sum();
        let grid = self.grid();
        let blocking = plan::forward(self.method, grid.tiles(), all, outputs, lanes);
        let panels =
            Panels::new(&channels, outputs, lanes, blocking.chunk, blocking.vectors, self.method.pairs());
        let job = forward::Forward { grid, sources, weights, flip, bias, panels, blocking, results, lanes };
        match self.method {
            Method::TwoF32 => job.run::<Two, Two, 2, 4, 2, 4, false>(cx, values),
            Method::TwoBf16 => job.run::<Two, Two, 2, 4, 2, 4, true>(cx, values),
            Method::FourTwoBf16 => job.run::<Four, Two, 4, 6, 2, 4, true>(cx, values),
            Method::FourF32 => job.run::<Four, Four, 4, 6, 4, 6, false>(cx, values),
        }
    }

    /// Whether results of these channels can be computed together.
    pub fn divisible(isa: Isa, results: &[usize]) -> bool {
        let all_but_last = &results[..results.len().saturating_sub(1)];
        all_but_last.iter().all(|channels| channels.is_multiple_of(lanes(isa)))
    }

    /// Computes the gradient of the weights from sources `[batch, input…, channels]` and dy
    /// `[batch, output…, outputs]`.
    pub fn weight_gradient<E: VectorElement>(
        &self,
        cx: &Context,
        sources: &[Source<E>],
        gradient: Source<E>,
        layout: WeightLayout,
        result: &mut [f32],
    ) -> Result<()> {
        let lanes = lanes(cx.isa);
        let channels: Vec<usize> = sources.iter().map(|source| source.channels).collect();
        let (chunk, slab) = plan::weight_gradient(self.method, gradient.channels, lanes);
        let panels = Panels::new(&channels, gradient.channels, lanes, chunk, 2, self.method.pairs());
        let mirrored = channels.iter().sum::<usize>() > gradient.channels;
        let grid = if mirrored { self.transposed() } else { *self }.grid();
        let job = weight_gradient::WeightGradient { grid, sources, gradient, panels, lanes, slab, mirrored };
        match self.method {
            Method::TwoF32 => job.run::<Two, Two, 2, 4, 2, 4, false>(cx, layout, result),
            Method::TwoBf16 => job.run::<Two, Two, 2, 4, 2, 4, true>(cx, layout, result),
            Method::FourTwoBf16 => job.run::<Four, Two, 4, 6, 2, 4, true>(cx, layout, result),
            Method::FourF32 => job.run::<Four, Four, 4, 6, 4, 6, false>(cx, layout, result),
        }
    }
}

#[cfg(test)]
mod tests;

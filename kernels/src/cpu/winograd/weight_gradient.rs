//! The gradient of the weights in the transformed domain.
//!
//! A slab of tiles at a time, input and output gradient are transformed (`Bᵀ x`, `A dy`); at each point
//! the input channels of all tiles times the output channels of all tiles are summed over the tiles; after
//! the last slab `Gᵀ` brings the sums back. Every sum is made by one task, slab after slab, so its bits do
//! not depend on threads.

use super::cube::{self, Emit, MOST, PairPlanes, Planes, Voxels};
use super::product::{self, Block};
use super::scheme::Scheme;
use super::{Chunk, Grid, Panels, STAGGER, Source};
use crate::cpu::VectorKernel;
use crate::cpu::convolution::WeightLayout;
use crate::cpu::vector::{Element, Vector};
use crate::{Context, Result};
use genesis_tensor::parallel::SendPointer;
use genesis_tensor::{DType, Tensor};
use std::marker::PhantomData;
use std::ops::Range;

/// Tiles that one task transforms.
const RUN: usize = 8;

/// One weight gradient.
pub(super) struct WeightGradient<'a, E> {
    pub grid: Grid,
    pub sources: &'a [Source<'a, E>],
    /// dy.
    pub gradient: Source<'a, E>,
    pub panels: Panels,
    /// Vector lanes of the instruction set.
    pub lanes: usize,
    /// Tiles of a slab, a multiple of [`RUN`].
    pub slab: usize,
}

/// A buffer with one plane a point.
struct Space {
    words: Tensor,
    plane: usize,
}

impl Space {
    fn new(points: usize, words: usize) -> Result<Self> {
        let plane = words + STAGGER;
        Ok(Self { words: Tensor::unspecified([points * plane], DType::F32)?, plane })
    }

    fn planes(&mut self) -> Result<SendPlanes> {
        let at = self.words.as_mut_slice()?.as_mut_ptr();
        Ok(SendPlanes { at: SendPointer(at), plane: self.plane })
    }
}

/// [`Planes`] that tasks share.
struct SendPlanes {
    at: SendPointer<f32>,
    plane: usize,
}

impl SendPlanes {
    fn from(&self, word: usize) -> Planes {
        Planes { at: self.at.get().wrapping_add(word), plane: self.plane }
    }
}

impl<E: Element> WeightGradient<'_, E> {
    /// Writes the gradient of every weight, where `layout` says.
    pub fn run<S: Scheme<M, N>, const M: usize, const N: usize, const PAIRS: bool>(
        &self,
        cx: &Context,
        layout: WeightLayout,
        weights: &mut [f32],
    ) -> Result<()> {
        let panels = &self.panels;
        let (points, blocks, width) = (N * N * N, panels.blocks, panels.width);
        let tiles = self.grid.tiles();
        let slabs = tiles.div_ceil(self.slab);
        let slab = self.slab.min(tiles.next_multiple_of(RUN));
        let steps_of = |tiles: usize| if PAIRS { tiles.div_ceil(2) } else { tiles };
        let steps = steps_of(slab);
        let most = panels.most_padded();
        // With one slab a chunk's sums are done at once, and the next chunk's may take their place.
        let kept = if slabs > 1 { panels.chunks.iter().map(|chunk| chunk.padded).sum() } else { most };
        let mut input = Space::new(points, most * steps)?;
        let mut gradient = Space::new(points, blocks * width * steps)?;
        let mut sums = Space::new(points, kept * blocks * width)?;
        let (input, gradient, sums) = (input.planes()?, gradient.planes()?, sums.planes()?);
        let zeros = vec![E::ZERO; most.max(blocks * width)];
        let runs = slab / RUN;
        for number in 0..slabs {
            let first = number * self.slab;
            let range = first..tiles.min(first + slab);
            for (index, chunk) in panels.chunks.iter().enumerate() {
                // The gradient is transformed along with the first chunk and serves all of them.
                let tasks = if index == 0 { 2 * runs } else { runs };
                cx.pool.run(tasks, |task| {
                    let start = first + task % runs * RUN;
                    if start >= range.end {
                        return;
                    }
                    let space = if task < runs { input.from(0) } else { gradient.from(0) };
                    cx.isa.launch_vector(TransformRun::<E, S, M, N, PAIRS> {
                        job: self,
                        chunk: (task < runs).then_some(chunk),
                        tiles: start..range.end.min(start + RUN),
                        word: steps_of(start - first),
                        steps,
                        space,
                        zeros: &zeros,
                        scheme: PhantomData,
                    });
                });
                let place = if slabs > 1 { chunk.of_all_padded(&panels.chunks) } else { 0 };
                let from = place * blocks * width;
                cx.pool.run(points, |point| {
                    cx.isa.launch_vector(Products::<PAIRS> {
                        input: input.at.get().wrapping_add(point * input.plane),
                        gradient: gradient.at.get().wrapping_add(point * gradient.plane),
                        sums: sums.at.get().wrapping_add(point * sums.plane + from),
                        rows: chunk.padded,
                        blocks,
                        width,
                        pitch: steps,
                        steps: steps_of(range.len()),
                        fresh: number == 0,
                    });
                });
                if number + 1 == slabs {
                    let out = SendPointer(weights.as_mut_ptr());
                    let total = weights.len();
                    cx.pool.run(chunk.padded / self.lanes, |panel| {
                        cx.isa.launch_vector(Finish::<S, M, N> {
                            panels,
                            chunk,
                            panel,
                            sums: sums.from(from + panel * self.lanes * blocks * width),
                            layout,
                            out: out.get(),
                            total,
                            scheme: PhantomData,
                        });
                    });
                }
            }
        }
        Ok(())
    }
}

impl Chunk {
    /// Padded channels of all chunks before this one.
    fn of_all_padded(&self, chunks: &[Chunk]) -> usize {
        chunks.iter().take_while(|chunk| chunk.of_all < self.of_all).map(|chunk| chunk.padded).sum()
    }
}

/// Transforms a run of tiles: of one chunk of the input, or of the whole gradient. Layout of a point, in
/// words: `[panel][tile, or pair of them][lanes]`, a panel being a vector of input channels or a block of
/// output channels.
struct TransformRun<'a, E, S, const M: usize, const N: usize, const PAIRS: bool> {
    job: &'a WeightGradient<'a, E>,
    /// The input's chunk; none for the gradient.
    chunk: Option<&'a Chunk>,
    tiles: Range<usize>,
    /// Place of the first tile in a panel.
    word: usize,
    /// Places of a panel.
    steps: usize,
    space: Planes,
    zeros: &'a [E],
    scheme: PhantomData<S>,
}

impl<E: Element, S: Scheme<M, N>, const M: usize, const N: usize, const PAIRS: bool> VectorKernel
    for TransformRun<'_, E, S, M, N, PAIRS>
{
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (job, panels) = (self.job, &self.job.panels);
        let (channels, padded, width) = match self.chunk {
            Some(chunk) => (chunk.count, chunk.padded, V::LANES),
            None => (panels.outputs, panels.blocks * panels.width, panels.width),
        };
        let group = if PAIRS { 2 } else { 1 };
        let mut held = [0.0f32; MOST * 16];
        let mut voxels = [[self.zeros.as_ptr(); MOST]; 2];
        for (place, first) in self.tiles.clone().step_by(group).enumerate() {
            for (second, voxels) in voxels.iter_mut().enumerate().take(group) {
                let tile = first + second;
                match self.chunk {
                    _ if tile >= self.tiles.end => voxels.fill(self.zeros.as_ptr()),
                    Some(chunk) => {
                        let source = &job.sources[chunk.source];
                        job.grid.voxels::<E, N>(tile, source, chunk.first, self.zeros, voxels);
                    }
                    None => job.grid.output_voxels::<E, M>(tile, &job.gradient, self.zeros, voxels),
                }
            }
            for channel in (0..padded).step_by(V::LANES) {
                let (panel, lane) = (channel / width, channel % width);
                let word = (panel * self.steps + self.word + place) * width + lane;
                let to = Planes { at: self.space.at.wrapping_add(word), plane: self.space.plane };
                let count = channels.saturating_sub(channel);
                for (second, voxels) in voxels.iter().enumerate().take(group) {
                    let from = Voxels { voxels, next: voxels, channel, count };
                    // SAFETY: `space` has a panel for every `width` channels; voxel pointers lie inside
                    // their source, or `zeros`, which is as long as all channels.
                    unsafe {
                        if PAIRS {
                            let held = held.as_mut_ptr();
                            let mut to = PairPlanes { to, held, second: second == 1 };
                            self.transform::<V>(&from, &mut to);
                        } else {
                            let mut to = to;
                            self.transform::<V>(&from, &mut to);
                        }
                    }
                }
            }
        }
    }
}

impl<E: Element, S: Scheme<M, N>, const M: usize, const N: usize, const PAIRS: bool>
    TransformRun<'_, E, S, M, N, PAIRS>
{
    /// # Safety
    /// As [`cube::apply`].
    #[inline(always)]
    unsafe fn transform<V: Vector>(&self, from: &Voxels<E>, to: &mut impl Emit<V>) {
        // SAFETY: the caller's contract.
        unsafe {
            match self.chunk {
                Some(_) => cube::apply::<V, S::Input, N, N>(from, to),
                None => cube::apply::<V, S::Gradient, M, N>(from, to),
            }
        }
    }
}

/// The products of one point, `[panel][block][lanes][width]`.
struct Products<const PAIRS: bool> {
    input: *const f32,
    gradient: *const f32,
    sums: *mut f32,
    /// Padded input channels.
    rows: usize,
    blocks: usize,
    width: usize,
    /// Places of a panel.
    pitch: usize,
    /// Places summed.
    steps: usize,
    fresh: bool,
}

impl<const PAIRS: bool> VectorKernel for Products<PAIRS> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let rows = if V::LANES == 16 { 8 } else { 4 };
        for block in 0..self.blocks {
            for row in (0..self.rows).step_by(rows) {
                let (panel, lane) = (row / V::LANES, row % V::LANES);
                // SAFETY: panels, places and sums as documented; `rows` divides the lanes of a panel.
                unsafe {
                    let product = Block {
                        broadcast: self.input.add(panel * self.pitch * V::LANES + lane),
                        row: 1,
                        group_stride: V::LANES,
                        groups: self.steps,
                        vectors: self.gradient.add(block * self.pitch * self.width),
                        pitch: self.width,
                        sums: self.sums.add(
                            ((panel * self.blocks + block) * V::LANES + lane) * self.width,
                        ),
                        sums_row: self.width,
                        sums_vector: V::LANES,
                        fresh: self.fresh,
                    };
                    if V::LANES == 16 {
                        product::multiply::<V, 8, 2, 1, PAIRS>(&product);
                    } else {
                        product::multiply::<V, 4, 2, 1, PAIRS>(&product);
                    }
                }
            }
        }
    }
}

/// Brings the sums of one panel of input channels back to taps.
struct Finish<'a, S, const M: usize, const N: usize> {
    panels: &'a Panels,
    chunk: &'a Chunk,
    panel: usize,
    sums: Planes,
    layout: WeightLayout,
    out: *mut f32,
    total: usize,
    scheme: PhantomData<S>,
}

/// 27 taps of a vector of outputs.
struct Taps<'a>(&'a mut [[f32; 16]; 27]);

impl<V: Vector> Emit<V> for Taps<'_> {
    #[inline(always)]
    unsafe fn emit(&mut self, index: usize, value: V) {
        // SAFETY: a row of 16 values holds any vector.
        unsafe { value.store(self.0.get_unchecked_mut(index).as_mut_ptr()) }
    }
}

impl<S: Scheme<M, N>, const M: usize, const N: usize> VectorKernel for Finish<'_, S, M, N> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (panels, layout) = (self.panels, self.layout);
        let mut lanes = [[0.0f32; 16]; 27];
        for row in 0..V::LANES {
            let channel = self.panel * V::LANES + row;
            if channel >= self.chunk.count {
                break;
            }
            for first in (0..panels.outputs).step_by(V::LANES) {
                let (block, lane) = (first / panels.width, first % panels.width);
                let word = (block * V::LANES + row) * panels.width + lane;
                let from = Planes { at: self.sums.at.wrapping_add(word), plane: self.sums.plane };
                // SAFETY: the sums are complete; `lanes` holds every tap.
                unsafe { cube::apply::<V, S::WeightGradient, N, 3>(&from, &mut Taps(&mut lanes)) };
                for output in first..panels.outputs.min(first + V::LANES) {
                    let start = layout.first
                        + output * layout.output_stride
                        + (self.chunk.of_all + channel) * layout.input_stride;
                    assert!(start + 27 <= self.total);
                    for (tap, row) in lanes.iter().enumerate() {
                        // SAFETY: inside the weights (asserted); this (output, channel) is this task's.
                        unsafe { *self.out.add(start + tap) = row[output - first] };
                    }
                }
            }
        }
    }
}

//! Convolution in the transformed domain: a block of tiles at a time is transformed, multiplied point by
//! point with the transformed weights, and transformed back, all within a core's L2 cache.

use super::cube::{self, Emit, HalfPlanes, MOST, Planes, Voxels};
use super::product::{self, Block};
use super::scheme::Scheme;
use super::weights::{self, Transformed};
use super::{Grid, Panels, Scratch, Source};
use crate::cpu::VectorKernel;
use crate::cpu::convolution::Weights;
use crate::cpu::vector::{Element, Vector};
use crate::{Context, Result};
use genesis_tensor::parallel::SendPointer;
use std::marker::PhantomData;
use std::ops::Range;

/// One convolution.
pub(super) struct Forward<'a, E> {
    pub grid: Grid,
    pub sources: &'a [Source<'a, E>],
    pub weights: Weights<'a>,
    pub flip: bool,
    pub bias: Option<&'a [f32]>,
    pub panels: Panels,
    /// Tiles of a block.
    pub tiles: usize,
    /// Blocks of output channels a piece computes.
    pub blocks: usize,
}

impl<E: Element> Forward<'_, E> {
    /// Computes `output`, `[batch, extents…, outputs]`, every element of it.
    pub fn run<S: Scheme<M, N>, const M: usize, const N: usize, const PAIRS: bool>(
        &self,
        cx: &Context,
        output: &mut [E],
    ) -> Result<()> {
        let panels = &self.panels;
        let transformed = weights::transform::<S, M, N, PAIRS>(cx, self.weights, self.flip, panels)?;
        let mut bias = vec![0.0f32; panels.blocks * panels.width];
        if let Some(values) = self.bias {
            bias[..values.len()].copy_from_slice(values);
        }
        let zeros = vec![E::ZERO; panels.most_padded()];
        let row = if PAIRS { panels.most_padded() / 2 } else { panels.most_padded() };
        let width = self.blocks * panels.width;
        let spaces = [self.tiles * row + super::STAGGER, self.tiles * width + super::STAGGER];
        let scratch = Scratch::new(cx, N * N * N * (spaces[0] + spaces[1]))?;
        let ranges: Vec<Range<usize>> = (0..self.grid.tiles())
            .step_by(self.tiles)
            .map(|first| first..self.grid.tiles().min(first + self.tiles))
            .collect();
        // Blocks of channels outermost: their weights then stay in the L3 cache.
        let groups = panels.blocks.div_ceil(self.blocks);
        let out = SendPointer(output.as_mut_ptr());
        cx.pool.run(groups * ranges.len(), |task| {
            let (group, range) = (task / ranges.len(), &ranges[task % ranges.len()]);
            scratch.with(|space| {
                cx.isa.launch_vector(Piece::<E, S, M, N, PAIRS> {
                    job: self,
                    transformed: &transformed,
                    bias: &bias,
                    zeros: &zeros,
                    tiles: range.clone(),
                    blocks: group * self.blocks..panels.blocks.min((group + 1) * self.blocks),
                    row,
                    spaces,
                    space,
                    output: out.get(),
                    scheme: PhantomData,
                });
            });
        });
        Ok(())
    }
}

/// A block of tiles for some blocks of output channels.
struct Piece<'a, E, S, const M: usize, const N: usize, const PAIRS: bool> {
    job: &'a Forward<'a, E>,
    transformed: &'a Transformed,
    bias: &'a [f32],
    zeros: &'a [E],
    tiles: Range<usize>,
    blocks: Range<usize>,
    /// Words of a tile's channels in the transformed input.
    row: usize,
    /// Words of a point of the transformed input, and of the products.
    spaces: [usize; 2],
    space: *mut f32,
    output: *mut E,
    scheme: PhantomData<S>,
}

/// A tile of the output, clipped to the voxels that exist.
struct Tile<'a, E, const M: usize> {
    to: *mut E,
    /// Elements from one voxel to the next along each axis.
    pitch: [usize; 3],
    valid: [usize; 3],
    bias: &'a [f32],
    /// Channels that exist.
    count: usize,
}

impl<V: Vector, E: Element, const M: usize> Emit<V> for Tile<'_, E, M> {
    #[inline(always)]
    unsafe fn emit(&mut self, index: usize, value: V) {
        let at = [index / (M * M), index / M % M, index % M];
        if at[0] < self.valid[0] && at[1] < self.valid[1] && at[2] < self.valid[2] {
            let offset = at[0] * self.pitch[0] + at[1] * self.pitch[1] + at[2] * self.pitch[2];
            // SAFETY: a voxel inside the output, from its channel on; the bias is padded to a vector.
            unsafe { E::store(value.add(V::load(self.bias.as_ptr())), self.to.add(offset), self.count) };
        }
    }
}

impl<E: Element, S: Scheme<M, N>, const M: usize, const N: usize, const PAIRS: bool> VectorKernel
    for Piece<'_, E, S, M, N, PAIRS>
{
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (job, panels) = (self.job, &self.job.panels);
        let sums = self.space.wrapping_add(N * N * N * self.spaces[0]);
        for (number, chunk) in panels.chunks.iter().enumerate() {
            // SAFETY: `space` has room for `tiles` tiles of every point, input and products, as `spaces`
            // says; voxel pointers lie inside their source or `zeros`.
            unsafe {
                self.transform_input::<V>(chunk);
                for point in 0..N * N * N {
                    let input = self.space.add(point * self.spaces[0]);
                    let sums = sums.add(point * self.spaces[1]);
                    let weights = self.transformed.words.as_slice().as_ptr().add(
                        point * self.transformed.plane,
                    );
                    for (index, block) in self.blocks.clone().enumerate() {
                        let steps = if PAIRS { chunk.padded / 2 } else { chunk.padded };
                        let vectors = weights.add((block * panels.depth + chunk.word) * panels.width);
                        for tile in (0..self.tiles.len()).step_by(rows::<V>()) {
                            let product = Block {
                                broadcast: input.add(tile * self.row),
                                row: self.row,
                                step: 1,
                                vectors,
                                pitch: panels.width,
                                steps,
                                sums: sums.add(tile * self.sums_row() + index * panels.width),
                                sums_row: self.sums_row(),
                                fresh: number == 0,
                            };
                            match (V::LANES, panels.width / V::LANES) {
                                (16, 4) => product::multiply::<V, 6, 4, PAIRS>(&product),
                                (4, _) => product::multiply::<V, 4, 2, PAIRS>(&product),
                                _ => product::multiply::<V, 6, 2, PAIRS>(&product),
                            }
                        }
                    }
                }
            }
        }
        // SAFETY: as above, and this (tile, channel) belongs to this piece alone.
        unsafe { self.transform_output::<V>(sums) };
        let _ = job;
    }
}

/// Tiles a product handles at a time.
#[inline(always)]
fn rows<V: Vector>() -> usize {
    if V::LANES == 4 { 4 } else { 6 }
}

impl<E: Element, S: Scheme<M, N>, const M: usize, const N: usize, const PAIRS: bool>
    Piece<'_, E, S, M, N, PAIRS>
{
    #[inline(always)]
    fn sums_row(&self) -> usize {
        self.job.blocks * self.job.panels.width
    }

    /// # Safety
    /// The machine has the instruction set of `V`; `space` has room.
    #[inline(always)]
    unsafe fn transform_input<V: Vector>(&self, chunk: &super::Chunk) {
        let source = &self.job.sources[chunk.source];
        let mut voxels = [self.zeros.as_ptr(); MOST];
        for (position, tile) in self.tiles.clone().enumerate() {
            self.job.grid.voxels::<E, N>(tile, source, chunk.first, self.zeros, &mut voxels);
            for channel in (0..chunk.padded).step_by(V::LANES) {
                let count = chunk.count.saturating_sub(channel);
                let from = Voxels { voxels: &voxels, channel, count };
                let word = if PAIRS { channel / 2 } else { channel };
                // SAFETY: the caller's contract.
                unsafe {
                    let at = self.space.add(position * self.row + word);
                    let mut to = Planes { at, plane: self.spaces[0] };
                    if PAIRS {
                        cube::apply::<V, S::Input, N, N>(&from, &mut HalfPlanes(to));
                    } else {
                        cube::apply::<V, S::Input, N, N>(&from, &mut to);
                    }
                }
            }
        }
    }

    /// # Safety
    /// The machine has the instruction set of `V`; the products are complete.
    #[inline(always)]
    unsafe fn transform_output<V: Vector>(&self, sums: *mut f32) {
        let (grid, panels) = (&self.job.grid, &self.job.panels);
        let first = self.blocks.start * panels.width;
        let last = panels.outputs.min(self.blocks.end * panels.width);
        let pitch = grid.output_pitch(panels.outputs);
        for (position, tile) in self.tiles.clone().enumerate() {
            let (start, valid) = grid.output_tile::<M>(tile);
            for channel in (first..last).step_by(V::LANES) {
                // SAFETY: the tile's first voxel lies inside the output.
                unsafe {
                    let at = sums.add(position * self.sums_row() + channel - first);
                    let mut to = Tile::<E, M> {
                        to: self.output.add(start * panels.outputs + channel),
                        pitch,
                        valid,
                        bias: &self.bias[channel..],
                        count: last - channel,
                    };
                    cube::apply::<V, S::Output, N, M>(&Planes { at, plane: self.spaces[1] }, &mut to);
                }
            }
        }
    }
}

//! Convolution in the transformed domain: a block of tiles at a time is transformed, multiplied point by
//! point with the transformed weights, and transformed back, all within a core's L2 cache.

use super::cube::{self, Emit, HalfPlanes, MOST, Planes, Voxels};
use super::product::{self, Block};
use super::scheme::Scheme;
use super::weights::{self, Transformed};
use super::{Grid, Panels, Scratch, Source};
use crate::cpu::VectorKernel;
use crate::cpu::convolution::Weights;
use crate::cpu::vector::{Vector, VectorElement};
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
    /// Channels of each result; all but the last are whole vectors.
    pub results: &'a [usize],
    /// Vector lanes of the instruction set.
    pub lanes: usize,
}

impl<E: VectorElement> Forward<'_, E> {
    /// Computes `outputs`, each `[batch, extents…, its channels]`, every element of them.
    pub fn run<
        D: Scheme<M0, N0>,
        S: Scheme<M, N>,
        const M0: usize,
        const N0: usize,
        const M: usize,
        const N: usize,
        const PAIRS: bool,
    >(
        &self,
        cx: &Context,
        outputs: &mut [&mut [E]],
    ) -> Result<()> {
        let panels = &self.panels;
        let transformed =
            weights::transform::<D, S, M0, N0, M, N, PAIRS>(cx, self.weights, self.flip, panels)?;
        let mut bias = vec![0.0f32; panels.blocks * panels.width];
        if let Some(values) = self.bias {
            bias[..values.len()].copy_from_slice(values);
        }
        let zeros = vec![E::zeroed(); panels.most_padded()];
        let lanes = self.lanes;
        let words = if PAIRS { lanes / 2 } else { lanes };
        let cubes = [(N0 * N * N + 1) * words, (N0 * N * N + 1) * lanes];
        // A single chunk stays transformed while the blocks use the space of the sums one after another.
        let together = if panels.chunks.len() == 1 { 1 } else { self.blocks };
        let vectors = [panels.most_padded() / lanes, together * panels.width / lanes];
        let input = self.tiles * vectors[0] * cubes[0];
        let scratch = Scratch::new(cx.pool.threads(), input + self.tiles * vectors[1] * cubes[1])?;
        let ranges: Vec<Range<usize>> = (0..self.grid.tiles())
            .step_by(self.tiles)
            .map(|first| first..self.grid.tiles().min(first + self.tiles))
            .collect();
        // Blocks of channels outermost: their weights then stay in the L3 cache.
        let groups = panels.blocks.div_ceil(self.blocks);
        let mut first = 0;
        let outputs: Vec<Output<E>> = outputs
            .iter_mut()
            .zip(self.results)
            .map(|(output, &channels)| {
                first += channels;
                let (pitch, at) = (self.grid.output_pitch(channels), SendPointer(output.as_mut_ptr()));
                Output { at, channels, first: first - channels, pitch }
            })
            .collect();
        cx.pool.run(groups * ranges.len(), |task| {
            let (group, range) = (task / ranges.len(), &ranges[task % ranges.len()]);
            scratch.with(|space| {
                cx.isa.launch_vector(Piece::<E, D, S, M0, N0, M, N, PAIRS> {
                    job: self,
                    transformed: &transformed,
                    bias: &bias,
                    zeros: &zeros,
                    tiles: range.clone(),
                    blocks: group * self.blocks..panels.blocks.min((group + 1) * self.blocks),
                    together,
                    cubes,
                    vectors,
                    input: space,
                    sums: space.wrapping_add(input),
                    outputs: &outputs,
                    scheme: PhantomData,
                });
            });
        });
        Ok(())
    }
}

/// One of the results, which together have all output channels.
struct Output<E> {
    at: SendPointer<E>,
    channels: usize,
    /// The first of them among all.
    first: usize,
    /// Elements from one voxel to the next along each axis.
    pitch: [usize; 3],
}

/// A block of tiles for some blocks of output channels.
struct Piece<'a, E, D, S, const M0: usize, const N0: usize, const M: usize, const N: usize, const PAIRS: bool>
{
    job: &'a Forward<'a, E>,
    transformed: &'a Transformed,
    bias: &'a [f32],
    zeros: &'a [E],
    tiles: Range<usize>,
    blocks: Range<usize>,
    /// Blocks whose sums are held at the same time.
    together: usize,
    /// Words of a transformed cube of one vector of channels, of the input and of the sums. One vector
    /// more than it holds: the same point of all cubes must not fall into one set of the cache.
    cubes: [usize; 2],
    /// Vectors of channels of a tile, of the input and of the sums.
    vectors: [usize; 2],
    /// `[tile][vector][point][lanes]`: each transform works on consecutive memory; the products jump, but
    /// have the arithmetic to hide it.
    input: *mut f32,
    /// The same.
    sums: *mut f32,
    outputs: &'a [Output<E>],
    scheme: PhantomData<(D, S)>,
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

impl<V: Vector, E: VectorElement, const M: usize> Emit<V> for Tile<'_, E, M> {
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

impl<
    E: VectorElement,
    D: Scheme<M0, N0>,
    S: Scheme<M, N>,
    const M0: usize,
    const N0: usize,
    const M: usize,
    const N: usize,
    const PAIRS: bool,
> VectorKernel for Piece<'_, E, D, S, M0, N0, M, N, PAIRS>
{
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let panels = &self.job.panels;
        let words = if PAIRS { V::LANES / 2 } else { V::LANES };
        let [input_row, sums_row] = [0, 1].map(|side| self.vectors[side] * self.cubes[side]);
        for first in self.blocks.clone().step_by(self.together) {
            let blocks = first..self.blocks.end.min(first + self.together);
            for (number, chunk) in panels.chunks.iter().enumerate() {
                // SAFETY: `input` and `sums` have room for `tiles` tiles, rounded up to whole products;
                // voxel pointers lie inside their source or `zeros`.
                unsafe {
                    if panels.chunks.len() > 1 || first == self.blocks.start {
                        self.transform_input::<V>(chunk);
                    }
                    for point in 0..N0 * N * N {
                        let weights =
                            self.transformed.words.as_slice().as_ptr().add(point * self.transformed.plane);
                        for (index, block) in blocks.clone().enumerate() {
                            let vectors = weights.add((block * panels.depth + chunk.word) * panels.width);
                            let vector = index * panels.width / V::LANES;
                            for tile in (0..self.tiles.len()).step_by(rows_of::<V>()) {
                                let product = Block {
                                    broadcast: self.input.add(tile * input_row + point * words),
                                    row: input_row,
                                    step: 1,
                                    group: self.cubes[0],
                                    groups: chunk.padded / V::LANES,
                                    vectors,
                                    vectors_step: panels.width,
                                    vectors_group: panels.width * words,
                                    sums: self
                                        .sums
                                        .add(tile * sums_row + vector * self.cubes[1] + point * V::LANES),
                                    sums_row,
                                    sums_vector: self.cubes[1],
                                    fresh: number == 0,
                                };
                                match (V::LANES, panels.width / V::LANES, PAIRS) {
                                    (16, 4, false) => {
                                        product::multiply::<V, 6, 4, 16, PAIRS, false>(&product)
                                    }
                                    (16, 4, true) => product::multiply::<V, 6, 4, 8, PAIRS, false>(&product),
                                    (16, _, false) => {
                                        product::multiply::<V, 6, 2, 16, PAIRS, false>(&product)
                                    }
                                    (16, _, true) => product::multiply::<V, 6, 2, 8, PAIRS, false>(&product),
                                    (8, _, false) => product::multiply::<V, 6, 2, 8, PAIRS, false>(&product),
                                    (8, _, true) => product::multiply::<V, 6, 2, 4, PAIRS, false>(&product),
                                    (_, _, false) => product::multiply::<V, 4, 2, 4, PAIRS, false>(&product),
                                    (_, _, true) => product::multiply::<V, 4, 2, 2, PAIRS, false>(&product),
                                }
                            }
                        }
                    }
                }
            }
            // SAFETY: as above, and this (tile, channel) belongs to this piece alone.
            unsafe { self.transform_output::<V>(blocks) };
        }
    }
}

/// Tiles a product handles at a time.
#[inline(always)]
fn rows_of<V: Vector>() -> usize {
    if V::LANES == 4 { 4 } else { 6 }
}

impl<
    E: VectorElement,
    D: Scheme<M0, N0>,
    S: Scheme<M, N>,
    const M0: usize,
    const N0: usize,
    const M: usize,
    const N: usize,
    const PAIRS: bool,
> Piece<'_, E, D, S, M0, N0, M, N, PAIRS>
{
    /// # Safety
    /// The machine has the instruction set of `V`; `input` has room.
    #[inline(always)]
    unsafe fn transform_input<V: Vector>(&self, chunk: &super::Chunk) {
        let source = &self.job.sources[chunk.source];
        let grid = &self.job.grid;
        let mut voxels = [self.zeros.as_ptr(); MOST];
        let mut next = voxels;
        grid.voxels::<E, N0, N>(self.tiles.start, source, chunk.first, self.zeros, &mut next);
        for (position, tile) in self.tiles.clone().enumerate() {
            voxels = next;
            if tile + 1 < self.tiles.end {
                grid.voxels::<E, N0, N>(tile + 1, source, chunk.first, self.zeros, &mut next);
            }
            for channel in (0..chunk.padded).step_by(V::LANES) {
                let count = chunk.count.saturating_sub(channel);
                let from = Voxels { voxels: &voxels, next: &next, channel, count };
                let cube = position * self.vectors[0] + channel / V::LANES;
                // SAFETY: the caller's contract.
                unsafe {
                    let plane = if PAIRS { V::LANES / 2 } else { V::LANES };
                    let mut to = Planes { at: self.input.add(cube * self.cubes[0]), plane };
                    if PAIRS {
                        cube::apply::<V, D::Input, S::Input, N0, N0, N, N>(&from, &mut HalfPlanes(to));
                    } else {
                        cube::apply::<V, D::Input, S::Input, N0, N0, N, N>(&from, &mut to);
                    }
                }
            }
        }
    }

    /// # Safety
    /// The machine has the instruction set of `V`; the products are complete.
    #[inline(always)]
    unsafe fn transform_output<V: Vector>(&self, blocks: Range<usize>) {
        let (grid, panels) = (&self.job.grid, &self.job.panels);
        let first = blocks.start * panels.width;
        let last = panels.outputs.min(blocks.end * panels.width);
        for (position, tile) in self.tiles.clone().enumerate() {
            let (start, valid) = grid.output_tile::<M0, M>(tile);
            for channel in (first..last).step_by(V::LANES) {
                let Some(output) = self.outputs.iter().rfind(|output| output.first <= channel) else {
                    return;
                };
                let own = channel - output.first;
                // SAFETY: the tile's first voxel lies inside the output.
                unsafe {
                    let cube = position * self.vectors[1] + (channel - first) / V::LANES;
                    let at = self.sums.add(cube * self.cubes[1]);
                    let mut to = Tile::<E, M> {
                        to: output.at.get().add(start * output.channels + own),
                        pitch: output.pitch,
                        valid,
                        bias: &self.bias[channel..],
                        count: output.channels - own,
                    };
                    cube::apply::<V, D::Output, S::Output, N0, M0, N, M>(
                        &Planes { at, plane: V::LANES },
                        &mut to,
                    );
                }
            }
        }
    }
}

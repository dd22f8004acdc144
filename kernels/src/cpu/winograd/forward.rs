//! Convolution in the transformed domain: a block of tiles at a time is transformed, multiplied point by
//! point with the transformed weights, and transformed back, all within a core's L2 cache.

use super::cube::{self, Emit, HalfPlanes, MOST, Planes, Voxels};
use super::plan::Blocking;
use super::product::{self, Block};
use super::scheme::Scheme;
use super::weights::{self, Transformed};
use super::{Grid, LINE, Panels, Scratch, Source};
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
    pub blocking: Blocking,
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
        let (tiles, blocks) = (self.blocking.tiles, self.blocking.blocks);
        // A single chunk stays transformed while the blocks use the space of the sums one after another.
        let together = if panels.chunks.len() == 1 { self.blocking.together } else { blocks };
        let points = N0 * N * N;
        let input = Cubes::new(points, panels.most_padded() / lanes, words);
        let sums = Cubes::new(points, together * panels.width / lanes, lanes);
        let split = tiles * input.tile;
        let scratch = Scratch::new(cx.pool.threads(), split + tiles * sums.tile)?;
        let ranges: Vec<Range<usize>> = (0..self.grid.tiles())
            .step_by(tiles)
            .map(|first| first..self.grid.tiles().min(first + tiles))
            .collect();
        // Blocks of channels outermost: their weights then stay in the L3 cache.
        let groups = panels.blocks.div_ceil(blocks);
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
                    blocks: group * blocks..panels.blocks.min((group + 1) * blocks),
                    together,
                    input: space,
                    input_cubes: input,
                    sums: space.wrapping_add(split),
                    sums_cubes: sums,
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

/// Transformed cubes, `[tile][cube][point][vector of the cube][word]`: as many vectors of channels share a
/// cube as fill a line at every point. Each transform works on a few kilobytes; the products, which jump
/// from cube to cube, read whole lines, and have the arithmetic to hide the jumps.
#[derive(Clone, Copy)]
struct Cubes {
    /// Words of a vector at a point.
    words: usize,
    /// Words from one cube to the next.
    cube: usize,
    /// Words from one tile to the next.
    tile: usize,
}

impl Cubes {
    fn new(points: usize, vectors: usize, words: usize) -> Self {
        // A line more than it holds: the same point of all cubes must not fall into one set of the cache.
        let cube = (points + 1) * LINE;
        Self { words, cube, tile: (vectors * words).div_ceil(LINE) * cube }
    }

    /// The first word of a vector of channels of a tile.
    #[inline(always)]
    fn at(&self, tile: usize, vector: usize) -> usize {
        let word = vector * self.words;
        tile * self.tile + word / LINE * self.cube + word % LINE
    }

    /// Words from one vector of a tile to the next, both of one product.
    #[inline(always)]
    fn vector(&self) -> usize {
        if self.words == LINE { self.cube } else { self.words }
    }
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
    input: *mut f32,
    input_cubes: Cubes,
    sums: *mut f32,
    sums_cubes: Cubes,
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
        let turns = self.tiles.len().div_ceil(rows_of::<V>());
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
                            let next = if index + 1 < blocks.len() {
                                vectors.wrapping_add(panels.depth * panels.width)
                            } else {
                                let block = blocks.start * panels.depth + chunk.word;
                                weights.wrapping_add(self.transformed.plane + block * panels.width)
                            };
                            let lines = chunk.padded / V::LANES * words * panels.width / LINE;
                            let lines = lines.div_ceil(turns);
                            for turn in 0..turns {
                                let tile = turn * rows_of::<V>();
                                let product = Block {
                                    broadcast: self.input.add(self.input_cubes.at(tile, 0) + point * LINE),
                                    row: self.input_cubes.tile,
                                    group: self.input_cubes.cube,
                                    groups: chunk.padded / V::LANES,
                                    vectors,
                                    vectors_group: panels.width * words,
                                    ahead: next.wrapping_add(turn * lines * LINE),
                                    ahead_lines: lines,
                                    sums: self.sums.add(self.sums_cubes.at(tile, vector) + point * LINE),
                                    sums_row: self.sums_cubes.tile,
                                    sums_vector: self.sums_cubes.vector(),
                                    fresh: number == 0,
                                    streamed: false,
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
                let cube = self.input_cubes.at(position, channel / V::LANES);
                // SAFETY: the caller's contract.
                unsafe {
                    let mut to = Planes { at: self.input.add(cube), plane: LINE };
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
                    let at = self.sums.add(self.sums_cubes.at(position, (channel - first) / V::LANES));
                    let mut to = Tile::<E, M> {
                        to: output.at.get().add(start * output.channels + own),
                        pitch: output.pitch,
                        valid,
                        bias: &self.bias[channel..],
                        count: output.channels - own,
                    };
                    cube::apply::<V, D::Output, S::Output, N0, M0, N, M>(
                        &Planes { at, plane: LINE },
                        &mut to,
                    );
                }
            }
        }
    }
}

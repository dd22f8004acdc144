//! The gradient of the weights in the transformed domain.
//!
//! A slab of tiles at a time, input and output gradient are transformed (`Bᵀ x`, `A dy`); at each point
//! the input channels of all tiles times the output channels of all tiles are summed over the tiles; after
//! the last slab `Gᵀ` brings the sums back. Where the sums are small, the tiles are divided into parts with
//! sums of their own, one task each. Where the sums are large, or the parts would leave threads idle, the
//! threads share the runs and the points of every slab. Parts and slabs depend on the shape alone, and so
//! do the bits.

use super::cube::{self, Emit, Load, MOST, PairPlanes, Planes, Voxels};
use super::operand::{Layout, Lines, RUN};
use super::product::{self, Block};
use super::scheme::Scheme;
use super::{Chunk, Grid, LINE, Panels, STAGGER, Scratch, Source};
use crate::cpu::VectorKernel;
use crate::cpu::convolution::WeightLayout;
use crate::cpu::element::Store;
use crate::cpu::vector::{Vector, VectorElement};
use crate::{Context, Result};
use genesis_tensor::parallel::SendPointer;
use genesis_tensor::{DType, Tensor};
use std::marker::PhantomData;
use std::ops::Range;

/// Runs whose products are summed while their factors stay in the L1 cache.
const PRODUCT_RUNS: usize = 8;

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
    /// Whether x plays the part of dy and the other way round, `grid` being that of the gradient of the
    /// input. The overlapping tiles then are dy's: less to read and to transform where it has the fewer
    /// channels. The taps come out mirrored.
    pub mirrored: bool,
}

/// Words that the sums of all parts may take.
const MOST_SUMS: usize = 22 << 20;
/// Points at most that a thread multiplies one after another, asking for the next one's factors: where
/// these and the sums come from memory, 12 take 0.84 of the time of single ones (384→128, two threads).
const POINTS: usize = 12;
/// Parts at most: enough for many threads to share evenly.
const PARTS: usize = 16;
/// Fewer parts than this balance badly: then the threads share the work of every slab instead.
const FEWEST_PARTS: usize = 4;

/// Whether threads that take whole parts would be idle for more than an eighth of the time.
fn wasteful(parts: usize, threads: usize) -> bool {
    let capacity = parts.div_ceil(threads) * threads;
    8 * (capacity - parts) > capacity
}

impl<E: VectorElement> WeightGradient<'_, E> {
    /// Writes the gradient of every weight, where `layout` says.
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
        layout: WeightLayout,
        weights: &mut [f32],
    ) -> Result<()> {
        let panels = &self.panels;
        let (points, area) = (N0 * N * N, panels.blocks * panels.width);
        let tiles = self.grid.tiles();
        let rows: usize = panels.chunks.iter().map(|chunk| chunk.padded).sum();
        let plane = rows * area + STAGGER;
        let parts = (MOST_SUMS / (points * plane)).min(PARTS).min(tiles.div_ceil(self.slab));
        // A power of two: seven parts would keep one of two threads idle for an eighth of the time.
        let parts = if parts < FEWEST_PARTS { 1 } else { 1 << parts.ilog2() };
        let length = tiles.div_ceil(parts).next_multiple_of(RUN);
        let parts = tiles.div_ceil(length);
        let slab = self.slab.min(length);
        let operands = [(panels.most_padded() / self.lanes, self.lanes), (panels.blocks, panels.width)]
            .map(|(panels, width)| Layout::new::<PAIRS>(points, panels, width));
        let split = slab / RUN * operands[0].run;
        let words = split + slab / RUN * operands[1].run;
        let threads = cx.pool.threads();
        let at_once = if wasteful(parts, threads) { 1 } else { threads };
        let scratch = Scratch::new(at_once, words)?;
        let mut sums = Tensor::unspecified([parts * points * plane], DType::F32)?;
        let written = sums.as_mut_slice()?;
        // Nobody reads sums of a single slab before the last transform.
        let once = length <= slab && slab <= PRODUCT_RUNS * RUN;
        let store = if once { Store::of(cx.isa, written) } else { Store::Cached };
        let at = SendPointer(written.as_mut_ptr());
        let zeros = vec![E::zeroed(); panels.most_padded().max(area)];
        let add_part = |part: usize| {
            scratch.with(|space| {
                let slabs = Slabs::<E, D, S, M0, N0, M, N, PAIRS> {
                    job: self,
                    operands,
                    input: SendPointer(space),
                    gradient: SendPointer(space.wrapping_add(split)),
                    sums: SendPointer(at.get().wrapping_add(part * points * plane)),
                    plane,
                    store,
                    zeros: &zeros,
                    scheme: PhantomData,
                };
                let end = tiles.min((part + 1) * length);
                for first in (part * length..end).step_by(slab) {
                    slabs.add(cx, first..end.min(first + slab), first == part * length);
                }
            });
        };
        // Outside a task of the pool, a slab is shared by all threads.
        match at_once {
            1 => (0..parts).for_each(add_part),
            _ => cx.pool.run(parts, add_part),
        }
        cx.pool.run(points, |point| {
            // SAFETY: every part has a plane for each point, which this task alone touches.
            let of = |part: usize| unsafe {
                std::slice::from_raw_parts_mut(at.get().add((part * points + point) * plane), rows * area)
            };
            for part in 1..parts {
                of(0).iter_mut().zip(of(part)).for_each(|(sum, value)| *sum += *value);
            }
        });
        let total = weights.len();
        let out = SendPointer(weights.as_mut_ptr());
        cx.pool.run(rows / self.lanes, |panel| {
            cx.isa.launch_vector(Finish::<D, S, M0, N0, M, N> {
                panels,
                row: panel * self.lanes,
                sums: Planes { at: at.get().wrapping_add(panel * self.lanes * area), plane },
                layout,
                mirrored: self.mirrored,
                out: out.get(),
                total,
                scheme: PhantomData,
            });
        });
        Ok(())
    }
}

/// The slabs of one part of the tiles: buffers that are used again for every slab.
struct Slabs<'a, E, D, S, const M0: usize, const N0: usize, const M: usize, const N: usize, const PAIRS: bool>
{
    job: &'a WeightGradient<'a, E>,
    operands: [Layout; 2],
    input: SendPointer<f32>,
    gradient: SendPointer<f32>,
    /// `[point][vector of inputs][block of outputs][lane of inputs][width]`, a point every `plane`.
    sums: SendPointer<f32>,
    plane: usize,
    /// How the sums are stored.
    store: Store,
    zeros: &'a [E],
    scheme: PhantomData<(D, S)>,
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
> Slabs<'_, E, D, S, M0, N0, M, N, PAIRS>
{
    /// Adds the products of a slab of tiles to the sums; `fresh` if these start with it.
    fn add(&self, cx: &Context, tiles: Range<usize>, fresh: bool) {
        let panels = &self.job.panels;
        let runs = tiles.len().div_ceil(RUN);
        let mut rows = 0;
        for (index, chunk) in panels.chunks.iter().enumerate() {
            // The gradient is transformed along with the first chunk and serves all of them.
            cx.pool.run(if index == 0 { 2 * runs } else { runs }, |task| {
                let (run, of_input) = (task % runs, task < runs);
                let layout = self.operands[usize::from(!of_input)];
                let at = if of_input { self.input.get() } else { self.gradient.get() };
                cx.isa.launch_vector(TransformRun::<E, D, S, M0, N0, M, N, PAIRS> {
                    job: self.job,
                    chunk: of_input.then_some(chunk),
                    first: tiles.start + run * RUN,
                    end: tiles.end,
                    layout,
                    to: at.wrapping_add(run * layout.run),
                    zeros: self.zeros,
                    scheme: PhantomData,
                });
            });
            let from = rows * panels.blocks * panels.width;
            rows += chunk.padded;
            let points = N0 * N * N;
            // By the number of threads, as no point's bits depend on the others.
            let length = (points / (4 * cx.pool.threads())).clamp(1, POINTS);
            cx.pool.run(points.div_ceil(length), |task| {
                let [input, gradient] = self.operands;
                cx.isa.launch_vector(Products::<PAIRS> {
                    points: task * length..points.min((task + 1) * length),
                    input: self.input.get(),
                    input_layout: input,
                    gradient: self.gradient.get(),
                    gradient_layout: gradient,
                    sums: self.sums.get().wrapping_add(from),
                    plane: self.plane,
                    rows: chunk.padded,
                    blocks: panels.blocks,
                    runs,
                    fresh,
                    store: self.store,
                });
            });
        }
    }
}

/// Transforms a run of tiles: of one chunk of the input, or of the whole gradient.
struct TransformRun<
    'a,
    E,
    D,
    S,
    const M0: usize,
    const N0: usize,
    const M: usize,
    const N: usize,
    const PAIRS: bool,
> {
    job: &'a WeightGradient<'a, E>,
    /// The input's chunk; none for the gradient.
    chunk: Option<&'a Chunk>,
    /// First tile of the run.
    first: usize,
    /// Tiles from here on do not exist: they count as zeros.
    end: usize,
    layout: Layout,
    to: *mut f32,
    zeros: &'a [E],
    scheme: PhantomData<(D, S)>,
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
> VectorKernel for TransformRun<'_, E, D, S, M0, N0, M, N, PAIRS>
{
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (job, panels) = (self.job, &self.job.panels);
        let (channels, padded) = match self.chunk {
            Some(chunk) => (chunk.count, chunk.padded),
            None => (panels.outputs, panels.blocks * panels.width),
        };
        let mut held = [0.0f32; MOST * 16];
        let mut voxels = [[self.zeros.as_ptr(); MOST]; RUN];
        for (place, voxels) in voxels.iter_mut().enumerate().take(self.end.saturating_sub(self.first)) {
            let tile = self.first + place;
            let (source, first) = match self.chunk {
                Some(chunk) => (&job.sources[chunk.source], chunk.first),
                None => (&job.gradient, 0),
            };
            if self.overlapping() {
                job.grid.voxels::<E, N0, N>(tile, source, first, self.zeros, voxels);
            } else {
                job.grid.output_voxels::<E, M0, M>(tile, source, first, self.zeros, voxels);
            }
        }
        for channel in (0..padded).step_by(V::LANES) {
            let (panel, lane) = (channel / self.layout.width, channel % self.layout.width);
            let count = channels.saturating_sub(channel);
            for place in 0..RUN {
                let from =
                    Voxels { voxels: &voxels[place], next: &voxels[(place + 1) % RUN], channel, count };
                let word = if PAIRS { place / 2 } else { place };
                let word = panel * self.layout.panel + word * self.layout.width + lane;
                let mut to = Planes { at: self.to.wrapping_add(word), plane: self.layout.point };
                // SAFETY: the operand has a panel for every `width` channels; voxel pointers lie inside
                // their source, or `zeros`, which is as long as all channels.
                unsafe {
                    if PAIRS {
                        let held = held.as_mut_ptr();
                        let mut to = PairPlanes { to, held, second: place % 2 == 1 };
                        self.transform::<V>(&from, &mut to);
                    } else {
                        self.transform::<V>(&from, &mut to);
                    }
                }
            }
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
> TransformRun<'_, E, D, S, M0, N0, M, N, PAIRS>
{
    /// Whether the operand is the one whose tiles overlap.
    fn overlapping(&self) -> bool {
        self.chunk.is_some() != self.job.mirrored
    }

    /// # Safety
    /// As [`cube::apply`].
    #[inline(always)]
    unsafe fn transform<V: Vector>(&self, from: &Voxels<E>, to: &mut impl Emit<V>) {
        // SAFETY: the caller's contract.
        unsafe {
            if self.overlapping() {
                cube::apply::<V, D::Input, S::Input, N0, N0, N, N>(from, to)
            } else {
                cube::apply::<V, D::Gradient, S::Gradient, M0, N0, M, N>(from, to)
            }
        }
    }
}

/// The products of some points, each `[vector of inputs][block of outputs][lane of inputs][width]`.
struct Products<const PAIRS: bool> {
    points: Range<usize>,
    input: *const f32,
    input_layout: Layout,
    gradient: *const f32,
    gradient_layout: Layout,
    sums: *mut f32,
    /// Words from the sums of one point to the next.
    plane: usize,
    /// Padded input channels.
    rows: usize,
    blocks: usize,
    runs: usize,
    fresh: bool,
    store: Store,
}

impl<const PAIRS: bool> VectorKernel for Products<PAIRS> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let rows = if V::LANES == 16 { 8 } else { 4 };
        let (left, right) = (self.input_layout, self.gradient_layout);
        let products = self.runs.div_ceil(PRODUCT_RUNS) * self.blocks * self.rows.div_ceil(rows);
        for point in self.points {
            let input = self.input.wrapping_add(point * left.point);
            let gradient = self.gradient.wrapping_add(point * right.point);
            let all_sums = self.sums.wrapping_add(point * self.plane);
            // The factors of the next point.
            let mut ahead = [
                Lines::new(input.wrapping_add(left.point), left, self.rows / V::LANES, self.runs),
                Lines::new(gradient.wrapping_add(right.point), right, self.blocks, self.runs),
            ];
            let counts = ahead.each_ref().map(|lines| lines.count.div_ceil(products));
            for first in (0..self.runs).step_by(PRODUCT_RUNS) {
                for block in 0..self.blocks {
                    for row in (0..self.rows).step_by(rows) {
                        // With AVX-512 not measured.
                        if V::LANES < 16 {
                            ahead.iter_mut().zip(counts).for_each(|(lines, count)| lines.ask_for(count));
                        }
                        let (panel, lane) = (row / V::LANES, row % V::LANES);
                        // SAFETY: operands and sums as documented; `rows` divides the lanes of a vector.
                        unsafe {
                            let sums = ((panel * self.blocks + block) * V::LANES + lane) * right.width;
                            let product = Block {
                                broadcast: input.add(first * left.run + panel * left.panel + lane),
                                row: 1,
                                group: left.run,
                                groups: PRODUCT_RUNS.min(self.runs - first),
                                vectors: gradient.add(first * right.run + block * right.panel),
                                vectors_group: right.run,
                                ahead: std::ptr::null(),
                                ahead_lines: 0,
                                sums: all_sums.add(sums),
                                sums_row: right.width,
                                sums_vector: V::LANES,
                                fresh: self.fresh && first == 0,
                                streamed: self.store != Store::Cached,
                            };
                            match (V::LANES, PAIRS) {
                                (16, false) => product::multiply::<V, 8, 2, RUN, PAIRS, true>(&product),
                                (16, true) => {
                                    product::multiply::<V, 8, 2, { RUN / 2 }, PAIRS, true>(&product)
                                }
                                (_, false) => product::multiply::<V, 4, 2, RUN, PAIRS, true>(&product),
                                (_, true) => product::multiply::<V, 4, 2, { RUN / 2 }, PAIRS, true>(&product),
                            }
                        }
                    }
                }
            }
        }
        self.store.finish();
    }
}

/// Planes of sums, of which the next line of each is wanted next.
struct Sums(Planes);

impl<V: Vector> Load<V> for Sums {
    #[inline(always)]
    unsafe fn load(&self, index: usize) -> V {
        cube::prefetch(self.0.at.wrapping_add(index * self.0.plane + LINE));
        // SAFETY: the caller's contract.
        unsafe { self.0.load(index) }
    }
}

/// Brings the sums of one vector of input channels back to taps.
struct Finish<'a, D, S, const M0: usize, const N0: usize, const M: usize, const N: usize> {
    panels: &'a Panels,
    /// First of the rows, the padded input channels of all chunks.
    row: usize,
    /// Their sums: a plane a point, `[block of outputs][row][width]`.
    sums: Planes,
    layout: WeightLayout,
    mirrored: bool,
    out: *mut f32,
    total: usize,
    scheme: PhantomData<(D, S)>,
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

impl<D: Scheme<M0, N0>, S: Scheme<M, N>, const M0: usize, const N0: usize, const M: usize, const N: usize>
    VectorKernel for Finish<'_, D, S, M0, N0, M, N>
{
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (panels, layout) = (self.panels, self.layout);
        let (mut before, mut chunks) = (0, panels.chunks.iter());
        let chunk = loop {
            match chunks.next() {
                Some(chunk) if self.row < before + chunk.padded => break chunk,
                Some(chunk) => before += chunk.padded,
                None => return,
            }
        };
        let mut lanes = [[0.0f32; 16]; 27];
        let rows = V::LANES.min(chunk.count.saturating_sub(self.row - before));
        // Line after line of the sums.
        for (block, row) in (0..panels.blocks).flat_map(|block| (0..rows).map(move |row| (block, row))) {
            let channel = chunk.of_all + self.row - before + row;
            for lane in (0..panels.width).step_by(V::LANES) {
                let first = block * panels.width + lane;
                let word = (block * V::LANES + row) * panels.width + lane;
                let from = Sums(Planes { at: self.sums.at.wrapping_add(word), ..self.sums });
                // SAFETY: the sums are complete; `lanes` holds every tap.
                unsafe {
                    cube::apply::<V, D::WeightGradient, S::WeightGradient, N0, 3, N, 3>(
                        &from,
                        &mut Taps(&mut lanes),
                    )
                };
                for output in first..panels.outputs.min(first + V::LANES) {
                    let start = layout.first + output * layout.output_stride + channel * layout.input_stride;
                    assert!(start + 27 <= self.total);
                    for (tap, row) in lanes.iter().enumerate() {
                        let tap = if self.mirrored { lanes.len() - 1 - tap } else { tap };
                        // SAFETY: inside the weights (asserted); this (output, channel) is this task's.
                        unsafe { *self.out.add(start + tap) = row[output - first] };
                    }
                }
            }
        }
    }
}

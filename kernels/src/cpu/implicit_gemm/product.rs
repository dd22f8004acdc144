//! The forward pass and the data gradient: for every output voxel, the sum over taps and channels.

use super::axis::{Axis, Line};
use super::block::{Block, blocks};
use super::pack::{Channels, Layout, Packed};
use super::panel::{Panels, Segment};
use super::scratch::{Buffers, with_buffers};
use super::store::{NOWHERE, Rows, Stored};
use super::tile::{Call, Kernel, Term};
use super::unfold::unfold;
use super::values::{Values, ValuesMut};
use crate::cpu::convolution::Weights;
use crate::{Context, Error, Result};
use genesis_tensor::DType;
use genesis_tensor::parallel::SendPointer;
use half::bf16;
use std::ops::Range;

/// The most output positions of a task.
const BLOCK_VOXELS: usize = 512;
/// The least.
const FEWEST_VOXELS: usize = 64;
/// Bytes of packed input of a task, about: part of the L2 cache.
const PACKED_BYTES: usize = 384 << 10;
/// Bytes of a packed weight panel that is used again for every voxel of a block: part of the L2 cache.
const PANEL_BYTES: usize = 256 << 10;
/// Tasks wanted, so that many threads share them evenly.
const TASKS: usize = 48;
/// The most channels for which taps are laid side by side in memory.
const FEW_CHANNELS: usize = 4;
/// The most voxels a side may have: their numbers are 32 bits long.
const MOST_VOXELS: usize = 1 << 30;

/// An activation that is read: `[voxels][channels]`.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub values: Values<'a>,
    pub channels: usize,
}

/// One convolution, output voxel by output voxel. Input channels are those of all sources, one after the
/// other; sources and output have the same number format.
pub(crate) struct Product<'a> {
    pub batch: usize,
    pub axes: [Axis; 3],
    /// Extents of the output.
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub sources: &'a [Source<'a>],
    pub weights: Weights<'a>,
    pub bias: Option<&'a [f32]>,
    pub output_channels: usize,
}

/// What every task of a product shares.
struct Job<'a> {
    product: &'a Product<'a>,
    kernel: Kernel,
    panels: Panels,
    bias: Vec<f32>,
}

/// A row of output positions that are consecutive in the packed voxels.
struct Run {
    /// The place of its first position, from that of the block's first.
    place: usize,
    /// Its first entry in the list of output voxels.
    first: usize,
    length: usize,
}

impl Product<'_> {
    /// Computes the output, `[batch, output…, output_channels]`, every element of it.
    pub fn run(self, cx: &Context, output: ValuesMut) -> Result<()> {
        let product = self.collapse();
        let voxels = |extents: [usize; 3]| extents.iter().product::<usize>() * product.batch;
        let read = voxels([0, 1, 2].map(|axis| product.axes[axis].extent));
        if read.max(voxels(product.output)) > MOST_VOXELS {
            return Err(Error::operation("convolution", format!("more than {MOST_VOXELS} voxels")));
        }
        assert_eq!(output.len(), voxels(product.output) * product.output_channels);
        let format = product.sources.first().map_or(DType::F32, |source| source.values.dtype());
        for source in product.sources {
            assert_eq!(source.values.len(), read * source.channels);
            assert_eq!(source.values.dtype(), format);
        }
        let kernel = match format {
            DType::F32 => Kernel::for_f32(cx.isa, product.output_channels),
            DType::Bf16 => Kernel::for_bf16(cx.isa, product.output_channels),
        };
        let channels: Vec<usize> = product.sources.iter().map(|source| source.channels).collect();
        let taps: usize = product.kernel.iter().product();
        let one_class = product.axes.iter().all(|axis| axis.lines.len() == 1);
        let unfolded = matches!(channels[..], [1..=FEW_CHANNELS]) && taps > 1 && one_class;
        let panels = Panels::new(&kernel, &channels, taps, unfolded, product.output_channels, PANEL_BYTES);
        let packed = panels.pack(cx, &kernel, product.weights)?;
        let mut bias = vec![0.0f32; product.output_channels.next_multiple_of(kernel.lanes)];
        if let Some(values) = product.bias {
            bias[..product.output_channels].copy_from_slice(values);
        }
        let job = Job { product: &product, kernel, panels, bias };
        match (output, kernel.element) {
            (ValuesMut::F32(output), _) => job.run::<f32, f32>(cx, packed.as_slice(), output),
            (ValuesMut::Bf16(output), 2) => job.run::<bf16, bf16>(cx, packed.as_bf16(), output),
            (ValuesMut::Bf16(output), _) => job.run::<f32, bf16>(cx, packed.as_slice(), output),
        }
        Ok(())
    }

    /// If every voxel is computed from the voxel at its own place alone, the axes are but one.
    fn collapse(self) -> Self {
        if !self.axes.iter().all(Axis::is_identity) {
            return self;
        }
        let voxels = self.batch * self.output.iter().product::<usize>();
        let [one, _, axis] = &self.axes;
        let resize = |axis: &Axis, extent: usize| {
            let lines = vec![Line { count: extent, ..axis.lines[0].clone() }];
            Axis { extent, stride: 1, lines }
        };
        let axes = [resize(one, 1), resize(one, 1), resize(axis, voxels)];
        Self { batch: 1, axes, output: [1, 1, voxels], ..self }
    }
}

impl Job<'_> {
    /// `T` is the format of packed operands, `S` that of the output.
    fn run<T: Packed, S: Stored>(&self, cx: &Context, panels: &[T], output: &mut [S]) {
        // Packed places an output position, but for those around a block.
        let places: usize = self.product.axes.iter().map(Axis::density).product();
        let depth = self.panels.segments.iter().map(|segment| segment.depth).max().unwrap_or(1);
        let most = PACKED_BYTES / (places * depth * self.kernel.element);
        let most = most.clamp(FEWEST_VOXELS, BLOCK_VOXELS);
        let list = blocks(&self.product.axes, self.product.batch, most);
        // Where blocks of voxels are few, blocks of channels are shared out too.
        let channel_blocks = self.product.output_channels.div_ceil(self.kernel.lanes);
        let groups = TASKS.div_ceil(list.len().max(1)).min(channel_blocks);
        let length = channel_blocks.div_ceil(groups);
        let groups = channel_blocks.div_ceil(length);
        let out = SendPointer(output.as_mut_ptr());
        cx.pool.run(list.len() * groups, |task| {
            let (block, group) = (&list[task / groups], task % groups);
            let group = group * length..channel_blocks.min((group + 1) * length);
            with_buffers(|buffers| self.task(cx, panels, block, group, buffers, out.get()));
        });
    }

    fn task<T: Packed, S: Stored>(
        &self,
        cx: &Context,
        panels: &[T],
        block: &Block,
        group: Range<usize>,
        buffers: &mut Buffers,
        output: *mut S,
    ) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        // SAFETY: a kernel that wants tiles is only chosen where AMX may be used.
        let _tiles = self.kernel.tiles.then(|| unsafe { crate::cpu::amx::Tiles::configure() });
        let (product, kernel, unfolded) = (self.product, &self.kernel, self.panels.unfolded);
        let layout = self.layout(block);
        let classes = self.classes();
        let runs: Vec<(Vec<Run>, Vec<u32>)> =
            classes.iter().map(|&lines| self.runs(&layout, block, lines)).collect();
        let segments = &self.panels.segments;
        // Sums are kept from segment to segment; with one segment, those of one call are enough.
        let kept = segments.len() > 1;
        let rows = |length: usize| {
            let cut = kernel.cut(length);
            (length / cut * cut) + (length % cut).next_multiple_of(kernel.row_step)
        };
        let all_rows: usize =
            runs.iter().flat_map(|(runs, _)| runs).map(|run| rows(run.length)).sum::<usize>() * group.len();
        let sums = if kept { all_rows } else { kernel.rows } * kernel.lanes;
        let sums = buffers.sums.get::<f32>(sums);
        for (number, segment) in segments.iter().enumerate() {
            let pitch = if unfolded { segment.channels } else { segment.depth };
            let source = &product.sources[segment.source];
            let direct = self.direct::<T>(block, source, segment);
            // A call may read rows beyond the last place, and pairs beyond the last channel.
            let packed = buffers.packed.get::<T>((layout.places() + kernel.rows) * pitch);
            if direct.is_none() {
                let channels = Channels {
                    values: source.values,
                    all: source.channels,
                    first: segment.first,
                    count: segment.channels,
                };
                layout.pack(cx.isa, channels, pitch, packed);
            }
            let (a, pitch) = if let Some(voxels) = direct {
                (voxels, pitch)
            } else if unfolded {
                let size = (block.positions() + kernel.rows) * segment.depth;
                let rows = buffers.second.get::<T>(size);
                let from = (&*packed, segment.channels);
                unfold(&layout, classes[0], block, from, (rows, segment.depth), product.kernel);
                (&*rows, segment.depth)
            } else {
                (&*packed, pitch)
            };
            let mut next_sums = 0;
            for (&lines, (runs, voxels)) in classes.iter().zip(&runs) {
                let terms = self.terms(&layout, lines, segment, pitch);
                for block in group.clone() {
                    let panel = &panels[self.panels.start(kernel, block, segment)..]
                        [..self.panels.products(segment) * kernel.lanes];
                    let first = block * kernel.lanes;
                    let lanes = (product.output_channels - first).min(kernel.lanes);
                    for run in runs {
                        let cut = kernel.cut(run.length);
                        for done in (0..run.length).step_by(cut) {
                            let rows = cut.min(run.length - done);
                            let size = rows.next_multiple_of(kernel.row_step) * kernel.lanes;
                            let at = if kept { next_sums } else { 0 };
                            next_sums += size;
                            let sums = &mut sums[at..at + size];
                            let call = Call {
                                a: a[(run.place + done) * pitch..].as_ptr().cast(),
                                a_pitch: pitch * size_of::<T>(),
                                b: panel.as_ptr().cast(),
                                terms: terms.as_ptr(),
                                term_count: terms.len(),
                                depth: segment.depth,
                                rows,
                                start: if number == 0 {
                                    self.bias[first..].as_ptr()
                                } else {
                                    std::ptr::null()
                                },
                                sums: sums.as_mut_ptr(),
                            };
                            // SAFETY: a term's rows are places of the layout, or lie in the `rows` places
                            // the buffer has beyond the last; its weights are one tap of the panel;
                            // `sums` has the rows rounded up, the bias whole blocks of lanes. The kernel
                            // was chosen for this instruction set, and tiles are configured.
                            unsafe { (kernel.run)(&call) };
                            if number + 1 == segments.len() {
                                let rows = Rows {
                                    sums,
                                    pitch: kernel.lanes,
                                    voxels: &voxels[run.first + done..][..rows],
                                    lanes,
                                    output: output.wrapping_add(first),
                                    channels: product.output_channels,
                                };
                                // SAFETY: voxels are below the output's number of voxels; each belongs
                                // to one block and one class, each block of channels to one group.
                                unsafe { S::store(cx.isa, rows) };
                            }
                        }
                    }
                }
            }
        }
    }

    /// The voxels of a block as they lie in the source, where every output voxel reads the one at its own
    /// place, whole and in the format of packed operands, and a call's last rows lie inside the source.
    fn direct<'s, T: Packed>(
        &self,
        block: &Block,
        source: &Source<'s>,
        segment: &Segment,
    ) -> Option<&'s [T]> {
        let range = &block.ranges[2];
        let axes = &self.product.axes;
        let own = axes.iter().all(Axis::is_identity) && axes[0].extent * axes[1].extent == 1;
        let whole = segment.depth == source.channels && segment.channels == source.channels;
        let inside = range.end + self.kernel.rows <= axes[2].extent;
        let voxels = T::direct(source.values).filter(|_| own && whole && inside)?;
        Some(&voxels[range.start * source.channels..])
    }

    /// The lines of the three axes, combined.
    fn classes(&self) -> Vec<[&Line; 3]> {
        let [d, h, w] = &self.product.axes;
        let mut classes = Vec::new();
        for d in &d.lines {
            for h in &h.lines {
                classes.extend(w.lines.iter().map(|w| [d, h, w]));
            }
        }
        classes
    }

    /// Rows are shared between the taps along w if whole tiles fit them; else each tap has rows of its
    /// own, without what the others read at their ends, so that tiles can run from row to row.
    fn layout(&self, block: &Block) -> Layout {
        let axes = &self.product.axes;
        let [d, h, w] = [0, 1, 2].map(|axis| axes[axis].shared(block.ranges[axis].clone()));
        let width = block.ranges[2].len();
        let step = self.kernel.row_step.max(8);
        let shared = w.length == width || width.is_multiple_of(step) || self.panels.unfolded;
        let w = if shared { w } else { axes[2].separate(block.ranges[2].clone()) };
        Layout::new(axes, [d, h, w], block.sample)
    }

    /// The runs of a class in a block, and the output voxel of each of their positions.
    fn runs(&self, layout: &Layout, block: &Block, lines: [&Line; 3]) -> (Vec<Run>, Vec<u32>) {
        let output = self.product.output;
        let [depths, rows, columns] = [0, 1, 2].map(|axis| block.ranges[axis].len());
        let (mut runs, mut voxels): (Vec<Run>, Vec<u32>) = (Vec::new(), Vec::new());
        let at = |axis: usize, offset: usize| {
            let (line, position) = (lines[axis], block.ranges[axis].start + offset);
            (position < line.count).then(|| line.first + line.step * position)
        };
        for d in 0..depths {
            for h in 0..rows {
                let row = at(0, d).zip(at(1, h));
                let place = d * layout.plane() + h * layout.row();
                // Unfolded positions follow one another, whatever the packed rows.
                let place = if self.panels.unfolded { voxels.len() } else { place };
                match runs.last_mut() {
                    Some(run) if run.place + run.length == place => run.length += columns,
                    _ => runs.push(Run { place, first: voxels.len(), length: columns }),
                }
                voxels.extend((0..columns).map(|w| match row.zip(at(2, w)) {
                    Some(((d, h), w)) => {
                        (((block.sample * output[0] + d) * output[1] + h) * output[2] + w) as u32
                    }
                    None => NOWHERE,
                }));
            }
        }
        (runs, voxels)
    }

    /// The taps of a class: where each one's voxels and weights begin.
    fn terms(&self, layout: &Layout, lines: [&Line; 3], segment: &Segment, pitch: usize) -> Vec<Term> {
        if self.panels.unfolded {
            return vec![Term::default()];
        }
        let [_, height, width] = self.product.kernel;
        let mut terms = Vec::new();
        for &d in &lines[0].taps {
            for &h in &lines[1].taps {
                for &w in &lines[2].taps {
                    let tap = (d.position * height + h.position) * width + w.position;
                    terms.push(Term {
                        a: layout.place([d, h, w]) * pitch * self.kernel.element,
                        b: tap * segment.depth * self.kernel.lanes * self.kernel.element,
                    });
                }
            }
        }
        terms
    }
}

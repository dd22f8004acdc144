//! The weight gradient: for every tap the product of input and output gradient, summed over voxels.
//!
//! `a` is the input turned into rows of one channel each, `b` the gradient with pairs of voxels side by side;
//! products run over voxels. A tap is a shift along the rows of `a`. Blocks of voxels are divided into a
//! number of parts that depends on the shape alone; each part sums its blocks, the parts are added in order.

use super::axis::{Axis, Tap};
use super::block::{Block, blocks};
use super::pack::Layout;
use super::scratch::{Buffer, with_buffers};
use super::tile::{Call, Kernel, Term};
use super::turn::{Row, Turned};
use super::values::{Element, Values};
use crate::cpu::convolution::{Geometry, WeightLayout};
use crate::{Context, Error, Result};
use genesis_tensor::parallel::SendPointer;
use genesis_tensor::{DType, Tensor};
use half::bf16;
use std::ops::Range;

/// The most output voxels packed at a time, and the least.
const BLOCK_VOXELS: usize = 512;
const FEWEST_VOXELS: usize = 128;
/// Bytes of packed input, about: part of the L2 cache.
const PACKED_BYTES: usize = 256 << 10;
/// Input channels times taps a task handles, about.
const TASK_ROWS: usize = 64 * 27;
/// The most input channels of it.
const TASK_INPUTS: usize = 192;
/// Bytes of a task's sums, half of a core's L2 cache: this many output channels share packed input.
const TASK_BYTES: usize = 512 << 10;
/// Tasks wanted, so that many threads share them evenly.
const TASKS: usize = 48;
/// Values that the sums of all parts may take.
const MOST_SUMS: usize = 6 << 20;
/// The most input channels for which all taps become rows of one product.
const FEW_CHANNELS: usize = 4;
/// The most voxels a side may have.
const MOST_VOXELS: usize = 1 << 30;

/// Where rows of voxels begin and end in `a`.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// A product runs along a row of voxels; taps along w are shifts.
    Rows,
    /// It runs on over rows; each tap along w has rows of its own.
    Columns,
    /// Each tap along h and w has rows of its own, padded with zeros.
    Planes,
}

/// One weight gradient.
struct Job<'a, S> {
    axes: [Axis; 3],
    kernel: Kernel,
    extents: [usize; 3],
    input: &'a [S],
    inputs: usize,
    gradient: &'a [S],
    outputs: usize,
    /// All taps are rows of one product.
    unfolded: bool,
    /// Input channels of a group, and rows of their sums.
    group: usize,
    group_rows: usize,
    blocks: Vec<Block>,
}

/// Computes the gradient of the weights between `input`, `[batch, image…, inputs]`, and `gradient`,
/// `[batch, result…, outputs]`, which have the same number format.
pub(crate) fn weight_gradient(
    cx: &Context,
    geometry: &Geometry,
    (input, inputs): (Values, usize),
    (gradient, outputs): (Values, usize),
    layout: WeightLayout,
    weights: &mut [f32],
) -> Result<()> {
    match (input, gradient) {
        (Values::F32(input), Values::F32(gradient)) => {
            let kernel = Kernel::for_f32(cx.isa, outputs);
            run::<f32, f32>(cx, geometry, kernel, (input, inputs), (gradient, outputs), layout, weights)
        }
        (Values::Bf16(input), Values::Bf16(gradient)) => {
            let kernel = Kernel::for_bf16(cx.isa, outputs);
            let (input, gradient) = ((input, inputs), (gradient, outputs));
            if kernel.element == 2 {
                run::<bf16, bf16>(cx, geometry, kernel, input, gradient, layout, weights)
            } else {
                run::<bf16, f32>(cx, geometry, kernel, input, gradient, layout, weights)
            }
        }
        _ => Err(Error::operation("convolution", "input and gradient differ in their number format")),
    }
}

/// `S` is the format of activations, `T` that of packed operands.
fn run<S: Element, T: Turned<S>>(
    cx: &Context,
    geometry: &Geometry,
    kernel: Kernel,
    (input, inputs): (&[S], usize),
    (gradient, outputs): (&[S], usize),
    layout: WeightLayout,
    weights: &mut [f32],
) -> Result<()> {
    let voxels = |extents: &[usize; 3]| extents.iter().product::<usize>() * geometry.batch;
    assert_eq!(input.len(), voxels(&geometry.image) * inputs);
    assert_eq!(gradient.len(), voxels(&geometry.result) * outputs);
    if voxels(&geometry.image).max(voxels(&geometry.result)) > MOST_VOXELS {
        return Err(Error::operation("convolution", format!("more than {MOST_VOXELS} voxels")));
    }
    let (axes, taps) = (Axis::reading_image(geometry), geometry.taps());
    let unfolded = inputs <= FEW_CHANNELS && taps > 1;
    let most = (TASK_ROWS / taps).clamp(64, TASK_INPUTS);
    let places: usize = axes.iter().map(Axis::density).product();
    // With a stride a position reads several places: more inputs than this would leave the L2 cache.
    let held = PACKED_BYTES / (places * FEWEST_VOXELS * kernel.element);
    let most = if held < most { (held / kernel.rows * kernel.rows).max(16) } else { most };
    let group = inputs.div_ceil(inputs.div_ceil(most)).next_multiple_of(16).min(inputs);
    let most = (PACKED_BYTES / (places * group * kernel.element)).clamp(FEWEST_VOXELS, BLOCK_VOXELS);
    let mut list = blocks(&axes, geometry.batch, most);
    if unfolded {
        // Then the places along d of one position are rows of the same product.
        list = list.iter().flat_map(Block::planes).collect();
    }
    let rows = if unfolded { taps * inputs } else { group };
    let job = Job {
        axes,
        kernel,
        extents: geometry.result,
        input,
        inputs,
        gradient,
        outputs,
        unfolded,
        group,
        group_rows: rows.next_multiple_of(kernel.row_step),
        blocks: list,
    };
    // Sums are `[part][block of outputs][group of inputs][tap][row][lane]`.
    let taps_of_sums = if unfolded { 1 } else { taps };
    let size = taps_of_sums * job.group_rows * kernel.lanes;
    let (groups, output_blocks) = (inputs.div_ceil(group), outputs.div_ceil(kernel.lanes));
    let output_group = (TASK_BYTES / (4 * size)).clamp(1, output_blocks);
    let output_groups = output_blocks.div_ceil(output_group);
    let all = groups * output_blocks * size;
    let wanted = TASKS.div_ceil(groups * output_groups).min((MOST_SUMS / all).max(1));
    let per_part = job.blocks.len().div_ceil(wanted.min(job.blocks.len()));
    let parts = job.blocks.len().div_ceil(per_part);

    let mut sums = Tensor::unspecified([parts * all], DType::F32)?;
    let out = SendPointer(sums.as_mut_slice()?.as_mut_ptr());
    cx.pool.run(parts * groups * output_groups, |task| {
        let (part, pair) = (task / (groups * output_groups), task % (groups * output_groups));
        let (input_group, first) = (pair % groups, pair / groups * output_group);
        let output_blocks = first..output_blocks.min(first + output_group);
        let part_blocks = &job.blocks[part * per_part..job.blocks.len().min((part + 1) * per_part)];
        let sums_of = |block: usize| {
            // SAFETY: inside the tensor, and (part, block, group) belongs to this task alone.
            unsafe {
                let start = out.get().add(part * all + (block * groups + input_group) * size);
                std::slice::from_raw_parts_mut(start, size)
            }
        };
        job.sum::<T>(part_blocks, input_group, output_blocks, sums_of);
    });
    let (sums, out, total) = (sums.as_slice(), SendPointer(weights.as_mut_ptr()), weights.len());
    let rows_of_taps = job.rows_of_taps(geometry);
    cx.pool.run(groups * output_blocks, |pair| {
        let (o0, c0) = (pair / groups * kernel.lanes, pair % groups * group);
        let first = &sums[pair * size..][..size];
        with_buffers(|buffers| {
            let sum = if parts == 1 {
                first
            } else {
                let sum = buffers.sums.get::<f32>(size);
                sum.copy_from_slice(first);
                for part in 1..parts {
                    for (sum, value) in sum.iter_mut().zip(&sums[part * all + pair * size..][..size]) {
                        *sum += value;
                    }
                }
                sum
            };
            // A few channels at a time: then the lanes of all their taps stay in the L1 cache, and what
            // is written to a row of weights is more than a cache line.
            for first in (c0..inputs.min(c0 + group)).step_by(8) {
                let few = first..inputs.min(c0 + group).min(first + 8);
                for o in o0..outputs.min(o0 + kernel.lanes) {
                    for c in few.clone() {
                        let start = layout.first + o * layout.output_stride + c * layout.input_stride;
                        assert!(start + taps <= total);
                        // SAFETY: inside the weights (asserted); each (o, c) belongs to one pair alone.
                        let to = unsafe { std::slice::from_raw_parts_mut(out.get().add(start), taps) };
                        let sum = &sum[(c - c0) * kernel.lanes + o - o0..];
                        for (to, at) in to.iter_mut().zip(&rows_of_taps) {
                            *to = at.map_or(0.0, |row| sum[row * kernel.lanes]);
                        }
                    }
                }
            }
        });
    });
    Ok(())
}

impl<S: Element> Job<'_, S> {
    /// The first row of sums of each tap of the kernel, `None` for one that reads nothing but padding.
    fn rows_of_taps(&self, geometry: &Geometry) -> Vec<Option<usize>> {
        let [_, height, width] = geometry.kernel;
        let mut rows = vec![None; geometry.taps()];
        let (layout, mode) = self.layout(&self.blocks[0]);
        for (index, taps) in self.taps().into_iter().enumerate() {
            let [d, h, w] = taps;
            let row = if self.unfolded {
                (self.plane(&layout, mode, taps).0) * self.inputs
            } else {
                index * self.group_rows
            };
            rows[(d.position * height + h.position) * width + w.position] = Some(row);
        }
        rows
    }

    /// The taps that read voxels.
    fn taps(&self) -> Vec<[Tap; 3]> {
        let [d, h, w] = [0, 1, 2].map(|axis| &self.axes[axis].lines[0].taps);
        let mut taps = Vec::new();
        for &d in d {
            for &h in h {
                taps.extend(w.iter().map(|&w| [d, h, w]));
            }
        }
        taps
    }

    fn layout(&self, block: &Block) -> (Layout, Mode) {
        let range = |axis: usize| block.ranges[axis].clone();
        let [mut d, mut h, mut w] = [0, 1, 2].map(|axis| self.axes[axis].shared(range(axis)));
        let [_, rows, columns] = [0, 1, 2].map(|axis| range(axis).len());
        let whole = (rows * columns).is_multiple_of(self.kernel.depth);
        let mode = if self.unfolded {
            Mode::Planes
        } else if w.length == columns && whole {
            // Taps read nothing beyond each other's ends: longer products at no cost.
            Mode::Columns
        } else if columns.is_multiple_of(self.kernel.depth.max(8)) {
            Mode::Rows
        } else if whole {
            Mode::Columns
        } else {
            Mode::Planes
        };
        if mode != Mode::Rows {
            w = self.axes[2].separate(range(2));
        }
        if self.unfolded {
            d = self.axes[0].separate(range(0));
        }
        if mode == Mode::Planes {
            h = self.axes[1].separate(range(1));
        }
        (Layout::new(&self.axes, [d, h, w], block.sample), mode)
    }

    /// Places of `a` along h that are one after the other, and values of one of its rows.
    fn pitch(&self, layout: &Layout, mode: Mode) -> (usize, usize) {
        let [_, h, w] = &layout.windows;
        if mode == Mode::Planes {
            (h.length, (h.length * w.length).next_multiple_of(self.kernel.depth))
        } else {
            (h.places(), h.places() * w.length)
        }
    }

    /// The plane of `a` that a tap reads at the first position, and the place in its rows.
    fn plane(&self, layout: &Layout, mode: Mode, [d, h, w]: [Tap; 3]) -> (usize, usize) {
        let [depths, heights, columns] = &layout.windows;
        let ((ds, d), (hs, h), (ws, w)) = (depths.find(d), heights.find(h), columns.find(w));
        let d = ds * depths.length + d;
        if mode == Mode::Planes {
            ((ws * heights.sections() + hs) * depths.places() + d, 0)
        } else {
            (ws * depths.places() + d, (hs * heights.length + h) * columns.length + w)
        }
    }

    /// Sums over blocks of output voxels, for a group of input channels and some blocks of output ones.
    fn sum<'s, T: Turned<S>>(
        &self,
        blocks: &[Block],
        group: usize,
        output_blocks: Range<usize>,
        sums_of: impl Fn(usize) -> &'s mut [f32],
    ) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        // SAFETY: a kernel that wants tiles is only chosen where AMX may be used.
        let _tiles = self.kernel.tiles.then(|| unsafe { crate::cpu::amx::Tiles::configure() });
        let zeros = vec![0.0f32; self.kernel.lanes];
        let kernel = &self.kernel;
        let channels = group * self.group..self.inputs.min((group + 1) * self.group);
        let taps = self.taps();
        let mut terms: Vec<Term> = Vec::new();
        with_buffers(|buffers| {
            for (number, block) in blocks.iter().enumerate() {
                let (layout, mode) = self.layout(block);
                let a = self.pack_input::<T>(&layout, mode, channels.clone(), &mut buffers.packed);
                let b = self.pack_gradient::<T>(block, output_blocks.clone(), &mut buffers.second);
                let (_, pitch) = self.pitch(&layout, mode);
                let length = self.plane_length(block);
                let size = block.ranges[0].len() * length * kernel.lanes;
                for (index, output_block) in output_blocks.clone().enumerate() {
                    let b = &b[index * size..][..size];
                    let sums = sums_of(output_block);
                    let (rows, count) = if self.unfolded { (a.1, 1) } else { (channels.len(), usize::MAX) };
                    let tap_size = self.group_rows * kernel.lanes;
                    for (tap, sums) in taps.iter().take(count).zip(sums.chunks_exact_mut(tap_size)) {
                        let depth = self.terms(&layout, mode, block, *tap, channels.len(), &mut terms);
                        if terms.is_empty() && number > 0 {
                            continue;
                        }
                        let cut = kernel.cut(rows);
                        for first in (0..rows).step_by(cut) {
                            let rows = cut.min(rows - first);
                            let size = rows.next_multiple_of(kernel.row_step) * kernel.lanes;
                            let call = Call {
                                a: a.0[first * pitch..].as_ptr().cast(),
                                a_pitch: pitch * size_of::<T>(),
                                b: b.as_ptr().cast(),
                                terms: terms.as_ptr(),
                                term_count: terms.len(),
                                depth,
                                rows,
                                start: if number == 0 { zeros.as_ptr() } else { std::ptr::null() },
                                sums: sums[first * kernel.lanes..][..size].as_mut_ptr(),
                            };
                            // SAFETY: a term's rows lie in `a`, or in the `rows` rows it has beyond the last
                            // channel's; a term's part of `b` ends where the next one begins; the sums have
                            // the rows rounded up. The kernel was chosen for this instruction set, and
                            // tiles are configured.
                            unsafe { (kernel.run)(&call) };
                        }
                    }
                }
            }
        });
    }

    /// Positions of one plane of a block, padded to whole products.
    fn plane_length(&self, block: &Block) -> usize {
        (block.ranges[1].len() * block.ranges[2].len()).next_multiple_of(self.kernel.depth)
    }

    /// The rows of voxels a tap multiplies; returns the products of each.
    fn terms(
        &self,
        layout: &Layout,
        mode: Mode,
        block: &Block,
        tap: [Tap; 3],
        channels: usize,
        terms: &mut Vec<Term>,
    ) -> usize {
        terms.clear();
        let (kernel, length) = (&self.kernel, self.plane_length(block));
        let [depths, rows, columns] = [0, 1, 2].map(|axis| block.ranges[axis].len());
        let (_, pitch) = self.pitch(layout, mode);
        let mut term = |a: usize, b: usize| {
            terms.push(Term { a: a * kernel.element, b: b * kernel.lanes * kernel.element });
        };
        if self.unfolded {
            term(0, 0);
            return length;
        }
        let (plane, place) = self.plane(layout, mode, tap);
        let [first_d, first_h] = [0, 1].map(|axis| {
            let (section, offset) = layout.windows[axis].find(tap[axis]);
            section * layout.windows[axis].length + offset
        });
        for d in 0..depths {
            let a = (plane + d) * channels * pitch + place;
            let b = d * length;
            if mode != Mode::Rows {
                if layout.windows[0].coordinate(first_d + d).is_some() {
                    term(a, b);
                }
                continue;
            }
            for h in 0..rows {
                if layout.source_row(first_d + d, first_h + h).is_some() {
                    term(a + h * layout.row(), b + h * columns);
                }
            }
        }
        if mode == Mode::Rows { columns } else { length }
    }

    /// The input as `[plane][channel][places]`, zero where there is no voxel; and the number of rows.
    fn pack_input<'b, T: Turned<S>>(
        &self,
        layout: &Layout,
        mode: Mode,
        channels: Range<usize>,
        buffer: &'b mut Buffer,
    ) -> (&'b [T], usize) {
        let [depths, heights, columns] = &layout.windows;
        let (high, pitch) = self.pitch(layout, mode);
        let sections = heights.places() / high.max(1);
        let planes = columns.sections() * sections * depths.places();
        let rows = planes * channels.len();
        let to = buffer.get::<T>((rows + self.kernel.rows) * pitch);
        let length = columns.length;
        for column in 0..columns.sections() {
            let inside = columns.inside(column);
            for section in 0..sections {
                for d in 0..depths.places() {
                    let plane = (column * sections + section) * depths.places() + d;
                    let plane = &mut to[plane * channels.len() * pitch..][..channels.len() * pitch];
                    for h in 0..high {
                        let row = layout.source_row(d, section * high + h).filter(|_| !inside.is_empty());
                        let (before, after) = match row {
                            Some(_) => (inside.start, inside.end),
                            None => (0, 0),
                        };
                        for channel in plane.chunks_exact_mut(pitch) {
                            channel[h * length..][..before].fill(T::zeroed());
                            channel[h * length..][after..length].fill(T::zeroed());
                        }
                        if let Some(row) = row {
                            let first = columns.coordinate(column * length + before).expect("inside");
                            let row = Row {
                                from: &self.input[(row + first) * self.inputs + channels.start..],
                                step: columns.stride() * self.inputs,
                                count: inside.len(),
                            };
                            T::turn(row, channels.len(), &mut plane[h * length + before..], pitch);
                        }
                    }
                    for channel in plane.chunks_exact_mut(pitch) {
                        channel[high * length..].fill(T::zeroed());
                    }
                }
            }
        }
        (to, rows)
    }

    /// The gradient as `[block][d][places / group][lanes][group]`, zero in lanes without a channel.
    fn pack_gradient<'b, T: Turned<S>>(
        &self,
        block: &Block,
        blocks: Range<usize>,
        buffer: &'b mut Buffer,
    ) -> &'b [T] {
        let kernel = &self.kernel;
        let (lanes, group, length) = (kernel.lanes, kernel.group, self.plane_length(block));
        let [depths, rows, columns] = &block.ranges;
        let size = depths.len() * length * lanes;
        let to = buffer.get::<T>(blocks.len() * size);
        let [depth, height, width] = self.extents;
        for (index, d) in depths.clone().enumerate() {
            let voxel = |place: usize| {
                let (h, w) = (rows.start + place / columns.len(), columns.start + place % columns.len());
                (place < rows.len() * columns.len())
                    .then(|| ((block.sample * depth + d) * height + h) * width + w)
                    .map_or(&[] as &[S], |voxel| &self.gradient[voxel * self.outputs..][..self.outputs])
            };
            for place in (0..length).step_by(group) {
                let pair = [voxel(place), if group > 1 { voxel(place + 1) } else { &[] }];
                for (number, block) in blocks.clone().enumerate() {
                    let at = number * size + (index * length + place) * lanes;
                    let part = pair.map(|voxel| {
                        let end = voxel.len().min((block + 1) * lanes);
                        &voxel[(block * lanes).min(end)..end]
                    });
                    T::columns(part, &mut to[at..at + lanes * group], group);
                }
            }
        }
        to
    }
}

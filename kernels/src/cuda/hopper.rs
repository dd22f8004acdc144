//! Launches for compute capability 9.0: `hopper_product.cuh` and `hopper_weight_gradient.cuh`, for activations and
//! gradients whose channels come in whole lines of 128 bytes.

use super::convolution::{BLOCKS, Columns, MOST_SPLITS, Product, tensor_cores};
use super::geometry::{Divisor, Gather, Geometry};
use super::launch::{Address, Format, Launch, NULL, Operand, Workspace, int};
use super::tensor_map::{LINE, TensorMap};
use super::weight_gradient::{WeightGradient, reduce_weight};
use crate::Result;
use bytemuck::{Pod, Zeroable};

/// Rows of a product's tile.
const ROWS: usize = 128;
/// Voxels that a weight gradient takes at a time.
const VOXELS: usize = 64;
/// Longest side of a box that a copy takes.
const LONGEST: usize = 256;

/// `Boxes` of `warpgroup.cuh`, byte for byte.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct PackedBoxes {
    log: [i32; 3],
    batch: i32,
    count: [Divisor; 3],
    reserved: [i32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HopperArguments {
    bias: Address,
    output: Address,
    moments: Address,
    partial: Address,
    geometry: Geometry,
    boxes: PackedBoxes,
    lines: [i32; 2],
    rows: i32,
    columns: i32,
    output_pitch: i32,
    iterations: i32,
    column_tiles: Divisor,
    outputs: Divisor,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HopperWeightArguments {
    partial: Address,
    geometry: Geometry,
    boxes: PackedBoxes,
    channels: [i32; 2],
    outputs: i32,
    voxel_boxes: i32,
    iterations: i32,
    channel_tiles: Divisor,
    first_tiles: i32,
    reserved: i32,
}

/// A result cut into boxes of voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Boxes {
    /// Extents of all `[batch, depth, height, width]`.
    all: [usize; 4],
    /// Those of a box: powers of two.
    each: [usize; 4],
}

impl Boxes {
    /// The boxes of `rows` voxels that leave the fewest unused, of these the widest; `None` where one would be longer
    /// than a copy takes.
    fn of(gather: &Gather, rows: usize) -> Option<Self> {
        let [d, h, w] = gather.result;
        let all = [gather.batch, d, h, w];
        let powers = || (0..=rows.ilog2()).map(|log| 1usize << log);
        let mut best: Option<Self> = None;
        for width in powers().rev() {
            for height in powers().rev().filter(|height| width * height <= rows) {
                for depth in powers().rev().filter(|depth| width * height * depth <= rows) {
                    let each = [rows / (width * height * depth), depth, height, width];
                    let reach = |axis: usize| each[axis + 1] * gather.stride[axis];
                    let boxes = Self { all, each };
                    let fewer = best.is_none_or(|best| boxes.count() < best.count());
                    if fewer && (0..3).all(|axis| reach(axis) <= LONGEST) {
                        best = Some(boxes);
                    }
                }
            }
        }
        best
    }

    fn along(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|axis| self.all[axis].div_ceil(self.each[axis]))
    }

    fn count(&self) -> usize {
        self.along().iter().product()
    }

    /// True where every row of every box is a voxel of the result.
    fn is_exact(&self) -> bool {
        (0..4).all(|axis| self.all[axis].is_multiple_of(self.each[axis]))
    }

    fn pack(&self) -> Result<PackedBoxes> {
        let [_, d, h, w] = self.each;
        let [_, along_d, along_h, along_w] = self.along();
        Ok(PackedBoxes {
            log: [w, h, d].map(|extent| extent.ilog2() as i32),
            batch: int(self.all[0])?,
            count: [Divisor::new(along_w)?, Divisor::new(along_h)?, Divisor::new(along_d)?],
            reserved: [0; 3],
        })
    }
}

/// Whether activations can be copied line by line.
fn in_lines(format: Format, operands: &[&Operand]) -> bool {
    // What begins and follows in 16 bytes, is what a map describes.
    let whole = |operand: &&Operand| {
        operand.channels.is_multiple_of(LINE)
            && operand.pitch.is_multiple_of(format.wide())
            && operand.address.is_multiple_of(16)
    };
    matches!(format, Format::Bf16 | Format::F16) && operands.iter().all(whole)
}

/// Batch and extents of what a gather reads.
fn image(gather: &Gather) -> [usize; 4] {
    let [d, h, w] = gather.image;
    [gather.batch, d, h, w]
}

/// Maps of both inputs; of one input both are the same.
fn input_maps(format: Format, inputs: &[Operand; 2], gather: &Gather, boxes: &Boxes) -> [TensorMap; 2] {
    let map = |operand| TensorMap::activation(format, operand, image(gather), boxes.each, gather.stride);
    let second = if inputs[1].channels > 0 { &inputs[1] } else { &inputs[0] };
    [map(&inputs[0]), map(second)]
}

fn fits_steps(gather: &Gather) -> bool {
    gather.stride.iter().all(|&stride| stride <= 8)
}

/// The launches of a product, or `None` where the kernels of compute capability 8.0 do it: channels that are no whole
/// lines, or moments of boxes that reach beyond the result.
///
/// # Errors
/// For numbers beyond 32 bits.
pub(super) fn product(
    product: &Product,
    moments: Address,
    workspace: &mut Workspace,
) -> Result<Option<Vec<Launch>>> {
    let Product { format, gather, inputs, columns, .. } = product;
    let [first, second] = inputs;
    // Eight taps of many outputs are always many columns: there is no narrow tile for them.
    let least = if product.order == Columns::Outputs { LINE } else { 2 * LINE };
    let whole = in_lines(*format, &[first, second]) && columns.is_multiple_of(least) && first.channels > 0;
    let boxes = if whole && fits_steps(gather) { Boxes::of(gather, ROWS) } else { None };
    let Some(boxes) = boxes.filter(|boxes| moments == NULL || boxes.is_exact()) else { return Ok(None) };
    let tile = if columns.is_multiple_of(128) { 128 } else { 64 };
    let (row_tiles, column_tiles) = (boxes.count(), columns / tile);
    let channels = first.channels + second.channels;
    let all = gather.taps() * channels / LINE;
    let split = moments == NULL && product.order == Columns::Outputs;
    let wanted = if split { (BLOCKS / (row_tiles * column_tiles)).min(all / 8) } else { 1 };
    let iterations = all.div_ceil(wanted.clamp(1, MOST_SPLITS));
    let splits = all.div_ceil(iterations);
    let rows = gather.rows();
    let partial = if splits > 1 { workspace.take(splits * rows * columns * 4) } else { NULL };
    let outputs = if let Columns::Taps(outputs) = product.order { outputs } else { *columns };
    let arguments = HopperArguments {
        bias: product.bias,
        output: product.output.address,
        moments,
        partial,
        geometry: gather.pack()?,
        boxes: boxes.pack()?,
        lines: [int(first.channels / LINE)?, int(second.channels / LINE)?],
        rows: int(rows)?,
        columns: int(*columns)?,
        output_pitch: int(product.output.pitch)?,
        iterations: int(iterations)?,
        column_tiles: Divisor::new(column_tiles)?,
        outputs: Divisor::new(outputs)?,
    };
    let name = tensor_cores(*format)?;
    let family = if product.order == Columns::Outputs { "conv3d" } else { "conv_transpose3d" };
    let name = format!("{family}_hopper_{name}_{ROWS}x{tile}");
    let [first, second] = input_maps(*format, inputs, gather, &boxes);
    let weight = TensorMap::weight(*format, product.weight, [gather.taps(), *columns, channels], tile);
    let launch = Launch::new(&name, [row_tiles * column_tiles, 1, splits], &arguments)?;
    let mut launches = vec![launch.with_maps([first, second, weight])];
    if splits > 1 {
        launches.push(product.reduction(partial, splits)?);
    }
    Ok(Some(launches))
}

/// The launches of a weight gradient, or `None` where the kernels of compute capability 8.0 do it.
///
/// # Errors
/// For numbers beyond 32 bits.
pub(super) fn weight_gradient(
    gradient: &WeightGradient,
    workspace: &mut Workspace,
) -> Result<Option<Vec<Launch>>> {
    let WeightGradient { format, gather, inputs, gradient: dy, output } = gradient;
    let [first, second] = inputs;
    let whole = in_lines(*format, &[first, second, dy]) && first.channels > 0 && dy.channels > 0;
    let boxes = if whole && fits_steps(gather) { Boxes::of(gather, VOXELS) } else { None };
    let Some(boxes) = boxes else { return Ok(None) };
    let large = [first.channels, second.channels, dy.channels].iter().all(|n| n.is_multiple_of(128));
    let tile = if large { 128 } else { 64 };
    let [first_tiles, second_tiles] = inputs.map(|input| input.channels / tile);
    let channel_tiles = first_tiles + second_tiles;
    let (tiles, taps) = (channel_tiles * dy.channels / tile, gather.taps());
    let all = boxes.count();
    let wanted = (4 * BLOCKS).div_ceil(tiles * taps).min(all / 8).clamp(1, MOST_SPLITS);
    let iterations = all.div_ceil(wanted);
    let splits = all.div_ceil(iterations);
    let channels = first.channels + second.channels;
    let partial = workspace.take(splits * taps * dy.channels * channels * 4);
    let arguments = HopperWeightArguments {
        partial,
        geometry: gather.pack()?,
        boxes: boxes.pack()?,
        channels: [int(first.channels)?, int(second.channels)?],
        outputs: int(dy.channels)?,
        voxel_boxes: int(all)?,
        iterations: int(iterations)?,
        channel_tiles: Divisor::new(channel_tiles)?,
        first_tiles: int(first_tiles)?,
        reserved: 0,
    };
    let name = format!("conv3d_hopper_weight_{}_{tile}x{tile}", tensor_cores(*format)?);
    let left = TensorMap::activation(*format, dy, boxes.all, boxes.each, [1; 3]);
    let [first, second] = input_maps(*format, inputs, gather, &boxes);
    let launch = Launch::new(&name, [tiles, taps, splits], &arguments)?;
    Ok(Some(vec![
        launch.with_maps([left, first, second]),
        reduce_weight(partial, [splits, taps, dy.channels * channels], *output)?,
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(batch: usize, result: [usize; 3], stride: usize) -> Gather {
        let image = result.map(|extent| extent * stride);
        Gather { batch, image, result, kernel: [3; 3], stride: [stride; 3], low: [1; 3], dilation: [1; 3] }
    }

    #[test]
    fn boxes_leave_few_rows_unused_and_are_wide() {
        let each = |batch, result, rows| {
            let boxes = Boxes::of(&gather(batch, result, 1), rows).unwrap();
            assert_eq!(boxes.each.iter().product::<usize>(), rows);
            (boxes.each, boxes.is_exact())
        };
        assert_eq!(each(2, [64, 64, 32], ROWS), ([1, 1, 4, 32], true));
        assert_eq!(each(2, [8, 8, 4], ROWS), ([1, 4, 8, 4], true));
        assert_eq!(each(6, [4, 4, 2], ROWS), ([4, 4, 4, 2], false));
        assert_eq!(each(8, [4, 4, 2], ROWS), ([4, 4, 4, 2], true));
        assert_eq!(each(1, [3, 5, 7], VOXELS), ([1, 1, 8, 8], false));
        assert_eq!(each(1, [1, 1, 1], ROWS).0, [1, 1, 1, 128]);
    }

    #[test]
    fn steps_make_boxes_no_longer_than_a_copy_takes() {
        let boxes = Boxes::of(&gather(1, [1, 1, 128], 4), ROWS).unwrap();
        assert_eq!(boxes.each, [1, 1, 2, 64]);
        let map = input_maps(
            Format::Bf16,
            &[Operand::dense(0x1000, 64), Operand::default()],
            &gather(1, [1, 1, 128], 4),
            &boxes,
        );
        assert_eq!(map[0].boxed, [64, 256, 8, 4, 1]);
        assert_eq!(map[0].steps, [1, 4, 4, 4, 1]);
        assert_eq!(map[0], map[1]);
    }

    #[test]
    fn tiles_and_splits_do_all_of_the_work_once() {
        let product = |extent: usize, channels: [usize; 2], columns: usize| Product {
            format: Format::Bf16,
            gather: gather(1, [extent; 3], 1),
            inputs: channels.map(|channels| Operand::dense(0x1000, channels)),
            weight: 0x1000,
            columns,
            order: Columns::Outputs,
            bias: NULL,
            output: Operand::dense(0x1000, columns),
        };
        let launched =
            |product: &Product, moments| super::product(product, moments, &mut Workspace::default()).unwrap();
        let whole = launched(&product(64, [128, 64], 64), 0x1000).unwrap();
        assert_eq!((whole[0].kernel.name, whole[0].grid), ("conv3d_hopper_bf16_128x64", [2048, 1, 1]));
        assert_eq!(whole.len(), 1);
        let split = launched(&product(8, [256, 0], 512), NULL).unwrap();
        assert_eq!((split[0].kernel.name, split[0].grid), ("conv3d_hopper_bf16_128x128", [16, 1, 12]));
        assert_eq!(split[1].kernel.name, "conv3d_reduce_bf16");
        assert_eq!(split[0].maps[2].extents, [256, 512, 27]);
        // Channels that are no whole lines, columns too, other formats, moments of boxes that reach beyond.
        for other in [product(8, [32, 0], 64), product(8, [64, 8], 64), product(8, [64, 0], 96)] {
            assert!(launched(&other, NULL).is_none());
        }
        assert!(launched(&Product { format: Format::Tf32, ..product(8, [64, 0], 64) }, NULL).is_none());
        assert!(launched(&product(7, [64, 0], 64), NULL).is_some());
        assert!(launched(&product(7, [64, 0], 64), 0x1000).is_none());
    }
}

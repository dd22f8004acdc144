//! Launches of the convolutions on tensor cores: `implicit_gemm.cuh`, `conv3d_weights.cu`.

use super::geometry::{Divisor, Gather, Geometry};
use super::hopper;
use super::launch::{Address, Format, Launch, NULL, Operand, Target, Workspace, int};
use super::packing::Unpacked;
use crate::{Error, Result};
use bytemuck::{Pod, Zeroable};

/// Rows of a tile.
pub const ROWS: usize = 128;
/// Bytes of a tile's row that one iteration takes: 32 channels of 16 bits.
pub(super) const STEP_BYTES: usize = 64;
/// Taps of an axis that a row's mask has bits for.
const MOST_TAPS: usize = 10;
/// Blocks that keep a large card busy; grids aim at it, whatever card runs them.
pub(super) const BLOCKS: usize = 256;
/// Most parts the summed axis is cut into.
pub(super) const MOST_SPLITS: usize = 32;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ConvolutionArguments {
    input: [Address; 2],
    weight: Address,
    bias: Address,
    output: Address,
    moments: Address,
    partial: Address,
    geometry: Geometry,
    channels: [i32; 2],
    pitch: [i32; 2],
    rows: i32,
    columns: i32,
    output_pitch: i32,
    weight_tap: i32,
    weight_column: i32,
    iterations: i32,
    column_tiles: Divisor,
    outputs: Divisor,
    reserved: [i32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ReduceArguments {
    partial: Address,
    bias: Address,
    output: Address,
    elements: i64,
    columns: Divisor,
    splits: i32,
    output_pitch: i32,
    reserved: i32,
}

pub(super) fn tensor_cores(format: Format) -> Result<&'static str> {
    let wanted = || Error::operation("cuda", "tensor cores want tf32, bf16 or f16");
    format.on_tensor_cores().ok_or_else(wanted)
}

/// Where a product's columns go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Side by side into the row's voxel.
    Outputs,
    /// Eight taps of this many outputs each, to the eight voxels of a grid twice as fine.
    Taps(usize),
}

/// result\[row, column\] = Σ over taps and channels of input\[voxel of (row, tap), channel\] ·
/// weight\[tap, column, channel\], plus a bias.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Storage of activations and of the packed weight.
    pub format: Format,
    /// What rows read.
    pub gather: Gather,
    /// One or two activations; the second may have 0 channels.
    pub inputs: [Operand; 2],
    /// `[taps, columns, channels of both inputs]`, packed.
    pub weight: Address,
    /// Columns of the product.
    pub columns: usize,
    /// Where they go.
    pub order: Columns,
    /// `[outputs]`, or [`NULL`].
    pub bias: Address,
    /// `[voxels, pitch]`; `channels` are those written.
    pub output: Operand,
}

impl Product {
    /// Whether the kernels can do it: 16 bytes are the least they move.
    pub fn fits(&self) -> bool {
        let wide = self.format.wide();
        let [first, second] = self.inputs;
        let whole = [
            first.channels,
            first.pitch,
            second.channels,
            second.pitch,
            self.columns,
            self.output.channels,
            self.output.pitch,
        ];
        self.format != Format::F32
            && first.channels > 0
            && whole.iter().all(|n| n % wide == 0)
            && self.gather.kernel.iter().all(|&taps| taps <= MOST_TAPS)
            && self.gather.pack().is_ok()
    }

    /// Columns of a tile: 32, 64 or 128, so that few are wasted.
    pub fn tile(&self) -> usize {
        let padded = |tile| self.columns.next_multiple_of(tile);
        match () {
            () if self.columns > 64 && padded(128) <= padded(64) => 128,
            () if self.columns > 32 || self.order != Columns::Outputs => 64,
            () => 32,
        }
    }

    fn channels(&self) -> usize {
        self.inputs[0].channels + self.inputs[1].channels
    }

    /// Iterations of the summed axis.
    fn iterations(&self) -> usize {
        let step = STEP_BYTES / self.format.size();
        self.gather.taps() * self.inputs.iter().map(|input| input.channels.div_ceil(step)).sum::<usize>()
    }

    fn tiles(&self) -> [usize; 2] {
        [self.gather.rows().div_ceil(ROWS), self.columns.div_ceil(self.tile())]
    }

    /// Iterations of each split, and how many splits: more than one only where tiles are few.
    fn splits(&self) -> [usize; 2] {
        let (all, [rows, columns]) = (self.iterations(), self.tiles());
        let wanted = (BLOCKS / (rows * columns)).min(all / 8).clamp(1, MOST_SPLITS);
        let each = match self.order {
            Columns::Outputs => all.div_ceil(wanted),
            Columns::Taps(_) => all,
        };
        [each, all.div_ceil(each)]
    }

    /// Pieces, and rows of each, of the moments that [`Product::launches`] can write for batch
    /// normalisation; `None` where the sums are split and no block sees whole ones.
    pub fn moment_pieces(&self) -> Option<[usize; 2]> {
        (self.splits()[1] == 1 && self.order == Columns::Outputs).then(|| [self.tiles()[0], ROWS])
    }

    /// [`Product::launches`] with a weight that is packed first, in place of the product's own.
    ///
    /// # Errors
    /// As [`Product::launches`].
    pub fn launches_packing(
        &self,
        weight: Unpacked,
        moments: Address,
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        tensor_cores(self.format)?;
        let (packed, launch) = weight.pack(self.format, workspace)?;
        let mut launches = vec![launch];
        let product = Self { weight: packed, ..*self };
        launches.extend(product.launches(moments, workspace)?);
        Ok(launches)
    }

    /// The launches. `moments`, `[pieces, 2, columns]` of f32, or [`NULL`].
    ///
    /// # Errors
    /// When the product does not fit, or moments are wanted where there are none.
    pub fn launches(&self, moments: Address, workspace: &mut Workspace) -> Result<Vec<Launch>> {
        if !self.fits() || (moments != NULL && self.moment_pieces().is_none()) {
            return Err(Error::operation("cuda", format!("no kernel on tensor cores does {self:?}")));
        }
        if workspace.target() == Target::Sm90a
            && let Some(launches) = hopper::product(self, moments, workspace)?
        {
            return Ok(launches);
        }
        let (rows, [iterations, splits]) = (self.gather.rows(), self.splits());
        let partial = if splits > 1 { workspace.take(splits * rows * self.columns * 4) } else { NULL };
        let [row_tiles, column_tiles] = self.tiles();
        let outputs = if let Columns::Taps(outputs) = self.order { outputs } else { self.columns };
        let arguments = ConvolutionArguments {
            input: self.inputs.map(|input| input.address),
            weight: self.weight,
            bias: self.bias,
            output: self.output.address,
            moments,
            partial,
            geometry: self.gather.pack()?,
            channels: [int(self.inputs[0].channels)?, int(self.inputs[1].channels)?],
            pitch: [int(self.inputs[0].pitch)?, int(self.inputs[1].pitch)?],
            rows: int(rows)?,
            columns: int(self.columns)?,
            output_pitch: int(self.output.pitch)?,
            weight_tap: int(self.columns * self.channels())?,
            weight_column: int(self.channels())?,
            iterations: int(iterations)?,
            column_tiles: Divisor::new(column_tiles)?,
            outputs: Divisor::new(outputs)?,
            reserved: [0; 2],
        };
        let format = tensor_cores(self.format)?;
        let family = if self.order == Columns::Outputs { "conv3d" } else { "conv_transpose3d" };
        let name = format!("{family}_{format}_{ROWS}x{}", self.tile());
        let mut launches = vec![Launch::new(&name, [row_tiles * column_tiles, 1, splits], &arguments)?];
        if splits > 1 {
            launches.push(self.reduction(partial, splits)?);
        }
        Ok(launches)
    }

    /// The launch that adds the sums of splits, in order.
    pub(super) fn reduction(&self, partial: Address, splits: usize) -> Result<Launch> {
        let elements = self.gather.rows() * self.columns;
        int(elements)?;
        let arguments = ReduceArguments {
            partial,
            bias: self.bias,
            output: self.output.address,
            elements: elements as i64,
            columns: Divisor::new(self.columns)?,
            splits: int(splits)?,
            output_pitch: int(self.output.pitch)?,
            reserved: 0,
        };
        let name = format!("conv3d_reduce_{}", tensor_cores(self.format)?);
        Launch::new(&name, [elements.div_ceil(4 * 256), 1, 1], &arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(extent: usize, channels: [usize; 2], columns: usize) -> Product {
        let gather = Gather {
            batch: 1,
            image: [extent; 3],
            result: [extent; 3],
            kernel: [3; 3],
            stride: [1; 3],
            low: [1; 3],
            dilation: [1; 3],
        };
        Product {
            format: Format::Bf16,
            gather,
            inputs: channels.map(|channels| Operand::dense(0x1000, channels)),
            weight: 0x1000,
            columns,
            order: Columns::Outputs,
            bias: NULL,
            output: Operand::dense(0x1000, columns),
        }
    }

    #[test]
    fn tiles_waste_few_columns() {
        let tile = |columns| product(8, [32, 0], columns).tile();
        assert_eq!([8, 32, 40, 64, 96, 128, 192, 256].map(tile), [32, 32, 64, 64, 128, 128, 64, 128]);
    }

    #[test]
    fn only_few_tiles_are_split_and_then_every_iteration_is_done_once() {
        let large = product(64, [128, 64], 64);
        assert_eq!(large.splits(), [27 * 6, 1]);
        assert_eq!(large.moment_pieces(), Some([2048, 128]));
        for (extent, channels, columns) in [(8, [256, 0], 512), (4, [512, 256], 256), (2, [8, 0], 8)] {
            let product = product(extent, channels, columns);
            let ([each, splits], all) = (product.splits(), product.iterations());
            assert!(splits <= MOST_SPLITS && each * splits >= all && each * (splits - 1) < all);
            assert_eq!(product.moment_pieces().is_none(), splits > 1);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let launches = |product: Product| product.launches(NULL, &mut Workspace::default());
        assert_eq!(launches(product(8, [32, 0], 64)).unwrap()[0].kernel.name, "conv3d_bf16_128x64");
        assert!(launches(product(8, [31, 0], 64)).is_err());
        assert!(launches(product(8, [32, 4], 64)).is_err());
        assert!(launches(product(8, [32, 0], 1)).is_err());
        assert!(launches(Product { format: Format::F32, ..product(8, [32, 0], 64) }).is_err());
        let gather = Gather { kernel: [11, 1, 1], ..product(8, [32, 0], 64).gather };
        assert!(launches(Product { gather, ..product(8, [32, 0], 64) }).is_err());
        let moments = product(4, [512, 256], 256).launches(0x1000, &mut Workspace::default());
        assert!(moments.is_err());
    }
}

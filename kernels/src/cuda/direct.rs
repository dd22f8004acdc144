//! Launches of the convolutions that take any shape: `direct.cuh`. Their weight gradient: [`super::weight_gradient`].

use super::geometry::{Divisor, Gather, Geometry};
use super::launch::{Address, Format, Launch, NULL, Operand, Workspace, int};
use super::weight_gradient::WeightGradient;
use crate::Result;
use bytemuck::{Pod, Zeroable};

/// Rows of a tile.
const ROWS: usize = 128;
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct DirectArguments {
    input: [Address; 2],
    weight: Address,
    bias: Address,
    output: Address,
    geometry: Geometry,
    stride: [Divisor; 3],
    channels: [i32; 2],
    pitch: [i32; 2],
    rows: i32,
    outputs: i32,
    output_pitch: i32,
    weight_output: i32,
    weight_channel: i32,
    column_tiles: Divisor,
    all_channels: Divisor,
    reserved: [i32; 2],
}

/// A weight as PyTorch lays it out, f32: element (output, channel, tap) at
/// `output · output_step + channel · channel_step + tap`.
#[derive(Clone, Copy, Debug)]
pub struct Strided {
    /// Of the element (0, 0, 0).
    pub address: Address,
    /// Elements from an output to the next.
    pub output_step: usize,
    /// Elements from a summed channel to the next.
    pub channel_step: usize,
}

/// A convolution of any shape, or its transpose.
#[derive(Clone, Copy, Debug)]
pub struct Direct {
    /// Storage of activations; f16 has no kernel.
    pub format: Format,
    /// What rows read; for the transpose the convolution's own, [turned](Gather::turned).
    pub gather: Gather,
    /// Whether rows read `(row + low - tap · dilation) / stride` in place of
    /// `row · stride + tap · dilation - low`.
    pub transposed: bool,
    /// One or two activations.
    pub inputs: [Operand; 2],
    /// The weight.
    pub weight: Strided,
    /// `[outputs]`, or [`NULL`].
    pub bias: Address,
    /// `[rows, outputs]`.
    pub output: Operand,
}

impl Direct {
    /// The launch.
    ///
    /// # Errors
    /// For f16, and numbers beyond 32 bits.
    pub fn launch(&self) -> Result<Launch> {
        let (rows, outputs) = (self.gather.rows(), self.output.channels);
        let channels = self.inputs[0].channels + self.inputs[1].channels;
        let tile = if outputs > 32 { 64 } else { 32 };
        int(self.gather.taps() * channels + 16)?;
        let stride = self.gather.stride;
        let arguments = DirectArguments {
            input: self.inputs.map(|input| input.address),
            weight: self.weight.address,
            bias: self.bias,
            output: self.output.address,
            geometry: self.gather.pack()?,
            stride: [Divisor::new(stride[0])?, Divisor::new(stride[1])?, Divisor::new(stride[2])?],
            channels: [int(self.inputs[0].channels)?, int(self.inputs[1].channels)?],
            pitch: [int(self.inputs[0].pitch)?, int(self.inputs[1].pitch)?],
            rows: int(rows)?,
            outputs: int(outputs)?,
            output_pitch: int(self.output.pitch)?,
            weight_output: int(self.weight.output_step)?,
            weight_channel: int(self.weight.channel_step)?,
            column_tiles: Divisor::new(outputs.div_ceil(tile))?,
            all_channels: Divisor::new(channels)?,
            reserved: [0; 2],
        };
        let kind = if self.transposed { "conv3d_direct_transposed" } else { "conv3d_direct" };
        let name = format!("{kind}_{}_{ROWS}x{tile}", self.format.stored()?);
        Launch::new(&name, [rows.div_ceil(ROWS) * outputs.div_ceil(tile), 1, 1], &arguments)
    }
}

/// y = x·wᵀ + b for x `[N, F]` and w `[O, F]`: a convolution of one tap over N voxels.
///
/// # Errors
/// As [`Direct::launch`].
pub fn linear(
    format: Format,
    x: Operand,
    rows: usize,
    weight: Address,
    bias: Address,
    y: Operand,
) -> Result<Launch> {
    let weight = Strided { address: weight, output_step: x.channels, channel_step: 1 };
    let inputs = [x, Operand::default()];
    Direct { format, gather: points(rows), transposed: false, inputs, weight, bias, output: y }.launch()
}

/// dx = dy·w.
///
/// # Errors
/// As [`Direct::launch`].
pub fn linear_input_gradient(
    format: Format,
    dy: Operand,
    rows: usize,
    weight: Address,
    dx: Operand,
) -> Result<Launch> {
    let weight = Strided { address: weight, output_step: 1, channel_step: dx.channels };
    let inputs = [dy, Operand::default()];
    Direct { format, gather: points(rows), transposed: false, inputs, weight, bias: NULL, output: dx }
        .launch()
}

/// dw = dyᵀ·x.
///
/// # Errors
/// As [`WeightGradient::direct`].
pub fn linear_weight_gradient(
    format: Format,
    x: Operand,
    rows: usize,
    dy: Operand,
    dw: Address,
    workspace: &mut Workspace,
) -> Result<Vec<Launch>> {
    let inputs = [x, Operand::default()];
    WeightGradient { format, gather: points(rows), inputs, gradient: dy, output: dw }.direct(workspace)
}

/// `rows` voxels that each read themselves.
fn points(rows: usize) -> Gather {
    Gather {
        batch: rows,
        image: [1; 3],
        result: [1; 3],
        kernel: [1; 3],
        stride: [1; 3],
        low: [0; 3],
        dilation: [1; 3],
    }
}

//! Launches of the convolutions that take any shape: `direct.cuh`. Their weight gradient: [`super::weight_gradient`].

use super::geometry::{Divisor, Gather, Geometry};
use super::launch::{Address, Format, Launch, NULL, Operand, Workspace, int};
use super::packing::{Order, Unpacked};
use super::weight_gradient::WeightGradient;
use crate::Result;
use bytemuck::{Pod, Zeroable};

/// (tap, channel) pairs that a kernel takes at a time.
const DEPTH: usize = 16;
/// Floats of all windows that these touch.
const WINDOWS: usize = 2176;
/// Bytes that memory moves at least.
const SECTOR_BYTES: usize = 32;

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
    weight_pitch: i32,
    whole_rows: i32,
    window: i32,
    window_pitch: i32,
    column_tiles: Divisor,
    all_channels: Divisor,
}

/// How a kernel reads an image: `direct_rows.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// 16 bytes of channels at a time.
    Wide,
    /// The stretch that a line of taps reads of a tile's rows, of so many elements.
    Windows(usize),
    /// Element by element.
    Elements,
}

impl Source {
    /// The best for `rows` rows and `pairs` (tap, channel) pairs at a time, where windows may hold `capacity` floats.
    pub(super) fn of(
        gather: &Gather,
        inputs: &[Operand; 2],
        format: Format,
        [rows, pairs]: [usize; 2],
        capacity: usize,
    ) -> Self {
        let in_units = |unit: usize| inputs.iter().all(|i| i.channels % unit == 0 && i.pitch % unit == 0);
        let sector = SECTOR_BYTES / format.size();
        if in_units(sector) {
            return Self::Wide;
        }
        let channels = inputs[0].channels;
        let line = gather.kernel[2] * channels;
        let lines = (gather.kernel[0] * gather.kernel[1]).min((line + pairs - 2) / line.max(1) + 1);
        let stretch = (rows + (gather.kernel[2] - 1) * gather.dilation[2]) * channels;
        let window = (stretch + sector - 1).next_multiple_of(sector);
        // The kernels pad windows by up to 31 floats against bank conflicts.
        let dense = inputs[1].channels == 0 && inputs[0].pitch == channels;
        if dense
            && gather.stride == [1; 3]
            && gather.image == gather.result
            && lines * (window + 31) <= capacity
        {
            return Self::Windows(window);
        }
        if in_units(format.wide()) { Self::Wide } else { Self::Elements }
    }

    /// What a kernel's name says of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wide => "",
            Self::Windows(_) => "windows_",
            Self::Elements => "elements_",
        }
    }

    /// Elements of a window.
    pub(super) fn window(self) -> usize {
        if let Self::Windows(window) = self { window } else { 0 }
    }
}

/// Whether so many elements are whole sectors.
pub(super) fn whole_sectors(elements: usize, format: Format) -> bool {
    (elements * format.size()).is_multiple_of(SECTOR_BYTES)
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
    /// The weight; as it is packed, outputs come last.
    pub weight: Unpacked,
    /// `[outputs]`, or [`NULL`].
    pub bias: Address,
    /// `[rows, outputs]`.
    pub output: Operand,
}

impl Direct {
    /// The launches: the weight is packed, then multiplied.
    ///
    /// # Errors
    /// For f16, and numbers beyond 32 bits.
    pub fn launches(&self, workspace: &mut Workspace) -> Result<Vec<Launch>> {
        if self.transposed && self.gather.stride == [1; 3] {
            return self.mirrored().launches(workspace);
        }
        let (rows, outputs) = (self.gather.rows(), self.output.channels);
        let channels = self.inputs[0].channels + self.inputs[1].channels;
        let source = match Source::of(&self.gather, &self.inputs, self.format, [128, DEPTH], WINDOWS) {
            Source::Windows(_) if self.transposed => Source::Elements,
            source => source,
        };
        let [tile_rows, tile] = match outputs {
            _ if source != Source::Wide => [128, 32],
            ..=8 => [256, 8],
            9..=32 => [128, 32],
            _ => [128, 64],
        };
        int(self.gather.taps() * channels + DEPTH)?;
        int(rows + tile_rows)?;
        let (weight, weight_pitch, pack) = self.weight.pack_padded(workspace)?;
        let (stride, window) = (self.gather.stride, source.window());
        let arguments = DirectArguments {
            input: self.inputs.map(|input| input.address),
            weight,
            bias: self.bias,
            output: self.output.address,
            geometry: self.gather.pack()?,
            stride: [Divisor::new(stride[0])?, Divisor::new(stride[1])?, Divisor::new(stride[2])?],
            channels: [int(self.inputs[0].channels)?, int(self.inputs[1].channels)?],
            pitch: [int(self.inputs[0].pitch)?, int(self.inputs[1].pitch)?],
            rows: int(rows)?,
            outputs: int(outputs)?,
            output_pitch: int(self.output.pitch)?,
            weight_pitch: int(weight_pitch)?,
            whole_rows: [outputs, self.output.pitch].iter().all(|&n| whole_sectors(n, self.format)).into(),
            window: int(window)?,
            // An odd multiple of 8: eight neighbouring pairs of four rows lie in different banks.
            window_pitch: int(window + (window + 8) % 16)?,
            column_tiles: Divisor::new(outputs.div_ceil(tile))?,
            all_channels: Divisor::new(channels)?,
        };
        let kind = if self.transposed { "conv3d_direct_transposed" } else { "conv3d_direct" };
        let name = format!("{kind}_{}{}_{tile_rows}x{tile}", source.name(), self.format.stored()?);
        let grid = [rows.div_ceil(tile_rows) * outputs.div_ceil(tile), 1, 1];
        Ok(vec![pack, Launch::new(&name, grid, &arguments)?])
    }

    /// The transpose of a convolution of stride 1 is one by mirrored taps.
    fn mirrored(&self) -> Self {
        let order = self.weight.order;
        let order = Order { mirrored: !order.mirrored, ..order };
        let weight = Unpacked { order, ..self.weight };
        Self { gather: self.gather.turned().mirrored(), transposed: false, weight, ..*self }
    }
}

/// y = x·wᵀ + b for x `[N, F]` and w `[O, F]`: a convolution of one tap over N voxels.
///
/// # Errors
/// As [`Direct::launches`].
pub fn linear(
    format: Format,
    x: Operand,
    rows: usize,
    weight: Address,
    bias: Address,
    y: Operand,
    workspace: &mut Workspace,
) -> Result<Vec<Launch>> {
    let order = Order { transposed: true, mirrored: false };
    let weight = Unpacked::whole(weight, [y.channels, x.channels, 1], order);
    let inputs = [x, Operand::default()];
    Direct { format, gather: points(rows), transposed: false, inputs, weight, bias, output: y }
        .launches(workspace)
}

/// dx = dy·w.
///
/// # Errors
/// As [`Direct::launches`].
pub fn linear_input_gradient(
    format: Format,
    dy: Operand,
    rows: usize,
    weight: Address,
    dx: Operand,
    workspace: &mut Workspace,
) -> Result<Vec<Launch>> {
    let order = Order { transposed: false, mirrored: false };
    let weight = Unpacked::whole(weight, [dy.channels, dx.channels, 1], order);
    let inputs = [dy, Operand::default()];
    Direct { format, gather: points(rows), transposed: false, inputs, weight, bias: NULL, output: dx }
        .launches(workspace)
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

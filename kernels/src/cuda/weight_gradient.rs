//! Launches of the convolutions' weight gradient: on tensor cores `weight_gradient.cuh`, for any shape `direct.cuh`;
//! both leave partial sums, which `conv3d_weights.cu` adds in order.

use super::convolution::{BLOCKS, MOST_SPLITS, STEP_BYTES, tensor_cores};
use super::direct::{Source, whole_sectors};
use super::geometry::{Divisor, Gather, Geometry};
use super::hopper;
use super::launch::{Address, Format, Launch, Operand, Target, Workspace, int};
use crate::Result;
use bytemuck::{Pod, Zeroable};

/// Outputs, and pairs of tap and channel, of a direct kernel's tile.
const DIRECT_TILE: usize = 64;
/// Voxels that a direct kernel takes at a time.
const DIRECT_DEPTH: usize = 32;
/// Floats of all windows that a direct kernel's tile touches.
const WINDOWS: usize = 1792;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct WeightGradientArguments {
    input: [Address; 2],
    gradient: Address,
    partial: Address,
    geometry: Geometry,
    channels: [i32; 2],
    pitch: [i32; 2],
    rows: i32,
    outputs: i32,
    gradient_pitch: i32,
    iterations: i32,
    channel_tiles: Divisor,
    first_tiles: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct DirectWeightArguments {
    input: [Address; 2],
    gradient: Address,
    partial: Address,
    geometry: Geometry,
    channels: [i32; 2],
    pitch: [i32; 2],
    rows: i32,
    outputs: i32,
    gradient_pitch: i32,
    partial_pitch: i32,
    voxels: i32,
    columns: i32,
    whole_outputs: i32,
    whole_channels: i32,
    window: i32,
    window_pitch: i32,
    column_tiles: Divisor,
    all_channels: Divisor,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct WeightReduceArguments {
    partial: Address,
    gradient: Address,
    split: i64,
    splits: i32,
    taps: i32,
    elements: i32,
    pitch: i32,
}

/// gradient\[o, channel, tap\] = Σ over rows of gradient\[row, o\] · input\[voxel of (row, tap), channel\].
#[derive(Clone, Copy, Debug)]
pub struct WeightGradient {
    /// Storage of activations; f16 has kernels on tensor cores alone.
    pub format: Format,
    /// What rows read.
    pub gather: Gather,
    /// One or two activations; the second may have 0 channels.
    pub inputs: [Operand; 2],
    /// `[rows, outputs]`.
    pub gradient: Operand,
    /// `[outputs, channels of both inputs, taps]`, f32: PyTorch's layout.
    pub output: Address,
}

impl WeightGradient {
    /// Whether tensor cores can do it: 16 bytes are the least their kernels move.
    pub fn fits(&self) -> bool {
        let wide = self.format.wide();
        let [first, second] = self.inputs;
        let whole = [first.channels, first.pitch, second.channels, second.pitch];
        self.format != Format::F32
            && first.channels > 0
            && whole.iter().chain([&self.gradient.channels, &self.gradient.pitch]).all(|n| n % wide == 0)
            && self.gather.taps() <= 65_535
            && self.gather.pack().is_ok()
    }

    fn channels(&self) -> usize {
        self.inputs[0].channels + self.inputs[1].channels
    }

    /// Outputs, and channels, of a tile.
    fn tile(&self) -> usize {
        let whole = |n: usize| n.next_multiple_of(128) == n.next_multiple_of(64);
        let channels = self.inputs.iter().all(|input| whole(input.channels));
        if channels && whole(self.gradient.channels) { 128 } else { 64 }
    }

    /// Steps of voxels of each split, and how many splits.
    fn splits(&self, tiles: usize) -> [usize; 2] {
        let all = self.gather.rows().div_ceil(STEP_BYTES / self.format.size());
        let wanted = (4 * BLOCKS).div_ceil(tiles * self.gather.taps()).min(all / 16).clamp(1, MOST_SPLITS);
        let each = all.div_ceil(wanted);
        [each, all.div_ceil(each)]
    }

    /// The launches: on tensor cores where they can do it, [directly](Self::direct) otherwise.
    ///
    /// # Errors
    /// For f16 where tensor cores cannot, and numbers beyond 32 bits.
    pub fn launches(&self, workspace: &mut Workspace) -> Result<Vec<Launch>> {
        if !self.fits() {
            return self.direct(workspace);
        }
        if workspace.target() == Target::Sm90a
            && let Some(launches) = hopper::weight_gradient(self, workspace)?
        {
            return Ok(launches);
        }
        self.on_tensor_cores(workspace)
    }

    fn on_tensor_cores(&self, workspace: &mut Workspace) -> Result<Vec<Launch>> {
        let tile = self.tile();
        let [first_tiles, second_tiles] = self.inputs.map(|input| input.channels.div_ceil(tile));
        let (channel_tiles, output_tiles) =
            (first_tiles + second_tiles, self.gradient.channels.div_ceil(tile));
        let [iterations, splits] = self.splits(channel_tiles * output_tiles);
        let (taps, outputs) = (self.gather.taps(), self.gradient.channels);
        let partial = workspace.take(splits * taps * outputs * self.channels() * 4);
        let arguments = WeightGradientArguments {
            input: self.inputs.map(|input| input.address),
            gradient: self.gradient.address,
            partial,
            geometry: self.gather.pack()?,
            channels: [int(self.inputs[0].channels)?, int(self.inputs[1].channels)?],
            pitch: [int(self.inputs[0].pitch)?, int(self.inputs[1].pitch)?],
            rows: int(self.gather.rows())?,
            outputs: int(outputs)?,
            gradient_pitch: int(self.gradient.pitch)?,
            iterations: int(iterations)?,
            channel_tiles: Divisor::new(channel_tiles)?,
            first_tiles: int(first_tiles)?,
        };
        let name = format!("conv3d_weight_{}_{tile}x{tile}", tensor_cores(self.format)?);
        Ok(vec![
            Launch::new(&name, [channel_tiles * output_tiles, taps, splits], &arguments)?,
            reduce_weight(partial, [splits, taps, outputs * self.channels()], self.output)?,
        ])
    }

    /// The launches of the kernels that take any shape.
    ///
    /// # Errors
    /// For f16, and numbers beyond 32 bits.
    pub fn direct(&self, workspace: &mut Workspace) -> Result<Vec<Launch>> {
        let (rows, outputs, taps) = (self.gather.rows(), self.gradient.channels, self.gather.taps());
        let channels = self.channels();
        let of_tile = [DIRECT_DEPTH, DIRECT_TILE];
        let source = Source::of(&self.gather, &self.inputs, self.format, of_tile, WINDOWS);
        // Whole taps where they fit, so that what is written of one lies side by side.
        let columns = match channels {
            ..=DIRECT_TILE => DIRECT_TILE / channels.max(1) * channels,
            _ => DIRECT_TILE,
        };
        let whole_channels = channels.is_multiple_of(8);
        let columns = if whole_channels { DIRECT_TILE } else { columns };
        let column_tiles = (taps * channels).div_ceil(columns);
        let tiles = column_tiles * outputs.div_ceil(DIRECT_TILE);
        // As many splits as fill a large card, of 8 steps at least.
        let wanted = 1024usize.div_ceil(tiles).min(rows / (8 * DIRECT_DEPTH)).clamp(1, 64);
        let voxels = rows.div_ceil(wanted).next_multiple_of(DIRECT_DEPTH);
        let splits = rows.div_ceil(voxels);
        int(rows + voxels)?;
        int(taps * channels + DIRECT_TILE)?;
        let partial_pitch = (outputs * channels).next_multiple_of(8);
        let partial = workspace.take(splits * taps * partial_pitch * 4);
        let (window, line) = (source.window(), self.gather.kernel[2] * channels);
        let arguments = DirectWeightArguments {
            input: self.inputs.map(|input| input.address),
            gradient: self.gradient.address,
            partial,
            geometry: self.gather.pack()?,
            channels: [int(self.inputs[0].channels)?, int(self.inputs[1].channels)?],
            pitch: [int(self.inputs[0].pitch)?, int(self.inputs[1].pitch)?],
            rows: int(rows)?,
            outputs: int(outputs)?,
            gradient_pitch: int(self.gradient.pitch)?,
            partial_pitch: int(partial_pitch)?,
            voxels: int(voxels)?,
            columns: int(columns)?,
            whole_outputs: [outputs, self.gradient.pitch]
                .iter()
                .all(|&n| whole_sectors(n, self.format))
                .into(),
            whole_channels: whole_channels.into(),
            window: int(window)?,
            // Pairs of neighbouring lines follow each other through the banks.
            window_pitch: int(window + (line % 32 + 32 - window % 32) % 32)?,
            column_tiles: Divisor::new(column_tiles)?,
            all_channels: Divisor::new(channels)?,
        };
        let name = format!("conv3d_direct_weight_{}{}", source.name(), self.format.stored()?);
        Ok(vec![
            Launch::new(&name, [tiles, 1, splits], &arguments)?,
            reduce_weight(partial, [splits, taps, outputs * channels], self.output)?,
        ])
    }
}

/// Adds partial sums `[splits, taps, elements]` in order into `[elements, taps]`; rows of the former are padded to
/// whole sectors.
pub(super) fn reduce_weight(
    partial: Address,
    [splits, taps, elements]: [usize; 3],
    gradient: Address,
) -> Result<Launch> {
    let pitch = elements.next_multiple_of(8);
    let arguments = WeightReduceArguments {
        partial,
        gradient,
        split: (taps * pitch) as i64,
        splits: int(splits)?,
        taps: int(taps)?,
        elements: int(elements)?,
        pitch: int(pitch)?,
    };
    Launch::new("conv3d_weight_reduce", [elements.div_ceil(32), taps.div_ceil(32), 1], &arguments)
}

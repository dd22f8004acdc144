//! Passes over `[rows, channels]`, and sums per channel in two stages: `channels.cuh`, `channel_sums.cu`.

use super::launch::{Address, Format, Launch, Operand, Workspace, int};
use crate::Result;
use bytemuck::{Pod, Zeroable};

/// Rows of a thread in a piece.
const ROWS_OF_A_THREAD: usize = 32;
/// Threads of a block.
const THREADS: usize = 256;

/// `Channels` of `channels.cuh`, byte for byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable, PartialEq, Eq)]
pub struct Channels {
    rows: i32,
    channels: i32,
    pitch: i32,
    vectors: i32,
    lanes: i32,
    piece: i32,
}

/// How a pass is cut: depends on shapes alone.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The kernels' structure.
    pub shape: Channels,
    /// Pieces of rows, and groups of channels: the grid.
    pub grid: [usize; 3],
    /// Rows of each piece but the last.
    pub piece: usize,
    /// What a kernel's name ends with.
    pub suffix: &'static str,
}

impl Pass {
    /// A pass over `rows` rows of `operand`; `step` times [`ROWS_OF_A_THREAD`] rows a thread.
    ///
    /// # Errors
    /// For f16, and numbers beyond 32 bits.
    pub fn new(format: Format, rows: usize, operand: Operand) -> Result<Self> {
        let Operand { channels, pitch, .. } = operand;
        let wide = format.wide();
        let (count, suffix) = match (channels % wide == 0 && pitch % wide == 0, format.stored()?) {
            (true, "bf16") => (wide, "bf16"),
            (true, _) => (wide, "f32"),
            (false, "bf16") => (1, "bf16_odd"),
            (false, _) => (1, "f32_odd"),
        };
        let vectors = (channels / count).min(32);
        // Odd rows in sixteens, so that every step of a block begins with a sector.
        let lanes = match (count, THREADS / vectors.max(1)) {
            (1, lanes @ 16..) => lanes / 16 * 16,
            (_, lanes) => lanes,
        };
        let piece = lanes * ROWS_OF_A_THREAD;
        int(rows + piece)?;
        let shape = Channels {
            rows: int(rows)?,
            channels: int(channels)?,
            pitch: int(pitch)?,
            vectors: int(vectors)?,
            lanes: int(lanes)?,
            piece: int(piece)?,
        };
        let groups = (channels / count).div_ceil(vectors.max(1));
        Ok(Self { shape, grid: [rows.div_ceil(piece), groups, 1], piece, suffix })
    }

    /// Pieces of rows.
    pub fn pieces(&self) -> usize {
        self.grid[0]
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ChannelSumsArguments {
    input: Address,
    sums: Address,
    shape: Channels,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SumsFinishArguments {
    partial: Address,
    sums: Address,
    pieces: i32,
    width: i32,
    scale: f32,
    reserved: i32,
}

/// sums\[channel\] = Σ over rows, f32: a bias's gradient.
///
/// # Errors
/// For f16, and numbers beyond 32 bits.
pub fn sums(
    format: Format,
    rows: usize,
    input: Operand,
    sums: Address,
    workspace: &mut Workspace,
) -> Result<Vec<Launch>> {
    let pass = Pass::new(format, rows, input)?;
    let partial = workspace.take(pass.pieces() * input.channels * 4);
    let arguments = ChannelSumsArguments { input: input.address, sums: partial, shape: pass.shape };
    Ok(vec![
        Launch::new(&format!("channel_sums_{}", pass.suffix), pass.grid, &arguments)?,
        finish(Format::F32, partial, [1, pass.pieces(), input.channels], 1.0, sums)?,
    ])
}

/// The mean over the voxels of each batch entry, `[batch, channels]` in the input's format: global average
/// pooling of `[batch, voxels, channels]`.
///
/// # Errors
/// For f16, and numbers beyond 32 bits.
pub fn means(
    format: Format,
    [batch, voxels, channels]: [usize; 3],
    input: Address,
    output: Address,
    workspace: &mut Workspace,
) -> Result<Vec<Launch>> {
    let pass = Pass::new(format, voxels, Operand::dense(input, channels))?;
    let partial = workspace.take(batch * pass.pieces() * channels * 4);
    let mut launches = Vec::new();
    for entry in 0..batch as u64 {
        let arguments = ChannelSumsArguments {
            input: input + entry * (voxels * channels * format.size()) as u64,
            sums: partial + entry * (pass.pieces() * channels * 4) as u64,
            shape: pass.shape,
        };
        launches.push(Launch::new(&format!("channel_sums_{}", pass.suffix), pass.grid, &arguments)?);
    }
    launches.push(finish(format, partial, [batch, pass.pieces(), channels], 1.0 / voxels as f32, output)?);
    Ok(launches)
}

/// Adds partial sums `[batches, pieces, width]` in order, in f64, into `[batches, width]` of `format`, times `scale`.
pub(crate) fn finish(
    format: Format,
    partial: Address,
    [batches, pieces, width]: [usize; 3],
    scale: f32,
    sums: Address,
) -> Result<Launch> {
    let arguments =
        SumsFinishArguments { partial, sums, pieces: int(pieces)?, width: int(width)?, scale, reserved: 0 };
    let name = format!("channel_sums_finish_{}", format.stored()?);
    Launch::new(&name, [width.div_ceil(32), batches, 1], &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_cover_every_row_and_channel_once() {
        for (format, rows, channels) in
            [(Format::F32, 1000, 64), (Format::Bf16, 7, 512), (Format::F32, 5000, 1), (Format::Bf16, 300, 48)]
        {
            let pass = Pass::new(format, rows, Operand::dense(0x1000, channels)).unwrap();
            let Channels { vectors, lanes, piece, .. } = pass.shape;
            let count = if pass.suffix.ends_with("odd") { 1 } else { format.wide() };
            assert!(vectors * lanes <= 256 && vectors as usize * count <= (vectors * lanes) as usize);
            assert!(pass.grid[1] * vectors as usize * count >= channels);
            assert!(pass.pieces() * piece as usize >= rows && (pass.pieces() - 1) * (piece as usize) < rows);
        }
    }
}

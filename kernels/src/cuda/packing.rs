//! Weights as products read them: `conv3d_pack_*` of `conv3d_weights.cu`.

use super::launch::{Address, Format, Launch, Workspace, int};
use crate::Result;
use bytemuck::{Pod, Zeroable};

/// f32 in 32 bytes, the least that memory moves: rows of a padded weight are whole ones.
const SECTOR: usize = 8;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct PackArguments {
    weight: Address,
    packed: Address,
    batch_step: i64,
    row_step: i64,
    rows: i32,
    columns: i32,
    taps: i32,
    pitch: i32,
    mirrored: i32,
    reserved: i32,
}

/// Order of a packed weight, from PyTorch's `[first, second, taps]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// `[taps, second, first]` in place of `[taps, first, second]`.
    pub transposed: bool,
    /// The last tap first.
    pub mirrored: bool,
}

/// A weight as it is kept, f32 in PyTorch's order.
#[derive(Clone, Copy, Debug)]
pub struct Unpacked {
    /// Where it lies.
    pub address: Address,
    /// `[first, second, taps]`.
    pub extents: [usize; 3],
    /// The order a product reads it in.
    pub order: Order,
    /// The part of `second` that a product reads: where it begins, and how many.
    pub part: [usize; 2],
}

impl Unpacked {
    /// All of a weight.
    pub fn whole(address: Address, extents: [usize; 3], order: Order) -> Self {
        Self { address, extents, order, part: [0, extents[1]] }
    }

    /// The part that is read, in the elements of `format` and the order wanted, without gaps; where it will lie,
    /// and the launch.
    ///
    /// # Errors
    /// For numbers beyond 32 bits.
    pub fn pack(&self, format: Format, workspace: &mut Workspace) -> Result<(Address, Launch)> {
        let pitch = if self.order.transposed { self.extents[0] } else { self.part[1] };
        self.pack_rows(format, pitch, workspace)
    }

    /// The same in f32, each row padded with zeros to whole sectors; with the elements from a row to the next.
    ///
    /// # Errors
    /// For numbers beyond 32 bits.
    pub fn pack_padded(&self, workspace: &mut Workspace) -> Result<(Address, usize, Launch)> {
        let row = if self.order.transposed { self.extents[0] } else { self.part[1] };
        let pitch = row.next_multiple_of(SECTOR);
        let (packed, launch) = self.pack_rows(Format::F32, pitch, workspace)?;
        Ok((packed, pitch, launch))
    }

    fn pack_rows(
        &self,
        format: Format,
        pitch: usize,
        workspace: &mut Workspace,
    ) -> Result<(Address, Launch)> {
        const ROWS: usize = 32;
        const PAIRS: usize = 64;
        let ([first, second, taps], [begin, count]) = (self.extents, self.part);
        // Batches of matrices [rows, (columns, taps)] are turned; without gaps all is one matrix of many rows.
        let one_matrix = count == second && pitch == count;
        let (batches, rows, columns, pitch, row_step) = match (self.order.transposed, one_matrix) {
            (true, _) => (1, first, count, pitch, second * taps),
            (false, true) => (1, first * count, 1, first * count, taps),
            (false, false) => (first, count, 1, pitch, taps),
        };
        let packed = workspace.take(batches * columns * taps * pitch * format.size());
        let arguments = PackArguments {
            weight: self.address + (begin * taps * 4) as u64,
            packed,
            batch_step: (second * taps) as i64,
            row_step: row_step as i64,
            rows: int(rows)?,
            columns: int(columns)?,
            taps: int(taps)?,
            pitch: int(pitch)?,
            mirrored: self.order.mirrored.into(),
            reserved: 0,
        };
        int(columns * taps + PAIRS)?;
        let stored = match format {
            Format::F32 | Format::Tf32 => "f32",
            Format::Bf16 => "bf16",
            Format::F16 => "f16",
        };
        let grid = [pitch.div_ceil(ROWS), (columns * taps).div_ceil(PAIRS), batches];
        Ok((packed, Launch::new(&format!("conv3d_pack_{stored}"), grid, &arguments)?))
    }
}

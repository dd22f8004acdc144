//! What `wgmma.mma_async` multiplies: matrices in shared memory by their descriptors, in the manual's canonical layouts.
//!
//! Sums are formed in f32, ascending in k; a card adds in another order: compare with tolerances.

use super::half::value;
use super::numbers::Format;
use crate::memory::Swizzle;

/// Rows of a product.
pub(crate) const ROWS: usize = 64;
/// Inner extent of a product of 16-bit elements.
pub(crate) const INNER: usize = 16;
/// Bytes that lie together whatever the layout.
pub(crate) const PIECE: usize = 16;
/// Elements of a piece.
const ELEMENTS: usize = 8;

/// A matrix in shared memory: 16 columns (k) of as many rows (m or n) as the instruction says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Matrix {
    start: u64,
    leading: u64,
    stride: u64,
    swizzle: Swizzle,
    /// Rows lie next to each other, not columns.
    transposed: bool,
}

impl Matrix {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// In words, what is not allowed or not emulated.
    pub fn decode(descriptor: u64, transposed: bool) -> Result<Self, String> {
        let field = |low: u32, bits: u32| descriptor >> low & ((1 << bits) - 1);
        if [(14, 2), (30, 2), (46, 3), (52, 10)].iter().any(|&(low, bits)| field(low, bits) != 0) {
            return Err(format!("descriptor {descriptor:#018x} has bits that must be zero"));
        }
        if field(49, 3) != 0 {
            return Err(format!("descriptor {descriptor:#018x}: a base offset is not emulated"));
        }
        let swizzle = match field(62, 2) {
            0 => Swizzle::None,
            1 => Swizzle::Bytes128,
            2 => Swizzle::Bytes64,
            _ => Swizzle::Bytes32,
        };
        let [start, leading, stride] = [0, 16, 32].map(|low| field(low, 14) << 4);
        Ok(Self { start, leading, stride, swizzle, transposed })
    }

    /// Addresses of the pieces of `rows` rows: eight neighbours each that are read together. A piece has eight columns of
    /// a row (first those of columns 0 to 7 of all rows), or, transposed, eight rows of a column.
    pub fn pieces(&self, rows: usize) -> impl Iterator<Item = u64> {
        let own = *self;
        let (outer, inner) = if own.transposed { (rows / ELEMENTS, INNER) } else { (2, rows) };
        (0..outer).flat_map(move |i| {
            (0..inner).map(move |j| {
                let (part, line) = (i as u64, j as u64);
                own.swizzle.place(own.start + own.offset(part, line))
            })
        })
    }

    /// Where a piece would lie without swizzling: the manual's canonical layouts. `part` counts pieces along the contiguous
    /// axis, `line` goes along the other one.
    fn offset(&self, part: u64, line: u64) -> u64 {
        let span = self.swizzle.span() as u64;
        let across = span / PIECE as u64;
        match (self.transposed, self.swizzle) {
            (false, Swizzle::None) => line % 8 * 16 + line / 8 * self.stride + part * self.leading,
            (false, _) => line % 8 * span + line / 8 * self.stride + part * 16,
            (true, Swizzle::None) => part * self.stride + line % 8 * 16 + line / 8 * self.leading,
            (true, _) => {
                part % across * 16 + part / across * self.leading + line % 8 * span + line / 8 * self.stride
            }
        }
    }

    /// The matrix, `[INNER][rows]`, times `sign`.
    fn read(&self, shared: &[u8], rows: usize, format: Format, sign: f32) -> Vec<f32> {
        let mut out = vec![0.0; INNER * rows];
        for (number, address) in self.pieces(rows).enumerate() {
            let Some(bytes) = shared.get(address as usize..address as usize + PIECE) else { continue };
            let lines = if self.transposed { INNER } else { rows };
            let (part, line) = (number / lines * ELEMENTS, number % lines);
            for (i, pair) in bytes.chunks_exact(2).enumerate() {
                let element = sign * value(u16::from_le_bytes([pair[0], pair[1]]), format);
                let (k, row) = if self.transposed { (line, part + i) } else { (part + i, line) };
                out[k * rows + row] = element;
            }
        }
        out
    }
}

/// A product that was issued: `sums = A B + sums`, or without the old ones.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    pub left: Matrix,
    pub right: Matrix,
    pub columns: usize,
    pub format: Format,
    pub signs: [f32; 2],
    pub adds: bool,
}

impl Product {
    /// Adds it to `sums`, `[ROWS][columns]`.
    pub fn add(&self, shared: &[u8], sums: &mut [f32]) {
        let n = self.columns;
        let left = self.left.read(shared, ROWS, self.format, self.signs[0]);
        let right = self.right.read(shared, n, self.format, self.signs[1]);
        if !self.adds {
            sums.fill(0.0);
        }
        for (row, sums) in sums.chunks_exact_mut(n).enumerate() {
            // Eight at a time: a sum stays in its register meanwhile.
            for first in (0..INNER).step_by(ELEMENTS) {
                let a: [f32; ELEMENTS] = std::array::from_fn(|i| left[(first + i) * ROWS + row]);
                let b: [&[f32]; ELEMENTS] = std::array::from_fn(|i| &right[(first + i) * n..][..n]);
                for (column, sum) in sums.iter_mut().enumerate() {
                    let mut total = *sum;
                    for i in 0..ELEMENTS {
                        total += a[i] * b[i][column];
                    }
                    *sum = total;
                }
            }
        }
    }
}

/// Where `sums[row][column]` lies: warp, register, lane.
pub(crate) fn place(row: usize, column: usize) -> (usize, usize, usize) {
    let lane = row % 8 * 4 + column % 8 / 2;
    (row / 16, column / 8 * 4 + row % 16 / 8 * 2 + column % 2, lane)
}

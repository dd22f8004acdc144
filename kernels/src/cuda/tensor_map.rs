//! Arrays in device memory as the tensor memory accelerator of compute capability 9.0 reads them: box by box.

use super::launch::{Address, Format, Operand};

/// Elements of 16 bits in a box's line of 128 bytes, what its swizzle spans.
pub const LINE: usize = 64;

/// An array, and the box that a copy takes of it: what `cuTensorMapEncodeTiled` is told. Lines of a box are swizzled by
/// 128 bytes; what lies beyond the array is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Of its elements.
    pub format: Format,
    /// Of its first element.
    pub address: Address,
    /// Extents, the fastest axis first.
    pub extents: Vec<u64>,
    /// Bytes from one to the next, of every axis but the fastest.
    pub strides: Vec<u64>,
    /// Extents of the box, steps not left out.
    pub boxed: Vec<u32>,
    /// Every so manieth element of each axis is copied.
    pub steps: Vec<u32>,
}

impl TensorMap {
    /// Activations `[batch, depth, height, width, channels]`: a box of [`LINE`] channels of `voxels`
    /// (`[batch, depth, height, width]`), `step` voxels apart along each spatial axis.
    pub fn activation(
        format: Format,
        operand: &Operand,
        [batch, d, h, w]: [usize; 4],
        voxels: [usize; 4],
        step: [usize; 3],
    ) -> Self {
        let line = (operand.pitch * format.size()) as u64;
        let steps = [1, step[2], step[1], step[0], 1].map(|n| n as u32);
        let [bn, bd, bh, bw] = voxels.map(|n| n as u32);
        Self {
            format,
            address: operand.address,
            extents: [operand.channels, w, h, d, batch].map(|n| n as u64).to_vec(),
            strides: [line, line * w as u64, line * (w * h) as u64, line * (w * h * d) as u64].to_vec(),
            boxed: [LINE as u32, bw, bh, bd, bn].iter().zip(steps).map(|(n, step)| n * step).collect(),
            steps: steps.to_vec(),
        }
    }

    /// A packed weight `[taps, columns, channels]`: a box of [`LINE`] channels of `columns` columns of one tap.
    pub fn weight(format: Format, address: Address, extents: [usize; 3], columns: usize) -> Self {
        let [taps, all_columns, channels] = extents.map(|n| n as u64);
        let line = channels * format.size() as u64;
        Self {
            format,
            address,
            extents: vec![channels, all_columns, taps],
            strides: vec![line, line * all_columns],
            boxed: vec![LINE as u32, columns as u32, 1],
            steps: vec![1; 3],
        }
    }
}

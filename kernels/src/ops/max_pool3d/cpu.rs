//! Channel vectors: each output voxel compares the windows' voxels a block of channels at a time.

use super::MaxPool3d;
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};

/// A position within a window, as stored.
pub trait Position: bytemuck::Pod + Send + Sync + PartialEq {
    /// From a position that fits.
    fn new(position: u32) -> Self;
}

impl Position for u8 {
    #[inline(always)]
    fn new(position: u32) -> Self {
        position as u8
    }
}

impl Position for u32 {
    #[inline(always)]
    fn new(position: u32) -> Self {
        position
    }
}

/// `[N, D, H, W, C]` of a shape that `infer` has checked.
fn extents(shape: Shape) -> [usize; 5] {
    std::array::from_fn(|axis| shape[axis])
}

/// y and the positions of its elements.
pub fn forward<P: Position>(
    cx: &Context,
    op: &MaxPool3d,
    x: &Tensor,
    output: Shape,
) -> Result<(Tensor, Tensor)> {
    let [_, depth, height, width, channels] = extents(x.shape());
    let [_, rows_d, rows_h, columns, _] = extents(output);
    let mut y = Tensor::unspecified(output, DType::F32)?;
    let mut positions = Tensor::unspecified([(output.elements() * size_of::<P>()).div_ceil(4)], DType::F32)?;
    if output.elements() == 0 {
        return Ok((y, positions));
    }
    // Distance from a window's first voxel to each of its voxels, in scan order.
    let [kd, kh, kw] = op.kernel;
    let offsets: Vec<usize> = (0..kd * kh * kw)
        .map(|k| ((k / (kh * kw) * height + k / kw % kh) * width + k % kw) * channels)
        .collect();
    let x = x.as_slice();
    let row = columns * channels;
    let stored: &mut [P] = bytemuck::cast_slice_mut(positions.as_mut_slice()?);
    let mut rows: Vec<_> = y.as_mut_slice()?.chunks_mut(row).zip(stored.chunks_mut(row)).collect();
    cx.pool.run_pieces(&mut rows, 1, |index, rows| {
        let (n, d, h) = (index / rows_h / rows_d, index / rows_h % rows_d, index % rows_h);
        let start = ((n * depth + d * op.stride[0]) * height + h * op.stride[1]) * width * channels;
        let (y, positions) = &mut rows[0];
        cx.isa.run(|| {
            for (w, (y, p)) in y.chunks_mut(channels).zip(positions.chunks_mut(channels)).enumerate() {
                voxel(&x[start + w * op.stride[2] * channels..], &offsets, y, p);
            }
        });
    });
    Ok((y, positions))
}

/// One output voxel: blocks of 32 channels, then of 8, then single ones.
#[inline(always)]
fn voxel<P: Position>(x: &[f32], offsets: &[usize], y: &mut [f32], positions: &mut [P]) {
    let mut c = 0;
    while c + 32 <= y.len() {
        block::<P, 32>(x, offsets, c, y, positions);
        c += 32;
    }
    while c + 8 <= y.len() {
        block::<P, 8>(x, offsets, c, y, positions);
        c += 8;
    }
    while c < y.len() {
        block::<P, 1>(x, offsets, c, y, positions);
        c += 1;
    }
}

#[inline(always)]
fn block<P: Position, const B: usize>(
    x: &[f32],
    offsets: &[usize],
    c: usize,
    y: &mut [f32],
    positions: &mut [P],
) {
    let mut best = [f32::NEG_INFINITY; B];
    let mut position = [0u32; B];
    for (k, &offset) in offsets.iter().enumerate() {
        let values = &x[offset + c..offset + c + B];
        for i in 0..B {
            // True for a NaN too, whatever `best` is.
            let replaces = values[i] > best[i] || values[i].is_nan();
            best[i] = if replaces { values[i] } else { best[i] };
            position[i] = if replaces { k as u32 } else { position[i] };
        }
    }
    y[c..c + B].copy_from_slice(&best);
    for (stored, position) in positions[c..c + B].iter_mut().zip(position) {
        *stored = P::new(position);
    }
}

/// dx, gathered: each voxel of x asks the windows it lies in whether it won. No two tasks write the same
/// element, however windows overlap.
pub fn backward<P: Position>(
    cx: &Context,
    op: &MaxPool3d,
    positions: &Tensor,
    input: Shape,
    dy: &Tensor,
) -> Result<Tensor> {
    let [_, depth, height, width, channels] = extents(input);
    let [_, rows_d, rows_h, columns, _] = extents(dy.shape());
    let mut dx = Tensor::unspecified(input, DType::F32)?;
    let (dy, positions) = (dy.as_slice(), bytemuck::cast_slice::<f32, P>(positions.as_slice()));
    let row = (columns * channels).max(1);
    cx.pool.run_pieces(dx.as_mut_slice()?, width * channels, |index, dx| {
        let (n, d, h) = (index / height / depth, index / height % depth, index % height);
        cx.isa.run(|| {
            dx.fill(0.0);
            for window_d in windows(d, op.kernel[0], op.stride[0], rows_d) {
                for window_h in windows(h, op.kernel[1], op.stride[1], rows_h) {
                    let start = ((n * rows_d + window_d) * rows_h + window_h) * row;
                    let above = (d - window_d * op.stride[0]) * op.kernel[1] + h - window_h * op.stride[1];
                    let (dy, positions) = (&dy[start..start + row], &positions[start..start + row]);
                    gather_row(op, channels, (above * op.kernel[2]) as u32, dy, positions, dx);
                }
            }
        });
    });
    Ok(dx)
}

/// The windows along one axis that cover coordinate `at`.
#[inline(always)]
fn windows(at: usize, kernel: usize, stride: usize, count: usize) -> std::ops::Range<usize> {
    let first = (at + 1).saturating_sub(kernel).div_ceil(stride);
    first..count.min(at / stride + 1)
}

/// Adds what a row of windows gives to a row of voxels; `first` is the position in the window of the
/// voxel at its left edge.
#[inline(always)]
fn gather_row<P: Position>(
    op: &MaxPool3d,
    channels: usize,
    first: u32,
    dy: &[f32],
    positions: &[P],
    dx: &mut [f32],
) {
    let voxels = dy.chunks_exact(channels).zip(positions.chunks_exact(channels));
    for (window, (dy, positions)) in voxels.enumerate() {
        for k in 0..op.kernel[2] {
            let start = (window * op.stride[2] + k) * channels;
            add_where(&mut dx[start..start + channels], dy, positions, P::new(first + k as u32));
        }
    }
}

#[inline(always)]
fn add_where<P: Position>(dx: &mut [f32], dy: &[f32], positions: &[P], wanted: P) {
    let (dx, dx_rest) = dx.as_chunks_mut::<8>();
    let (dy, dy_rest) = dy.as_chunks::<8>();
    let (positions, positions_rest) = positions.as_chunks::<8>();
    for ((dx, dy), positions) in dx.iter_mut().zip(dy).zip(positions) {
        for i in 0..8 {
            dx[i] += if positions[i] == wanted { dy[i] } else { 0.0 };
        }
    }
    for ((dx, dy), &position) in dx_rest.iter_mut().zip(dy_rest).zip(positions_rest) {
        *dx += if position == wanted { *dy } else { 0.0 };
    }
}

//! Rows of voxels: each voxel of a window is compared with the best so far, all channels at once.

use super::MaxPool3d;
use crate::cpu::Kernel;
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};

/// Channels handled together, then those left over in the smaller number, then one by one.
const WIDE: usize = 32;
const NARROW: usize = 8;

/// A position within a window, as stored.
pub trait Position: bytemuck::Pod + Send + Sync + PartialEq {
    /// From a position that fits.
    fn new(position: usize) -> Self;
}

impl Position for u8 {
    #[inline(always)]
    fn new(position: usize) -> Self {
        position as u8
    }
}

impl Position for u32 {
    #[inline(always)]
    fn new(position: usize) -> Self {
        position as u32
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
        let (x, stride) = (&x[start..], op.stride[2] * channels);
        let row = PoolRow { x, offsets: &offsets, stride, channels, y, positions };
        match channels {
            8 => cx.isa.launch(PoolFew::<P, 8>(row)),
            16 => cx.isa.launch(PoolFew::<P, 16>(row)),
            _ => cx.isa.launch(row),
        }
    });
    Ok((y, positions))
}

struct PoolRow<'a, P> {
    x: &'a [f32],
    offsets: &'a [usize],
    stride: usize,
    channels: usize,
    y: &'a mut [f32],
    positions: &'a mut [P],
}

impl<P: Position> Kernel for PoolRow<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let outputs = self.y.chunks_mut(self.channels).zip(self.positions.chunks_mut(self.channels));
        for (w, (y, positions)) in outputs.enumerate() {
            let window = &self.x[w * self.stride..];
            y.copy_from_slice(&window[..y.len()]);
            positions.fill(P::new(0));
            for (k, &offset) in self.offsets.iter().enumerate().skip(1) {
                compare(y, positions, &window[offset..offset + y.len()], P::new(k));
            }
        }
    }
}

/// The same for a number of channels known when compiling: few channels, little work a voxel, so that
/// counting blocks would take longer than the comparisons.
struct PoolFew<'a, P, const C: usize>(PoolRow<'a, P>);

impl<P: Position, const C: usize> Kernel for PoolFew<'_, P, C> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (y, _) = self.0.y.as_chunks_mut::<C>();
        let (positions, _) = self.0.positions.as_chunks_mut::<C>();
        for (w, (y, positions)) in y.iter_mut().zip(positions).enumerate() {
            let window = &self.0.x[w * self.0.stride..];
            let mut best = [f32::NEG_INFINITY; C];
            let mut position = [0u32; C];
            for (k, &offset) in self.0.offsets.iter().enumerate() {
                if let Some(x) = window[offset..].first_chunk::<C>() {
                    compare_block(&mut best, &mut position, x, k as u32);
                }
            }
            *y = best;
            *positions = position.map(|k| P::new(k as usize));
        }
    }
}

#[inline(always)]
fn compare<P: Position>(y: &mut [f32], positions: &mut [P], x: &[f32], k: P) {
    let (y, y_rest) = y.as_chunks_mut::<WIDE>();
    let (positions, positions_rest) = positions.as_chunks_mut::<WIDE>();
    let (x, x_rest) = x.as_chunks::<WIDE>();
    for ((y, positions), x) in y.iter_mut().zip(positions).zip(x) {
        compare_block(y, positions, x, k);
    }
    let (y, y_rest) = y_rest.as_chunks_mut::<NARROW>();
    let (positions, positions_rest) = positions_rest.as_chunks_mut::<NARROW>();
    let (x, x_rest) = x_rest.as_chunks::<NARROW>();
    for ((y, positions), x) in y.iter_mut().zip(positions).zip(x) {
        compare_block(y, positions, x, k);
    }
    for ((y, position), x) in y_rest.iter_mut().zip(positions_rest).zip(x_rest) {
        compare_block(std::array::from_mut(y), std::array::from_mut(position), &[*x], k);
    }
}

#[inline(always)]
fn compare_block<P: Position, const B: usize>(y: &mut [f32; B], positions: &mut [P; B], x: &[f32; B], k: P) {
    // All read before anything is written, so that the compiler need not fear that slices overlap.
    let (best, before) = (*y, *positions);
    // True for a NaN too, whatever the best is.
    let replaces: [bool; B] = std::array::from_fn(|i| x[i] > best[i] || x[i].is_nan());
    *y = std::array::from_fn(|i| if replaces[i] { x[i] } else { best[i] });
    *positions = std::array::from_fn(|i| if replaces[i] { k } else { before[i] });
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
    let row = columns * channels;
    cx.pool.run_pieces(dx.as_mut_slice()?, width * channels, |index, dx| {
        let (n, d, h) = (index / height / depth, index / height % depth, index % height);
        dx.fill(0.0);
        for window_d in windows(d, op.kernel[0], op.stride[0], rows_d) {
            for window_h in windows(h, op.kernel[1], op.stride[1], rows_h) {
                let start = ((n * rows_d + window_d) * rows_h + window_h) * row;
                let above = (d - window_d * op.stride[0]) * op.kernel[1] + h - window_h * op.stride[1];
                let row = GatherRow {
                    dy: &dy[start..start + row],
                    positions: &positions[start..start + row],
                    dx,
                    channels,
                    kernel: op.kernel[2],
                    stride: op.stride[2],
                    first: above * op.kernel[2],
                };
                match channels {
                    8 => cx.isa.launch(GatherFew::<P, 8>(row)),
                    16 => cx.isa.launch(GatherFew::<P, 16>(row)),
                    32 => cx.isa.launch(GatherFew::<P, 32>(row)),
                    _ => cx.isa.launch(row),
                }
            }
        }
    });
    Ok(dx)
}

/// The windows along one axis that cover coordinate `at`.
fn windows(at: usize, kernel: usize, stride: usize, count: usize) -> std::ops::Range<usize> {
    let first = (at + 1).saturating_sub(kernel).div_ceil(stride);
    first..count.min(at / stride + 1)
}

/// Adds what a row of windows gives to a row of voxels.
struct GatherRow<'a, P> {
    dy: &'a [f32],
    positions: &'a [P],
    dx: &'a mut [f32],
    channels: usize,
    kernel: usize,
    stride: usize,
    /// The position in its window of the voxel at the window's left edge.
    first: usize,
}

impl<P: Position> Kernel for GatherRow<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let voxels = self.dy.chunks_exact(self.channels).zip(self.positions.chunks_exact(self.channels));
        for (window, (dy, positions)) in voxels.enumerate() {
            for k in 0..self.kernel {
                let start = (window * self.stride + k) * self.channels;
                let dx = &mut self.dx[start..start + self.channels];
                add_where(dx, dy, positions, P::new(self.first + k));
            }
        }
    }
}

/// The same for a number of channels known when compiling; see [`PoolFew`].
struct GatherFew<'a, P, const C: usize>(GatherRow<'a, P>);

impl<P: Position, const C: usize> Kernel for GatherFew<'_, P, C> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (dy, _) = self.0.dy.as_chunks::<C>();
        let (positions, _) = self.0.positions.as_chunks::<C>();
        let (dx, _) = self.0.dx.as_chunks_mut::<C>();
        for (window, (dy, positions)) in dy.iter().zip(positions).enumerate() {
            for k in 0..self.0.kernel {
                let dx = &mut dx[window * self.0.stride + k];
                add_block(dx, dy, positions, P::new(self.0.first + k));
            }
        }
    }
}

#[inline(always)]
fn add_where<P: Position>(dx: &mut [f32], dy: &[f32], positions: &[P], wanted: P) {
    let (dx, dx_rest) = dx.as_chunks_mut::<WIDE>();
    let (dy, dy_rest) = dy.as_chunks::<WIDE>();
    let (positions, positions_rest) = positions.as_chunks::<WIDE>();
    for ((dx, dy), positions) in dx.iter_mut().zip(dy).zip(positions) {
        add_block(dx, dy, positions, wanted);
    }
    let (dx, dx_rest) = dx_rest.as_chunks_mut::<NARROW>();
    let (dy, dy_rest) = dy_rest.as_chunks::<NARROW>();
    let (positions, positions_rest) = positions_rest.as_chunks::<NARROW>();
    for ((dx, dy), positions) in dx.iter_mut().zip(dy).zip(positions) {
        add_block(dx, dy, positions, wanted);
    }
    for ((dx, dy), &position) in dx_rest.iter_mut().zip(dy_rest).zip(positions_rest) {
        *dx += if position == wanted { *dy } else { 0.0 };
    }
}

#[inline(always)]
fn add_block<P: Position, const B: usize>(dx: &mut [f32; B], dy: &[f32; B], positions: &[P; B], wanted: P) {
    // A mask instead of a choice: 8 or 16 of these are unrolled before they are vectorised, and then a
    // choice would become a branch.
    for i in 0..B {
        let mask = u32::from(positions[i] == wanted).wrapping_neg();
        dx[i] += f32::from_bits(dy[i].to_bits() & mask);
    }
}

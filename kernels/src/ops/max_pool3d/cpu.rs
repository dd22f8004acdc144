//! Forward, in rows of voxels: each voxel of a window is compared with the best so far, all channels at
//! once. The best is kept in the format of x, which is exact; comparisons are between f32.

use super::MaxPool3d;
use crate::cpu::Kernel;
use crate::cpu::element::Element;
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};
use half::bf16;

/// Channels handled together, then those left over in the smaller number, then one by one.
const WIDE: usize = 64;
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
pub fn extents(shape: Shape) -> [usize; 5] {
    std::array::from_fn(|axis| shape[axis])
}

/// y, in the format of x, and the positions of its elements.
pub fn forward(cx: &Context, op: &MaxPool3d, x: &Tensor, output: Shape) -> Result<(Tensor, Tensor)> {
    match (x.dtype(), op.has_small_windows()) {
        (DType::F32, true) => forward_in::<f32, u8>(cx, op, x, output),
        (DType::F32, false) => forward_in::<f32, u32>(cx, op, x, output),
        (DType::Bf16, true) => forward_in::<bf16, u8>(cx, op, x, output),
        (DType::Bf16, false) => forward_in::<bf16, u32>(cx, op, x, output),
    }
}

fn forward_in<E: Element, P: Position>(
    cx: &Context,
    op: &MaxPool3d,
    x: &Tensor,
    output: Shape,
) -> Result<(Tensor, Tensor)> {
    let [_, depth, height, width, channels] = extents(x.shape());
    let [_, rows_d, rows_h, columns, _] = extents(output);
    let mut y = Tensor::unspecified(output, E::DTYPE)?;
    let mut positions = Tensor::unspecified([(output.elements() * size_of::<P>()).div_ceil(4)], DType::F32)?;
    if output.elements() == 0 {
        return Ok((y, positions));
    }
    // Distance from a window's first voxel to each of its voxels, in scan order.
    let [kd, kh, kw] = op.kernel;
    let offsets: Vec<usize> = (0..kd * kh * kw)
        .map(|k| ((k / (kh * kw) * height + k / kw % kh) * width + k % kw) * channels)
        .collect();
    let x = E::slice(x);
    let row = columns * channels;
    let stored: &mut [P] = bytemuck::cast_slice_mut(positions.as_mut_slice()?);
    let mut rows: Vec<_> = E::slice_mut(&mut y)?.chunks_mut(row).zip(stored.chunks_mut(row)).collect();
    cx.pool.run_pieces(&mut rows, 1, |index, rows| {
        let (n, d, h) = (index / rows_h / rows_d, index / rows_h % rows_d, index % rows_h);
        let start = ((n * depth + d * op.stride[0]) * height + h * op.stride[1]) * width * channels;
        let (y, positions) = &mut rows[0];
        let (x, stride) = (&x[start..], op.stride[2] * channels);
        let row = PoolRow { x, offsets: &offsets, stride, channels, y, positions };
        match channels {
            8 => cx.isa.launch(PoolFew::<E, P, 8>(row)),
            16 => cx.isa.launch(PoolFew::<E, P, 16>(row)),
            _ => cx.isa.launch(row),
        }
    });
    Ok((y, positions))
}

struct PoolRow<'a, E, P> {
    x: &'a [E],
    offsets: &'a [usize],
    stride: usize,
    channels: usize,
    y: &'a mut [E],
    positions: &'a mut [P],
}

impl<E: Element, P: Position> Kernel for PoolRow<'_, E, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let outputs = self.y.chunks_mut(self.channels).zip(self.positions.chunks_mut(self.channels));
        for (w, (y, positions)) in outputs.enumerate() {
            let window = &self.x[w * self.stride..];
            let done = blocks::<E, P, WIDE>(window, self.offsets, 0, y, positions);
            let done = blocks::<E, P, NARROW>(window, self.offsets, done, y, positions);
            blocks::<E, P, 1>(window, self.offsets, done, y, positions);
        }
    }
}

/// The same for a number of channels known when compiling: few channels, little work a voxel, so that
/// counting blocks would take longer than the comparisons.
struct PoolFew<'a, E, P, const C: usize>(PoolRow<'a, E, P>);

impl<E: Element, P: Position, const C: usize> Kernel for PoolFew<'_, E, P, C> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (y, _) = self.0.y.as_chunks_mut::<C>();
        let (positions, _) = self.0.positions.as_chunks_mut::<C>();
        for (w, (y, positions)) in y.iter_mut().zip(positions).enumerate() {
            winner(&self.0.x[w * self.0.stride..], self.0.offsets, y, positions);
        }
    }
}

/// Pools the channels from `first` on in blocks of `B`; returns the first channel that fills no block.
#[inline(always)]
fn blocks<E: Element, P: Position, const B: usize>(
    window: &[E],
    offsets: &[usize],
    first: usize,
    y: &mut [E],
    positions: &mut [P],
) -> usize {
    let (y, _) = y[first..].as_chunks_mut::<B>();
    let count = y.len();
    let (positions, _) = positions[first..].as_chunks_mut::<B>();
    for (block, (y, positions)) in y.iter_mut().zip(positions).enumerate() {
        winner(&window[first + block * B..], offsets, y, positions);
    }
    first + count * B
}

/// The largest of the voxels at `offsets`, for `B` channels, and which it was. All that is compared and
/// chosen is 32 bits wide: with lanes of several widths the compiler falls back to single elements.
#[inline(always)]
fn winner<E: Element, P: Position, const B: usize>(
    window: &[E],
    offsets: &[usize],
    y: &mut [E; B],
    positions: &mut [P; B],
) {
    let mut best = [f32::NEG_INFINITY; B];
    let mut position = [0u32; B];
    for (k, &offset) in offsets.iter().enumerate() {
        let Some(x) = window[offset..].first_chunk::<B>() else { return };
        for i in 0..B {
            let value = x[i].widen();
            // True for a NaN too, whatever the best is.
            let replaces = (value > best[i]) | value.is_nan();
            best[i] = if replaces { value } else { best[i] };
            position[i] = if replaces { k as u32 } else { position[i] };
        }
    }
    for i in 0..B {
        y[i] = E::narrow(best[i]);
        positions[i] = P::new(position[i] as usize);
    }
}

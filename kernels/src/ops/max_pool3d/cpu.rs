//! Forward, in rows of voxels: each voxel of a window is compared with the best so far, all channels at
//! once. The best is kept in the format of x, which is exact; comparisons are between f32.

use super::MaxPool3d;
use crate::cpu::Kernel;
use crate::cpu::element::Element;
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};
use half::bf16;

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
struct PoolFew<'a, E, P, const C: usize>(PoolRow<'a, E, P>);

impl<E: Element, P: Position, const C: usize> Kernel for PoolFew<'_, E, P, C> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (y, _) = self.0.y.as_chunks_mut::<C>();
        let (positions, _) = self.0.positions.as_chunks_mut::<C>();
        for (w, (y, positions)) in y.iter_mut().zip(positions).enumerate() {
            let window = &self.0.x[w * self.0.stride..];
            let mut best = [E::narrow(f32::NEG_INFINITY); C];
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
fn compare<E: Element, P: Position>(y: &mut [E], positions: &mut [P], x: &[E], k: P) {
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
fn compare_block<E: Element, P: Position, const B: usize>(
    y: &mut [E; B],
    positions: &mut [P; B],
    x: &[E; B],
    k: P,
) {
    // All read before anything is written, so that the compiler need not fear that slices overlap.
    let (best, before) = (*y, *positions);
    // True for a NaN too, whatever the best is.
    let replaces: [bool; B] = std::array::from_fn(|i| {
        let (x, best) = (x[i].widen(), best[i].widen());
        x > best || x.is_nan()
    });
    *y = std::array::from_fn(|i| if replaces[i] { x[i] } else { best[i] });
    *positions = std::array::from_fn(|i| if replaces[i] { k } else { before[i] });
}

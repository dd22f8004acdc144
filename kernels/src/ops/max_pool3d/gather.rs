//! Backward, gathered: each voxel of x asks the windows it lies in whether it won. No two tasks write the
//! same element, however windows overlap.

use super::MaxPool3d;
use super::cpu::{Position, extents};
use crate::cpu::Kernel;
use crate::cpu::element::{Element, Store};
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};
use half::bf16;

/// Channels handled together, then those left over in the smaller number, then one by one.
const WIDE: usize = 64;
const NARROW: usize = 8;

/// dx, in the format of dy.
pub fn backward(cx: &Context, op: &MaxPool3d, positions: &Tensor, x: Shape, dy: &Tensor) -> Result<Tensor> {
    match (dy.dtype(), op.has_small_windows()) {
        (DType::F32, true) => backward_in::<f32, u8>(cx, op, positions, x, dy),
        (DType::F32, false) => backward_in::<f32, u32>(cx, op, positions, x, dy),
        (DType::Bf16, true) => backward_in::<bf16, u8>(cx, op, positions, x, dy),
        (DType::Bf16, false) => backward_in::<bf16, u32>(cx, op, positions, x, dy),
    }
}

fn backward_in<E: Element, P: Position>(
    cx: &Context,
    op: &MaxPool3d,
    positions: &Tensor,
    input: Shape,
    dy: &Tensor,
) -> Result<Tensor> {
    let [_, depth, height, width, channels] = extents(input);
    let [_, rows_d, rows_h, columns, _] = extents(dy.shape());
    let mut dx = Tensor::unspecified(input, E::DTYPE)?;
    let (dy, positions) = (E::slice(dy), bytemuck::cast_slice::<f32, P>(positions.as_slice()));
    let row = columns * channels;
    // Windows that do not overlap give each voxel at most one gradient, which can be written at once;
    // others are added up in f32, a row at a time.
    let apart = (0..3).all(|axis| op.kernel[axis] <= op.stride[axis]);
    let out = E::slice_mut(&mut dx)?;
    let store = Store::of(cx.isa, out);
    cx.pool.run_pieces(out, width * channels, |index, dx| {
        let (n, d, h) = (index / height / depth, index / height % depth, index % height);
        let mut sums = vec![0.0f32; if apart { 0 } else { dx.len() }];
        let mut written = false;
        for window_d in windows(d, op.kernel[0], op.stride[0], rows_d) {
            for window_h in windows(h, op.kernel[1], op.stride[1], rows_h) {
                let start = ((n * rows_d + window_d) * rows_h + window_h) * row;
                let above = (d - window_d * op.stride[0]) * op.kernel[1] + h - window_h * op.stride[1];
                let row = Row {
                    dy: &dy[start..start + row],
                    positions: &positions[start..start + row],
                    channels,
                    kernel: op.kernel[2],
                    stride: op.stride[2],
                    first: above * op.kernel[2],
                };
                if apart {
                    let dx = &mut *dx;
                    match channels {
                        8 => cx.isa.launch(SetFew::<E, P, 8>(SetRow { row, dx, store })),
                        16 => cx.isa.launch(SetFew::<E, P, 16>(SetRow { row, dx, store })),
                        32 => cx.isa.launch(SetFew::<E, P, 32>(SetRow { row, dx, store })),
                        _ => cx.isa.launch(SetRow { row, dx, store }),
                    }
                } else {
                    cx.isa.launch(AddRow { row, sums: &mut sums });
                }
                written = true;
            }
        }
        if !apart {
            cx.isa.launch(Narrow { sums: &sums, dx });
        } else if !written {
            dx.fill(E::narrow(0.0));
        }
    });
    Ok(dx)
}

/// The windows along one axis that cover coordinate `at`.
fn windows(at: usize, kernel: usize, stride: usize, count: usize) -> std::ops::Range<usize> {
    let first = (at + 1).saturating_sub(kernel).div_ceil(stride);
    first..count.min(at / stride + 1)
}

/// A row of windows that reach into a row of voxels.
struct Row<'a, E, P> {
    dy: &'a [E],
    positions: &'a [P],
    channels: usize,
    kernel: usize,
    stride: usize,
    /// The position in its window of the voxel at the window's left edge.
    first: usize,
}

/// Writes what a row of windows that do not overlap gives to a row of voxels, and zeros elsewhere.
struct SetRow<'a, E, P> {
    row: Row<'a, E, P>,
    dx: &'a mut [E],
    store: Store,
}

impl<E: Element, P: Position> Kernel for SetRow<'_, E, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Row { dy, positions, channels, kernel, stride, first } = self.row;
        let mut end = 0;
        let voxels = dy.chunks_exact(channels).zip(positions.chunks_exact(channels));
        for (window, (dy, positions)) in voxels.enumerate() {
            let start = window * stride * channels;
            self.dx[end..start].fill(E::narrow(0.0));
            end = start + kernel * channels;
            for (k, dx) in self.dx[start..end].chunks_exact_mut(channels).enumerate() {
                set_where(dx, dy, positions, P::new(first + k), self.store);
            }
        }
        self.dx[end..].fill(E::narrow(0.0));
        self.store.finish();
    }
}

/// The same for a few channels, whose number is known when compiling: there is so little work a voxel that
/// counting blocks, or choosing how to store them, would take longer than the work.
struct SetFew<'a, E, P, const C: usize>(SetRow<'a, E, P>);

impl<E: Element, P: Position, const C: usize> Kernel for SetFew<'_, E, P, C> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let SetRow { row, dx, .. } = self.0;
        let (dy, _) = row.dy.as_chunks::<C>();
        let (positions, _) = row.positions.as_chunks::<C>();
        let (dx, _) = dx.as_chunks_mut::<C>();
        let mut end = 0;
        for (window, (dy, positions)) in dy.iter().zip(positions).enumerate() {
            let start = window * row.stride;
            dx[end..start].fill([E::narrow(0.0); C]);
            end = start + row.kernel;
            for (k, dx) in dx[start..end].iter_mut().enumerate() {
                let wanted = P::new(row.first + k);
                mask(dx, dy, positions, wanted);
            }
        }
        dx[end..].fill([E::narrow(0.0); C]);
    }
}

#[inline(always)]
fn set_where<E: Element, P: Position>(dx: &mut [E], dy: &[E], positions: &[P], wanted: P, store: Store) {
    let (dx, dx_rest) = dx.as_chunks_mut::<WIDE>();
    let (dy, dy_rest) = dy.as_chunks::<WIDE>();
    let (positions, positions_rest) = positions.as_chunks::<WIDE>();
    for ((dx, dy), positions) in dx.iter_mut().zip(dy).zip(positions) {
        set_block(dx, dy, positions, wanted, store);
    }
    let (dx, dx_rest) = dx_rest.as_chunks_mut::<NARROW>();
    let (dy, dy_rest) = dy_rest.as_chunks::<NARROW>();
    let (positions, positions_rest) = positions_rest.as_chunks::<NARROW>();
    for ((dx, dy), positions) in dx.iter_mut().zip(dy).zip(positions) {
        set_block(dx, dy, positions, wanted, Store::Cached);
    }
    for ((dx, dy), &position) in dx_rest.iter_mut().zip(dy_rest).zip(positions_rest) {
        *dx = dy.masked(position == wanted);
    }
}

/// A function, so that the compiler knows its slices not to overlap, and loads them whole.
#[inline(always)]
fn mask<E: Element, P: Position, const B: usize>(
    dx: &mut [E; B],
    dy: &[E; B],
    positions: &[P; B],
    wanted: P,
) {
    for i in 0..B {
        dx[i] = dy[i].masked(positions[i] == wanted);
    }
}

#[inline(always)]
fn set_block<E: Element, P: Position, const B: usize>(
    dx: &mut [E; B],
    dy: &[E; B],
    positions: &[P; B],
    wanted: P,
    store: Store,
) {
    let mut values = [E::narrow(0.0); B];
    mask(&mut values, dy, positions, wanted);
    store.block(dx, values);
}

/// Adds what a row of windows gives to the sums of a row of voxels.
struct AddRow<'a, E, P> {
    row: Row<'a, E, P>,
    sums: &'a mut [f32],
}

impl<E: Element, P: Position> Kernel for AddRow<'_, E, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Row { dy, positions, channels, kernel, stride, first } = self.row;
        let voxels = dy.chunks_exact(channels).zip(positions.chunks_exact(channels));
        for (window, (dy, positions)) in voxels.enumerate() {
            for k in 0..kernel {
                let start = (window * stride + k) * channels;
                let sums = &mut self.sums[start..start + channels];
                add_where(sums, dy, positions, P::new(first + k));
            }
        }
    }
}

#[inline(always)]
fn add_where<E: Element, P: Position>(sums: &mut [f32], dy: &[E], positions: &[P], wanted: P) {
    let (sums, sums_rest) = sums.as_chunks_mut::<NARROW>();
    let (dy, dy_rest) = dy.as_chunks::<NARROW>();
    let (positions, positions_rest) = positions.as_chunks::<NARROW>();
    for ((sums, dy), positions) in sums.iter_mut().zip(dy).zip(positions) {
        for i in 0..NARROW {
            sums[i] += dy[i].masked(positions[i] == wanted).widen();
        }
    }
    for ((sum, dy), &position) in sums_rest.iter_mut().zip(dy_rest).zip(positions_rest) {
        *sum += dy.masked(position == wanted).widen();
    }
}

/// dx from its finished sums.
struct Narrow<'a, E> {
    sums: &'a [f32],
    dx: &'a mut [E],
}

impl<E: Element> Kernel for Narrow<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (dx, &sum) in self.dx.iter_mut().zip(self.sums) {
            *dx = E::narrow(sum);
        }
    }
}

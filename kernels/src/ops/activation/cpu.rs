//! Elementwise loops that the compiler vectorises for each instruction set.

use super::Activation;
use crate::cpu::element::Element;
use crate::cpu::elementwise::{map, update};
use crate::cpu::lanes::{BLOCK, Lanes};
use crate::cpu::{Kernel, PIECE, math};
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};
use half::bf16;

/// y, in the format of x.
pub fn forward(cx: &Context, activation: Activation, x: &Tensor, slopes: &[f32]) -> Result<Tensor> {
    match x.dtype() {
        DType::F32 => forward_in::<f32>(cx, activation, x, slopes),
        DType::Bf16 => forward_in::<bf16>(cx, activation, x, slopes),
    }
}

fn forward_in<E: Element>(
    cx: &Context,
    activation: Activation,
    x: &Tensor,
    slopes: &[f32],
) -> Result<Tensor> {
    let mut y = Tensor::unspecified(x.shape(), E::DTYPE)?;
    let (out, x) = (E::slice_mut(&mut y)?, E::slice(x));
    match activation {
        // Not `max`, which would turn a NaN into 0.
        Activation::Relu => map(cx, out, [x], move |[x]| if x < 0.0 { 0.0 } else { x }),
        Activation::Prelu => rows(cx, out, x, slopes, |_, x, slope| if x > 0.0 { x } else { slope * x }),
        Activation::Elu => map(cx, out, [x], move |[x]| math::elu(x)),
        Activation::Sigmoid => map(cx, out, [x], move |[x]| math::sigmoid(x)),
    }
    Ok(y)
}

/// dx, written over `dy` where that memory is free. `kept` is the output, for PReLU the input.
pub fn backward(
    cx: &Context,
    activation: Activation,
    kept: &Tensor,
    slopes: &[f32],
    dy: Tensor,
) -> Result<Tensor> {
    match dy.dtype() {
        DType::F32 => backward_in::<f32>(cx, activation, kept, slopes, dy),
        DType::Bf16 => backward_in::<bf16>(cx, activation, kept, slopes, dy),
    }
}

fn backward_in<E: Element>(
    cx: &Context,
    activation: Activation,
    kept: &Tensor,
    slopes: &[f32],
    mut dy: Tensor,
) -> Result<Tensor> {
    let (out, kept) = (E::slice_mut(&mut dy)?, E::slice(kept));
    match activation {
        // A choice, not a product with 0 or 1: an infinite dy must not become NaN where x < 0.
        Activation::Relu => update(cx, out, [kept], move |d, [y]| if y <= 0.0 { 0.0 } else { d }),
        Activation::Elu => update(cx, out, [kept], move |d, [y]| if y > 0.0 { d } else { d * (y + 1.0) }),
        Activation::Sigmoid => update(cx, out, [kept], move |d, [y]| d * y * (1.0 - y)),
        Activation::Prelu => rows(cx, out, kept, slopes, |d, x, slope| if x > 0.0 { d } else { slope * d }),
    }
    Ok(dy)
}

/// out\[i\] = f(out\[i\], x\[i\], slope of i's channel), the channels being innermost.
fn rows<E: Element>(
    cx: &Context,
    out: &mut [E],
    x: &[E],
    slopes: &[f32],
    f: impl Fn(f32, f32, f32) -> f32 + Copy + Sync,
) {
    let lanes = Lanes::new(slopes.len());
    let slopes = lanes.tile(|c| slopes[c]);
    cx.pool.run_pieces(out, lanes.piece, |index, out| {
        cx.isa.launch(Rows { out, x: lanes.slice(x, index), slopes: &slopes, f });
    });
}

struct Rows<'a, E, F> {
    out: &'a mut [E],
    x: &'a [E],
    /// A slope per lane of a row.
    slopes: &'a [f32],
    f: F,
}

impl<E: Element, F: Fn(f32, f32, f32) -> f32> Kernel for Rows<'_, E, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let width = self.slopes.len();
        for (out, x) in self.out.chunks_mut(width).zip(self.x.chunks(width)) {
            let slopes = &self.slopes[..out.len()];
            let (out, out_rest) = out.as_chunks_mut::<BLOCK>();
            let (x, x_rest) = x.as_chunks::<BLOCK>();
            let (slopes, slopes_rest) = slopes.as_chunks::<BLOCK>();
            for ((out, x), slopes) in out.iter_mut().zip(x).zip(slopes) {
                for i in 0..BLOCK {
                    out[i] = E::narrow((self.f)(out[i].widen(), x[i].widen(), slopes[i]));
                }
            }
            for ((out, x), slope) in out_rest.iter_mut().zip(x_rest).zip(slopes_rest) {
                *out = E::narrow((self.f)(out.widen(), x.widen(), *slope));
            }
        }
    }
}

/// Whole rows of channels, near [`PIECE`] elements.
fn piece_of_rows(channels: usize) -> usize {
    channels * (PIECE / channels).max(1)
}

/// Gradient of PReLU's slopes, f32: for each the sum of x·dy where x is not positive, in fixed pieces.
pub fn slope_gradient(cx: &Context, x: &Tensor, slopes: Shape, dy: &Tensor) -> Result<Tensor> {
    let totals = match x.dtype() {
        DType::F32 => slope_sums::<f32>(cx, x.as_slice(), slopes.elements(), dy.as_slice()),
        DType::Bf16 => slope_sums::<bf16>(cx, x.as_bf16(), slopes.elements(), dy.as_bf16()),
    };
    let totals: Vec<f32> = totals.iter().map(|&total| total as f32).collect();
    Ok(Tensor::from_slice(slopes, &totals)?)
}

fn slope_sums<E: Element>(cx: &Context, x: &[E], channels: usize, dy: &[E]) -> Vec<f64> {
    let piece = piece_of_rows(channels);
    let mut partial = vec![0.0f64; channels * x.len().div_ceil(piece)];
    cx.pool.run_pieces(&mut partial, channels, |index, sums| {
        let range = index * piece..x.len().min((index + 1) * piece);
        for (x, dy) in x[range.clone()].chunks_exact(channels).zip(dy[range].chunks_exact(channels)) {
            for ((sum, &x), &dy) in sums.iter_mut().zip(x).zip(dy) {
                let (x, dy) = (x.widen(), dy.widen());
                *sum += if x > 0.0 { 0.0 } else { f64::from(x) * f64::from(dy) };
            }
        }
    });
    let mut totals = vec![0.0f64; channels];
    for sums in partial.chunks_exact(channels) {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    totals
}

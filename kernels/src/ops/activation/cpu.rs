//! Elementwise loops that the compiler vectorises for each instruction set.

use super::Activation;
use crate::cpu::elementwise::{map, update};
use crate::cpu::{PIECE, math};
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};

pub fn forward(cx: &Context, activation: Activation, x: &Tensor, slopes: &[f32]) -> Result<Tensor> {
    let mut y = Tensor::unspecified(x.shape(), DType::F32)?;
    let (out, x) = (y.as_mut_slice()?, [x.as_slice()]);
    match activation {
        // Not `max`, which would turn a NaN into 0.
        Activation::Relu => map(cx, out, x, move |[x]| if x < 0.0 { 0.0 } else { x }),
        Activation::Prelu => rows(cx, out, x[0], slopes, |_, x, slope| if x > 0.0 { x } else { slope * x }),
        Activation::Elu => map(cx, out, x, move |[x]| math::elu(x)),
        Activation::Sigmoid => map(cx, out, x, move |[x]| math::sigmoid(x)),
    }
    Ok(y)
}

/// dx, written over `dy` where that memory is free. `kept` is the output, for PReLU the input.
pub fn backward(
    cx: &Context,
    activation: Activation,
    kept: &Tensor,
    slopes: &[f32],
    mut dy: Tensor,
) -> Result<Tensor> {
    let (out, kept) = (dy.as_mut_slice()?, [kept.as_slice()]);
    match activation {
        // A choice, not a product with 0 or 1: an infinite dy must not become NaN where x < 0.
        Activation::Relu => update(cx, out, kept, move |d, [y]| if y <= 0.0 { 0.0 } else { d }),
        Activation::Prelu => {
            rows(cx, out, kept[0], slopes, |d, x, slope| if x > 0.0 { d } else { slope * d })
        }
        Activation::Elu => update(cx, out, kept, move |d, [y]| if y > 0.0 { d } else { d * (y + 1.0) }),
        Activation::Sigmoid => update(cx, out, kept, move |d, [y]| d * y * (1.0 - y)),
    }
    Ok(dy)
}

/// out\[i\] = f(out\[i\], x\[i\], slope of i's channel), the channels being innermost.
fn rows(cx: &Context, out: &mut [f32], x: &[f32], slopes: &[f32], f: impl Fn(f32, f32, f32) -> f32 + Sync) {
    let piece = piece_of_rows(slopes.len());
    cx.pool.run_pieces(out, piece, |index, out| {
        let x = &x[index * piece..];
        for (out, x) in out.chunks_exact_mut(slopes.len()).zip(x.chunks_exact(slopes.len())) {
            for ((out, &x), &slope) in out.iter_mut().zip(x).zip(slopes) {
                *out = f(*out, x, slope);
            }
        }
    });
}

/// Whole rows of channels, near [`PIECE`] elements.
fn piece_of_rows(channels: usize) -> usize {
    channels * (PIECE / channels).max(1)
}

/// Gradient of PReLU's slopes: for each the sum of x·dy where x is not positive, in fixed pieces.
pub fn slope_gradient(cx: &Context, x: &Tensor, slopes: Shape, dy: &Tensor) -> Result<Tensor> {
    let (x, dy, channels) = (x.as_slice(), dy.as_slice(), slopes.elements());
    let piece = piece_of_rows(channels);
    let mut partial = vec![0.0f64; channels * x.len().div_ceil(piece)];
    cx.pool.run_pieces(&mut partial, channels, |index, sums| {
        let range = index * piece..x.len().min((index + 1) * piece);
        for (x, dy) in x[range.clone()].chunks_exact(channels).zip(dy[range].chunks_exact(channels)) {
            for ((sum, &x), &dy) in sums.iter_mut().zip(x).zip(dy) {
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
    let totals: Vec<f32> = totals.iter().map(|&total| total as f32).collect();
    Ok(Tensor::from_slice(slopes, &totals)?)
}

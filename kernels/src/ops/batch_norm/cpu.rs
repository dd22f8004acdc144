//! Passes over rows of lanes (see [`crate::cpu::lanes`]); coefficients are prepared per channel in
//! f64 and tiled over a row.

use super::{Fused, SavedBatchNorm, Statistics};
use crate::cpu::lanes::{BLOCK, Lanes};
use crate::cpu::math::exp_m1_of_negative;
use crate::{Context, Result};
use genesis_tensor::{DType, Tensor};

/// The value before the activation is `(x - mean)·scale + shift`. Forward and backward compute it by
/// this same expression, so they agree on its sign. The subtraction comes first: `x·scale` would
/// round at the size of the mean.
struct Affine {
    mean: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Affine {
    fn new(lanes: &Lanes, saved: &SavedBatchNorm) -> Self {
        let [gamma, beta, mean, remainder, inverse] =
            [&saved.gamma, &saved.beta, &saved.mean, &saved.remainder, &saved.inverse].map(Tensor::as_slice);
        let scale = |c: usize| f64::from(gamma[c]) * f64::from(inverse[c]);
        Self {
            mean: lanes.tile(|c| mean[c]),
            scale: lanes.tile(|c| scale(c) as f32),
            shift: lanes.tile(|c| (f64::from(beta[c]) - f64::from(remainder[c]) * scale(c)) as f32),
        }
    }
}

#[inline(always)]
fn relu(v: f32) -> f32 {
    // Not `max`, which would turn a NaN into 0.
    if v < 0.0 { 0.0 } else { v }
}

#[inline(always)]
fn elu(v: f32) -> f32 {
    let negative = exp_m1_of_negative(v);
    if v > 0.0 { v } else { negative }
}

/// dy · f'(v).
#[inline(always)]
fn relu_gradient(dy: f32, v: f32) -> f32 {
    if v <= 0.0 { 0.0 } else { dy }
}

#[inline(always)]
fn elu_gradient(dy: f32, v: f32) -> f32 {
    let slope = exp_m1_of_negative(v) + 1.0;
    if v > 0.0 { dy } else { dy * slope }
}

/// y.
pub fn forward(cx: &Context, activation: Fused, saved: &SavedBatchNorm) -> Result<Tensor> {
    match activation {
        Fused::None => apply(cx, saved, |v| v),
        Fused::Relu => apply(cx, saved, relu),
        Fused::Elu => apply(cx, saved, elu),
    }
}

#[inline(always)]
fn apply(cx: &Context, saved: &SavedBatchNorm, f: impl Fn(f32) -> f32 + Sync) -> Result<Tensor> {
    let lanes = Lanes::new(saved.x.shape().channels());
    let affine = Affine::new(&lanes, saved);
    let mut y = Tensor::unspecified(saved.x.shape(), DType::F32)?;
    let x = saved.x.as_slice();
    cx.pool.run_pieces(y.as_mut_slice()?, lanes.piece, |index, y| {
        let x = lanes.slice(x, index);
        cx.isa.run(|| {
            for (y, x) in y.chunks_mut(lanes.width).zip(x.chunks(lanes.width)) {
                apply_row(y, x, &affine, &f);
            }
        });
    });
    Ok(y)
}

#[inline(always)]
fn apply_row(y: &mut [f32], x: &[f32], affine: &Affine, f: impl Fn(f32) -> f32) {
    let n = x.len();
    let (y, y_rest) = y.as_chunks_mut::<BLOCK>();
    let (x, x_rest) = x.as_chunks::<BLOCK>();
    let (mean, mean_rest) = affine.mean[..n].as_chunks::<BLOCK>();
    let (scale, scale_rest) = affine.scale[..n].as_chunks::<BLOCK>();
    let (shift, shift_rest) = affine.shift[..n].as_chunks::<BLOCK>();
    for ((((y, x), mean), scale), shift) in y.iter_mut().zip(x).zip(mean).zip(scale).zip(shift) {
        for i in 0..BLOCK {
            y[i] = f((x[i] - mean[i]) * scale[i] + shift[i]);
        }
    }
    for i in 0..x_rest.len() {
        y_rest[i] = f((x_rest[i] - mean_rest[i]) * scale_rest[i] + shift_rest[i]);
    }
}

/// dγ and dβ, which dx needs too.
pub struct Sums {
    /// dγ = Σ g·x̂.
    pub gamma: Vec<f64>,
    /// dβ = Σ g.
    pub beta: Vec<f64>,
}

/// The reduction pass of backward.
pub fn gradient_sums(cx: &Context, activation: Fused, saved: &SavedBatchNorm, dy: &Tensor) -> Sums {
    match activation {
        Fused::None => sum(cx, saved, dy, |dy, _| dy),
        Fused::Relu => sum(cx, saved, dy, relu_gradient),
        Fused::Elu => sum(cx, saved, dy, elu_gradient),
    }
}

#[inline(always)]
fn sum(cx: &Context, saved: &SavedBatchNorm, dy: &Tensor, gradient: impl Fn(f32, f32) -> f32 + Sync) -> Sums {
    let channels = saved.x.shape().channels();
    let lanes = Lanes::new(channels);
    let affine = Affine::new(&lanes, saved);
    let (x, dy) = (saved.x.as_slice(), dy.as_slice());
    let mut partial = vec![0.0f64; x.len().div_ceil(lanes.piece) * 2 * channels];
    cx.pool.run_pieces(&mut partial, 2 * channels, |index, partial| {
        let (x, dy) = (lanes.slice(x, index), lanes.slice(dy, index));
        let mut plain = vec![0.0; lanes.width];
        let mut weighted = vec![0.0; lanes.width];
        cx.isa.run(|| {
            for (x, dy) in x.chunks(lanes.width).zip(dy.chunks(lanes.width)) {
                sum_row(x, dy, &affine, &mut plain, &mut weighted, &gradient);
            }
        });
        lanes.fold(&plain, &mut partial[..channels]);
        lanes.fold(&weighted, &mut partial[channels..]);
    });
    let mut sums = Sums { gamma: vec![0.0; channels], beta: vec![0.0; channels] };
    for piece in partial.chunks_exact(2 * channels.max(1)) {
        for c in 0..channels {
            sums.beta[c] += piece[c];
            sums.gamma[c] += piece[channels + c];
        }
    }
    // So far Σ g·(x - mean), with the rounded mean.
    let (inverse, remainder) = (saved.inverse.as_slice(), saved.remainder.as_slice());
    for c in 0..channels {
        sums.gamma[c] = f64::from(inverse[c]) * (sums.gamma[c] - f64::from(remainder[c]) * sums.beta[c]);
    }
    sums
}

#[inline(always)]
fn sum_row(
    x: &[f32],
    dy: &[f32],
    affine: &Affine,
    plain: &mut [f32],
    weighted: &mut [f32],
    gradient: impl Fn(f32, f32) -> f32,
) {
    let n = x.len();
    let (x, x_rest) = x.as_chunks::<BLOCK>();
    let (dy, dy_rest) = dy.as_chunks::<BLOCK>();
    let (mean, mean_rest) = affine.mean[..n].as_chunks::<BLOCK>();
    let (scale, scale_rest) = affine.scale[..n].as_chunks::<BLOCK>();
    let (shift, shift_rest) = affine.shift[..n].as_chunks::<BLOCK>();
    let (plain, plain_rest) = plain[..n].as_chunks_mut::<BLOCK>();
    let (weighted, weighted_rest) = weighted[..n].as_chunks_mut::<BLOCK>();
    for (block, (x, dy)) in x.iter().zip(dy).enumerate() {
        let (mean, scale, shift) = (&mean[block], &scale[block], &shift[block]);
        let (plain, weighted) = (&mut plain[block], &mut weighted[block]);
        for i in 0..BLOCK {
            let deviation = x[i] - mean[i];
            let g = gradient(dy[i], deviation * scale[i] + shift[i]);
            plain[i] += g;
            weighted[i] += g * deviation;
        }
    }
    for i in 0..x_rest.len() {
        let deviation = x_rest[i] - mean_rest[i];
        let g = gradient(dy_rest[i], deviation * scale_rest[i] + shift_rest[i]);
        plain_rest[i] += g;
        weighted_rest[i] += g * deviation;
    }
}

/// dx, written over `dy` where that memory is free.
pub fn input_gradient(
    cx: &Context,
    statistics: Statistics,
    activation: Fused,
    saved: &SavedBatchNorm,
    sums: &Sums,
    dy: Tensor,
) -> Result<Tensor> {
    let lanes = Lanes::new(saved.x.shape().channels());
    let affine = Affine::new(&lanes, saved);
    let coefficients = Coefficients::new(&lanes, statistics, saved, sums);
    match activation {
        Fused::None => write(cx, &lanes, saved, &affine, &coefficients, dy, |dy, _| dy),
        Fused::Relu => write(cx, &lanes, saved, &affine, &coefficients, dy, relu_gradient),
        Fused::Elu => write(cx, &lanes, saved, &affine, &coefficients, dy, elu_gradient),
    }
}

/// dx = scale·g + slope·(x - mean) + offset: the formula of the module's head with everything that is
/// constant in a channel drawn together.
struct Coefficients {
    slope: Vec<f32>,
    offset: Vec<f32>,
}

impl Coefficients {
    fn new(lanes: &Lanes, statistics: Statistics, saved: &SavedBatchNorm, sums: &Sums) -> Self {
        if statistics == Statistics::Running {
            return Self { slope: lanes.tile(|_| 0.0), offset: lanes.tile(|_| 0.0) };
        }
        let [gamma, remainder, inverse] =
            [&saved.gamma, &saved.remainder, &saved.inverse].map(Tensor::as_slice);
        let count = saved.count as f64;
        let scale = |c: usize| f64::from(gamma[c]) * f64::from(inverse[c]);
        let slope = |c: usize| -scale(c) * f64::from(inverse[c]) * sums.gamma[c] / count;
        Self {
            slope: lanes.tile(|c| slope(c) as f32),
            offset: lanes
                .tile(|c| (-scale(c) * sums.beta[c] / count - slope(c) * f64::from(remainder[c])) as f32),
        }
    }
}

#[inline(always)]
fn write(
    cx: &Context,
    lanes: &Lanes,
    saved: &SavedBatchNorm,
    affine: &Affine,
    coefficients: &Coefficients,
    mut dy: Tensor,
    gradient: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<Tensor> {
    let x = saved.x.as_slice();
    cx.pool.run_pieces(dy.as_mut_slice()?, lanes.piece, |index, dy| {
        let x = lanes.slice(x, index);
        cx.isa.run(|| {
            for (dy, x) in dy.chunks_mut(lanes.width).zip(x.chunks(lanes.width)) {
                write_row(dy, x, affine, coefficients, &gradient);
            }
        });
    });
    Ok(dy)
}

#[inline(always)]
fn write_row(
    dy: &mut [f32],
    x: &[f32],
    affine: &Affine,
    coefficients: &Coefficients,
    gradient: impl Fn(f32, f32) -> f32,
) {
    let n = x.len();
    let (dy, dy_rest) = dy.as_chunks_mut::<BLOCK>();
    let (x, x_rest) = x.as_chunks::<BLOCK>();
    let (mean, mean_rest) = affine.mean[..n].as_chunks::<BLOCK>();
    let (scale, scale_rest) = affine.scale[..n].as_chunks::<BLOCK>();
    let (shift, shift_rest) = affine.shift[..n].as_chunks::<BLOCK>();
    let (slope, slope_rest) = coefficients.slope[..n].as_chunks::<BLOCK>();
    let (offset, offset_rest) = coefficients.offset[..n].as_chunks::<BLOCK>();
    for (block, (dy, x)) in dy.iter_mut().zip(x).enumerate() {
        let (mean, scale, shift) = (&mean[block], &scale[block], &shift[block]);
        let (slope, offset) = (&slope[block], &offset[block]);
        for i in 0..BLOCK {
            let deviation = x[i] - mean[i];
            let g = gradient(dy[i], deviation * scale[i] + shift[i]);
            dy[i] = scale[i] * g + slope[i] * deviation + offset[i];
        }
    }
    for i in 0..x_rest.len() {
        let deviation = x_rest[i] - mean_rest[i];
        let g = gradient(dy_rest[i], deviation * scale_rest[i] + shift_rest[i]);
        dy_rest[i] = scale_rest[i] * g + slope_rest[i] * deviation + offset_rest[i];
    }
}

//! Passes over rows of lanes (see [`crate::cpu::lanes`]); coefficients are prepared per channel in
//! f64 and tiled over a row.

use super::rows::{Apply, Elu, Function, Identity, Relu, SumGradients, WriteGradient};
use super::{BatchNorm, Fused, SavedBatchNorm, Statistics};
use crate::cpu::element::{Element, Store};
use crate::cpu::lanes::{Lanes, block};
use crate::{Context, Result};
use genesis_tensor::{DType, Tensor};
use half::bf16;

/// Per lane: the value before the activation is `(x - mean)·scale + shift`. Forward and backward compute
/// it by this same expression, so they agree on its sign. The subtraction comes first: `x·scale` would
/// round at the size of the mean.
pub struct Affine {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
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

impl Affine {
    /// Mean, scale and shift of `B` lanes from `lane` on.
    #[inline(always)]
    pub fn block<const B: usize>(&self, lane: usize) -> [[f32; B]; 3] {
        [*block(&self.mean, lane), *block(&self.scale, lane), *block(&self.shift, lane)]
    }
}

/// y, in the format of x.
pub fn forward(cx: &Context, activation: Fused, saved: &SavedBatchNorm) -> Result<Tensor> {
    match saved.x.dtype() {
        DType::F32 => forward_in::<f32>(cx, activation, saved),
        DType::Bf16 => forward_in::<bf16>(cx, activation, saved),
    }
}

fn forward_in<E: Element>(cx: &Context, activation: Fused, saved: &SavedBatchNorm) -> Result<Tensor> {
    match activation {
        Fused::None => apply::<E, Identity>(cx, saved),
        Fused::Relu => apply::<E, Relu>(cx, saved),
        Fused::Elu => apply::<E, Elu>(cx, saved),
    }
}

fn apply<E: Element, F: Function>(cx: &Context, saved: &SavedBatchNorm) -> Result<Tensor> {
    let lanes = Lanes::new(saved.x.shape().channels());
    let affine = Affine::new(&lanes, saved);
    let mut y = Tensor::unspecified(saved.x.shape(), E::DTYPE)?;
    let (x, out) = (E::slice(&saved.x), E::slice_mut(&mut y)?);
    let store = Store::of(cx.isa, out);
    cx.pool.run_pieces(out, lanes.piece, |index, y| {
        cx.isa.launch(Apply::<E, F>::new(lanes.slice(x, index), y, &affine, store));
    });
    Ok(y)
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
    match dy.dtype() {
        DType::F32 => sums_in::<f32>(cx, activation, saved, dy),
        DType::Bf16 => sums_in::<bf16>(cx, activation, saved, dy),
    }
}

fn sums_in<E: Element>(cx: &Context, activation: Fused, saved: &SavedBatchNorm, dy: &Tensor) -> Sums {
    match activation {
        Fused::None => sum::<E, Identity>(cx, saved, dy),
        Fused::Relu => sum::<E, Relu>(cx, saved, dy),
        Fused::Elu => sum::<E, Elu>(cx, saved, dy),
    }
}

fn sum<E: Element, F: Function>(cx: &Context, saved: &SavedBatchNorm, dy: &Tensor) -> Sums {
    let channels = saved.x.shape().channels();
    let lanes = Lanes::new(channels);
    let affine = Affine::new(&lanes, saved);
    let (x, dy) = (E::slice(&saved.x), E::slice(dy));
    let mut partial = vec![0.0f64; x.len().div_ceil(lanes.piece) * 2 * channels];
    cx.pool.run_pieces(&mut partial, 2 * channels, |index, partial| {
        let mut plain = vec![0.0; lanes.width];
        let mut weighted = vec![0.0; lanes.width];
        let (x, dy) = (lanes.slice(x, index), lanes.slice(dy, index));
        cx.isa.launch(SumGradients::<E, F>::new(x, dy, &affine, &mut plain, &mut weighted));
        lanes.fold(&plain, &mut partial[..channels]);
        lanes.fold(&weighted, &mut partial[channels..]);
    });
    let mut sums = Sums { gamma: vec![0.0; channels], beta: vec![0.0; channels] };
    for piece in partial.chunks_exact(2 * channels) {
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

/// Per lane: dx = scale·g + slope·(x - mean) + offset, the formula of the operation with everything that
/// is constant in a channel drawn together.
pub struct Coefficients {
    pub slope: Vec<f32>,
    pub offset: Vec<f32>,
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

/// dx, written over `dy` where that memory is free.
pub fn input_gradient(
    cx: &Context,
    op: &BatchNorm,
    saved: &SavedBatchNorm,
    sums: &Sums,
    dy: Tensor,
) -> Result<Tensor> {
    match dy.dtype() {
        DType::F32 => gradient_in::<f32>(cx, op, saved, sums, dy),
        DType::Bf16 => gradient_in::<bf16>(cx, op, saved, sums, dy),
    }
}

fn gradient_in<E: Element>(
    cx: &Context,
    op: &BatchNorm,
    saved: &SavedBatchNorm,
    sums: &Sums,
    dy: Tensor,
) -> Result<Tensor> {
    let lanes = Lanes::new(saved.x.shape().channels());
    let coefficients = Coefficients::new(&lanes, op.statistics, saved, sums);
    match op.activation {
        Fused::None => write::<E, Identity>(cx, &lanes, saved, &coefficients, dy),
        Fused::Relu => write::<E, Relu>(cx, &lanes, saved, &coefficients, dy),
        Fused::Elu => write::<E, Elu>(cx, &lanes, saved, &coefficients, dy),
    }
}

fn write<E: Element, F: Function>(
    cx: &Context,
    lanes: &Lanes,
    saved: &SavedBatchNorm,
    coefficients: &Coefficients,
    mut dy: Tensor,
) -> Result<Tensor> {
    let affine = Affine::new(lanes, saved);
    let x = E::slice(&saved.x);
    cx.pool.run_pieces(E::slice_mut(&mut dy)?, lanes.piece, |index, dy| {
        cx.isa.launch(WriteGradient::<E, F>::new(lanes.slice(x, index), dy, &affine, coefficients));
    });
    Ok(dy)
}

//! Elementwise loops that the compiler vectorises for each instruction set.

use super::Activation;
use crate::cpu::PIECE;
use crate::{Context, Result};
use genesis_tensor::{DType, Tensor};

#[inline(always)]
fn apply(cx: &Context, out: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32 + Sync) {
    cx.pool.run_pieces(out, PIECE, |index, out| {
        cx.isa.run(|| {
            for (y, &x) in out.iter_mut().zip(&x[index * PIECE..]) {
                *y = f(x);
            }
        });
    });
}

pub fn forward(cx: &Context, activation: Activation, x: &Tensor, slope: f32) -> Result<Tensor> {
    let mut y = Tensor::unspecified(x.shape(), DType::F32)?;
    let (out, x) = (y.as_mut_slice()?, x.as_slice());
    match activation {
        // Not `max`, which would turn a NaN into 0.
        Activation::Relu => apply(cx, out, x, |x| if x < 0.0 { 0.0 } else { x }),
        Activation::Prelu => apply(cx, out, x, |x| if x > 0.0 { x } else { slope * x }),
        Activation::Elu => apply(cx, out, x, |x| if x > 0.0 { x } else { x.exp_m1() }),
        Activation::Sigmoid => apply(cx, out, x, |x| 1.0 / (1.0 + (-x).exp())),
    }
    Ok(y)
}

/// dx, written over `dy` where that memory is free. `kept` is the output, for PReLU the input.
pub fn backward(
    cx: &Context,
    activation: Activation,
    kept: &Tensor,
    slope: f32,
    mut dy: Tensor,
) -> Result<Tensor> {
    let (out, kept) = (dy.as_mut_slice()?, kept.as_slice());
    cx.pool.run_pieces(out, PIECE, |index, out| {
        let kept = &kept[index * PIECE..];
        cx.isa.run(|| {
            for (d, &k) in out.iter_mut().zip(kept) {
                *d *= match activation {
                    Activation::Relu => f32::from(k > 0.0),
                    Activation::Prelu => {
                        if k > 0.0 {
                            1.0
                        } else {
                            slope
                        }
                    }
                    Activation::Elu => {
                        if k > 0.0 {
                            1.0
                        } else {
                            k + 1.0
                        }
                    }
                    Activation::Sigmoid => k * (1.0 - k),
                };
            }
        });
    });
    Ok(dy)
}

/// Gradient of PReLU's slope: the sum of x·dy where x is not positive, in fixed pieces.
pub fn slope_gradient(cx: &Context, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (x, dy) = (x.as_slice(), dy.as_slice());
    let mut partial = vec![0.0f64; x.len().div_ceil(PIECE)];
    cx.pool.run_pieces(&mut partial, 1, |index, sum| {
        let range = index * PIECE..x.len().min((index + 1) * PIECE);
        sum[0] = x[range.clone()]
            .iter()
            .zip(&dy[range])
            .map(|(&x, &dy)| if x > 0.0 { 0.0 } else { f64::from(x * dy) })
            .sum();
    });
    Ok(Tensor::full([1], partial.iter().sum::<f64>() as f32)?)
}

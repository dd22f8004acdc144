//! The binary focal loss on logits, targets 0 and 1.
//!
//! Kernels of its own: as closures of the elementwise loops these sums are too long to be inlined, and what is
//! not inlined is not vectorised.

use super::Loss;
use crate::cpu::element::Element;
use crate::cpu::{Kernel, PIECE, math};
use crate::op::Operation;
use crate::{Context, Error, Result};

/// Elements computed side by side.
const BLOCK: usize = 64;
/// Sums kept side by side.
const LANES: usize = 16;

/// α and γ.
#[derive(Clone, Copy)]
pub struct Focal {
    pub alpha: f32,
    pub gamma: f32,
}

/// The parts of one element's loss. With z = p for a positive target and -p for a negative one, q = σ(z).
struct Parts {
    /// a, with the sign of z.
    weight: f32,
    /// (1 - q)^γ.
    modulation: f32,
    /// -ln q.
    entropy: f32,
    q: f32,
    /// 1 - q.
    rest: f32,
}

impl Focal {
    /// The sum over all elements, in pieces and lanes of fixed length, in order.
    ///
    /// # Errors
    /// A target that is neither 0 nor 1.
    pub fn sum<E: Element>(self, cx: &Context, x: &[E], t: &[f32]) -> Result<f64> {
        if let Some(i) = t.iter().position(|&t| t != 0.0 && t != 1.0) {
            let cause = format!("the focal loss wants targets 0 or 1, element {i} is {}", t[i]);
            return Err(Error::operation(Loss::NAME, cause));
        }
        let mut partial = vec![0.0f64; t.len().div_ceil(PIECE)];
        cx.pool.run_pieces(&mut partial, 1, |index, sum| {
            let range = index * PIECE..t.len().min((index + 1) * PIECE);
            sum[0] = cx.isa.launch(Sum { focal: self, x: &x[range.clone()], t: &t[range] });
        });
        Ok(partial.iter().sum())
    }

    /// Writes `share` times the derivative of each element's loss by its logit.
    pub fn gradient<E: Element>(self, cx: &Context, x: &[E], t: &[f32], share: f32, out: &mut [E]) {
        cx.pool.run_pieces(out, PIECE, |index, out| {
            let range = index * PIECE..index * PIECE + out.len();
            cx.isa.launch(Gradient { focal: self, x: &x[range.clone()], t: &t[range], share, out });
        });
    }

    #[inline(always)]
    fn parts(self, x: f32, t: f32) -> Parts {
        let sign = 2.0 * t - 1.0;
        let z = sign * x;
        let power = math::exp(-z.abs());
        let tail = math::ln_1p_of_fraction(power);
        let (up, down) = (if z < 0.0 { 0.0 } else { z }, if z > 0.0 { 0.0 } else { -z });
        let (near, far) = (1.0 / (1.0 + power), power / (1.0 + power));
        Parts {
            weight: sign * (t * self.alpha + (1.0 - t) * (1.0 - self.alpha)),
            // 1 - q = exp(-ln(1 + exp(z))): no digits are lost where q is nearly 1.
            modulation: math::exp(-self.gamma * (up + tail)),
            entropy: down + tail,
            q: if z < 0.0 { far } else { near },
            rest: if z < 0.0 { near } else { far },
        }
    }
}

/// Up to [`BLOCK`] elements of both slices; zeros follow.
#[inline(always)]
fn load<E: Element>(x: &[E], t: &[f32]) -> [[f32; BLOCK]; 2] {
    let mut block = [[0.0; BLOCK]; 2];
    for (to, x) in block[0].iter_mut().zip(x) {
        *to = x.widen();
    }
    block[1][..t.len()].copy_from_slice(t);
    block
}

struct Sum<'a, E> {
    focal: Focal,
    x: &'a [E],
    t: &'a [f32],
}

impl<E: Element> Kernel for Sum<'_, E> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let mut lanes = [0.0f64; LANES];
        for (x, t) in self.x.chunks(BLOCK).zip(self.t.chunks(BLOCK)) {
            let count = t.len();
            let [x, t] = load(x, t);
            let mut losses = [0.0f32; BLOCK];
            for i in 0..BLOCK {
                let Parts { weight, modulation, entropy, .. } = self.focal.parts(x[i], t[i]);
                losses[i] = weight.abs() * modulation * entropy;
            }
            losses[count..].fill(0.0);
            for part in losses.as_chunks::<LANES>().0 {
                for (lane, loss) in lanes.iter_mut().zip(part) {
                    *lane += f64::from(*loss);
                }
            }
        }
        lanes.iter().sum()
    }
}

struct Gradient<'a, E> {
    focal: Focal,
    x: &'a [E],
    t: &'a [f32],
    share: f32,
    out: &'a mut [E],
}

impl<E: Element> Kernel for Gradient<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { focal, share, .. } = self;
        let pieces = self.x.chunks(BLOCK).zip(self.t.chunks(BLOCK));
        for ((x, t), out) in pieces.zip(self.out.chunks_mut(BLOCK)) {
            let [x, t] = load(x, t);
            let mut gradients = [E::narrow(0.0); BLOCK];
            for i in 0..BLOCK {
                let Parts { weight, modulation, entropy, q, rest } = focal.parts(x[i], t[i]);
                let gradient = -share * weight * modulation * (focal.gamma * q * entropy + rest);
                gradients[i] = E::narrow(gradient);
            }
            let count = out.len();
            out.copy_from_slice(&gradients[..count]);
        }
    }
}

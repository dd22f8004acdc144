//! The gradients of a 1³ convolution of one input to one channel, the network's last: one pass over memory
//! each, which the products of many channels would only slow down.

use crate::cpu::VectorKernel;
use crate::cpu::convolution::Geometry;
use crate::cpu::vector::{Vector, VectorElement};
use crate::{Context, Result};
use genesis_tensor::parallel::SendPointer;
use genesis_tensor::{DType, Shape, Tensor};
use half::bf16;

/// Voxels a task handles; also those summed in f32 before the sums are continued in f64.
const PIECE: usize = 1024;
/// Vectors of sums at a time.
const SUMS: usize = 4;

/// Whether a convolution is one.
pub fn applies(geometry: &Geometry, channels: &[usize], outputs: usize) -> bool {
    let pointwise = geometry.kernel == [1; 3] && geometry.stride == [1; 3] && geometry.low == [0; 3];
    pointwise && geometry.image == geometry.result && channels.len() == 1 && outputs == 1
}

/// dx `[batch, extents…, channels]` from dy `[batch, extents…, 1]` and the weight `[1, channels, 1, 1, 1]`.
pub fn input_gradient(cx: &Context, dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
    match dy.dtype() {
        DType::F32 => input_gradient_in::<f32>(cx, dy, weight),
        DType::Bf16 => input_gradient_in::<bf16>(cx, dy, weight),
    }
}

/// The gradient of the weight, `[1, channels, 1, 1, 1]`, from x `[batch, extents…, channels]` and dy.
pub fn weight_gradient(cx: &Context, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    match dy.dtype() {
        DType::F32 => weight_gradient_in::<f32>(cx, x, dy),
        DType::Bf16 => weight_gradient_in::<bf16>(cx, x, dy),
    }
}

fn input_gradient_in<E: VectorElement>(cx: &Context, dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let channels = weight.shape().elements();
    let dims = dy.shape();
    let [batch, d, h, w] = [0, 1, 2, 3].map(|axis| dims[axis]);
    let mut dx = Tensor::unspecified(Shape::from([batch, d, h, w, channels]), dy.dtype())?;
    let (dy, weight) = (E::slice(dy), weight.as_slice());
    cx.pool.run_pieces(E::slice_mut(&mut dx)?, PIECE * channels, |piece, dx| {
        let dy = &dy[piece * PIECE..][..dx.len() / channels];
        cx.isa.launch_vector(Spread { dy, weight, dx });
    });
    Ok(dx)
}

fn weight_gradient_in<E: VectorElement>(cx: &Context, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let channels = x.shape().channels();
    let (x, dy) = (E::slice(x), E::slice(dy));
    let pieces = dy.len().div_ceil(PIECE);
    let mut partial = vec![0.0f32; pieces * channels];
    let out = SendPointer(partial.as_mut_ptr());
    cx.pool.run(pieces, |piece| {
        let dy = &dy[piece * PIECE..dy.len().min((piece + 1) * PIECE)];
        let x = &x[piece * PIECE * channels..][..dy.len() * channels];
        // SAFETY: `partial` has `channels` values for every piece, and these are this task's alone.
        let sums = unsafe { std::slice::from_raw_parts_mut(out.get().add(piece * channels), channels) };
        cx.isa.launch_vector(Sum { x, dy, sums });
    });
    let mut sums = vec![0.0f64; channels];
    for piece in partial.chunks_exact(channels) {
        for (sum, &value) in sums.iter_mut().zip(piece) {
            *sum += f64::from(value);
        }
    }
    let sums: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
    Ok(Tensor::from_slice([1, channels, 1, 1, 1], &sums)?)
}

/// dx = dy · w for some voxels.
struct Spread<'a, E> {
    dy: &'a [E],
    weight: &'a [f32],
    dx: &'a mut [E],
}

impl<E: VectorElement> VectorKernel for Spread<'_, E> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let channels = self.weight.len();
        assert_eq!(self.dx.len(), self.dy.len() * channels);
        for (voxel, dy) in self.dy.iter().enumerate() {
            for channel in (0..channels).step_by(V::LANES) {
                let count = channels - channel;
                // SAFETY: `count` values of the weight and of this voxel's dx lie ahead; the machine has the
                // instruction set of `V`, as [`Isa::launch_vector`] sees to.
                unsafe {
                    let weight = f32::load::<V>(self.weight.as_ptr().add(channel), count);
                    let value = V::splat(dy.widen()).mul_add(weight, V::splat(0.0));
                    E::store(value, self.dx.as_mut_ptr().add(voxel * channels + channel), count);
                }
            }
        }
    }
}

/// Σ dy · x over some voxels.
struct Sum<'a, E> {
    x: &'a [E],
    dy: &'a [E],
    sums: &'a mut [f32],
}

impl<E: VectorElement> VectorKernel for Sum<'_, E> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let channels = self.sums.len();
        assert_eq!(self.x.len(), self.dy.len() * channels);
        for first in (0..channels).step_by(SUMS * V::LANES) {
            // SAFETY: vectors that begin beyond the last channel are skipped, the others are cut to the
            // channels that exist, of this voxel and of the sums; the machine has the instruction set of `V`.
            unsafe {
                let mut sums = [V::splat(0.0); SUMS];
                for (voxel, dy) in self.dy.iter().enumerate() {
                    let dy = V::splat(dy.widen());
                    for (vector, sum) in sums.iter_mut().enumerate() {
                        let channel = first + vector * V::LANES;
                        if channel < channels {
                            let at = self.x.as_ptr().add(voxel * channels + channel);
                            *sum = dy.mul_add(E::load::<V>(at, channels - channel), *sum);
                        }
                    }
                }
                for (vector, sum) in sums.into_iter().enumerate() {
                    let channel = first + vector * V::LANES;
                    if channel < channels {
                        f32::store(sum, self.sums.as_mut_ptr().add(channel), channels - channel);
                    }
                }
            }
        }
    }
}

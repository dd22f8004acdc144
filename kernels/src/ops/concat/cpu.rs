//! Copies of channel vectors.

use crate::cpu::PIECE;
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};

/// Copies a channel vector: short ones inline, for a call would cost more than the copy.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    let (to, to_rest) = to.as_chunks_mut::<8>();
    let (from, from_rest) = from.as_chunks::<8>();
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}

/// Voxels of one task.
fn voxels(channels: usize) -> usize {
    (PIECE / channels.max(1)).max(1)
}

pub fn join(cx: &Context, a: &Tensor, b: &Tensor, output: Shape) -> Result<Tensor> {
    let mut y = Tensor::unspecified(output, DType::F32)?;
    let [channels_a, channels_b, channels] = [a.shape(), b.shape(), output].map(|shape| shape.channels());
    if channels == 0 {
        return Ok(y);
    }
    let (a, b) = (a.as_slice(), b.as_slice());
    let voxels = voxels(channels);
    cx.pool.run_pieces(y.as_mut_slice()?, voxels * channels, |index, y| {
        let first = index * voxels;
        cx.isa.run(|| {
            for (voxel, y) in (first..).zip(y.chunks_exact_mut(channels)) {
                let (y_a, y_b) = y.split_at_mut(channels_a);
                copy(y_a, &a[voxel * channels_a..][..channels_a]);
                copy(y_b, &b[voxel * channels_b..][..channels_b]);
            }
        });
    });
    Ok(y)
}

/// The channels of `dy` from `start` on that make up `output`.
pub fn cut(cx: &Context, dy: &Tensor, start: usize, output: Shape) -> Result<Tensor> {
    let mut part = Tensor::unspecified(output, DType::F32)?;
    let (all, channels) = (dy.shape().channels(), output.channels());
    if channels == 0 {
        return Ok(part);
    }
    let dy = dy.as_slice();
    let voxels = voxels(channels);
    cx.pool.run_pieces(part.as_mut_slice()?, voxels * channels, |index, part| {
        let first = index * voxels;
        cx.isa.run(|| {
            for (voxel, part) in (first..).zip(part.chunks_exact_mut(channels)) {
                copy(part, &dy[voxel * all + start..][..channels]);
            }
        });
    });
    Ok(part)
}

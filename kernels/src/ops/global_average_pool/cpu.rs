//! Sums per channel of each sample, and their spreading back.

use crate::cpu::lanes::channel_sums;
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};

pub fn forward(cx: &Context, x: &Tensor, output: Shape) -> Result<Tensor> {
    let mut y = Tensor::unspecified(output, DType::F32)?;
    let channels = output.channels();
    if output.elements() == 0 {
        return Ok(y);
    }
    let sample = x.elements() / output[0];
    let voxels = (sample / channels) as f64;
    for (y, x) in y.as_mut_slice()?.chunks_exact_mut(channels).zip(x.as_slice().chunks_exact(sample)) {
        for (y, sum) in y.iter_mut().zip(channel_sums(cx, x, channels)) {
            *y = (sum / voxels) as f32;
        }
    }
    Ok(y)
}

pub fn backward(cx: &Context, input: Shape, dy: &Tensor) -> Result<Tensor> {
    let mut dx = Tensor::unspecified(input, DType::F32)?;
    let channels = input.channels();
    let plane = input[2] * input[3] * channels;
    let scale = 1.0 / (input[1] * input[2] * input[3]) as f32;
    let dy = dy.as_slice();
    cx.pool.run_pieces(dx.as_mut_slice()?, plane, |index, dx| {
        let sample = index / input[1];
        let dy = &dy[sample * channels..(sample + 1) * channels];
        cx.isa.run(|| {
            for voxel in dx.chunks_exact_mut(channels) {
                for (dx, dy) in voxel.iter_mut().zip(dy) {
                    *dx = dy * scale;
                }
            }
        });
    });
    Ok(dx)
}

//! Forward, input gradient and weight gradient in terms of the shared convolution kernels.

use crate::cpu::convolution::weight_gradient as sum_weight_gradient;
use crate::cpu::convolution::{Gather, Geometry, Source, WeightLayout, Weights};
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};

/// `[batch, extents…, channels]`.
fn activation(batch: usize, extents: [usize; 3], channels: usize) -> Shape {
    Shape::from([batch, extents[0], extents[1], extents[2], channels])
}

pub fn forward(
    cx: &Context,
    geometry: &Geometry,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&[f32]>,
    outputs: usize,
) -> Result<Tensor> {
    let mut y = Tensor::unspecified(activation(geometry.batch, geometry.image, outputs), DType::F32)?;
    let taps = geometry.taps();
    Gather {
        batch: geometry.batch,
        input: geometry.result,
        output: geometry.image,
        kernel: geometry.kernel,
        classes: geometry.reading_result(),
        sources: &[Source { values: x.as_slice(), channels: x.shape().channels() }],
        weights: Weights { values: weight.as_slice(), output_stride: taps, input_stride: outputs * taps },
        bias,
        output_channels: outputs,
    }
    .run(cx, y.as_mut_slice()?)?;
    Ok(y)
}

pub fn input_gradient(cx: &Context, geometry: &Geometry, dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (channels, outputs) = (weight.shape()[0], weight.shape()[1]);
    let mut dx = Tensor::unspecified(activation(geometry.batch, geometry.result, channels), DType::F32)?;
    let taps = geometry.taps();
    Gather {
        batch: geometry.batch,
        input: geometry.image,
        output: geometry.result,
        kernel: geometry.kernel,
        classes: geometry.reading_image(),
        sources: &[Source { values: dy.as_slice(), channels: outputs }],
        weights: Weights { values: weight.as_slice(), output_stride: outputs * taps, input_stride: taps },
        bias: None,
        output_channels: channels,
    }
    .run(cx, dx.as_mut_slice()?)?;
    Ok(dx)
}

/// The convolution's weight gradient with its roles swapped: it reads dy where a convolution reads
/// its input, and x where that reads its output's gradient.
pub fn weight_gradient(cx: &Context, geometry: &Geometry, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (channels, outputs) = (x.shape().channels(), dy.shape().channels());
    let [d, h, w] = geometry.kernel;
    let taps = geometry.taps();
    let mut gradient = Tensor::unspecified([channels, outputs, d, h, w], DType::F32)?;
    let layout = WeightLayout { first: 0, output_stride: outputs * taps, input_stride: taps };
    sum_weight_gradient(
        cx,
        geometry,
        (dy.as_slice(), outputs),
        (x.as_slice(), channels),
        layout,
        gradient.as_mut_slice()?,
    )?;
    Ok(gradient)
}

//! Forward, input gradient and weight gradient in terms of the shared convolution kernels.

use crate::cpu::convolution::{self, Gather, Geometry, WeightLayout, Weights};
use crate::cpu::implicit_gemm::weight_gradient as sum_weight_gradient;
use crate::cpu::implicit_gemm::{Axis, Product, Source, Values, ValuesMut};
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
    let mut y = Tensor::unspecified(activation(geometry.batch, geometry.image, outputs), x.dtype())?;
    let taps = geometry.taps();
    let product = Product {
        batch: geometry.batch,
        axes: Axis::reading_result(geometry),
        output: geometry.image,
        kernel: geometry.kernel,
        sources: &[Source { values: Values::of(x), channels: x.shape().channels() }],
        weights: Weights { values: weight.as_slice(), output_stride: taps, input_stride: outputs * taps },
        bias,
        output_channels: outputs,
    };
    product.run(cx, ValuesMut::of(&mut y)?)?;
    Ok(y)
}

pub fn input_gradient(cx: &Context, geometry: &Geometry, dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (channels, outputs) = (weight.shape()[0], weight.shape()[1]);
    let mut dx = Tensor::unspecified(activation(geometry.batch, geometry.result, channels), dy.dtype())?;
    let taps = geometry.taps();
    let weights = Weights { values: weight.as_slice(), output_stride: outputs * taps, input_stride: taps };
    if dy.dtype() == DType::F32 {
        // Every voxel of dy is read once: gathering is a tenth faster than packing.
        Gather {
            batch: geometry.batch,
            input: geometry.image,
            output: geometry.result,
            kernel: geometry.kernel,
            classes: geometry.reading_image(),
            sources: &[convolution::Source { values: dy.as_slice(), channels: outputs }],
            weights,
            bias: None,
            output_channels: channels,
        }
        .run(cx, dx.as_mut_slice()?)?;
        return Ok(dx);
    }
    let product = Product {
        batch: geometry.batch,
        axes: Axis::reading_image(geometry),
        output: geometry.result,
        kernel: geometry.kernel,
        sources: &[Source { values: Values::of(dy), channels: outputs }],
        weights,
        bias: None,
        output_channels: channels,
    };
    product.run(cx, ValuesMut::of(&mut dx)?)?;
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
    let (input, result) = ((Values::of(dy), outputs), (Values::of(x), channels));
    sum_weight_gradient(cx, geometry, input, result, layout, gradient.as_mut_slice()?)?;
    Ok(gradient)
}

//! Forward, input gradient and weight gradient in terms of the shared convolution kernels.

use crate::cpu::convolution::weight_gradient as sum_weight_gradient;
use crate::cpu::convolution::{Gather, Geometry, Source, WeightLayout, Weights};
use crate::cpu::implicit_gemm::{self, Axis, Product, Values, ValuesMut};
use crate::{Context, Isa, Result};
use genesis_tensor::{DType, Shape, Tensor};
use std::ops::Range;

/// `[batch, extents…, channels]`.
fn activation(batch: usize, extents: [usize; 3], channels: usize) -> Shape {
    Shape::from([batch, extents[0], extents[1], extents[2], channels])
}

/// The name of the direct kernels, for benches.
pub fn path(cx: &Context, format: DType) -> &'static str {
    match (format, cx.isa) {
        (DType::F32, _) => "direct f32",
        (DType::Bf16, Isa::Amx) => "direct tiles",
        (DType::Bf16, Isa::Avx512Bf16) => "direct bf16",
        (DType::Bf16, _) => "direct, widened",
    }
}

pub fn forward(
    cx: &Context,
    geometry: &Geometry,
    inputs: &[&Tensor],
    channels: &[usize],
    weight: &Tensor,
    bias: Option<&[f32]>,
    outputs: usize,
) -> Result<Tensor> {
    let format = inputs[0].dtype();
    let mut y = Tensor::unspecified(activation(geometry.batch, geometry.result, outputs), format)?;
    let taps = geometry.taps();
    let weights = Weights {
        values: weight.as_slice(),
        output_stride: channels.iter().sum::<usize>() * taps,
        input_stride: taps,
    };
    let inputs = inputs.iter().zip(channels);
    if format == DType::Bf16 {
        let sources: Vec<implicit_gemm::Source> = inputs
            .map(|(input, &channels)| implicit_gemm::Source { values: Values::of(input), channels })
            .collect();
        let product = Product {
            batch: geometry.batch,
            axes: Axis::reading_image(geometry),
            output: geometry.result,
            kernel: geometry.kernel,
            sources: &sources,
            weights,
            bias,
            output_channels: outputs,
        };
        product.run(cx, ValuesMut::of(&mut y)?)?;
        return Ok(y);
    }
    let sources: Vec<Source> =
        inputs.map(|(input, &channels)| Source { values: input.as_slice(), channels }).collect();
    Gather {
        batch: geometry.batch,
        input: geometry.image,
        output: geometry.result,
        kernel: geometry.kernel,
        classes: geometry.reading_image(),
        sources: &sources,
        weights,
        bias,
        output_channels: outputs,
    }
    .run(cx, y.as_mut_slice()?)?;
    Ok(y)
}

/// The gradient of the input that holds `channels` of the concatenation.
pub fn input_gradient(
    cx: &Context,
    geometry: &Geometry,
    dy: &Tensor,
    outputs: usize,
    weight: &Tensor,
    channels: Range<usize>,
) -> Result<Tensor> {
    let shape = activation(geometry.batch, geometry.image, channels.len());
    let mut dx = Tensor::unspecified(shape, dy.dtype())?;
    let taps = geometry.taps();
    let weights = Weights {
        values: &weight.as_slice()[channels.start * taps..],
        output_stride: taps,
        input_stride: weight.shape()[1] * taps,
    };
    if dy.dtype() == DType::Bf16 {
        let product = Product {
            batch: geometry.batch,
            axes: Axis::reading_result(geometry),
            output: geometry.image,
            kernel: geometry.kernel,
            sources: &[implicit_gemm::Source { values: Values::of(dy), channels: outputs }],
            weights,
            bias: None,
            output_channels: channels.len(),
        };
        product.run(cx, ValuesMut::of(&mut dx)?)?;
        return Ok(dx);
    }
    Gather {
        batch: geometry.batch,
        input: geometry.result,
        output: geometry.image,
        kernel: geometry.kernel,
        classes: geometry.reading_result(),
        sources: &[Source { values: dy.as_slice(), channels: outputs }],
        weights,
        bias: None,
        output_channels: channels.len(),
    }
    .run(cx, dx.as_mut_slice()?)?;
    Ok(dx)
}

pub fn weight_gradient(
    cx: &Context,
    geometry: &Geometry,
    inputs: &[Tensor],
    channels: &[usize],
    dy: &Tensor,
    outputs: usize,
) -> Result<Tensor> {
    let (all, [d, h, w]) = (channels.iter().sum::<usize>(), geometry.kernel);
    let taps = geometry.taps();
    let mut gradient = Tensor::unspecified([outputs, all, d, h, w], DType::F32)?;
    let mut before = 0;
    for (input, &channels) in inputs.iter().zip(channels) {
        let layout = WeightLayout { first: before * taps, output_stride: all * taps, input_stride: taps };
        let weights = gradient.as_mut_slice()?;
        match dy.dtype() {
            DType::F32 => {
                let (input, dy) = ((input.as_slice(), channels), (dy.as_slice(), outputs));
                sum_weight_gradient(cx, geometry, input, dy, layout, weights)?;
            }
            DType::Bf16 => {
                let (input, dy) = ((Values::of(input), channels), (Values::of(dy), outputs));
                implicit_gemm::weight_gradient(cx, geometry, input, dy, layout, weights)?;
            }
        }
        before += channels;
    }
    Ok(gradient)
}

//! The convolutions that go through Winograd's transforms, and which.

use crate::cpu::convolution::{Geometry, WeightLayout, Weights};
use crate::cpu::vector::VectorElement;
use crate::cpu::winograd::{Convolution, Method, Size, Source};
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};
use half::bf16;

/// A convolution computed in the transformed domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan(Method);

/// The plan for a convolution whose output (of this direction) has these extents, or none where the
/// direct kernels are better.
pub fn plan(
    cx: &Context,
    geometry: &Geometry,
    output: [usize; 3],
    [inputs, outputs]: [usize; 2],
    format: DType,
) -> Option<Plan> {
    if geometry.kernel != [3; 3] || geometry.stride != [1; 3] || geometry.dilation != [1; 3] {
        return None;
    }
    let size = Size { batch: geometry.batch, output, inputs, outputs };
    size.method(cx.isa, format == DType::Bf16).map(Plan)
}

/// How many of these inputs' gradients, from the first on, to compute at once: dy then is transformed once.
pub fn together(cx: &Context, channels: &[usize]) -> usize {
    (1..=channels.len()).rfind(|&count| Convolution::divisible(cx.isa, &channels[..count])).unwrap_or(1)
}

fn source<E: VectorElement>(tensor: &Tensor) -> Source<'_, E> {
    Source { values: E::slice(tensor), channels: tensor.shape().channels() }
}

/// `[batch, extents…, channels]`.
fn activation(batch: usize, extents: [usize; 3], channels: usize) -> Shape {
    Shape::from([batch, extents[0], extents[1], extents[2], channels])
}

impl Plan {
    /// Its name in benches.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    fn reading_image(&self, geometry: &Geometry) -> Convolution {
        Convolution {
            batch: geometry.batch,
            input: geometry.image,
            output: geometry.result,
            low: geometry.low.map(|low| low as isize),
            method: self.0,
        }
    }

    fn reading_result(&self, geometry: &Geometry) -> Convolution {
        Convolution {
            batch: geometry.batch,
            input: geometry.result,
            output: geometry.image,
            low: geometry.low.map(|low| 2 - low as isize),
            method: self.0,
        }
    }

    /// y.
    pub fn forward(
        &self,
        cx: &Context,
        geometry: &Geometry,
        inputs: &[&Tensor],
        weight: &Tensor,
        bias: Option<&[f32]>,
    ) -> Result<Tensor> {
        match inputs[0].dtype() {
            DType::F32 => self.forward_in::<f32>(cx, geometry, inputs, weight, bias),
            DType::Bf16 => self.forward_in::<bf16>(cx, geometry, inputs, weight, bias),
        }
    }

    fn forward_in<E: VectorElement>(
        &self,
        cx: &Context,
        geometry: &Geometry,
        inputs: &[&Tensor],
        weight: &Tensor,
        bias: Option<&[f32]>,
    ) -> Result<Tensor> {
        let (outputs, all) = (weight.shape()[0], weight.shape()[1]);
        let sources: Vec<Source<E>> = inputs.iter().map(|input| source(input)).collect();
        let weights = Weights { values: weight.as_slice(), output_stride: all * 27, input_stride: 27 };
        let mut y =
            Tensor::unspecified(activation(geometry.batch, geometry.result, outputs), inputs[0].dtype())?;
        let result = E::slice_mut(&mut y)?;
        let convolution = self.reading_image(geometry);
        convolution.forward(cx, &sources, (weights, false), bias, &[outputs], &mut [result])?;
        Ok(y)
    }

    /// The gradients of inputs that are neighbours in the concatenation, with these channels from channel
    /// `first` of all on; several only if they [can be computed together](together).
    pub fn input_gradients(
        &self,
        cx: &Context,
        geometry: &Geometry,
        dy: &Tensor,
        weight: &Tensor,
        first: usize,
        channels: &[usize],
    ) -> Result<Vec<Tensor>> {
        match dy.dtype() {
            DType::F32 => self.input_gradients_in::<f32>(cx, geometry, dy, weight, first, channels),
            DType::Bf16 => self.input_gradients_in::<bf16>(cx, geometry, dy, weight, first, channels),
        }
    }

    fn input_gradients_in<E: VectorElement>(
        &self,
        cx: &Context,
        geometry: &Geometry,
        dy: &Tensor,
        weight: &Tensor,
        first: usize,
        channels: &[usize],
    ) -> Result<Vec<Tensor>> {
        let weights = Weights {
            values: &weight.as_slice()[first * 27..],
            output_stride: 27,
            input_stride: weight.shape()[1] * 27,
        };
        let shapes = channels.iter().map(|&count| activation(geometry.batch, geometry.image, count));
        let gradients = shapes.map(|shape| Tensor::unspecified(shape, dy.dtype()));
        let mut gradients = gradients.collect::<std::result::Result<Vec<_>, _>>()?;
        let values = gradients.iter_mut().map(E::slice_mut);
        let mut values = values.collect::<std::result::Result<Vec<_>, _>>()?;
        let convolution = self.reading_result(geometry);
        convolution.forward(cx, &[source::<E>(dy)], (weights, true), None, channels, &mut values)?;
        Ok(gradients)
    }

    /// The gradient of the weight.
    pub fn weight_gradient(
        &self,
        cx: &Context,
        geometry: &Geometry,
        inputs: &[Tensor],
        dy: &Tensor,
    ) -> Result<Tensor> {
        match dy.dtype() {
            DType::F32 => self.weight_gradient_in::<f32>(cx, geometry, inputs, dy),
            DType::Bf16 => self.weight_gradient_in::<bf16>(cx, geometry, inputs, dy),
        }
    }

    fn weight_gradient_in<E: VectorElement>(
        &self,
        cx: &Context,
        geometry: &Geometry,
        inputs: &[Tensor],
        dy: &Tensor,
    ) -> Result<Tensor> {
        let sources: Vec<Source<E>> = inputs.iter().map(source).collect();
        let all: usize = sources.iter().map(|source| source.channels).sum();
        let mut gradient = Tensor::unspecified([dy.shape().channels(), all, 3, 3, 3], DType::F32)?;
        let layout = WeightLayout { first: 0, output_stride: all * 27, input_stride: 27 };
        let result = gradient.as_mut_slice()?;
        self.reading_image(geometry).weight_gradient(cx, &sources, source::<E>(dy), layout, result)?;
        Ok(gradient)
    }
}

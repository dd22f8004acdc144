//! f32: dot products and scaled sums of rows, vectorised over features. bf16: convolutions of one tap.

use crate::cpu::Kernel;
use crate::cpu::convolution::{self, Geometry, WeightLayout, Weights};
use crate::cpu::implicit_gemm::{self, Axis, Product, Source, Values, ValuesMut};
use crate::cpu::lanes::channel_sums;
use crate::{Context, Result};
use genesis_tensor::{DType, Shape, Tensor};

/// Sums kept side by side in a dot product.
const LANES: usize = 32;
/// Features that one task of the input's gradient handles.
const FEATURES: usize = 128;

/// The dot product, f32 sums within lanes and f64 over them.
struct Dot<'a>(&'a [f32], &'a [f32]);

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let (a, a_rest) = self.0.as_chunks::<LANES>();
        let (b, b_rest) = self.1.as_chunks::<LANES>();
        let mut lanes = [0.0f32; LANES];
        for (a, b) in a.iter().zip(b) {
            for i in 0..LANES {
                lanes[i] += a[i] * b[i];
            }
        }
        let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        (lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest) as f32
    }
}

/// out = Σ over rows of factor(row) · row, where rows are `stride` apart.
struct Combine<'a, F> {
    out: &'a mut [f32],
    rows: &'a [f32],
    stride: usize,
    count: usize,
    factor: F,
}

impl<F: Fn(usize) -> f32> Kernel for Combine<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.out.fill(0.0);
        for row in 0..self.count {
            let factor = (self.factor)(row);
            let from = &self.rows[row * self.stride..][..self.out.len()];
            for (out, from) in self.out.iter_mut().zip(from) {
                *out += factor * from;
            }
        }
    }
}

/// Samples as the voxels of a convolution of one tap.
fn geometry(samples: usize) -> Geometry {
    let extents = [1, 1, samples];
    Geometry {
        batch: 1,
        image: extents,
        result: extents,
        kernel: [1; 3],
        stride: [1; 3],
        low: [0; 3],
        dilation: [1; 3],
    }
}

/// `[samples, outputs]` from `[samples, channels]` in the same format.
fn product(
    cx: &Context,
    x: &Tensor,
    weights: Weights,
    bias: Option<&[f32]>,
    outputs: usize,
) -> Result<Tensor> {
    let (samples, channels) = (x.shape()[0], x.shape()[1]);
    let mut y = Tensor::unspecified([samples, outputs], x.dtype())?;
    let geometry = geometry(samples);
    let product = Product {
        batch: 1,
        axes: Axis::reading_image(&geometry),
        output: geometry.result,
        kernel: geometry.kernel,
        sources: &[Source { values: Values::of(x), channels }],
        weights,
        bias,
        output_channels: outputs,
    };
    product.run(cx, ValuesMut::of(&mut y)?)?;
    Ok(y)
}

pub fn forward(cx: &Context, x: &Tensor, weight: &Tensor, bias: &Tensor, output: Shape) -> Result<Tensor> {
    if x.dtype() == DType::Bf16 {
        if x.elements() * output.elements() == 0 {
            return Ok(forward(cx, &x.cast(DType::F32)?, weight, bias, output)?.cast(DType::Bf16)?);
        }
        let features = x.shape()[1];
        let weights = Weights { values: weight.as_slice(), output_stride: features, input_stride: 1 };
        return product(cx, x, weights, Some(bias.as_slice()), output[1]);
    }
    let mut y = Tensor::unspecified(output, DType::F32)?;
    let (samples, outputs, features) = (output[0], output[1], x.shape()[1]);
    let (x, weight, bias) = (x.as_slice(), weight.as_slice(), bias.as_slice());
    // One task per output feature, all samples: a row of the weight is read once.
    let mut transposed = vec![0.0f32; output.elements()];
    cx.pool.run_pieces(&mut transposed, samples, |o, column| {
        let row = &weight[o * features..(o + 1) * features];
        for (n, y) in column.iter_mut().enumerate() {
            *y = cx.isa.launch(Dot(&x[n * features..(n + 1) * features], row)) + bias[o];
        }
    });
    let y_values = y.as_mut_slice()?;
    for n in 0..samples {
        for o in 0..outputs {
            y_values[n * outputs + o] = transposed[o * samples + n];
        }
    }
    Ok(y)
}

pub fn input_gradient(cx: &Context, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (samples, outputs, features) = (dy.shape()[0], dy.shape()[1], weight.shape()[1]);
    if dy.dtype() == DType::Bf16 {
        if dy.elements() * features == 0 {
            return Ok(input_gradient(cx, weight, &dy.cast(DType::F32)?)?.cast(DType::Bf16)?);
        }
        let weights = Weights { values: weight.as_slice(), output_stride: 1, input_stride: features };
        return product(cx, dy, weights, None, features);
    }
    let mut dx = Tensor::unspecified([samples, features], DType::F32)?;
    let (weight, dy) = (weight.as_slice(), dy.as_slice());
    // Tasks are blocks of features of one sample; the vector of rows hands them out.
    let mut blocks: Vec<(usize, usize, &mut [f32])> = Vec::new();
    for (n, row) in dx.as_mut_slice()?.chunks_mut(features.max(1)).enumerate() {
        let parts = row.chunks_mut(FEATURES).enumerate();
        blocks.extend(parts.map(|(block, part)| (n, block * FEATURES, part)));
    }
    cx.pool.run_pieces(&mut blocks, 1, |_, block| {
        let (n, start, dx) = &mut block[0];
        let dy = &dy[*n * outputs..(*n + 1) * outputs];
        let (rows, factor) = (&weight[*start..], |o: usize| dy[o]);
        cx.isa.launch(Combine { out: dx, rows, stride: features, count: outputs, factor });
    });
    Ok(dx)
}

pub fn weight_gradient(cx: &Context, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (samples, outputs, features) = (dy.shape()[0], dy.shape()[1], x.shape()[1]);
    if dy.dtype() == DType::Bf16 && dy.elements() * features == 0 {
        return weight_gradient(cx, &x.cast(DType::F32)?, &dy.cast(DType::F32)?);
    }
    let mut dw = Tensor::unspecified([outputs, features], DType::F32)?;
    if dy.dtype() == DType::Bf16 {
        let layout = WeightLayout { first: 0, output_stride: features, input_stride: 1 };
        let (input, gradient) = ((Values::of(x), features), (Values::of(dy), outputs));
        let geometry = geometry(samples);
        implicit_gemm::weight_gradient(cx, &geometry, input, gradient, layout, dw.as_mut_slice()?)?;
        return Ok(dw);
    }
    let (x, dy) = (x.as_slice(), dy.as_slice());
    cx.pool.run_pieces(dw.as_mut_slice()?, features, |o, row| {
        let factor = |n: usize| dy[n * outputs + o];
        cx.isa.launch(Combine { out: row, rows: x, stride: features, count: samples, factor });
    });
    Ok(dw)
}

pub fn bias_gradient(cx: &Context, dy: &Tensor) -> Result<Tensor> {
    let outputs = dy.shape()[1];
    if dy.elements() == 0 {
        return Ok(Tensor::zeros([outputs])?);
    }
    if dy.dtype() == DType::Bf16 {
        return convolution::channel_sums(cx, dy, outputs);
    }
    let sums = channel_sums(cx, dy.as_slice(), outputs);
    Ok(Tensor::from_slice([outputs], &sums.iter().map(|&sum| sum as f32).collect::<Vec<_>>())?)
}

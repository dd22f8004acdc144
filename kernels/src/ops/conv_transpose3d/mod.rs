//! Transposed 3D convolution: the linear map that is the transpose of [`conv3d`](super::conv3d)'s.
//!
//! `y[n, o, v · stride + k · dilation - padding] += Σ_c weight[c, o, k] · x[n, c, v]`, plus a bias.
//!
//! Its forward pass is a convolution's input gradient and the other way round, so both run on the
//! same kernels. With a stride, output voxels are enumerated by their residue: a 2³ kernel with
//! stride 2 is eight matrix products with scattered outputs.

mod card;
mod cases;
mod cpu;
pub mod cuda;
mod reference;

use crate::cpu::convolution::{Geometry, activation_format, channel_sums};
use crate::op::{Cost, Entry, Operation, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{Shape, Tensor};

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: ConvTranspose3d::NAME,
    summary: "transposed 3D convolution, for upsampling",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// A transposed 3D convolution. Inputs: the activation `[N, D, H, W, C]`, the weight
/// `[C, O, kD, kH, kW]`, and the bias `[O]` if there is one. Output: `[N, D', H', W', O]` with
/// `D' = (D - 1) · stride + (k - 1) · dilation + 1 + output_padding - padding before - padding after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTranspose3d {
    /// Extents of the kernel, D, H, W; at least 1.
    pub kernel: [usize; 3],
    /// Steps between the output voxels of neighbouring input voxels; at least 1.
    pub stride: [usize; 3],
    /// Voxels cut off before and after, an axis at a time.
    pub padding: [[usize; 2]; 3],
    /// Voxels added at the end, which choose among the extents that a strided convolution maps to
    /// the same one; less than the stride or the dilation.
    pub output_padding: [usize; 3],
    /// Steps between taps; at least 1.
    pub dilation: [usize; 3],
    /// Whether the last input is a bias.
    pub bias: bool,
}

impl ConvTranspose3d {
    /// Doubles every extent: kernel 2³, stride 2, with a bias.
    pub fn double() -> Self {
        Self {
            kernel: [2; 3],
            stride: [2; 3],
            padding: [[0; 2]; 3],
            output_padding: [0; 3],
            dilation: [1; 3],
            bias: true,
        }
    }

    /// Checks shapes; the geometry of the convolution whose transpose this is, and the channels of
    /// input and output.
    fn geometry(&self, shapes: &[Shape]) -> Result<(Geometry, usize, usize)> {
        let mismatch = || {
            let bias = if self.bias { ", a bias [O]" } else { "" };
            let wanted =
                format!("[N, D, H, W, C], a weight [C, O, {:?}]{bias} and no extent of 0", self.kernel);
            Error::shape(Self::NAME, wanted, format!("{shapes:?}"))
        };
        if self.kernel.iter().chain(&self.stride).chain(&self.dilation).any(|&extent| extent == 0) {
            return Err(Error::operation(Self::NAME, "kernel, stride and dilation must be at least 1"));
        }
        if shapes.len() != 2 + usize::from(self.bias) || shapes.iter().any(|shape| shape.elements() == 0) {
            return Err(mismatch());
        }
        let x = shapes[0].ndhwc().ok_or_else(mismatch)?;
        let weight = shapes[1].ndhwc().ok_or_else(mismatch)?;
        if weight[0] != x[4] || weight[2..] != self.kernel || (self.bias && shapes[2].dims() != [weight[1]]) {
            return Err(mismatch());
        }
        let result = [x[1], x[2], x[3]];
        let mut image = [0; 3];
        for axis in 0..3 {
            let extra = self.output_padding[axis];
            if extra >= self.stride[axis].max(self.dilation[axis]) {
                return Err(Error::operation(
                    Self::NAME,
                    format!("output padding {extra} is not less than the stride or the dilation"),
                ));
            }
            let full = (result[axis] - 1) * self.stride[axis]
                + (self.kernel[axis] - 1) * self.dilation[axis]
                + 1
                + extra;
            let cut = self.padding[axis][0] + self.padding[axis][1];
            image[axis] = full.checked_sub(cut).filter(|&extent| extent > 0).ok_or_else(|| {
                Error::operation(Self::NAME, format!("padding cuts {cut} voxels off {full}"))
            })?;
        }
        let geometry = Geometry {
            batch: x[0],
            image,
            result,
            kernel: self.kernel,
            stride: self.stride,
            low: self.padding.map(|[low, _]| low),
            dilation: self.dilation,
        };
        Ok((geometry, x[4], weight[1]))
    }
}

impl Operation for ConvTranspose3d {
    const NAME: &'static str = "conv_transpose3d";

    /// The activation and the weight, shared with whoever else holds them.
    type Saved = [Tensor; 2];

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        let (geometry, _, outputs) = self.geometry(inputs)?;
        let [depth, height, width] = geometry.image;
        Ok(Shape::from([geometry.batch, depth, height, width, outputs]))
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let Ok((geometry, channels, outputs)) = self.geometry(inputs) else { return Cost::default() };
        let count = |extents: [usize; 3]| (geometry.batch * extents.iter().product::<usize>()) as u64;
        let (read, written) =
            (count(geometry.result) * channels as u64, count(geometry.image) * outputs as u64);
        let weights = (geometry.taps() * channels * outputs) as u64;
        let flops = 2 * weights * count(geometry.result);
        Cost {
            forward: Work { flops, bytes: 4 * (read + weights + written) },
            // Reads x, dy and the weight; writes dx and the weight's gradient.
            backward: Work { flops: 2 * flops, bytes: 4 * (2 * read + written + 2 * weights) },
        }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, [Tensor; 2])> {
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
        let (geometry, _, outputs) = self.geometry(&shapes)?;
        let format = activation_format(Self::NAME, &inputs[..1], &inputs[1..])?;
        if let Some(card) = &cx.card {
            let y = card::forward(card, self, inputs, cx.products(format))?;
            return Ok((y, [inputs[0].clone(), inputs[1].clone()]));
        }
        let bias = self.bias.then(|| inputs[2].as_slice());
        let y = cpu::forward(cx, &geometry, inputs[0], inputs[1], bias, outputs)?;
        Ok((y, [inputs[0].clone(), inputs[1].clone()]))
    }

    fn backward(
        &self,
        cx: &Context,
        [x, weight]: [Tensor; 2],
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let format = activation_format(Self::NAME, &[&x, &dy], &[&weight])?;
        let mut shapes = vec![x.shape(), weight.shape()];
        if self.bias {
            shapes.push(Shape::from([dy.shape().channels()]));
        }
        let (geometry, _, outputs) = self.geometry(&shapes)?;
        let wanted = self.infer(&shapes)?;
        if dy.shape() != wanted {
            return Err(Error::shape(Self::NAME, wanted, dy.shape()));
        }
        if let Some(card) = &cx.card {
            return card::backward(card, self, [&x, &weight], &dy, need, cx.products(format));
        }
        // First, so that x can make room for its gradient.
        let weight_gradient = need[1].then(|| cpu::weight_gradient(cx, &geometry, &x, &dy)).transpose()?;
        drop(x);
        let mut gradients = vec![
            need[0].then(|| cpu::input_gradient(cx, &geometry, &dy, &weight)).transpose()?,
            weight_gradient,
        ];
        if self.bias {
            let gradient = need[2].then(|| channel_sums(cx, &dy, outputs));
            gradients.push(gradient.transpose()?);
        }
        Ok(gradients)
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        reference::forward(self, inputs)
    }

    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
        reference::backward(self, inputs, dy)
    }
}

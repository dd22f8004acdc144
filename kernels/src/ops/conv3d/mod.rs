//! 3D convolution (cross-correlation, as in every deep-learning library), channels last.
//!
//! `y[n, o, v] = bias[o] + Σ_c Σ_k weight[o, c, k] · x[n, c, v · stride + k · dilation - padding]`
//!
//! Voxels outside of x count as 0. With two inputs, x is their concatenation along the channels,
//! which is never built: the sum runs over the channels of the first, then of the second.

pub(crate) mod card;
mod cases;
mod cpu;
pub mod cuda;
mod projection;
mod reference;
pub mod shapes;
#[cfg(test)]
mod tests;
mod winograd;

use crate::cpu::convolution::{Geometry, activation_format, channel_sums};
use crate::op::{Cost, Direction, Entry, Operation, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{Shape, Tensor};

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: Conv3d::NAME,
    summary: "3D convolution of one input or of two joined along the channels",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// A 3D convolution. Inputs: one or two activations `[N, D, H, W, C]` with equal extents but
/// for C, the weight `[O, ΣC, kD, kH, kW]`, and the bias `[O]` if there is one. Output:
/// `[N, D', H', W', O]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv3d {
    /// Extents of the kernel, D, H, W; at least 1.
    pub kernel: [usize; 3],
    /// Steps between output voxels; at least 1.
    pub stride: [usize; 3],
    /// Voxels of zeros before and after, an axis at a time.
    pub padding: [[usize; 2]; 3],
    /// Steps between taps; at least 1.
    pub dilation: [usize; 3],
    /// Number of activations: 1 or 2.
    pub inputs: usize,
    /// Whether the last input is a bias.
    pub bias: bool,
}

impl Conv3d {
    /// A convolution of one input with a cubic kernel of odd extent that keeps the extents, and a
    /// bias.
    pub fn same(kernel: usize) -> Self {
        Self {
            kernel: [kernel; 3],
            stride: [1; 3],
            padding: [[kernel / 2; 2]; 3],
            dilation: [1; 3],
            inputs: 1,
            bias: true,
        }
    }

    /// Checks shapes; the geometry, the channels of each input, and those of the output.
    fn geometry(&self, shapes: &[Shape]) -> Result<(Geometry, Vec<usize>, usize)> {
        let wanted = || {
            format!(
                "{} activation(s) [N, D, H, W, C], a weight [O, C, {:?}]{} and no extent of 0",
                self.inputs,
                self.kernel,
                if self.bias { ", a bias [O]" } else { "" },
            )
        };
        let mismatch = || Error::shape(Self::NAME, wanted(), format!("{shapes:?}"));
        if !(1..=2).contains(&self.inputs) {
            return Err(Error::operation(Self::NAME, format!("{} inputs; 1 or 2 wanted", self.inputs)));
        }
        if self.kernel.iter().chain(&self.stride).chain(&self.dilation).any(|&extent| extent == 0) {
            return Err(Error::operation(Self::NAME, "kernel, stride and dilation must be at least 1"));
        }
        if shapes.len() != self.inputs + 1 + usize::from(self.bias)
            || shapes.iter().any(|shape| shape.elements() == 0)
        {
            return Err(mismatch());
        }
        let first = shapes[0].ndhwc().ok_or_else(mismatch)?;
        let mut channels = Vec::new();
        for shape in &shapes[..self.inputs] {
            let given = shape.ndhwc().ok_or_else(mismatch)?;
            if given[..4] != first[..4] {
                return Err(mismatch());
            }
            channels.push(given[4]);
        }
        let weight = shapes[self.inputs].ndhwc().ok_or_else(mismatch)?;
        let outputs = weight[0];
        if weight[1] != channels.iter().sum::<usize>()
            || weight[2..] != self.kernel
            || (self.bias && shapes[self.inputs + 1].dims() != [outputs])
        {
            return Err(mismatch());
        }
        let image = [first[1], first[2], first[3]];
        let mut result = [0; 3];
        for axis in 0..3 {
            let reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            let padded = image[axis] + self.padding[axis][0] + self.padding[axis][1];
            result[axis] =
                padded.checked_sub(reach).map(|rest| rest / self.stride[axis] + 1).ok_or_else(|| {
                    Error::operation(Self::NAME, format!("a kernel of {reach} on {padded} padded voxels"))
                })?;
        }
        let geometry = Geometry {
            batch: first[0],
            image,
            result,
            kernel: self.kernel,
            stride: self.stride,
            low: self.padding.map(|[low, _]| low),
            dilation: self.dilation,
        };
        Ok((geometry, channels, outputs))
    }
}

impl Operation for Conv3d {
    const NAME: &'static str = "conv3d";

    /// The activations and the weight, shared with whoever else holds them.
    type Saved = Vec<Tensor>;

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        let (geometry, _, outputs) = self.geometry(inputs)?;
        let [depth, height, width] = geometry.result;
        Ok(Shape::from([geometry.batch, depth, height, width, outputs]))
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let Ok((geometry, channels, outputs)) = self.geometry(inputs) else { return Cost::default() };
        let channels: usize = channels.iter().sum();
        let count = |extents: [usize; 3]| (geometry.batch * extents.iter().product::<usize>()) as u64;
        let (read, written) =
            (count(geometry.image) * channels as u64, count(geometry.result) * outputs as u64);
        let weights = (geometry.taps() * channels * outputs) as u64;
        let flops = 2 * weights * count(geometry.result);
        Cost {
            forward: Work { flops, bytes: 4 * (read + weights + written) },
            // Reads x, dy and the weight; writes dx and the weight's gradient.
            backward: Work { flops: 2 * flops, bytes: 4 * (2 * read + written + 2 * weights) },
        }
    }

    fn path(&self, cx: &Context, inputs: &[&Tensor], direction: Direction) -> Option<&'static str> {
        // Those below are the processor's.
        if cx.card.is_some() {
            return None;
        }
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
        let (geometry, channels, outputs) = self.geometry(&shapes).ok()?;
        let (all, format) = (channels.iter().sum(), inputs.first()?.dtype());
        let plan = match direction {
            // The first run of inputs whose gradients are computed together speaks for all of them.
            Direction::InputGradient => {
                let all = channels[..winograd::together(cx, &channels)].iter().sum();
                winograd::plan(cx, &geometry, geometry.image, [outputs, all], format)
            }
            _ => winograd::plan(cx, &geometry, geometry.result, [all, outputs], format),
        };
        let backward = direction != Direction::Forward;
        if plan.is_none() && backward && projection::applies(&geometry, &channels, outputs) {
            return Some("projection");
        }
        Some(plan.map_or_else(|| cpu::path(cx, format), |plan| plan.name()))
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
        let (geometry, channels, outputs) = self.geometry(&shapes)?;
        let (activations, parameters) = inputs.split_at(self.inputs);
        let format = activation_format(Self::NAME, activations, parameters)?;
        let kept = inputs[..=self.inputs].iter().map(|&input| input.clone()).collect();
        if let Some(card) = &cx.card {
            return Ok((card::forward(card, self, inputs, cx.products(format))?, kept));
        }
        let bias = parameters.get(1).map(|bias| bias.as_slice());
        let all = channels.iter().sum();
        let y = match winograd::plan(cx, &geometry, geometry.result, [all, outputs], format) {
            Some(plan) => plan.forward(cx, &geometry, activations, parameters[0], bias)?,
            None => cpu::forward(cx, &geometry, activations, &channels, parameters[0], bias, outputs)?,
        };
        Ok((y, kept))
    }

    fn backward(
        &self,
        cx: &Context,
        mut saved: Vec<Tensor>,
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let activations: Vec<&Tensor> = saved[..self.inputs].iter().chain([&dy]).collect();
        let format = activation_format(Self::NAME, &activations, &[])?;
        let mut shapes: Vec<Shape> = saved.iter().map(Tensor::shape).collect();
        if self.bias {
            shapes.push(Shape::from([dy.shape().channels()]));
        }
        let (geometry, channels, outputs) = self.geometry(&shapes)?;
        let wanted = self.infer(&shapes)?;
        if dy.shape() != wanted {
            return Err(Error::shape(Self::NAME, wanted, dy.shape()));
        }
        if let Some(card) = &cx.card {
            return card::backward(card, self, &saved, &dy, need, cx.products(format));
        }
        let projection = projection::applies(&geometry, &channels, outputs);
        // The gradient of the weight first: the activations, which nothing else reads, then make room
        // for their own gradients.
        let weight_gradient = match need[self.inputs] {
            true => {
                let (all, activations) = (channels.iter().sum(), &saved[..self.inputs]);
                Some(match winograd::plan(cx, &geometry, geometry.result, [all, outputs], format) {
                    Some(plan) => plan.weight_gradient(cx, &geometry, activations, &dy)?,
                    None if projection => projection::weight_gradient(cx, &activations[0], &dy)?,
                    None => cpu::weight_gradient(cx, &geometry, activations, &channels, &dy, outputs)?,
                })
            }
            false => None,
        };
        let weight = saved.swap_remove(self.inputs);
        drop(saved);
        let mut gradients = Vec::new();
        let (mut first, mut input) = (0, 0);
        while input < channels.len() {
            if !need[input] {
                gradients.push(None);
                (first, input) = (first + channels[input], input + 1);
                continue;
            }
            let wanted = need[input..self.inputs].iter().take_while(|&&need| need).count();
            let run = winograd::together(cx, &channels[input..input + wanted]);
            let group = &channels[input..input + run];
            let all: usize = group.iter().sum();
            match winograd::plan(cx, &geometry, geometry.image, [outputs, all], format) {
                Some(plan) => {
                    let found = plan.input_gradients(cx, &geometry, &dy, &weight, first, group)?;
                    gradients.extend(found.into_iter().map(Some));
                    (first, input) = (first + all, input + run);
                }
                None if projection => {
                    gradients.push(Some(projection::input_gradient(cx, &dy, &weight)?));
                    input += 1;
                }
                None => {
                    let range = first..first + channels[input];
                    let found = cpu::input_gradient(cx, &geometry, &dy, outputs, &weight, range)?;
                    gradients.push(Some(found));
                    (first, input) = (first + channels[input], input + 1);
                }
            }
        }
        gradients.push(weight_gradient);
        if self.bias {
            let gradient = need[self.inputs + 1].then(|| channel_sums(cx, &dy, outputs));
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

//! A fully connected layer.
//!
//! ```text
//! y[n, o] = Σ over f of x[n, f]·w[o, f] + b[o]
//! dx[n, f] = Σ over o of dy[n, o]·w[o, f]
//! dw[o, f] = Σ over n of dy[n, o]·x[n, f]
//! db[o] = Σ over n of dy[n, o]
//! ```
//!
//! The weight has PyTorch's layout `[O, F]`. These layers are small (512 × 1 024 and less): each path
//! reads the weight once from memory and leaves it at that.

mod card;
mod cases;
mod cpu;
mod reference;

use crate::cpu::convolution::activation_format;
use crate::op::{Cost, Entry, Operation, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{Shape, Tensor};

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: Linear::NAME,
    summary: "fully connected layer with bias",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// Inputs: x `[N, F]`, weight `[O, F]`, bias `[O]`; output `[N, O]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear;

impl Operation for Linear {
    const NAME: &'static str = "linear";

    /// x and the weight.
    type Saved = [Tensor; 2];

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs.iter().map(Shape::dims).collect::<Vec<_>>()[..] {
            [&[n, f], &[o, wanted], &[bias]] if f == wanted && o == bias => Ok(Shape::from([n, o])),
            _ => Err(Error::shape(Self::NAME, "[N, F], [O, F] and [O]", format!("{inputs:?}"))),
        }
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let Ok(output) = self.infer(inputs) else { return Cost::default() };
        let elements: usize = inputs.iter().map(Shape::elements).sum::<usize>() + output.elements();
        let flops = 2 * (output.elements() * inputs[0].channels()) as u64;
        Cost {
            forward: Work { flops, bytes: 4 * elements as u64 },
            backward: Work { flops: 2 * flops, bytes: 8 * elements as u64 },
        }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, [Tensor; 2])> {
        let output = self.infer(&inputs.iter().map(|input| input.shape()).collect::<Vec<_>>())?;
        let format = activation_format(Self::NAME, &inputs[..1], &inputs[1..])?;
        let y = match &cx.card {
            Some(card) => card::forward(card, inputs, output, cx.products(format))?,
            None => cpu::forward(cx, inputs[0], inputs[1], inputs[2], output)?,
        };
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
        if let Some(card) = &cx.card {
            return card::backward(card, &[x, weight], &dy, need, cx.products(format));
        }
        Ok(vec![
            need[0].then(|| cpu::input_gradient(cx, &weight, &dy)).transpose()?,
            need[1].then(|| cpu::weight_gradient(cx, &x, &dy)).transpose()?,
            need[2].then(|| cpu::bias_gradient(cx, &dy)).transpose()?,
        ])
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        reference::forward(inputs)
    }

    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
        reference::backward(inputs, dy)
    }
}

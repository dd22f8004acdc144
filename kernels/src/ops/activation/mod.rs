//! Elementwise activations.
//!
//! | name | y | dy/dx |
//! | --- | --- | --- |
//! | ReLU | max(x, 0) | 1 where x > 0, else 0 |
//! | PReLU | x where x > 0, else a·x; a is learned, one or one per channel (He et al., 2015) | 1 or a |
//! | ELU | x where x > 0, else exp(x) - 1 (Clevert et al., 2016) | 1 or exp(x) |
//! | sigmoid | 1 / (1 + exp(-x)) | y·(1 - y) |
//!
//! NaN passes through unchanged, as in PyTorch.

mod card;
mod cases;
mod cpu;
pub mod cuda;
mod reference;

use crate::cpu::activation_format;
use crate::op::{Cost, Entry, Operation, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{Shape, Tensor};

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: Activation::NAME,
    summary: "ReLU, PReLU, ELU and sigmoid, elementwise",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// An elementwise activation of one input of any shape; PReLU has a second input, its slopes, `[1]` or `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x where positive, else slope · x.
    Prelu,
    /// x where positive, else exp(x) - 1.
    Elu,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
}

impl Operation for Activation {
    const NAME: &'static str = "activation";

    /// ReLU, ELU and sigmoid keep their output, which another operation usually keeps too; PReLU
    /// keeps its input and slope.
    type Saved = Vec<Tensor>;

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        match (self, inputs) {
            (Self::Prelu, [x, slope])
                if slope.elements() > 0 && [1, x.channels()].contains(&slope.elements()) =>
            {
                Ok(*x)
            }
            (Self::Prelu, _) => {
                Err(Error::shape(Self::NAME, "x and slopes [1] or [channels]", format!("{inputs:?}")))
            }
            (_, [x]) => Ok(*x),
            _ => Err(Error::shape(Self::NAME, "one input", format!("{inputs:?}"))),
        }
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs.first().map_or(0, Shape::elements) as u64;
        Cost {
            forward: Work { flops: elements, bytes: 8 * elements },
            backward: Work { flops: elements, bytes: 12 * elements },
        }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        self.infer(&inputs.iter().map(|input| input.shape()).collect::<Vec<_>>())?;
        activation_format(Self::NAME, &inputs[..1], &inputs[1..])?;
        let y = match &cx.card {
            Some(card) => card::forward(card, *self, inputs[0], inputs.get(1).copied())?,
            None => {
                let slopes = inputs.get(1).map_or(&[][..], |slopes| slopes.as_slice());
                cpu::forward(cx, *self, inputs[0], slopes)?
            }
        };
        let saved = match self {
            Self::Prelu => vec![inputs[0].clone(), inputs[1].clone()],
            _ => vec![y.clone()],
        };
        Ok((y, saved))
    }

    fn backward(
        &self,
        cx: &Context,
        saved: Vec<Tensor>,
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        activation_format(Self::NAME, &[&saved[0], &dy], &[])?;
        let slope_gradient = match (self, &cx.card) {
            (Self::Prelu, Some(card)) if need[1] => {
                Some(card::slope_gradient(card, &saved[0], &saved[1], &dy)?)
            }
            (Self::Prelu, None) if need[1] => {
                Some(cpu::slope_gradient(cx, &saved[0], saved[1].shape(), &dy)?)
            }
            _ => None,
        };
        let dx = match &cx.card {
            _ if !need[0] => None,
            Some(card) => Some(card::backward(card, *self, &saved[0], saved.get(1), dy)?),
            None => {
                let slopes = saved.get(1).map_or(&[][..], |slopes| slopes.as_slice());
                Some(cpu::backward(cx, *self, &saved[0], slopes, dy)?)
            }
        };
        Ok(if *self == Self::Prelu { vec![dx, slope_gradient] } else { vec![dx] })
    }

    fn recomputes(&self) -> bool {
        *self == Self::Prelu
    }

    fn recompute(&self, cx: &Context, saved: &Vec<Tensor>) -> Result<Tensor> {
        match (self, &saved[..]) {
            (Self::Prelu, [x, slopes]) => match &cx.card {
                Some(card) => card::forward(card, *self, x, Some(slopes)),
                None => cpu::forward(cx, *self, x, slopes.as_slice()),
            },
            _ => Err(Error::operation(Self::NAME, "only PReLU recomputes its output")),
        }
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        reference::forward(*self, inputs)
    }

    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
        reference::backward(*self, inputs, dy)
    }
}

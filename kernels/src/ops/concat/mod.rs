//! Two tensors side by side along the channels.
//!
//! ```text
//! y[.., c] = a[.., c]           for c < A
//! y[.., A + c] = b[.., c]       for c < B
//! ```
//!
//! Backward cuts dy apart. The decoder joins (upsampled, skip), in this order.

mod card;
mod cases;
mod cpu;
mod reference;

use crate::cpu::activation_format;
use crate::op::{Cost, Entry, Operation, Saved, Work};
use crate::{Array, Context, Error, Result};
use genesis_tensor::{Shape, Tensor};

/// This operation's line in [`crate::OPS`].
pub const ENTRY: Entry = Entry {
    name: Concat::NAME,
    summary: "two tensors joined along the channels",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// Joins a `[.., A]` and b `[.., B]` to `[.., A + B]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat;

/// Backward needs the inputs' channels, no values.
#[derive(Clone, Copy, Debug)]
pub struct SavedConcat {
    /// Shapes of a and b.
    pub inputs: [Shape; 2],
}

impl Saved for SavedConcat {
    fn tensors(&self) -> Vec<&Tensor> {
        Vec::new()
    }
}

impl Operation for Concat {
    const NAME: &'static str = "concat";

    type Saved = SavedConcat;

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        if let [a, b] = inputs
            && let Some((a_channels, a_rest)) = a.dims().split_last()
            && let Some((b_channels, b_rest)) = b.dims().split_last()
            && a_rest == b_rest
        {
            let mut extents = a.dims().to_vec();
            extents[a_rest.len()] = a_channels + b_channels;
            return Ok(Shape::new(&extents));
        }
        let wanted = "two inputs that differ in their last axis only";
        Err(Error::shape(Self::NAME, wanted, format!("{inputs:?}")))
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements: usize = inputs.iter().map(Shape::elements).sum();
        let work = Work { flops: 0, bytes: 8 * elements as u64 };
        Cost { forward: work, backward: work }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, SavedConcat)> {
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
        let output = self.infer(&shapes)?;
        activation_format(Self::NAME, inputs, &[])?;
        let y = match &cx.card {
            Some(card) => card::join(card, inputs[0], inputs[1], output)?,
            None => cpu::join(cx, inputs[0], inputs[1], output)?,
        };
        Ok((y, SavedConcat { inputs: [shapes[0], shapes[1]] }))
    }

    fn backward(
        &self,
        cx: &Context,
        saved: SavedConcat,
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        match &cx.card {
            Some(card) => card::cut(card, &dy, saved.inputs, [need[0], need[1]]),
            None => cpu::cut(cx, &dy, saved.inputs, [need[0], need[1]]),
        }
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        reference::forward(inputs)
    }

    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
        reference::backward(inputs, dy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_axes_must_agree() {
        let infer = |a: &[usize], b: &[usize]| Concat.infer(&[Shape::new(a), Shape::new(b)]);
        assert_eq!(infer(&[2, 3], &[2, 5]).unwrap(), Shape::from([2, 8]));
        assert!(infer(&[2, 3], &[1, 3]).is_err());
        assert!(infer(&[2, 3], &[3]).is_err());
        assert!(infer(&[], &[]).is_err());
        assert!(Concat.infer(&[Shape::from([1])]).is_err());
    }
}

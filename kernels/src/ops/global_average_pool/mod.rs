//! Mean over all voxels of each sample and channel.
//!
//! ```text
//! y[n, c] = Σ over d, h, w of x[n, d, h, w, c] / (D·H·W)
//! dx[n, d, h, w, c] = dy[n, c] / (D·H·W)
//! ```
//!
//! The encoder's features become a vector for classification (Lin et al., *Network in network*, 2014).

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
    name: GlobalAveragePool::NAME,
    summary: "mean over depth, height and width",
    cases: cases::all,
    notes: include_str!("NOTES.md"),
};

/// Mean over the voxels: x `[N, D, H, W, C]` to `[N, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAveragePool;

/// Backward needs the input's shape, no values.
#[derive(Clone, Copy, Debug)]
pub struct SavedGlobalAveragePool {
    /// Shape of x.
    pub input: Shape,
}

impl Saved for SavedGlobalAveragePool {
    fn tensors(&self) -> Vec<&Tensor> {
        Vec::new()
    }
}

impl Operation for GlobalAveragePool {
    const NAME: &'static str = "global_average_pool";

    type Saved = SavedGlobalAveragePool;

    fn infer(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs.iter().map(Shape::ndhwc).collect::<Vec<_>>()[..] {
            [Some([n, d, h, w, c])] if d * h * w > 0 => Ok(Shape::from([n, c])),
            _ => {
                let wanted = "one input [N, D, H, W, C] with at least one voxel";
                Err(Error::shape(Self::NAME, wanted, format!("{inputs:?}")))
            }
        }
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs.first().map_or(0, Shape::elements) as u64;
        let work = Work { flops: elements, bytes: 4 * elements };
        Cost { forward: work, backward: work }
    }

    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, SavedGlobalAveragePool)> {
        let output = self.infer(&inputs.iter().map(|input| input.shape()).collect::<Vec<_>>())?;
        activation_format(Self::NAME, inputs, &[])?;
        let y = match &cx.card {
            Some(card) => card::forward(card, inputs[0], output)?,
            None => cpu::forward(cx, inputs[0], output)?,
        };
        Ok((y, SavedGlobalAveragePool { input: inputs[0].shape() }))
    }

    fn backward(
        &self,
        cx: &Context,
        saved: SavedGlobalAveragePool,
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let gradient = match &cx.card {
            _ if !need[0] => None,
            Some(card) => Some(card::backward(card, saved.input, &dy)?),
            None => Some(cpu::backward(cx, saved.input, &dy)?),
        };
        Ok(vec![gradient])
    }

    fn reference(&self, inputs: &[Array]) -> Array {
        reference::forward(inputs)
    }

    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
        reference::backward(inputs, dy)
    }
}

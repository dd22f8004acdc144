//! An operation that ran, with its type hidden.

use super::profile::Description;
use crate::Result;
use genesis_kernels::Context;
use genesis_kernels::op::{Operation, Saved};
use genesis_tensor::Tensor;

/// What the tape asks of an operation that ran.
pub(super) trait Node: Send {
    /// The saved tensors that may be taken away and put back.
    fn saved_mut(&mut self) -> Vec<&mut Tensor>;
    /// Bytes saved.
    fn saved_bytes(&self) -> usize;
    /// True if [`Node::recompute`] is cheap.
    fn recomputes(&self) -> bool;
    /// The output again.
    fn recompute(&self, cx: &Context) -> Result<Tensor>;
    /// The gradients of the inputs.
    fn backward(self: Box<Self>, cx: &Context, dy: Tensor, need: &[bool]) -> Result<Vec<Option<Tensor>>>;
}

pub(super) struct Recorded<O: Operation> {
    pub operation: O,
    pub saved: O::Saved,
}

impl<O: Operation> Node for Recorded<O> {
    fn saved_mut(&mut self) -> Vec<&mut Tensor> {
        self.saved.tensors_mut()
    }

    fn saved_bytes(&self) -> usize {
        self.saved.tensors().iter().map(|tensor| tensor.size_in_bytes()).sum()
    }

    fn recomputes(&self) -> bool {
        self.operation.recomputes()
    }

    fn recompute(&self, cx: &Context) -> Result<Tensor> {
        Ok(self.operation.recompute(cx, &self.saved)?)
    }

    fn backward(self: Box<Self>, cx: &Context, dy: Tensor, need: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(self.operation.backward(cx, self.saved, dy, need)?)
    }
}

/// A saved tensor that was taken away: position `slot` among the node's saved tensors holds the output
/// of node `source`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borrowed {
    pub slot: usize,
    pub source: usize,
}

/// An operation on the tape.
pub(super) struct Step {
    pub node: Box<dyn Node>,
    /// The nodes of the inputs; none for constants.
    pub inputs: Vec<Option<usize>>,
    pub borrowed: Vec<Borrowed>,
    pub description: Description,
}

impl Step {
    /// Puts a tensor into a place of the saved ones.
    pub fn put(&mut self, slot: usize, tensor: Tensor) {
        if let Some(place) = self.node.saved_mut().into_iter().nth(slot) {
            *place = tensor;
        }
    }
}

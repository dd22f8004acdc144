//! The contract of an operation.
//!
//! A plain struct of parameters implements [`Operation`]: shapes, cost, forward, backward, and the
//! naive f64 reference of both. Everything else (the tape, the tests, `genesis selftest`,
//! `genesis bench`) is derived from that and from the operation's [`Entry`] in [`crate::OPS`].

use crate::case::Runnable;
use crate::{Array, Context, Error, Result};
use genesis_tensor::{Shape, Tensor};

/// Arithmetic and memory traffic of one direction of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Floating-point operations; a multiply-add counts 2.
    pub flops: u64,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
}

/// Work forward and backward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Work of the forward pass.
    pub forward: Work,
    /// Work of the whole backward pass (every gradient).
    pub backward: Work,
}

/// One pass of an operation: what `genesis bench` times by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The output.
    Forward,
    /// The gradients of the activations alone.
    InputGradient,
    /// The gradients of the parameters alone.
    WeightGradient,
    /// Every gradient.
    Backward,
}

/// What an operation keeps for its backward pass: visible, and countable in bytes.
pub trait Saved: Send + 'static {
    /// The tensors kept (clones share memory with the originals).
    fn tensors(&self) -> Vec<&Tensor>;

    /// The tensors of [`Saved::tensors`] that a tape may take away after the forward pass and put
    /// back before the backward pass, when another operation can make them again; none unless said
    /// otherwise. Their number and order never change.
    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        Vec::new()
    }
}

impl Saved for () {
    fn tensors(&self) -> Vec<&Tensor> {
        Vec::new()
    }
}

impl Saved for Tensor {
    fn tensors(&self) -> Vec<&Tensor> {
        vec![self]
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        vec![self]
    }
}

impl<const K: usize> Saved for [Tensor; K] {
    fn tensors(&self) -> Vec<&Tensor> {
        self.iter().collect()
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        self.iter_mut().collect()
    }
}

impl Saved for Vec<Tensor> {
    fn tensors(&self) -> Vec<&Tensor> {
        self.iter().collect()
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        self.iter_mut().collect()
    }
}

/// One differentiable operation; see the crate's documentation for an example.
///
/// Number formats: activations are f32 or, in mixed precision, bf16, those of one call alike; the
/// output and the gradients of activations have the same format. Parameters, labels, statistics,
/// losses and the gradients of parameters are f32, and so is every sum.
pub trait Operation: Clone + Send + Sync + 'static {
    /// The operation's name: its folder under `ops/`.
    const NAME: &'static str;

    /// What the backward pass reads. Whatever is not in here may be freed or reused after the
    /// forward pass.
    type Saved: Saved;

    /// The output's shape.
    ///
    /// # Errors
    /// When the inputs' shapes do not fit the operation; the message holds wanted and given.
    fn infer(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Arithmetic and memory traffic for inputs of these shapes.
    fn cost(&self, inputs: &[Shape]) -> Cost;

    /// The algorithm that computes this direction for inputs like these, where an operation has
    /// several ("direct", "winograd 4x4x4"); for benches.
    fn path(&self, _cx: &Context, _inputs: &[&Tensor], _direction: Direction) -> Option<&'static str> {
        None
    }

    /// Computes the output. Reads each input once, writes every element of the output.
    fn forward(&self, cx: &Context, inputs: &[&Tensor]) -> Result<(Tensor, Self::Saved)>;

    /// Computes the gradients of the inputs for which `need` is true, given the gradient `dy` of
    /// the output; `None` for the others and for inputs that have none (labels, statistics). `dy`
    /// comes by value so that its memory can be reused.
    fn backward(
        &self,
        cx: &Context,
        saved: Self::Saved,
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Tensor>>>;

    /// True if [`Operation::recompute`] makes the output again for a small part of what a convolution
    /// costs. Whoever reads the output in its backward pass then need not keep it.
    fn recomputes(&self) -> bool {
        false
    }

    /// Makes the output again from what was saved, with the bits it had.
    ///
    /// # Errors
    /// When memory runs out; for an operation that does not recompute.
    fn recompute(&self, _cx: &Context, _saved: &Self::Saved) -> Result<Tensor> {
        Err(Error::operation(Self::NAME, "does not recompute its output"))
    }

    /// The naive f64 forward pass: the definition.
    fn reference(&self, inputs: &[Array]) -> Array;

    /// The naive f64 backward pass, checked against central differences of [`Operation::reference`].
    fn reference_backward(&self, inputs: &[Array], dy: &Array) -> Vec<Option<Array>>;
}

/// One line of [`crate::OPS`].
pub struct Entry {
    /// The operation's name: its folder under `ops/`.
    pub name: &'static str,
    /// What it computes, in one line.
    pub summary: &'static str,
    /// The cases that tests, `genesis selftest` and benches run.
    pub cases: fn() -> Vec<Box<dyn Runnable>>,
    /// The operation's dated log.
    pub notes: &'static str,
}

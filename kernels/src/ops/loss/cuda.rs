//! Losses on CUDA cards: the launches of `loss.cu` and `softmax_loss.cu`.
//!
//! What the CPU finds out before it starts (a probability outside of \[0, 1\], a label that is no class, a focal
//! target that is neither 0 nor 1, a class weight below 0) the kernels count: [`Plan::invalid`] says where; a value
//! above 0 there makes the loss meaningless.

use super::{Loss, softmax};
use crate::cuda::elementwise::grid;
use crate::cuda::{Address, Format, Launch, NULL, Workspace, int};
use crate::op::Operation;
use crate::{Error, Result};
use bytemuck::{Pod, Zeroable};
use genesis_tensor::Shape;

/// Elements of a piece.
const PIECE: usize = 2048;
/// Rows of a piece of a softmax loss.
const ROWS: usize = 1024;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct LossArguments {
    prediction: Address,
    target: Address,
    mask: Address,
    kept: Address,
    partial: Address,
    sums: Address,
    loss: Address,
    incoming: Address,
    gradient: Address,
    elements: u64,
    pieces: u32,
    kind: i32,
    first: f32,
    second: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SoftmaxArguments {
    logits: Address,
    labels: Address,
    weights: Address,
    partial: Address,
    sums: Address,
    loss: Address,
    incoming: Address,
    gradient: Address,
    gamma: f64,
    rows: u32,
    pieces: u32,
    classes: i32,
    entropy: i32,
    dice: i32,
    first_class: i32,
    smooth: f32,
    reserved: i32,
}

/// Device memory of a loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffers {
    /// The prediction.
    pub prediction: Address,
    /// The target, or the labels, f32.
    pub target: Address,
    /// The mask, or the weights of the classes, f32; or [`NULL`].
    pub weights: Address,
    /// f32 of the prediction's shape: the sigmoid that [`Loss::SigmoidMse`] keeps; [`NULL`] for the others.
    pub kept: Address,
    /// [`Plan::sums_bytes`] that backward reads.
    pub sums: Address,
    /// The loss, one f32.
    pub loss: Address,
}

enum Arguments {
    Elements(LossArguments),
    Classes(SoftmaxArguments),
}

/// A loss of inputs of certain shapes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    op: Loss,
    format: Format,
    elements: usize,
    classes: usize,
    weighted: bool,
}

impl Plan {
    /// Checks the shapes, those of [`Loss`]'s inputs.
    ///
    /// # Errors
    /// When they do not fit the operation; for f16.
    pub fn new(op: Loss, shapes: &[Shape], format: Format) -> Result<Self> {
        op.infer(shapes)?;
        format.stored()?;
        let [elements, classes] = [shapes[0].elements(), shapes[0].channels()];
        int(elements)?;
        Ok(Self { op, format, elements, classes, weighted: shapes.len() > 2 })
    }

    fn rows(&self) -> usize {
        self.elements / self.classes
    }

    fn pieces(&self) -> usize {
        if self.op.is_of_classes() { self.rows().div_ceil(ROWS) } else { self.elements.div_ceil(PIECE) }
    }

    /// Bytes of the sums that forward leaves to backward, f64.
    pub fn sums_bytes(&self) -> usize {
        8 * if self.op.is_of_classes() { 3 + 2 * self.classes } else { 5 }
    }

    /// Which of the sums counts what is out of range.
    pub fn invalid(&self) -> usize {
        if self.op.is_of_classes() { 2 } else { 4 }
    }

    fn arguments(
        &self,
        buffers: Buffers,
        partial: Address,
        incoming: Address,
        gradient: Address,
    ) -> Arguments {
        let Buffers { prediction, target, weights, kept, sums, loss } = buffers;
        let pieces = self.pieces() as u32;
        if let Some(terms) = softmax::Terms::of(self.op) {
            let (smooth, first_class) = terms.dice.unwrap_or((0.0, 0));
            return Arguments::Classes(SoftmaxArguments {
                logits: prediction,
                labels: target,
                weights,
                partial,
                sums,
                loss,
                incoming,
                gradient,
                gamma: terms.gamma,
                rows: self.rows() as u32,
                pieces,
                classes: self.classes as i32,
                entropy: terms.entropy.into(),
                dice: terms.dice.is_some().into(),
                first_class: first_class as i32,
                smooth,
                reserved: 0,
            });
        }
        let (kind, first, second) = match self.op {
            Loss::Mse => (0, 0.0, 0.0),
            Loss::MaskedMse => (1, 0.0, 0.0),
            Loss::Bce => (2, 0.0, 0.0),
            Loss::WeightedBceWithLogits { positive } => (4, positive, 0.0),
            Loss::Dice { smooth } => (5, smooth, 0.0),
            Loss::SigmoidMse => (6, 0.0, 0.0),
            Loss::SigmoidDice { smooth } => (7, smooth, 0.0),
            Loss::SigmoidDiceBce { smooth } => (8, smooth, 0.0),
            Loss::SigmoidFocal { alpha, gamma } => (9, alpha, gamma),
            // The losses of classes have returned.
            Loss::BceWithLogits
            | Loss::CrossEntropy
            | Loss::SoftmaxDice { .. }
            | Loss::SoftmaxDiceCrossEntropy { .. }
            | Loss::SoftmaxFocal { .. } => (3, 0.0, 0.0),
        };
        Arguments::Elements(LossArguments {
            prediction,
            target,
            mask: weights,
            kept,
            partial,
            sums,
            loss,
            incoming,
            gradient,
            elements: self.elements as u64,
            pieces,
            kind,
            first,
            second,
        })
    }

    fn check(&self, buffers: &Buffers) -> Result<()> {
        if self.weighted != (buffers.weights != NULL)
            || (self.op == Loss::SigmoidMse) != (buffers.kept != NULL)
        {
            return Err(Error::operation(Loss::NAME, "a buffer is missing or given in vain"));
        }
        Ok(())
    }

    /// The loss and the sums.
    ///
    /// # Errors
    /// When a buffer that this loss wants is missing, or one that it does not want is given.
    pub fn forward(&self, buffers: Buffers, workspace: &mut Workspace) -> Result<Vec<Launch>> {
        self.check(&buffers)?;
        let (format, pieces) = (self.format.stored()?, self.pieces());
        let width = if self.op.is_of_classes() { 3 + 3 * self.classes } else { 5 };
        let partial = workspace.take(pieces * width * 8);
        Ok(match self.arguments(buffers, partial, NULL, NULL) {
            Arguments::Elements(arguments) => vec![
                Launch::new(&format!("loss_sums_{format}"), [pieces, 1, 1], &arguments)?,
                Launch::new("loss_finish", [1; 3], &arguments)?,
            ],
            Arguments::Classes(arguments) => vec![
                Launch::new(&format!("softmax_loss_sums_{format}"), [pieces, 1, 1], &arguments)?,
                Launch::new("softmax_loss_finish", [1; 3], &arguments)?,
            ],
        })
    }

    /// The prediction's gradient, given the loss's own at `incoming`, one f32.
    ///
    /// # Errors
    /// As [`Plan::forward`].
    pub fn backward(&self, buffers: Buffers, incoming: Address, gradient: Address) -> Result<Launch> {
        self.check(&buffers)?;
        let format = self.format.stored()?;
        match self.arguments(buffers, NULL, incoming, gradient) {
            Arguments::Elements(arguments) => {
                Launch::new(&format!("loss_gradient_{format}"), grid(self.elements, 1), &arguments)
            }
            Arguments::Classes(arguments) => {
                Launch::new(&format!("softmax_loss_gradient_{format}"), grid(self.rows(), 1), &arguments)
            }
        }
    }
}

//! Gradient checkpointing: a segment of the network that keeps its inputs alone and runs again in the
//! backward pass (Chen et al., *Training deep nets with sublinear memory cost*, 2016).

use super::node::Borrowed;
use super::{Entry, Tape, Var};
use crate::{Gradients, Result};
use genesis_kernels::Context;
use genesis_tensor::Tensor;

/// Runs a segment on a tape that records, for its gradients.
pub type Rerun = Box<dyn Fn(&Context, &mut Tape, Vec<Var>) -> Result<Var> + Send>;

pub(super) struct Segment {
    pub rerun: Rerun,
    pub values: Vec<Tensor>,
    pub inputs: Vec<Option<usize>>,
    pub borrowed: Vec<Borrowed>,
}

impl Tape {
    /// Runs operations without recording them, for [`Tape::segment`].
    pub fn unrecorded<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let recording = std::mem::replace(&mut self.recording, false);
        let result = run(self);
        self.recording = recording;
        result
    }

    /// Records `output`, which was computed from `inputs` within [`Tape::unrecorded`], as one node. Its
    /// backward pass calls `rerun` with the same inputs, which must compute the same output by the same
    /// operations and change nothing else (running statistics, say).
    ///
    /// # Errors
    /// Memory.
    pub fn segment(&mut self, inputs: &[&Var], output: Var, rerun: Rerun) -> Result<Var> {
        if !self.recording {
            return Ok(output);
        }
        let mut values: Vec<Tensor> = inputs.iter().map(|var| var.tensor.clone()).collect();
        let borrowed = self.take_away(inputs, values.iter_mut().collect())?;
        let inputs = inputs.iter().map(|var| var.node).collect();
        let node = Some(self.push(Entry::Segment(Segment { rerun, values, inputs, borrowed })));
        Ok(Var { node, ..output })
    }

    /// The gradients of a segment's inputs; those of its parameters go to `gradients`.
    pub(super) fn segment_backward(
        &mut self,
        cx: &Context,
        mut segment: Segment,
        dy: Tensor,
        gradients: &mut Gradients,
    ) -> Result<Vec<Option<Tensor>>> {
        for Borrowed { slot, source } in segment.borrowed {
            segment.values[slot] = self.again(cx, source)?;
        }
        let mut inner = Tape {
            recording: true,
            rerunning: true,
            recompute: self.recompute,
            profile: self.profile.take(),
            ..Tape::default()
        };
        let inputs = std::mem::take(&mut segment.values).into_iter().zip(&segment.inputs).enumerate();
        let inputs = inputs.map(|(position, (tensor, node))| Var {
            tensor,
            node: node.map(|_| inner.push(Entry::Input(position))),
            parameter: None,
        });
        let inputs: Vec<Var> = inputs.collect();
        let output = (segment.rerun)(cx, &mut inner, inputs);
        inner.rerunning = false;
        let arrived = output.and_then(|output| inner.walk(cx, output, dy, segment.inputs.len(), gradients));
        self.profile = inner.profile.take();
        arrived
    }
}

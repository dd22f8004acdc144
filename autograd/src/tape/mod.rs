//! The tape: an eager record of typed nodes, walked once in reverse.
//!
//! Nodes are recorded in the order they ran, which is a topological order, so the backward pass is
//! one loop from the last node to the first. The first gradient that reaches a value moves in, later
//! ones are added to it in place. A node's saved tensors are freed as soon as its backward is done;
//! a value whose last reader saved nothing is freed even before, when the model drops its [`Var`].
//!
//! **Recompute.** A tape made by [`Tape::recomputing`] takes from its readers whatever an earlier
//! operation can cheaply make again ([`Operation::recomputes`]: batch norm makes its output from its
//! input, which it keeps anyway), notes whose output it was, and makes it again just before a reader's
//! backward pass. Gradients have the same bits either way. [`Tape::segment`] does the same for whole
//! pieces of a network, which run twice.

mod node;
mod profile;
mod segment;
#[cfg(test)]
mod tests;

pub use profile::Executed;
pub use segment::Rerun;

use crate::{Error, Gradients, ParameterId, Result};
use genesis_kernels::Context;
use genesis_kernels::elementwise;
use genesis_kernels::op::Operation;
use genesis_tensor::{DType, Shape, Tensor};
use node::{Borrowed, Node, Recorded, Step};
use profile::Description;
use segment::Segment;
use std::time::Instant;

/// A value on the tape, or a constant.
#[derive(Clone, Debug)]
pub struct Var {
    tensor: Tensor,
    node: Option<usize>,
    parameter: Option<ParameterId>,
}

impl Var {
    /// A value that needs no gradient.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, node: None, parameter: None }
    }

    /// A parameter that is frozen: a constant that traces know by its name.
    pub fn frozen(id: ParameterId, value: Tensor) -> Self {
        Self { tensor: value, node: None, parameter: Some(id) }
    }

    /// The value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The value's extents.
    pub fn shape(&self) -> Shape {
        self.tensor.shape()
    }

    /// Gives up the place on the tape and keeps the value.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }
}

enum Entry {
    /// A parameter.
    Leaf(ParameterId),
    /// An input of the segment this tape runs again.
    Input(usize),
    Operation(Step),
    Segment(Segment),
}

/// A record of operations, made for one forward and one backward pass.
///
/// A tape made by [`Tape::inference`] records nothing, and every intermediate value is freed when
/// its `Var` is dropped.
#[derive(Default)]
pub struct Tape {
    entries: Vec<Entry>,
    recording: bool,
    /// Cheap outputs are not kept.
    recompute: bool,
    /// What runs now ran before.
    rerunning: bool,
    /// Stands where a saved tensor was taken away.
    nothing: Option<Tensor>,
    profile: Option<Vec<Executed>>,
}

impl Tape {
    /// A tape that records.
    pub fn training() -> Self {
        Self { recording: true, ..Self::default() }
    }

    /// A tape that computes values only.
    pub fn inference() -> Self {
        Self::default()
    }

    /// True if operations are recorded for a backward pass.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// With true, outputs that are cheap to make again are not kept for the backward pass.
    pub fn recomputing(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// Also times every operation; see [`Tape::take_profile`].
    pub fn with_profile(self) -> Self {
        Self { profile: Some(Vec::new()), ..self }
    }

    /// What ran so far, if this tape was made with a profile.
    pub fn take_profile(&mut self) -> Vec<Executed> {
        self.profile.take().unwrap_or_default()
    }

    /// Puts a parameter on the tape; its gradient arrives in [`Gradients`] under `id`.
    pub fn parameter(&mut self, id: ParameterId, value: Tensor) -> Var {
        let node = self.recording.then(|| self.push(Entry::Leaf(id)));
        Var { tensor: value, node, parameter: Some(id) }
    }

    /// Runs an operation and records it if any input has a gradient. Constants in main memory are brought to the
    /// card, where `cx` computes on one.
    ///
    /// # Errors
    /// The operation's own.
    pub fn apply<O: Operation>(&mut self, cx: &Context, operation: O, inputs: &[&Var]) -> Result<Var> {
        self.apply_and(cx, operation, inputs, |_| Ok(()))
    }

    /// [`Tape::apply`], with a look at what the operation saved (batch norm's statistics, say).
    ///
    /// # Errors
    /// The operation's own, or `inspect`'s.
    pub fn apply_and<O: Operation>(
        &mut self,
        cx: &Context,
        operation: O,
        inputs: &[&Var],
        inspect: impl FnOnce(&O::Saved) -> Result<()>,
    ) -> Result<Var> {
        let start = Instant::now();
        let placed = inputs.iter().map(|var| cx.place(&var.tensor)).collect::<Result<Vec<_>, _>>()?;
        let tensors: Vec<&Tensor> = placed.iter().collect();
        let (output, saved) = operation.forward(cx, &tensors)?;
        inspect(&saved)?;
        self.finish_for_profile(cx)?;
        let mut description = Description::new(&operation, &tensors, &output);
        description.parameter = inputs.iter().find_map(|var| var.parameter);
        let mut executed = self.profile.is_some().then(|| description.executed(start, false, self.rerunning));
        let mut node = None;
        if self.recording && inputs.iter().any(|var| var.node.is_some()) {
            let mut recorded = Box::new(Recorded { operation, saved });
            let borrowed = self.take_away(inputs, recorded.saved_mut())?;
            let nodes = inputs.iter().map(|var| var.node).collect();
            let step = Step { node: recorded, inputs: nodes, borrowed, description };
            if let Some(executed) = &mut executed {
                executed.saved_bytes = step.node.saved_bytes();
            }
            node = Some(self.push(Entry::Operation(step)));
        }
        if let Some(profile) = &mut self.profile {
            profile.extend(executed);
        }
        Ok(Var { tensor: output, node, parameter: None })
    }

    /// Walks the tape backwards from `output`, whose own gradient is `seed`, adds every parameter's
    /// gradient to `gradients`, and leaves the tape empty.
    ///
    /// # Errors
    /// The operations' own.
    pub fn backward(
        &mut self,
        cx: &Context,
        output: Var,
        seed: Tensor,
        gradients: &mut Gradients,
    ) -> Result<()> {
        self.walk(cx, output, cx.place(&seed)?, 0, gradients)?;
        gradients.settle(cx)
    }

    /// The loop of [`Tape::backward`]; gives the gradients of a segment's inputs.
    fn walk(
        &mut self,
        cx: &Context,
        output: Var,
        seed: Tensor,
        inputs: usize,
        gradients: &mut Gradients,
    ) -> Result<Vec<Option<Tensor>>> {
        let mut waiting: Vec<Option<Tensor>> = self.entries.iter().map(|_| None).collect();
        let mut arrived_at_inputs: Vec<Option<Tensor>> = vec![None; inputs];
        if let Some(node) = output.node {
            waiting[node] = Some(seed);
        }
        drop(output);
        while let Some(entry) = self.entries.pop() {
            let Some(dy) = waiting.pop().flatten() else { continue };
            let (inputs, arrived) = match entry {
                Entry::Leaf(id) => {
                    gradients.add(cx, id, &dy)?;
                    continue;
                }
                Entry::Input(position) => {
                    arrived_at_inputs[position] = Some(dy);
                    continue;
                }
                Entry::Operation(step) => (step.inputs.clone(), self.step_backward(cx, step, dy)?),
                Entry::Segment(segment) => {
                    let inputs = segment.inputs.clone();
                    (inputs, self.segment_backward(cx, segment, dy, gradients)?)
                }
            };
            for (input, gradient) in inputs.into_iter().zip(arrived) {
                if let (Some(input), Some(gradient)) = (input, gradient) {
                    match &mut waiting[input] {
                        Some(sum) => elementwise::add(cx, sum, &gradient)?,
                        empty => *empty = Some(gradient),
                    }
                }
            }
        }
        Ok(arrived_at_inputs)
    }

    /// The gradients of an operation's inputs.
    fn step_backward(&mut self, cx: &Context, mut step: Step, dy: Tensor) -> Result<Vec<Option<Tensor>>> {
        for Borrowed { slot, source } in std::mem::take(&mut step.borrowed) {
            let tensor = self.again(cx, source)?;
            step.put(slot, tensor);
        }
        let Step { node, inputs, description, .. } = step;
        let need: Vec<bool> = inputs.iter().map(Option::is_some).collect();
        let start = Instant::now();
        let arrived = node.backward(cx, dy, &need)?;
        self.finish_for_profile(cx)?;
        if let Some(profile) = &mut self.profile {
            profile.push(description.executed(start, true, false));
        }
        Ok(arrived)
    }

    /// Replaces those of a reader's saved tensors that are outputs of operations that recompute.
    fn take_away(&mut self, inputs: &[&Var], mut saved: Vec<&mut Tensor>) -> Result<Vec<Borrowed>> {
        let mut borrowed = Vec::new();
        for var in inputs {
            let Some(source) = var.node else { continue };
            let cheap = matches!(&self.entries[source], Entry::Operation(step) if step.node.recomputes());
            if !(self.recompute && cheap) {
                continue;
            }
            for (slot, tensor) in saved.iter_mut().enumerate() {
                if tensor.is_clone_of(&var.tensor) {
                    **tensor = self.nothing()?;
                    borrowed.push(Borrowed { slot, source });
                }
            }
        }
        Ok(borrowed)
    }

    /// The output of an operation on the tape, made again.
    fn again(&mut self, cx: &Context, source: usize) -> Result<Tensor> {
        let borrowed = self.step(source)?.borrowed.clone();
        for &Borrowed { slot, source: deeper } in &borrowed {
            let tensor = self.again(cx, deeper)?;
            self.step(source)?.put(slot, tensor);
        }
        let start = Instant::now();
        let step = self.step(source)?;
        let output = step.node.recompute(cx)?;
        let description = step.description.clone();
        self.finish_for_profile(cx)?;
        for &Borrowed { slot, .. } in &borrowed {
            let nothing = self.nothing()?;
            self.step(source)?.put(slot, nothing);
        }
        if let Some(profile) = &mut self.profile {
            profile.push(description.executed(start, false, true));
        }
        Ok(output)
    }

    /// An operation on the tape.
    fn step(&mut self, node: usize) -> Result<&mut Step> {
        match self.entries.get_mut(node) {
            Some(Entry::Operation(step)) => Ok(step),
            _ => Err(Error::Tape(format!("node {node} is no operation"))),
        }
    }

    /// What is timed must be over: a card's kernels are, when asked for, only queued.
    fn finish_for_profile(&self, cx: &Context) -> Result<()> {
        if self.profile.is_some() {
            cx.synchronize()?;
        }
        Ok(())
    }

    /// What stands where a saved tensor was taken away.
    fn nothing(&mut self) -> Result<Tensor> {
        match &self.nothing {
            Some(nothing) => Ok(nothing.clone()),
            None => Ok(self.nothing.insert(Tensor::unspecified([0], DType::F32)?).clone()),
        }
    }

    fn push(&mut self, entry: Entry) -> usize {
        self.entries.push(entry);
        self.entries.len() - 1
    }
}

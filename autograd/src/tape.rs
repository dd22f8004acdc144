//! The tape: an eager record of typed nodes, walked once in reverse.
//!
//! Nodes are recorded in the order they ran, which is a topological order, so the backward pass is
//! one loop from the last node to the first. The first gradient that reaches a value moves in, later
//! ones are added to it in place. A node's saved tensors are freed as soon as its backward is done;
//! a value whose last reader saved nothing is freed even before, when the model drops its [`Var`].

use crate::{Gradients, ParameterId, Result};
use genesis_kernels::Context;
use genesis_kernels::op::{Cost, Operation, Saved};
use genesis_tensor::{Shape, Tensor};
use std::time::Instant;

/// Elements one task adds when two gradients meet.
const PIECE: usize = 1 << 14;

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

/// An operation that ran, with its type hidden.
trait Node: Send {
    fn backward(self: Box<Self>, cx: &Context, dy: Tensor, need: &[bool]) -> Result<Vec<Option<Tensor>>>;
}

struct Recorded<O: Operation> {
    operation: O,
    saved: O::Saved,
}

impl<O: Operation> Node for Recorded<O> {
    fn backward(self: Box<Self>, cx: &Context, dy: Tensor, need: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(self.operation.backward(cx, self.saved, dy, need)?)
    }
}

enum Entry {
    Leaf(ParameterId),
    Operation {
        name: &'static str,
        inputs: Vec<Option<usize>>,
        node: Box<dyn Node>,
        cost: Cost,
        parameter: Option<ParameterId>,
    },
}

/// One executed operation, for profiles.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The operation's name.
    pub name: &'static str,
    /// The first parameter among its inputs: which layer this was.
    pub parameter: Option<ParameterId>,
    /// The output's extents.
    pub output: Shape,
    /// True for the backward pass.
    pub backward: bool,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Arithmetic and memory traffic, both directions.
    pub cost: Cost,
    /// Bytes kept for the backward pass (tensors shared with other nodes count in each).
    pub saved_bytes: usize,
}

/// A record of operations, made for one forward and one backward pass.
///
/// A tape made by [`Tape::inference`] records nothing, and every intermediate value is freed when
/// its `Var` is dropped.
#[derive(Default)]
pub struct Tape {
    entries: Vec<Entry>,
    recording: bool,
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
        let node = self.recording.then(|| {
            self.entries.push(Entry::Leaf(id));
            self.entries.len() - 1
        });
        Var { tensor: value, node, parameter: Some(id) }
    }

    /// Runs an operation and records it if any input has a gradient.
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
        let tensors: Vec<&Tensor> = inputs.iter().map(|var| &var.tensor).collect();
        let start = Instant::now();
        let (output, saved) = operation.forward(cx, &tensors)?;
        let seconds = start.elapsed().as_secs_f64();
        inspect(&saved)?;
        let shapes: Vec<Shape> = inputs.iter().map(|var| var.shape()).collect();
        let cost = operation.cost(&shapes);
        let parameter = inputs.iter().find_map(|var| var.parameter);
        if let Some(profile) = &mut self.profile {
            let saved_bytes = saved.tensors().iter().map(|tensor| tensor.size_in_bytes()).sum();
            let output = output.shape();
            let name = O::NAME;
            profile.push(Executed { name, parameter, output, backward: false, seconds, cost, saved_bytes });
        }
        let inputs: Vec<Option<usize>> = inputs.iter().map(|var| var.node).collect();
        let node = (self.recording && inputs.iter().any(Option::is_some)).then(|| {
            let node = Box::new(Recorded { operation, saved });
            self.entries.push(Entry::Operation { name: O::NAME, inputs, node, cost, parameter });
            self.entries.len() - 1
        });
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
        let mut waiting: Vec<Option<Tensor>> = self.entries.iter().map(|_| None).collect();
        if let Some(node) = output.node {
            waiting[node] = Some(seed);
        }
        drop(output);
        while let Some(entry) = self.entries.pop() {
            let Some(dy) = waiting.pop().flatten() else { continue };
            match entry {
                Entry::Leaf(id) => gradients.add(cx, id, &dy)?,
                Entry::Operation { name, inputs, node, cost, parameter } => {
                    let need: Vec<bool> = inputs.iter().map(Option::is_some).collect();
                    let output = dy.shape();
                    let start = Instant::now();
                    let arrived = node.backward(cx, dy, &need)?;
                    if let Some(profile) = &mut self.profile {
                        let seconds = start.elapsed().as_secs_f64();
                        profile.push(Executed {
                            name,
                            parameter,
                            output,
                            backward: true,
                            seconds,
                            cost,
                            saved_bytes: 0,
                        });
                    }
                    for (input, gradient) in inputs.into_iter().zip(arrived) {
                        if let (Some(input), Some(gradient)) = (input, gradient) {
                            match &mut waiting[input] {
                                Some(sum) => add(cx, sum, &gradient)?,
                                empty => *empty = Some(gradient),
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// `sum += term`, in place.
fn add(cx: &Context, sum: &mut Tensor, term: &Tensor) -> Result<()> {
    if sum.shape() != term.shape() {
        return Err(genesis_tensor::Error::unequal("sum of gradients", sum.shape(), term.shape()).into());
    }
    let term = term.as_slice();
    cx.pool.run_pieces(sum.as_mut_slice()?, PIECE, |index, sum| {
        cx.isa.run(|| {
            for (sum, term) in sum.iter_mut().zip(&term[index * PIECE..]) {
                *sum += term;
            }
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parameters;
    use genesis_kernels::ops::activation::Activation;

    /// y = relu(a) is used twice; dL/da must be the sum of both paths.
    #[test]
    fn gradients_of_a_value_used_twice_add_up() {
        let cx = Context::new(1);
        let parameters = Parameters::new(&[("a".into(), Shape::new(&[3]))]).unwrap();
        let mut gradients = parameters.zero_gradients().unwrap();
        let mut tape = Tape::training();
        let a = tape.parameter(ParameterId(0), Tensor::from_slice([3], &[-1.0, 0.5, 2.0]).unwrap());
        let y = tape.apply(&cx, Activation::Relu, &[&a]).unwrap();
        let twice = tape.apply(&cx, Activation::Relu, &[&y]).unwrap();
        let slope = Var::constant(Tensor::full([1], 0.25).unwrap());
        let z = tape.apply(&cx, Activation::Prelu, &[&twice, &slope]).unwrap();
        drop((y, twice));
        tape.backward(&cx, z, Tensor::from_slice([3], &[1.0, 2.0, 3.0]).unwrap(), &mut gradients).unwrap();
        assert_eq!(gradients.of(ParameterId(0)).unwrap().as_slice(), [0.0, 2.0, 3.0]);

        let mut tape = Tape::training();
        let a = tape.parameter(ParameterId(0), Tensor::from_slice([3], &[-1.0, 0.5, 2.0]).unwrap());
        let again = tape.parameter(ParameterId(0), a.tensor().clone());
        let y = tape.apply(&cx, Activation::Relu, &[&a]).unwrap();
        let slope = tape.apply(&cx, Activation::Relu, &[&again]).unwrap();
        assert_eq!(slope.shape(), y.shape());
        tape.backward(&cx, y, Tensor::full([3], 1.0).unwrap(), &mut gradients).unwrap();
        assert_eq!(gradients.of(ParameterId(0)).unwrap().as_slice(), [0.0, 3.0, 4.0]);
    }

    #[test]
    fn inference_records_nothing() {
        let cx = Context::new(1);
        let mut tape = Tape::inference();
        let a = tape.parameter(ParameterId(0), Tensor::full([4], 2.0).unwrap());
        let y = tape.apply(&cx, Activation::Sigmoid, &[&a]).unwrap();
        assert!(y.node.is_none() && tape.entries.is_empty());
    }

    #[test]
    fn a_profile_names_what_ran_in_both_directions() {
        let cx = Context::new(1);
        let parameters = Parameters::new(&[("a".into(), Shape::new(&[4]))]).unwrap();
        let mut gradients = parameters.zero_gradients().unwrap();
        let mut tape = Tape::training().with_profile();
        let a = tape.parameter(ParameterId(0), Tensor::full([4], 2.0).unwrap());
        let y = tape.apply(&cx, Activation::Sigmoid, &[&a]).unwrap();
        tape.backward(&cx, y, Tensor::full([4], 1.0).unwrap(), &mut gradients).unwrap();
        let profile = tape.take_profile();
        assert_eq!(
            profile.iter().map(|e| (e.name, e.parameter, e.backward)).collect::<Vec<_>>(),
            [("activation", Some(ParameterId(0)), false), ("activation", Some(ParameterId(0)), true)]
        );
    }
}

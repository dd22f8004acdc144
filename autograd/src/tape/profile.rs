//! What a tape tells about the operations it ran.

use crate::ParameterId;
use genesis_kernels::op::{Cost, Operation};
use genesis_tensor::{DType, Shape, Tensor, memory};
use std::time::Instant;

/// One executed operation, for profiles and traces.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The operation's name.
    pub name: &'static str,
    /// The first parameter among its inputs: which layer this was.
    pub parameter: Option<ParameterId>,
    /// The inputs' extents.
    pub inputs: Vec<Shape>,
    /// The output's extents.
    pub output: Shape,
    /// The output's number format.
    pub format: DType,
    /// True for the backward pass.
    pub backward: bool,
    /// True if the forward pass ran a second time because its output had not been kept.
    pub recomputed: bool,
    /// When it began.
    pub start: Instant,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Arithmetic and memory traffic, both directions, in the number formats used.
    pub cost: Cost,
    /// Bytes kept for the backward pass (tensors shared with other nodes count in each).
    pub saved_bytes: usize,
    /// Bytes in use by all tensors when it ended.
    pub live_bytes: usize,
}

/// What a node knows about its operation once it ran: everything but the times.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub name: &'static str,
    pub parameter: Option<ParameterId>,
    pub inputs: Vec<Shape>,
    pub output: Shape,
    pub format: DType,
    pub cost: Cost,
}

impl Description {
    pub fn new<O: Operation>(operation: &O, inputs: &[&Tensor], output: &Tensor) -> Self {
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
        let mut cost = operation.cost(&shapes);
        // Operations count four bytes an element.
        let all = || inputs.iter().copied().chain([output]);
        let bytes: u64 = all().map(|tensor| tensor.size_in_bytes() as u64).sum();
        let wide: u64 = all().map(|tensor| 4 * tensor.elements() as u64).sum();
        for work in [&mut cost.forward, &mut cost.backward] {
            work.bytes = (u128::from(work.bytes) * u128::from(bytes) / u128::from(wide.max(1))) as u64;
        }
        let (output, format) = (output.shape(), output.dtype());
        Self { name: O::NAME, parameter: None, inputs: shapes, output, format, cost }
    }

    /// The record of a pass that began at `start` and ended now.
    pub fn executed(&self, start: Instant, backward: bool, recomputed: bool) -> Executed {
        let Self { name, parameter, inputs, output, format, cost } = self.clone();
        Executed {
            name,
            parameter,
            inputs,
            output,
            format,
            backward,
            recomputed,
            start,
            seconds: start.elapsed().as_secs_f64(),
            cost,
            saved_bytes: 0,
            live_bytes: memory::statistics().live,
        }
    }
}

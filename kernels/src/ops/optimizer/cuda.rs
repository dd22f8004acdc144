//! Optimisers on CUDA cards: the launches of `optimizer.cu`, one over a flat buffer.

use super::Optimizer;
use crate::cuda::elementwise::grid;
use crate::cuda::{Address, Launch, NULL, Workspace, int};
use crate::op::Operation;
use crate::{Error, Result};
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// Elements of a piece of the norm.
const PIECE: usize = 16_384;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct OptimizerArguments {
    parameters: Address,
    gradients: Address,
    first: Address,
    second: Address,
    factor: Address,
    elements: u64,
    values: [f32; 7],
    nesterov: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NormArguments {
    gradients: Address,
    partial: Address,
    norm: Address,
    elements: u64,
    pieces: u32,
    limit: f32,
}

/// Flat buffers of f32 of one length; state as [`Optimizer::state_count`] says, the rest [`NULL`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// p, changed.
    pub parameters: Address,
    /// g.
    pub gradients: Address,
    /// Momentum, or Adam's mean and squares; changed.
    pub state: [Address; 2],
    /// The second number of [`norm`], or [`NULL`]: gradients are multiplied by it.
    pub factor: Address,
}

/// One step on the elements of `range`: [`Optimizer::update`]'s formulas. `step` counts from 1.
///
/// # Errors
/// As [`Optimizer::update`]; when the state is not what the optimiser wants.
pub fn update(
    optimizer: &Optimizer,
    step: u64,
    rate: f32,
    buffers: Buffers,
    range: Range<usize>,
) -> Result<Launch> {
    optimizer.validate()?;
    let states = buffers.state.iter().filter(|&&state| state != NULL).count();
    if step == 0 || states != optimizer.state_count() || range.start > range.end {
        let cause = format!("step {step}, {states} states, elements {range:?}");
        return Err(Error::operation(super::OptimizerStep::NAME, cause));
    }
    let (name, values, nesterov) = match *optimizer {
        Optimizer::Sgd { momentum, dampening, weight_decay, nesterov } => {
            let name = if momentum == 0.0 { "sgd" } else { "sgd_momentum" };
            // In step 1 the buffer is the gradient.
            let (share, kept) = if step == 1 { (1.0, 0.0) } else { (1.0 - dampening, momentum) };
            (name, [rate, momentum, share, weight_decay, kept, 0.0, 0.0], nesterov)
        }
        Optimizer::Adam(moments) | Optimizer::AdamW(moments) => {
            let decoupled = matches!(optimizer, Optimizer::AdamW(_));
            let rule = super::cpu::Adam::new(moments, decoupled, step, rate);
            let super::cpu::Adam { beta1, beta2, epsilon, coupled_decay, shrink, rate, root } = rule;
            ("adam", [rate, beta1, beta2, epsilon, coupled_decay, shrink, root], false)
        }
    };
    let at = |address: Address| if address == NULL { NULL } else { address + 4 * range.start as u64 };
    let arguments = OptimizerArguments {
        parameters: at(buffers.parameters),
        gradients: at(buffers.gradients),
        first: at(buffers.state[0]),
        second: at(buffers.state[1]),
        factor: buffers.factor,
        elements: range.len() as u64,
        values,
        nesterov: nesterov.into(),
    };
    Launch::new(name, grid(range.len(), 1), &arguments)
}

/// The norm of all gradients, and the factor that [`super::clip_gradients`] would scale them by for this limit (1 for
/// a limit of 0, which is none): two numbers of f32 at `norm`.
///
/// # Errors
/// When there are no gradients.
pub fn norm(
    gradients: Address,
    elements: usize,
    limit: f32,
    norm: Address,
    workspace: &mut Workspace,
) -> Result<Vec<Launch>> {
    let pieces = elements.div_ceil(PIECE);
    let partial = workspace.take(pieces * 8);
    let arguments = NormArguments {
        gradients,
        partial,
        norm,
        elements: elements as u64,
        pieces: int(pieces)? as u32,
        limit,
    };
    Ok(vec![
        Launch::new("gradient_norm_sums", [pieces, 1, 1], &arguments)?,
        Launch::new("gradient_norm_finish", [1; 3], &arguments)?,
    ])
}

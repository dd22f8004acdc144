//! Training steps on a card by a graph: forward, loss and backward are recorded once, then launched as a whole.
//!
//! ```text
//! batch ─copy─▸ inputs ┐
//!                      ├─▸ graph: forward → loss → backward ─▸ gradients ─▸ clipping, optimiser (plain launches)
//! running ─copy▸ before┘              └▸ loss, checks    └▸ after ─copy─▸ running
//! ```
//!
//! What the host does in a step and a graph cannot:
//!
//! * **Read**: the loss, and the count of labels that are no class, are read after the launch. A loss that is not
//!   finite is therefore found after its backward pass instead of before; the step comes to nothing all the same.
//! * **Decide**: the optimiser stays outside. It wants to know whether the gradient's norm is finite, and its scalars
//!   (learning rate, Adam's corrections) change with every step. It is a handful of launches.
//! * **Count**: how often statistics were updated is counted here, as it was while recording.
//! * **Own**: running statistics move to a new block in every step, since the old one is kept in case the step fails.
//!   The graph goes from a block `before` to a block `after`, both its own, and the network gets copies.
//!
//! A step is recorded when a plain one of the same shapes, with parameters and gradients at the same addresses, has
//! run: kernels are loaded then, and the pool has the memory. Steps of other shapes (an epoch's last batch) run plainly,
//! and so does everything while a trace wants to see each operation, with `GENESIS_CUDA_SYNC=1`, and with
//! `GENESIS_CUDA_GRAPHS=0`. When addresses change (weights were loaded, say), the graph is dropped and recorded anew;
//! when the card runs out of memory, the graph's is given up. Kernels and their order are those of a plain step, so
//! are all bits.

use super::trainer::{Trainer, finite};
use crate::Result;
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::cuda::{CudaCard, Graph};
use genesis_model::{Network, RunningStatistics};
use genesis_tensor::{DType, Device, Shape, Tensor};
use std::any::type_name_of_val;
use std::ops::Range;
use std::sync::Arc;

/// Kinds of steps remembered, until one of them is recorded.
const KINDS: usize = 4;

/// How the steps of a trainer ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphCounts {
    /// Graphs recorded.
    pub recorded: u64,
    /// Steps by a graph.
    pub launched: u64,
    /// Steps without one.
    pub plain: u64,
}

/// What must be the same for a step to be another one again.
#[derive(Clone, Debug, PartialEq)]
struct Kind {
    batch: Vec<(Shape, DType)>,
    /// The type of the closure that makes the loss.
    loss: &'static str,
    /// Addresses.
    parameters: u64,
    gradients: u64,
    /// What is frozen is not differentiated.
    groups: Vec<(Range<usize>, f32)>,
}

/// The graph of a trainer's steps.
#[derive(Default)]
pub(super) struct StepGraph {
    recorded: Option<Recorded>,
    /// Steps that ran plainly and could be recorded.
    seen: Vec<Kind>,
    /// Recording failed: not again.
    off: bool,
    pub counts: GraphCounts,
}

struct Recorded {
    // First, so that it is dropped before the tensors in its memory.
    graph: Graph,
    kind: Kind,
    /// Where it reads the batch.
    inputs: Vec<Tensor>,
    loss: Tensor,
    /// The statistics it starts from.
    before: RunningStatistics,
    /// What it makes of them.
    after: RunningStatistics,
    /// The gradient of the loss.
    _seed: Tensor,
}

impl<N: Network> Trainer<N> {
    /// How the steps on a card ran so far.
    pub fn graph_counts(&self) -> GraphCounts {
        self.graph.counts
    }

    /// The loss of a batch (the input first), and its gradients, by a graph; none if the step has to run plainly.
    ///
    /// # Errors
    /// As a plain step's; the caller takes the running statistics back.
    pub(super) fn by_graph(
        &mut self,
        batch: &[Tensor],
        loss: &impl Fn(&Context, &mut Tape, Var, Vec<Tensor>) -> Result<Var>,
    ) -> Result<Option<f32>> {
        let Some(card) = self.cx.card.clone() else { return Ok(None) };
        if self.ready(&card, batch, loss)
            && let Some(value) = self.launch(&card, batch)?
        {
            return Ok(Some(value));
        }
        self.graph.counts.plain += 1;
        Ok(None)
    }

    /// True if there is a graph for this step, after recording it if it is time.
    fn ready(
        &mut self,
        card: &Arc<CudaCard>,
        batch: &[Tensor],
        loss: &impl Fn(&Context, &mut Tape, Var, Vec<Tensor>) -> Result<Var>,
    ) -> bool {
        if self.graph.off || self.trace.is_on() || !card.uses_graphs() {
            return false;
        }
        let Some(kind) = self.kind(batch, type_name_of_val(loss)) else { return false };
        match &self.graph.recorded {
            Some(recorded) if recorded.kind == kind => return true,
            // It is for batches of another shape.
            Some(recorded) if recorded.kind.batch != kind.batch => return false,
            _ => self.graph.recorded = None,
        }
        if !self.graph.seen.contains(&kind) {
            self.graph.seen.truncate(KINDS - 1);
            self.graph.seen.insert(0, kind);
            return false;
        }
        match self.record(card, kind, batch, loss) {
            Ok(recorded) => {
                self.graph.counts.recorded += 1;
                self.graph.recorded = Some(recorded);
                true
            }
            Err(error) => {
                // The plain step that follows will meet the same error, if it is the step's.
                tracing::warn!("training steps run without a CUDA graph: {error}");
                self.graph.off = true;
                false
            }
        }
    }

    /// What kind of a step this is; none for one that cannot be recorded as things are.
    fn kind(&self, batch: &[Tensor], loss: &'static str) -> Option<Kind> {
        let parameters = self.network.parameters();
        let gradients = self.updater.gradients.flat();
        // One that is shared would move when it is written.
        let here = batch.iter().all(|tensor| tensor.device() != Device::Cpu) && gradients.is_unique();
        Some(Kind {
            batch: batch.iter().map(|tensor| (tensor.shape(), tensor.dtype())).collect(),
            loss,
            parameters: parameters.flat().address()?,
            gradients: gradients.address().filter(|_| here)?,
            groups: parameters.groups(),
        })
    }

    fn record(
        &mut self,
        card: &Arc<CudaCard>,
        kind: Kind,
        batch: &[Tensor],
        loss: &impl Fn(&Context, &mut Tape, Var, Vec<Tensor>) -> Result<Var>,
    ) -> Result<Recorded> {
        let seed = card.place(&Tensor::full([1], 1.0)?)?;
        let empty = |tensor: &Tensor| card.unspecified(tensor.shape(), tensor.dtype());
        let inputs = batch.iter().map(empty).collect::<Result<Vec<_>, _>>()?;
        let running = self.network.running();
        let before = running.clone().with_values(card.copy_of(running.values())?);
        self.network.set_running(before.clone());
        let recorded = card.record(|| self.queue(inputs.clone(), loss, seed.clone(), |_| Ok(())));
        let after = self.network.running();
        self.network.set_running(running);
        let (graph, loss) = recorded?;
        Ok(Recorded { graph, kind, inputs, loss, before, after, _seed: seed })
    }

    /// A step by the graph; none if its memory was given up.
    fn launch(&mut self, card: &Arc<CudaCard>, batch: &[Tensor]) -> Result<Option<f32>> {
        let Some(recorded) = &self.graph.recorded else { return Ok(None) };
        let Recorded { graph, inputs, loss, before, after, .. } = recorded;
        for (to, from) in inputs.iter().zip(batch) {
            card.renew(to, from)?;
        }
        let running = self.network.running();
        card.renew(before.values(), running.values())?;
        if !graph.launch()? {
            self.graph.recorded = None;
            return Ok(None);
        }
        self.graph.counts.launched += 1;
        let values = card.copy_of(after.values())?;
        self.network.set_running(running.counted(before, after).with_values(values));
        graph.check()?;
        let value = loss.to_host()?.as_slice()[0];
        finite(value)?;
        Ok(Some(value))
    }
}

//! One network being trained to segment: the step.

use super::class_weights::weighted_loss;
use super::config::SegmentationConfig;
use super::loader::PatchBatch;
use crate::trace::Trace;
use crate::training::{StepReport, Updater, in_format, schedule};
use crate::{Error, Precision, Result};
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::loss::Loss;
use genesis_model::{Levels, Statistics, UNet3d};
use genesis_tensor::Tensor;
use std::time::Instant;

/// A segmentation network with its optimiser.
pub struct SegmentationTrainer {
    /// Threads and instruction set.
    pub cx: Context,
    /// The network.
    pub network: UNet3d,
    /// The optimiser.
    pub updater: Updater,
    /// Told of every operation.
    pub trace: Trace,
    precision: Precision,
    loss: Loss,
    /// The weights of the classes, `[K]`, for losses that take them as an input.
    weights: Option<Tensor>,
    recompute: bool,
}

impl SegmentationTrainer {
    /// A trainer at step 0. `weights` says how much each class counts, the background's first.
    ///
    /// # Errors
    /// A loss that does not fit the network's outputs or takes no weights; memory.
    pub fn new(
        cx: Context,
        mut network: UNet3d,
        config: &SegmentationConfig,
        weights: Option<Vec<f32>>,
        steps_per_epoch: u64,
    ) -> Result<Self> {
        network.set_checkpoints(if config.recompute == 2 { config.checkpoint_levels } else { Levels::NONE });
        let (loss, weights) = weighted_loss(config.loss, network.config().classes, weights)?;
        let weights = weights.map(|weights| Tensor::from_slice([weights.len()], &weights)).transpose()?;
        let schedule = schedule(&config.schedule, config.epochs, config.steps, steps_per_epoch);
        let updater = Updater::new(network.parameters(), &config.optimizer, schedule)?;
        Ok(Self {
            cx,
            network,
            updater,
            trace: Trace::default(),
            precision: config.precision,
            loss,
            weights,
            recompute: config.recompute > 0,
        })
    }

    /// One step: forward, loss, backward, update.
    ///
    /// # Errors
    /// A loss that is not finite; memory.
    pub fn train(&mut self, batch: PatchBatch) -> Result<StepReport> {
        let start = Instant::now();
        let Self { cx, network, updater, trace, .. } = self;
        updater.gradients.restart();
        let mut tape = Tape::training().recomputing(self.recompute);
        if trace.is_on() {
            tape = tape.with_profile();
        }
        let input = in_format(batch.input, self.precision)?;
        let logits = network.forward(cx, &mut tape, Var::constant(input), Statistics::BatchAndUpdate)?;
        let shape = logits.shape();
        // One output is compared with the classes themselves, 0 and 1; several with the number of the right one.
        let target = if shape.channels() == 1 { batch.labels.reshape(shape)? } else { batch.labels };
        let target = Var::constant(target);
        let weights = self.weights.clone().map(Var::constant);
        let inputs: Vec<&Var> = [&logits, &target].into_iter().chain(&weights).collect();
        let loss = tape.apply(cx, self.loss, &inputs)?;
        drop((logits, target));
        let value = loss.tensor().as_slice()[0];
        if !value.is_finite() {
            return Err(Error::Work(format!(
                "the loss became {value} at step {}: lower the learning rate (--lr), or limit the gradient \
                 ([optimizer] clip_norm in the configuration)",
                batch.step
            )));
        }
        tape.backward(cx, loss, Tensor::full([1], 1.0)?, &mut updater.gradients)?;
        trace.operations(&tape.take_profile());
        let update = Instant::now();
        let learning_rate = updater.update(cx, network.parameters_mut())?;
        trace.span("optimizer", update);
        trace.span("step", start);
        Ok(StepReport { loss: value, learning_rate })
    }
}

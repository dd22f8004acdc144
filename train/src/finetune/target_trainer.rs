//! One network being trained for a target task: the step.

use super::settings::TargetSettings;
use crate::task::{Task, TaskDescription};
use crate::training::{
    BatchShapes, KeptBatch, MemoryPlan, StepBatch, StepReport, Trainer, Updater, schedule,
};
use crate::{Error, Result};
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::loss::Loss;
use genesis_model::Network;
use genesis_tensor::Tensor;

/// One batch of a target task.
#[derive(Debug)]
pub struct TargetBatch {
    /// The step it is for.
    pub step: u64,
    /// Intensities `[N, D, H, W, C]`.
    pub input: Tensor,
    /// Classes as f32: `[N, D, H, W]` for every voxel, or `[N]` for every sample.
    pub labels: Tensor,
}

/// A loss on logits, with what classes weigh in it.
#[derive(Clone, Debug)]
pub struct TargetLoss {
    /// The loss, on one logit (sigmoid) or one a class (softmax).
    pub loss: Loss,
    /// A weight for each class `[K]`, for the losses of several logits that take some.
    pub weights: Option<Tensor>,
}

impl StepBatch for TargetBatch {
    fn keep(&self) -> KeptBatch {
        KeptBatch {
            step: self.step,
            tensors: vec![("input", self.input.clone()), ("labels", self.labels.clone())],
        }
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        vec![&mut self.input, &mut self.labels]
    }
}

impl From<Loss> for TargetLoss {
    fn from(loss: Loss) -> Self {
        Self { loss, weights: None }
    }
}

impl TargetLoss {
    /// [`TargetLoss::apply`] to what a batch has beside its input.
    fn of_batch(&self, cx: &Context, tape: &mut Tape, logits: &Var, others: Vec<Tensor>) -> Result<Var> {
        match <[Tensor; 1]>::try_from(others) {
            Ok([labels]) => self.apply(cx, tape, logits, labels),
            Err(others) => {
                Err(Error::Work(format!("labels alone were wanted, given {} tensors", others.len())))
            }
        }
    }

    /// The loss `[1]` of logits `[.., K]` with labels `[..]`.
    ///
    /// # Errors
    /// Labels that are no classes of the logits'; memory.
    pub fn apply(&self, cx: &Context, tape: &mut Tape, logits: &Var, labels: Tensor) -> Result<Var> {
        let shape = logits.shape();
        // One output is compared with the classes themselves, 0 and 1; several with the number of the right one.
        let target = if shape.channels() == 1 { labels.reshape(shape)? } else { labels };
        let target = Var::constant(target);
        Ok(match &self.weights {
            None => tape.apply(cx, self.loss, &[logits, &target])?,
            Some(weights) => {
                let weights = Var::constant(weights.clone());
                tape.apply(cx, self.loss, &[logits, &target, &weights])?
            }
        })
    }
}

/// A network for a target task with its optimiser and its loss.
pub struct TargetTrainer<N> {
    /// The network and its update.
    pub trainer: Trainer<N>,
    loss: TargetLoss,
}

impl<N: Network> TargetTrainer<N> {
    /// A trainer at step 0.
    ///
    /// # Errors
    /// An optimiser that is unknown or badly set; tf32 without a card; memory.
    pub fn new(
        cx: Context,
        network: N,
        loss: TargetLoss,
        settings: &TargetSettings,
        steps_per_epoch: u64,
    ) -> Result<Self> {
        let TargetSettings { epochs, steps, .. } = *settings;
        let schedule = schedule(&settings.schedule, epochs, steps, steps_per_epoch);
        let updater = Updater::new(network.parameters(), &settings.optimizer, schedule)?;
        // Once: a step that is recorded for a card uploads nothing.
        let weights = loss.weights.map(|weights| cx.place(&weights)).transpose()?;
        let loss = TargetLoss { weights, ..loss };
        Ok(Self { trainer: Trainer::with(cx, network, updater, &settings.step())?, loss })
    }

    /// The loss.
    pub fn loss(&self) -> &TargetLoss {
        &self.loss
    }

    /// What a step on so many samples takes; `going_on`: with a checkpoint in memory.
    ///
    /// # Errors
    /// As [`MemoryPlan::check`].
    pub fn plan_memory(
        &mut self,
        about: &TaskDescription,
        samples: usize,
        loader_threads: usize,
        going_on: bool,
    ) -> Result<MemoryPlan> {
        let [d, h, w] = about.patch;
        let labels = match about.task {
            Task::Segment => vec![samples, d, h, w],
            Task::Classify => vec![samples],
        };
        let shapes = BatchShapes {
            input: vec![samples, d, h, w, about.channels],
            others: vec![labels],
            loader_threads,
            checkpoint_is_loaded: going_on,
        };
        let Self { trainer, loss } = self;
        MemoryPlan::check(trainer, &shapes, |cx, tape, logits, labels| {
            loss.of_batch(cx, tape, &logits, labels)
        })
    }

    /// One step: forward, loss, backward, update.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn train(&mut self, batch: TargetBatch) -> Result<StepReport> {
        let TargetBatch { input, labels, .. } = batch;
        let Self { trainer, loss } = self;
        let loss: &TargetLoss = loss;
        trainer.step(vec![input, labels], |cx, tape, logits, labels| loss.of_batch(cx, tape, &logits, labels))
    }
}

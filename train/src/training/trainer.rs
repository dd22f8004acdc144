//! One network being trained: the step, the validation, and what a checkpoint must hold.

use super::config::RunConfig;
use super::loader::Batch;
use super::on_nan::NotFinite;
use super::step_graph::StepGraph;
use super::updater::{Updater, schedule};
use crate::stop::Stop;
use crate::trace::Trace;
use crate::{Error, Precision, Result};
use genesis_autograd::{Tape, Var};
use genesis_kernels::ops::activation::Activation;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::{Context, elementwise};
use genesis_model::{Levels, Network, Statistics, UNet3d};
use genesis_tensor::parallel::ThreadPool;
use genesis_tensor::{DType, Tensor};
use std::time::Instant;

/// What one training step reports.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// The batch's loss before the update.
    pub loss: f32,
    /// The learning rate used.
    pub learning_rate: f32,
}

/// What a validation reports; all means over the voxels that count.
#[derive(Clone, Copy, Debug, Default)]
pub struct ValidationReport {
    /// Mean squared error of the restored cubes.
    pub loss: f64,
    /// Mean squared error of the deformed cubes themselves: what doing nothing would give.
    pub identity: f64,
    /// Standard deviation of the restored voxels within a cube, over that of the true ones: near 0
    /// for a network whose output has collapsed to a constant.
    pub spread: f64,
}

/// A network with its optimiser.
pub struct Trainer<N = UNet3d> {
    /// Threads and instruction set.
    pub cx: Context,
    /// The network.
    pub network: N,
    /// The optimiser.
    pub updater: Updater,
    /// Told of every operation.
    pub trace: Trace,
    /// Ends a validation early, since it can be done again.
    pub stop: Stop,
    /// The recorded step.
    pub(super) graph: StepGraph,
    precision: Precision,
    /// Outputs that are cheap to make again are not kept.
    recompute: bool,
}

/// How a step keeps what the backward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct StepSettings {
    /// Number format of activations and gradients.
    pub precision: Precision,
    /// What the forward pass keeps, as in [`RunConfig::recompute`].
    pub recompute: u8,
    /// The levels of `recompute = 2`.
    pub checkpoint_levels: Levels,
}

impl<N: Network> Trainer<N> {
    /// A trainer at step 0.
    ///
    /// # Errors
    /// tf32 without a card.
    pub fn with(mut cx: Context, mut network: N, updater: Updater, settings: &StepSettings) -> Result<Self> {
        let StepSettings { precision, recompute, checkpoint_levels } = *settings;
        precision.choose(&mut cx)?;
        network.set_checkpoints(if recompute == 2 { checkpoint_levels } else { Levels::NONE });
        let trace = Trace::default();
        let stop = Stop::default();
        let graph = StepGraph::default();
        Ok(Self { cx, network, updater, trace, stop, graph, precision, recompute: recompute > 0 })
    }

    /// The number format of activations.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// One step on a batch, whose first tensor is the input `[N, D, H, W, C]`: forward, the loss (a value of shape
    /// `[1]`) that `loss` makes of the logits and the other tensors, backward, update.
    ///
    /// `loss` is to be the same function in every step: on a card a step may be a recorded one, launched again.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a loss or a gradient that is not, with the network as it was before; the closure's;
    /// memory.
    pub fn step(
        &mut self,
        batch: Vec<Tensor>,
        loss: impl Fn(&Context, &mut Tape, Var, Vec<Tensor>) -> Result<Var>,
    ) -> Result<StepReport> {
        let start = Instant::now();
        let running = self.network.running();
        let value = match self.by_graph(&batch, &loss) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => self.pass(batch, &loss, finite),
            Err(error) => Err(error),
        };
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                self.network.set_running(running);
                return Err(error);
            }
        };
        let Self { cx, network, updater, trace, .. } = self;
        let update = Instant::now();
        let norm = updater.clip(cx)?;
        if !norm.is_finite() {
            network.set_running(running);
            return Err(Error::NotFinite(NotFinite { what: "norm of the gradient", value: norm }));
        }
        drop(running);
        let learning_rate = updater.update(cx, network.parameters_mut())?;
        trace.span("optimizer", update);
        trace.span("step", start);
        Ok(StepReport { loss: value, learning_rate })
    }

    /// Forward and backward; the loss, which `check` may refuse before the way back.
    fn pass(
        &mut self,
        batch: Vec<Tensor>,
        loss: &impl Fn(&Context, &mut Tape, Var, Vec<Tensor>) -> Result<Var>,
        check: impl FnOnce(f32) -> Result<()>,
    ) -> Result<f32> {
        let mut value = f32::NAN;
        self.queue(batch, loss, Tensor::full([1], 1.0)?, |loss| {
            value = loss.to_host()?.as_slice()[0];
            check(value)
        })?;
        Ok(value)
    }

    /// Forward, loss, a look at it, and backward from the gradient `seed`; the loss.
    pub(super) fn queue(
        &mut self,
        mut batch: Vec<Tensor>,
        loss: &impl Fn(&Context, &mut Tape, Var, Vec<Tensor>) -> Result<Var>,
        seed: Tensor,
        look: impl FnOnce(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let Self { cx, network, updater, trace, .. } = self;
        updater.gradients.restart();
        let mut tape = Tape::training().recomputing(self.recompute);
        if trace.is_on() {
            tape = tape.with_profile();
        }
        if batch.is_empty() {
            return Err(Error::Work("a batch without an input".into()));
        }
        let input = Var::constant(self.precision.input(cx, batch.remove(0))?);
        let logits = network.forward(cx, &mut tape, input, Statistics::BatchAndUpdate)?;
        let loss = loss(cx, &mut tape, logits, batch)?;
        let value = loss.tensor().clone();
        look(&value)?;
        tape.backward(cx, loss, seed, &mut updater.gradients)?;
        trace.operations(&tape.take_profile());
        Ok(value)
    }

    /// A step that takes the memory of one and computes nothing: on a batch and a loss of the right shapes, whatever
    /// is in them. The network and its update stay as they are.
    ///
    /// # Errors
    /// Memory: what a step would meet, before the first of them.
    pub fn rehearse(
        &mut self,
        batch: Vec<Tensor>,
        loss: impl Fn(&Context, &mut Tape, Var, Vec<Tensor>) -> Result<Var>,
    ) -> Result<()> {
        let idle = ThreadPool::rehearsal(self.cx.pool.threads());
        let pool = std::mem::replace(&mut self.cx.pool, idle);
        let running = self.network.running();
        let outcome = self.pass(batch, &loss, |_| Ok(()));
        self.cx.pool = pool;
        self.network.set_running(running);
        outcome.map(|_| ())
    }
}

/// Mean squared error of the restored voxels: `others` are the target and, if not all count, the mask.
pub(super) fn restoration_loss(
    cx: &Context,
    tape: &mut Tape,
    logits: Var,
    others: Vec<Tensor>,
) -> Result<Var> {
    let others: Vec<Var> = others.into_iter().map(Var::constant).collect();
    Ok(match &others[..] {
        [target] => tape.apply(cx, Loss::SigmoidMse, &[&logits, target])?,
        [target, mask] => {
            let restored = tape.apply(cx, Activation::Sigmoid, &[&logits])?;
            tape.apply(cx, Loss::MaskedMse, &[&restored, target, mask])?
        }
        _ => return Err(Error::Work(format!("a target and perhaps a mask, given {}", others.len()))),
    })
}

pub(super) fn finite(loss: f32) -> Result<()> {
    match loss.is_finite() {
        true => Ok(()),
        false => Err(Error::NotFinite(NotFinite { what: "loss", value: f64::from(loss) })),
    }
}

impl Trainer {
    /// A trainer at step 0.
    ///
    /// # Errors
    /// tf32 without a card; memory.
    pub fn new(cx: Context, network: UNet3d, config: &RunConfig, steps_per_epoch: u64) -> Result<Self> {
        let schedule = schedule(&config.schedule, config.epochs, config.steps, steps_per_epoch);
        let updater = Updater::new(network.parameters(), &config.optimizer, schedule)?;
        let RunConfig { precision, recompute, checkpoint_levels, .. } = *config;
        Self::with(cx, network, updater, &StepSettings { precision, recompute, checkpoint_levels })
    }

    /// One step: forward, loss, backward, update.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn train(&mut self, batch: Batch) -> Result<StepReport> {
        let Batch { input, target, mask, .. } = batch;
        let tensors = [input, target].into_iter().chain(mask).collect();
        self.step(tensors, restoration_loss)
    }

    /// The restored cubes `[N, D, H, W, 1]` in [0, 1], f32.
    ///
    /// # Errors
    /// A shape the network cannot take; memory.
    pub fn restore(&mut self, input: Tensor, statistics: Statistics) -> Result<Tensor> {
        restore(&self.cx, &mut self.network, input, statistics, self.precision)
    }

    /// [`Trainer::restore`] with every operation told to the trace.
    fn restore_traced(&mut self, input: Tensor, statistics: Statistics) -> Result<Tensor> {
        let mut tape = Tape::inference().with_profile();
        let restored = restore_on(&self.cx, &mut tape, &mut self.network, input, statistics, self.precision)?;
        self.trace.operations(&tape.take_profile());
        Ok(restored)
    }

    /// Restores every batch of an iterator and compares. After an error the running statistics are as before.
    ///
    /// # Errors
    /// The iterator's; a process that was asked to stop; memory.
    pub fn validate(
        &mut self,
        statistics: Statistics,
        next: impl FnMut() -> Result<Option<Batch>>,
    ) -> Result<ValidationReport> {
        let running = self.network.running();
        let found = self.compare(statistics, next);
        if found.is_err() {
            self.network.set_running(running);
        }
        found
    }

    fn compare(
        &mut self,
        statistics: Statistics,
        mut next: impl FnMut() -> Result<Option<Batch>>,
    ) -> Result<ValidationReport> {
        let (mut error, mut identity, mut voxels) = (0.0, 0.0, 0.0);
        let (mut spread, mut cubes) = (0.0, 0.0);
        let mut traced = !self.trace.is_on();
        while let Some(batch) = next()? {
            self.stop.check()?;
            // A trace shows the first batch: the others take the same time.
            let first = !std::mem::replace(&mut traced, true);
            let restored = if first {
                self.restore_traced(batch.input, statistics)?
            } else {
                self.restore(batch.input, statistics)?
            };
            let (sum, count) = super::loader::squared_error(&restored, &batch.target, batch.mask.as_ref());
            error += sum;
            identity += batch.identity.0;
            voxels += count;
            let length: usize = restored.shape().dims()[1..].iter().product();
            let pairs =
                restored.as_slice().chunks_exact(length).zip(batch.target.as_slice().chunks_exact(length));
            for (restored, target) in pairs {
                spread += deviation(restored) / deviation(target).max(1e-6);
                cubes += 1.0;
            }
        }
        if voxels == 0.0 {
            return Err(Error::Work("no voxel to validate on".into()));
        }
        Ok(ValidationReport { loss: error / voxels, identity: identity / voxels, spread: spread / cubes })
    }
}

/// Runs a network on cubes and returns what it restores, `[N, D, H, W, classes]` in [0, 1], f32.
///
/// # Errors
/// A shape the network cannot take; memory.
pub fn restore(
    cx: &Context,
    network: &mut UNet3d,
    input: Tensor,
    statistics: Statistics,
    precision: Precision,
) -> Result<Tensor> {
    restore_on(cx, &mut Tape::inference(), network, input, statistics, precision)
}

fn restore_on(
    cx: &Context,
    tape: &mut Tape,
    network: &mut UNet3d,
    input: Tensor,
    statistics: Statistics,
    precision: Precision,
) -> Result<Tensor> {
    let input = Var::constant(precision.input(cx, input)?);
    let logits = network.forward(cx, tape, input, statistics).map_err(work)?;
    // Intensities are told apart finer than bf16 could.
    let logits = Var::constant(elementwise::cast(cx, logits.tensor(), DType::F32).map_err(work)?);
    let restored = tape.apply(cx, Activation::Sigmoid, &[&logits]).map_err(work)?;
    restored.tensor().to_host().map_err(work)
}

fn deviation(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

fn work(error: impl ToString) -> Error {
    Error::Work(error.to_string())
}

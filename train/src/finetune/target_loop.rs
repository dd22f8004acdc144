//! The training loop of every target task, from an open run directory to what a run came to.
//!
//! A task brings its samples, its loss and its validation ([`TargetTask`]); steps, checkpoints, patience,
//! resumption, the journal and the trace are the same for all.

use super::network::{TargetNetwork, starting_network};
use super::settings::TargetSettings;
use super::target_trainer::{TargetBatch, TargetLoss, TargetTrainer};
use crate::provenance::Provenance;
use crate::report::metrics::Number;
use crate::report::picture::Picture;
use crate::stop::Signal;
use crate::task::TaskDescription;
use crate::trace::Trace;
use crate::training::checkpoint::{resume_run, save_run};
use crate::training::journal::Journal;
use crate::training::prefetch::Prefetch;
use crate::training::{
    Ahead, Execution, MemoryPlan, NanGuard, ReadyBatch, RunDirectory, StepReport, thread_count,
};
use crate::{Error, Result};
use genesis_model::Network;
use genesis_model::checkpoint::StateDict;
use genesis_tensor::memory;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What the loop leaves to a task.
pub trait TargetTask {
    /// The network that is trained.
    type Network: TargetNetwork;
    /// What a validation finds besides what the loop needs.
    type Report;

    /// The command (`finetune segment`), for `config.toml`.
    const COMMAND: &'static str;

    /// Steps of an epoch.
    fn steps_per_epoch(&self) -> u64;

    /// The share of the training samples (of a segmentation: voxels) of each class, the background's first.
    fn class_shares(&self) -> Vec<f64>;

    /// The samples of a step (counted from 0) in words, to name a batch that failed.
    fn samples(&self, step: u64) -> Vec<String>;

    /// The files the samples come from, for the provenance.
    fn files(&self) -> Vec<PathBuf>;

    /// Batches for a range of steps, each a pure function of its step.
    ///
    /// # Errors
    /// No thread to be had; an augmentation that makes no sense.
    fn batches(&self, steps: Range<u64>) -> Result<Prefetch<TargetBatch>>;

    /// What checkpoints say about the task.
    ///
    /// # Errors
    /// Values JSON cannot hold (none in practice).
    fn describe(&self, network: &Self::Network) -> Result<TaskDescription>;

    /// Validates; `picture`: with something to look at.
    ///
    /// # Errors
    /// A sample that cannot be read again; memory.
    fn validate(
        &self,
        trainer: &mut TargetTrainer<Self::Network>,
        picture: bool,
    ) -> Result<Validation<Self::Report>>;
}

/// What a validation found.
pub struct Validation<R> {
    /// The higher, the better: Dice, AUC. 0 where it is not defined, so that the loss decides.
    pub score: f64,
    /// The lower, the better; decides between equal scores, and is drawn in `loss.png`.
    pub loss: f64,
    /// Further numbers for `metrics.jsonl`.
    pub more: BTreeMap<String, Number>,
    /// Curves for TensorBoard.
    pub curves: Vec<(String, f64)>,
    /// A picture with its name in TensorBoard.
    pub picture: Option<(&'static str, Picture)>,
    /// What else was found.
    pub report: R,
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    step: u64,
    epoch: u64,
    // The name in checkpoints from when only segmentations were trained.
    #[serde(alias = "best_valid_dice")]
    best_score: Option<f64>,
    #[serde(default)]
    best_loss: Option<f64>,
    best_epoch: u64,
    epochs_without_improvement: u64,
    /// True if the validation that is due at this step was not done yet.
    #[serde(default)]
    validation_due: bool,
}

/// What every run ends with, in `summary.json` beside what the task adds.
#[derive(Clone, Debug, Serialize)]
pub struct RunOutcome {
    /// `complete`: the run ended by itself.
    pub status: &'static str,
    /// Why it ended: `steps`, `epochs` or `patience`.
    pub reason: &'static str,
    /// The epoch with the best validation.
    pub best_epoch: u64,
    /// Epochs done.
    pub epochs: u64,
    /// Steps done.
    pub steps: u64,
    /// Wall time of this process in seconds.
    pub seconds: f64,
    /// Training samples per second, loading and validation excluded.
    pub samples_per_second: f64,
    /// Seconds the training step waited for the loader.
    pub waiting_seconds: f64,
    /// Trainable values of the network.
    pub parameters: usize,
    /// Highest memory use of tensors in bytes.
    pub peak_memory_bytes: usize,
    /// Highest memory use of the process in bytes, where the system tells.
    pub peak_resident_bytes: Option<usize>,
    /// What both were expected to be of a training step, validation aside.
    #[serde(flatten)]
    pub plan: MemoryPlan,
}

/// What a run came to.
pub struct Finished<R> {
    /// What every run tells.
    pub outcome: RunOutcome,
    /// The best score and its loss.
    pub best_score: f64,
    /// The loss of the validation with the best score.
    pub best_loss: f64,
    /// The last validation.
    pub last: Validation<R>,
}

/// A run whose directory is open and whose data are being read.
pub struct TargetRun<'a> {
    /// The shared settings of its configuration.
    pub settings: TargetSettings,
    /// Its directory.
    pub directory: RunDirectory,
    execution: &'a Execution,
    started: Instant,
}

/// How a run is told from others and described.
pub struct Description<'a, I, D> {
    /// What must agree between a checkpoint and the run that goes on from it.
    pub identity: &'a I,
    /// The identity of a configuration that says nothing.
    pub defaults: &'a D,
    /// The whole configuration as TOML.
    pub toml: &'a str,
    /// Labels the curves of the loss.
    pub loss_name: &'a str,
}

impl<'a> TargetRun<'a> {
    /// Opens the run directory `out`.
    ///
    /// # Errors
    /// A directory that cannot be written or holds something else; tf32 without a card.
    pub fn open(settings: TargetSettings, out: &Path, execution: &'a Execution) -> Result<Self> {
        settings.precision.check(&execution.hardware)?;
        let directory = RunDirectory::open(out, execution.resume)?;
        Ok(Self { settings, directory, execution, started: Instant::now() })
    }

    /// The number of compute threads.
    pub fn threads(&self) -> usize {
        thread_count(self.settings.threads)
    }

    /// True if the user wants no progress bars.
    pub fn is_quiet(&self) -> bool {
        self.execution.quiet
    }

    /// Trains a network with so many channels and outputs to the end.
    ///
    /// # Errors
    /// Weights that do not fit; a checkpoint of another run; a directory that cannot be written; a loss that
    /// is not finite. Checkpoints written before stay.
    pub fn train<T: TargetTask>(
        &self,
        task: &T,
        [channels, outputs]: [usize; 2],
        loss: TargetLoss,
        description: &Description<'_, impl Serialize, impl Serialize>,
    ) -> Result<Finished<T::Report>> {
        let Self { settings, directory, execution, .. } = self;
        let newest = if execution.resume { directory.newest_checkpoint()? } else { None };
        let going_on = newest.is_some();
        let network: T::Network =
            starting_network(settings, channels, outputs, &task.class_shares(), going_on)?;
        let cx = execution.context(settings.threads);
        let mut trainer = TargetTrainer::new(cx, network, loss, settings, task.steps_per_epoch())?;
        let about = task.describe(&trainer.trainer.network)?;
        about.check()?;
        let memory = match execution.has_the_process() {
            true => trainer.plan_memory(&about, task.samples(0).len(), settings.loader_threads, going_on)?,
            false => MemoryPlan::default(),
        };
        let core = &mut trainer.trainer;
        core.trace = Trace::start(&execution.trace, &core.cx, core.network.parameters().places())?;
        let mut progress = Progress::default();
        let mut provenance = Provenance::new(execution, &core.cx, settings.seed);
        provenance.fingerprint(directory, &task.files())?;
        if let Some((path, checkpoint)) = newest {
            provenance.follow(&checkpoint.state.metadata);
            let parameters = core.network.parameters();
            let Description { identity, defaults, .. } = description;
            let (state, saved): (StateDict, Progress) =
                resume_run(&path, checkpoint, parameters, &mut core.updater, defaults, identity)?;
            core.network.load(&state).map_err(|error| Error::file(path, error))?;
            core.updater.step = saved.step;
            progress = saved;
            tracing::info!("going on from step {} of epoch {}", progress.step, progress.epoch);
        } else if execution.resume {
            tracing::warn!("no checkpoint was written yet: starting at step 0");
        }
        // Only now: a refused start or resumption must not change the run's configuration.
        directory.write_config(T::COMMAND, description.toml)?;
        tracing::info!(
            "{} of width {}, {} parameters; {}, {} thread(s), {}",
            T::Network::KIND,
            about.network.width,
            core.network.parameters().count(),
            settings.precision,
            core.cx.pool.threads(),
            core.cx.isa
        );
        core.stop = execution.stop()?;
        let validated = !progress.validation_due;
        let journal =
            Journal::open(directory, progress.step, validated, description.loss_name, execution.quiet)?;
        let (run, identity) = (self, description.identity);
        let guard = NanGuard::new(settings.on_nan);
        Session { run, task, trainer, about, memory, identity, progress, journal, guard, provenance }.train()
    }
}

struct Session<'a, T: TargetTask, I> {
    run: &'a TargetRun<'a>,
    task: &'a T,
    trainer: TargetTrainer<T::Network>,
    about: TaskDescription,
    memory: MemoryPlan,
    identity: &'a I,
    progress: Progress,
    journal: Journal,
    guard: NanGuard,
    provenance: Provenance,
}

impl<T: TargetTask, I: Serialize> Session<'_, T, I> {
    fn train(mut self) -> Result<Finished<T::Report>> {
        let run = self.run;
        let settings = &run.settings;
        let spe = self.task.steps_per_epoch();
        let limit = settings.epochs.saturating_mul(spe);
        let end = if settings.steps > 0 { settings.steps.min(limit) } else { limit };
        let mut batches = self.batches(self.progress.step..end)?;
        let (mut train_seconds, mut waiting_seconds, mut samples) = (0.0, 0.0, 0.0);
        let mut reason = if end < limit { "steps" } else { "epochs" };
        let mut last = None;
        self.journal.start(self.progress.step, end);
        if self.progress.validation_due {
            let (validation, stop) = self.after_epoch()?;
            last = Some(validation);
            if stop {
                reason = "patience";
                batches = self.batches(0..0)?;
            }
        }
        loop {
            let waiting = Instant::now();
            let Some(ready) = batches.next_batch(&self.trainer.trainer.cx)? else { break };
            self.trainer.trainer.trace.span("waiting for the loader", waiting);
            waiting_seconds += waiting.elapsed().as_secs_f64();
            let size = ready.batch.input.shape()[0] as f64;
            let start = Instant::now();
            let report = self.step(ready)?;
            let seconds = start.elapsed().as_secs_f64();
            train_seconds += seconds;
            samples += size;
            let step = self.trainer.trainer.updater.step;
            self.progress.step = step;
            self.progress.epoch = step / spe;
            let epoch = (step - 1) / spe + 1;
            self.journal.train(step, epoch, &report, run.started.elapsed().as_secs_f64(), size / seconds)?;
            self.progress.validation_due = self.ends_epochs() || step == end;
            let due = settings.checkpoint_every > 0 && step.is_multiple_of(settings.checkpoint_every);
            let signal = self.trainer.trainer.stop.requested();
            if due || signal.is_some() {
                self.save_last()?;
            }
            if let Some(signal) = signal {
                return Err(self.stopped(signal));
            }
            if self.progress.validation_due {
                let (validation, stop) = self.after_epoch()?;
                last = Some(validation);
                if stop {
                    reason = "patience";
                    break;
                }
            } else {
                self.trainer.trainer.trace.step_done()?;
            }
        }
        self.journal.finish();
        let last = match last {
            Some(validation) => validation,
            // Resumed at its very end.
            None => self.task.validate(&mut self.trainer, false)?,
        };
        let outcome = RunOutcome {
            status: "complete",
            reason,
            best_epoch: self.progress.best_epoch,
            epochs: self.progress.epoch,
            steps: self.progress.step,
            seconds: run.started.elapsed().as_secs_f64(),
            samples_per_second: if train_seconds > 0.0 { samples / train_seconds } else { 0.0 },
            waiting_seconds,
            parameters: self.trainer.trainer.network.parameters().count(),
            peak_memory_bytes: self.trainer.trainer.cx.peak_memory_bytes(),
            peak_resident_bytes: memory::peak_resident_bytes(),
            plan: self.memory,
        };
        let best_score = self.progress.best_score.unwrap_or(last.score);
        let best_loss = self.progress.best_loss.unwrap_or(last.loss);
        Ok(Finished { outcome, best_score, best_loss, last })
    }

    fn batches(&self, steps: Range<u64>) -> Result<Ahead<TargetBatch>> {
        Ok(Ahead::new(self.task.batches(steps)?, self.trainer.trainer.precision()))
    }

    /// True at the end of as many epochs as lie between validations.
    fn ends_epochs(&self) -> bool {
        let (step, spe) = (self.progress.step, self.task.steps_per_epoch());
        step.is_multiple_of(spe) && (step / spe).is_multiple_of(self.run.settings.every_epochs)
    }

    /// One step. One that comes to nothing is told of, and counted if the run goes on.
    fn step(&mut self, ready: ReadyBatch<TargetBatch>) -> Result<StepReport> {
        let ReadyBatch { batch, kept } = ready;
        match self.trainer.train(batch) {
            Err(Error::NotFinite(failure)) => {
                let samples = self.task.samples(kept.step);
                self.guard.failed(&self.run.directory, &failure, &kept, &samples)?;
                Ok(StepReport { loss: f32::NAN, learning_rate: self.trainer.trainer.updater.skip() })
            }
            done => {
                self.guard.went_well();
                done
            }
        }
    }

    /// Validates the state and saves it; also says whether patience is at its end. Asked to stop meanwhile, it saves
    /// the state with its validation still due.
    fn after_epoch(&mut self) -> Result<(Validation<T::Report>, bool)> {
        let epoch = (self.progress.step - 1) / self.task.steps_per_epoch() + 1;
        let validating = Instant::now();
        let running = self.trainer.trainer.network.running();
        let validation = match self.validate(epoch) {
            Err(Error::Stopped { signal, .. }) => {
                self.trainer.trainer.network.set_running(running);
                self.save_last()?;
                return Err(self.stopped(signal));
            }
            other => other?,
        };
        self.trainer.trainer.trace.span("validation", validating);
        self.progress.validation_due = false;
        let passed = if self.ends_epochs() { self.run.settings.every_epochs } else { 0 };
        let stop = self.judge(epoch, passed, &validation)?;
        self.save_last()?;
        self.trainer.trainer.trace.step_done()?;
        Ok((validation, stop))
    }

    fn stopped(&mut self, signal: Signal) -> Error {
        self.journal.finish();
        Error::stopped_after(signal, self.progress.step)
    }

    fn save_last(&self) -> Result<()> {
        self.run.directory.keep_previous()?;
        self.save(&self.run.directory.last())
    }

    fn save(&self, path: &Path) -> Result<()> {
        let core = &self.trainer.trainer;
        let mut state = core.network.state(self.run.settings.statistics)?;
        self.about.to_metadata(&mut state.metadata)?;
        self.provenance.to_metadata(&mut state.metadata)?;
        save_run(path, state, core.network.parameters(), &core.updater, self.identity, &self.progress)
    }

    /// Validates and tells of it.
    fn validate(&mut self, epoch: u64) -> Result<Validation<T::Report>> {
        // Every epoch at first, then every tenth: a long run must not fill a disk with pictures.
        let wanted = epoch <= 20 || epoch.is_multiple_of(10);
        let mut validation = self.task.validate(&mut self.trainer, wanted)?;
        let step = self.progress.step;
        for (name, value) in &validation.curves {
            self.journal.scalar(name, step, *value as f32)?;
        }
        let rate = self.trainer.trainer.updater.learning_rate();
        let elapsed = self.run.started.elapsed().as_secs_f64();
        let more = std::mem::take(&mut validation.more);
        self.journal.validation(step, epoch, validation.loss, more, rate, elapsed)?;
        if let Some((name, picture)) = validation.picture.take() {
            self.journal.sample(&self.run.directory, step, epoch, name, &picture)?;
        }
        Ok(validation)
    }

    /// Records an improvement, and says whether patience is at its end. `epochs` have passed since the
    /// last judgement.
    fn judge(&mut self, epoch: u64, epochs: u64, found: &Validation<T::Report>) -> Result<bool> {
        let Progress { best_score, best_loss, .. } = self.progress;
        let equal = best_score == Some(found.score) && best_loss.is_some_and(|best| found.loss < best);
        if equal || best_score.is_none_or(|best| found.score > best) {
            self.progress.best_score = Some(found.score);
            self.progress.best_loss = Some(found.loss);
            self.progress.best_epoch = epoch;
            self.progress.epochs_without_improvement = 0;
            self.save(&self.run.directory.best())?;
        } else {
            self.progress.epochs_without_improvement += epochs;
        }
        Ok(self.progress.epochs_without_improvement >= self.run.settings.patience)
    }
}

//! A pre-training run from its configuration to `summary.json`.

use super::ahead::{Ahead, ReadyBatch};
use super::checkpoint::{self, Progress};
use super::config::RunConfig;
use super::data::{self, Cubes};
use super::journal::Journal;
use super::loader::{Batch, Loader, Order};
use super::memory_plan::{BatchShapes, MemoryPlan};
use super::on_nan::NanGuard;
use super::plan::Plan;
use super::run_directory::{RunDirectory, Summary};
use super::trainer::{StepReport, Trainer, ValidationReport, restoration_loss};
use crate::provenance::Provenance;
use crate::report::metrics::Number;
use crate::stop::{Signal, Stop};
use crate::trace::{Trace, TraceRequest};
use crate::{Error, Result};
use genesis_kernels::{Context, Hardware};
use genesis_model::UNet3d;
use genesis_tensor::memory;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Below this ratio of standard deviations a restored cube counts as constant.
const COLLAPSED_SPREAD: f64 = 0.02;
/// Steps a network gets before it is judged.
const STEPS_BEFORE_JUDGEMENT: u64 = 50;

/// How a run is carried out, apart from what it computes.
pub struct Execution {
    /// What computes.
    pub hardware: Hardware,
    /// Go on from the last checkpoint.
    pub resume: bool,
    /// No progress bar.
    pub quiet: bool,
    /// What is to be traced.
    pub trace: TraceRequest,
    /// Listen to signals that ask to stop.
    pub signals: bool,
    /// The command line, for the provenance; empty where a library caller trains.
    pub command: Vec<String>,
}

impl Execution {
    /// How a command of the program trains: it stops when signalled, and its checkpoints tell of the command line.
    pub fn of_command(hardware: Hardware, resume: bool, quiet: bool, trace: TraceRequest) -> Self {
        let command = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        Self { hardware, resume, quiet, trace, signals: true, command }
    }

    /// How library code trains: until its end, and its checkpoints depend on nothing but what was computed.
    pub fn of_library(hardware: Hardware, resume: bool, quiet: bool, trace: TraceRequest) -> Self {
        Self { hardware, resume, quiet, trace, signals: false, command: Vec::new() }
    }

    /// True for a command of the program; a library caller's process may do other things meanwhile, so that its memory
    /// cannot be planned.
    pub(crate) fn has_the_process(&self) -> bool {
        self.signals
    }

    /// What asks the training to stop. Called when there is something to save: until then a signal ends the process.
    ///
    /// # Errors
    /// A system that lets no signal be listened for.
    pub fn stop(&self) -> Result<Stop> {
        if self.signals { Stop::on_signals() } else { Ok(Stop::default()) }
    }

    /// What to compute with: so many threads, 0 for all cores.
    pub fn context(&self, threads: usize) -> Context {
        self.hardware.context(thread_count(threads))
    }
}

/// So many threads, 0 for all cores.
pub(crate) fn thread_count(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

/// Trains as configured in the run directory `out`.
///
/// # Errors
/// tf32 without a card, bad data, a directory that cannot be written, a loss that is not finite, a collapsed network.
/// Checkpoints written before stay.
pub fn pretrain(config: &RunConfig, out: &Path, execution: &Execution) -> Result<Summary> {
    config.check()?;
    config.precision.check(&execution.hardware)?;
    let run = RunDirectory::open(out, execution.resume)?;
    let started = Instant::now();
    let cubes = data::open(config, &run)?;
    let size = cubes.train.size();
    if cubes.valid.size() != size {
        let (train, valid) = (super::source::times(size), super::source::times(cubes.valid.size()));
        return Err(Error::Work(format!("validation cubes have {valid} voxels, training cubes {train}")));
    }
    if size.iter().any(|extent| extent % genesis_model::DIVISOR != 0) {
        let size = super::source::times(size);
        return Err(Error::Work(format!("cubes of {size} voxels: every extent must divide by 8")));
    }
    config.deformation.check(size)?;
    // Cubes on another scale are found here, before the directory becomes a run.
    let mut cube = vec![0.0; size.iter().product()];
    cubes.train.read(0, &mut cube)?;
    cubes.valid.read(0, &mut cube)?;
    let plan = Plan::training(config.seed, cubes.train.count(), config.batch_size, config.sampling);
    let mut trainer = trainer(config, execution, plan.steps_per_epoch())?;
    let memory = match execution.has_the_process() {
        true => plan_memory(config, &mut trainer, plan.batch(0).len(), size)?,
        false => MemoryPlan::default(),
    };
    trainer.trace = Trace::start(&execution.trace, &trainer.cx, trainer.network.parameters().places())?;
    let mut progress = Progress::default();
    let mut provenance = Provenance::new(execution, &trainer.cx, config.seed);
    provenance.fingerprint(&run, &data::files(config)?)?;
    match if execution.resume { run.newest_checkpoint()? } else { None } {
        Some((path, checkpoint)) => {
            provenance.follow(&checkpoint.state.metadata);
            progress = checkpoint::resume(&path, checkpoint, &mut trainer, config)?;
            tracing::info!("going on from step {} of epoch {}", progress.step, progress.epoch);
        }
        None if execution.resume => tracing::warn!("no checkpoint was written yet: starting at step 0"),
        None => {}
    }
    // Only now: a refused resumption must not change the run's configuration.
    run.write_config("pretrain", &config.to_toml()?)?;
    announce(config, &trainer, &cubes, &plan);
    trainer.stop = execution.stop()?;
    let validated = !progress.validation_due;
    let journal = Journal::open(&run, progress.step, validated, "mean squared error", execution.quiet)?;
    let guard = NanGuard::new(config.on_nan);
    let session = Session {
        config,
        run: &run,
        cubes: &cubes,
        plan,
        memory,
        trainer,
        progress,
        journal,
        guard,
        provenance,
        started,
    };
    let summary = session.train()?;
    run.write_summary(&summary)?;
    Ok(summary)
}

fn trainer(config: &RunConfig, execution: &Execution, steps_per_epoch: u64) -> Result<Trainer> {
    let mut network = UNet3d::new(config.network).map_err(work)?;
    match &config.weights {
        Some(path) => checkpoint::load_weights(path, &mut network)?,
        None => network.initialise(config.initialiser, config.seed).map_err(work)?,
    }
    Trainer::new(execution.context(config.threads), network, config, steps_per_epoch)
}

/// What a step on `samples` cubes takes.
fn plan_memory(
    config: &RunConfig,
    trainer: &mut Trainer,
    samples: usize,
    [rows, cols, deps]: [usize; 3],
) -> Result<MemoryPlan> {
    let input = vec![samples, rows, cols, deps, 1];
    let holes = config.deformation.loss_in_holes;
    let others = vec![input.clone(); if holes { 2 } else { 1 }];
    let loader_threads = config.loader_threads;
    let shapes = BatchShapes { input, others, loader_threads, checkpoint_is_loaded: false };
    MemoryPlan::check(trainer, &shapes, restoration_loss)
}

fn announce(config: &RunConfig, trainer: &Trainer, cubes: &Cubes, plan: &Plan) {
    tracing::info!(
        "{} training cubes, {} validation cubes of {}; {} steps an epoch",
        cubes.train.count(),
        cubes.valid.count(),
        super::source::times(cubes.train.size()),
        plan.steps_per_epoch()
    );
    tracing::info!(
        "3D U-Net of width {}, {} parameters; {}, {} thread(s), {}",
        config.network.width,
        trainer.network.parameters().count(),
        config.precision,
        trainer.cx.pool.threads(),
        trainer.cx.isa
    );
}

struct Session<'a> {
    config: &'a RunConfig,
    run: &'a RunDirectory,
    cubes: &'a Cubes,
    plan: Plan,
    memory: MemoryPlan,
    trainer: Trainer,
    progress: Progress,
    journal: Journal,
    guard: NanGuard,
    provenance: Provenance,
    started: Instant,
}

impl Session<'_> {
    fn train(mut self) -> Result<Summary> {
        let spe = self.plan.steps_per_epoch();
        let limit = self.config.epochs.saturating_mul(spe);
        let end = if self.config.steps > 0 { self.config.steps.min(limit) } else { limit };
        let mut batches = self.batches(self.progress.step..end)?;
        let preview = self.preview()?;
        let (mut train_seconds, mut samples) = (0.0, 0.0);
        let mut reason = if end < limit { "steps" } else { "epochs" };
        let mut last = None;
        self.journal.start(self.progress.step, end);
        if self.progress.validation_due {
            let (validation, stop) = self.after_epoch(&preview)?;
            last = Some(validation);
            if stop {
                reason = "patience";
                batches = self.batches(0..0)?;
            }
        }
        loop {
            let waiting = Instant::now();
            let Some(ready) = batches.next_batch(&self.trainer.cx)? else { break };
            self.trainer.trace.span("waiting for the loader", waiting);
            let size = ready.batch.input.shape()[0] as f64;
            let start = Instant::now();
            let report = self.step(ready)?;
            let seconds = start.elapsed().as_secs_f64();
            train_seconds += seconds;
            samples += size;
            let step = self.trainer.updater.step;
            self.progress.step = step;
            self.progress.epoch = step / spe;
            let epoch = (step - 1) / spe + 1;
            let elapsed = self.started.elapsed().as_secs_f64();
            self.journal.train(step, epoch, &report, elapsed, size / seconds)?;
            let whole_epoch = step.is_multiple_of(spe);
            self.progress.validation_due = whole_epoch || step == end;
            let due = self.config.checkpoint_every > 0 && step.is_multiple_of(self.config.checkpoint_every);
            if due || self.trainer.stop.requested().is_some() {
                self.save_last()?;
            }
            if let Some(signal) = self.trainer.stop.requested() {
                return Err(self.stopped(signal));
            }
            if self.progress.validation_due {
                let (validation, stop) = self.after_epoch(&preview)?;
                last = Some(validation);
                if stop {
                    reason = "patience";
                    break;
                }
            } else {
                self.trainer.trace.step_done()?;
            }
        }
        self.journal.finish();
        let last = match last {
            Some(validation) => validation,
            // Resumed at its very end.
            None => self.validation_loss(self.progress.epoch)?,
        };
        Ok(Summary {
            status: "complete",
            reason,
            best_valid_loss: self.progress.best_valid_loss.unwrap_or(last.loss),
            best_epoch: self.progress.best_epoch,
            last_valid_loss: last.loss,
            identity_loss: last.identity,
            epochs: self.progress.epoch,
            steps: self.progress.step,
            seconds: self.started.elapsed().as_secs_f64(),
            samples_per_second: if train_seconds > 0.0 { samples / train_seconds } else { 0.0 },
            parameters: self.trainer.network.parameters().count(),
            peak_memory_bytes: self.trainer.cx.peak_memory_bytes(),
            peak_resident_bytes: memory::peak_resident_bytes(),
            plan: self.memory,
        })
    }

    /// One step. One that comes to nothing is told of, and counted if the run goes on.
    fn step(&mut self, ready: ReadyBatch<Batch>) -> Result<StepReport> {
        let ReadyBatch { batch, kept } = ready;
        match self.trainer.train(batch) {
            Err(Error::NotFinite(failure)) => {
                let source = &self.cubes.train;
                let samples: Vec<String> =
                    self.plan.batch(kept.step).iter().map(|sample| source.name(sample.cube)).collect();
                self.guard.failed(self.run, &failure, &kept, &samples)?;
                Ok(StepReport { loss: f32::NAN, learning_rate: self.trainer.updater.skip() })
            }
            done => {
                self.guard.went_well();
                done
            }
        }
    }

    /// Validates the state that has come to an epoch's end, or the run's, and saves it; also says whether patience is
    /// at its end. Asked to stop meanwhile, it saves the state with its validation still due.
    fn after_epoch(&mut self, preview: &Batch) -> Result<(ValidationReport, bool)> {
        let spe = self.plan.steps_per_epoch();
        let epoch = (self.progress.step - 1) / spe + 1;
        let validating = Instant::now();
        let validation = match self.validate(epoch) {
            Err(Error::Stopped { signal, .. }) => {
                self.save_last()?;
                return Err(self.stopped(signal));
            }
            other => other?,
        };
        self.trainer.trace.span("validation", validating);
        self.progress.validation_due = false;
        let stop = self.judge(epoch, self.progress.step.is_multiple_of(spe), &validation)?;
        self.picture(preview, epoch)?;
        self.save_last()?;
        self.trainer.trace.step_done()?;
        Ok((validation, stop))
    }

    fn stopped(&mut self, signal: Signal) -> Error {
        self.journal.finish();
        Error::stopped_after(signal, self.progress.step)
    }

    /// The training batches of some steps.
    fn batches(&self, steps: std::ops::Range<u64>) -> Result<Ahead<Batch>> {
        let loader = self.loader(self.plan.clone(), self.cubes.train.clone(), steps)?;
        Ok(Ahead::new(loader, self.trainer.precision()))
    }

    fn loader(
        &self,
        plan: Plan,
        source: std::sync::Arc<dyn super::source::CubeSource>,
        steps: std::ops::Range<u64>,
    ) -> Result<Loader> {
        let recipe = self.config.deformation.clone();
        let order = Order { source, plan, recipe, seed: self.config.seed, steps };
        Loader::start(order, self.config.loader_threads)
    }

    fn save_last(&mut self) -> Result<()> {
        let start = Instant::now();
        self.run.keep_previous()?;
        self.save(&self.run.last())?;
        self.trainer.trace.span("checkpoint", start);
        Ok(())
    }

    fn save(&self, path: &Path) -> Result<()> {
        checkpoint::save(path, &self.trainer, self.config, &self.progress, &self.provenance)
    }

    fn validation_plan(&self, epoch: u64) -> Plan {
        let (seed, count, size) = (self.config.seed, self.cubes.valid.count(), self.config.batch_size);
        if self.config.validation.fixed {
            Plan::fixed_validation(seed, count, size)
        } else {
            Plan::fresh_validation(seed, count, size, epoch)
        }
    }

    fn validation_loss(&mut self, epoch: u64) -> Result<ValidationReport> {
        let plan = self.validation_plan(epoch);
        let steps = 0..plan.steps_per_epoch();
        let mut loader = self.loader(plan, self.cubes.valid.clone(), steps)?;
        self.trainer.validate(self.config.validation.statistics, || loader.next_batch())
    }

    /// Validates and tells of it.
    fn validate(&mut self, epoch: u64) -> Result<ValidationReport> {
        let report = self.validation_loss(epoch)?;
        let rate = self.trainer.updater.learning_rate();
        let elapsed = self.started.elapsed().as_secs_f64();
        let more = BTreeMap::from([
            ("identity".to_string(), Number(report.identity)),
            ("spread".to_string(), Number(report.spread)),
        ]);
        self.journal.validation(self.progress.step, epoch, report.loss, more, rate, elapsed)?;
        tracing::debug!("epoch {epoch}: validation MSE {:.6}, deformed {:.6}", report.loss, report.identity);
        Ok(report)
    }

    /// Records an improvement, and says whether patience is at its end.
    fn judge(&mut self, epoch: u64, whole_epoch: bool, report: &ValidationReport) -> Result<bool> {
        let collapsed = report.spread < COLLAPSED_SPREAD && self.progress.step >= STEPS_BEFORE_JUDGEMENT;
        if collapsed && self.config.stop_on_collapse {
            return Err(Error::Work(format!(
                "the network's output collapsed to a constant by step {} (epoch {epoch}): its restored cubes vary \
                 {:.3} % as much as the true ones. Try a lower learning rate (--lr 0.1), Adam ([optimizer] name = \
                 \"adam\", learning_rate = 0.001) or another --seed; stop_on_collapse = false in the \
                 configuration goes on regardless",
                self.progress.step,
                100.0 * report.spread
            )));
        }
        if self.progress.best_valid_loss.is_none_or(|best| report.loss < best) {
            self.progress.best_valid_loss = Some(report.loss);
            self.progress.best_epoch = epoch;
            self.progress.epochs_without_improvement = 0;
            self.save(&self.run.best())?;
        } else if whole_epoch {
            self.progress.epochs_without_improvement += 1;
        }
        Ok(self.progress.epochs_without_improvement >= self.config.patience)
    }

    /// The pairs shown in `samples/`: the first of the fixed validation pairs.
    fn preview(&self) -> Result<Batch> {
        let plan = Plan::fixed_validation(self.config.seed, self.cubes.valid.count(), 4);
        let mut loader = self.loader(plan, self.cubes.valid.clone(), 0..1)?;
        loader.next_batch()?.ok_or_else(|| Error::Work("no validation cube to show".into()))
    }

    fn picture(&mut self, preview: &Batch, epoch: u64) -> Result<()> {
        // Every epoch at first, then every tenth: a long run must not fill a disk with pictures.
        if epoch > 20 && !epoch.is_multiple_of(10) {
            return Ok(());
        }
        let statistics = match self.config.validation.statistics {
            genesis_model::Statistics::BatchAndUpdate => genesis_model::Statistics::Batch,
            other => other,
        };
        let restored = self.trainer.restore(preview.input.clone(), statistics)?;
        self.journal.picture(self.run, self.progress.step, epoch, preview, &restored)
    }
}

fn work(error: impl ToString) -> Error {
    Error::Work(error.to_string())
}

//! A fine-tuning run for segmentation, from its configuration to `summary.json`.

use super::PatchOrder;
use super::config::SegmentationConfig;
use super::data::SegmentationCases;
use super::network::starting_network;
use super::pictures::{SegmentationSample, segmentation_montage};
use super::sampler::PatchPlan;
use super::split::Split;
use super::trainer::SegmentationTrainer;
use super::validation::{DiceReport, validate};
use crate::inference::{SegmentSettings, SlidingWindow};
use crate::report::metrics::Number;
use crate::task::{Task, TaskDescription};
use crate::trace::Trace;
use crate::training::checkpoint::{resume_run, save_run};
use crate::training::journal::Journal;
use crate::training::{Execution, RunDirectory};
use crate::{Error, Result};
use genesis_model::checkpoint::StateDict;
use genesis_tensor::memory;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Validation cases shown in `samples/`.
const SHOWN: usize = 3;

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    step: u64,
    epoch: u64,
    best_valid_dice: Option<f64>,
    best_epoch: u64,
    epochs_without_improvement: u64,
}

/// What must agree between a checkpoint and the run that goes on from it.
#[derive(Serialize)]
struct Identity {
    #[serde(flatten)]
    config: SegmentationConfig,
    cases: Split,
}

/// Last line of a run: `summary.json`.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentationSummary {
    /// `complete`: the run ended by itself.
    pub status: &'static str,
    /// Why it ended: `steps`, `epochs` or `patience`.
    pub reason: &'static str,
    /// The highest mean Dice of the validation cases.
    pub best_valid_dice: f64,
    /// The epoch that had it.
    pub best_epoch: u64,
    /// The mean Dice at the end.
    pub last_valid_dice: f64,
    /// The Dice of every class at the end; nothing where no case holds it.
    pub last_valid_dice_classes: BTreeMap<String, Option<f64>>,
    /// Training and validation cases.
    pub train_cases: usize,
    /// Validation cases.
    pub valid_cases: usize,
    /// Epochs done.
    pub epochs: u64,
    /// Steps done.
    pub steps: u64,
    /// Wall time of this process in seconds.
    pub seconds: f64,
    /// Training patches per second, loading and validation excluded.
    pub samples_per_second: f64,
    /// Seconds the training step waited for the loader.
    pub waiting_seconds: f64,
    /// Trainable values of the network.
    pub parameters: usize,
    /// Highest memory use of tensors in bytes.
    pub peak_memory_bytes: usize,
    /// Highest memory use of the process in bytes, where the system tells.
    pub peak_resident_bytes: Option<usize>,
}

/// Fine-tunes as configured in the run directory `out`.
///
/// # Errors
/// Bad data, a directory that cannot be written, a loss that is not finite. Checkpoints written before
/// stay.
pub fn finetune_segmentation(
    config: &SegmentationConfig,
    out: &Path,
    execution: &Execution,
) -> Result<SegmentationSummary> {
    config.check()?;
    let run = RunDirectory::open(out, execution.resume)?;
    let started = Instant::now();
    let cx = execution.context(config.threads);
    let cases = SegmentationCases::open(config, cx.pool.threads(), execution.quiet)?;
    let plan = PatchPlan {
        seed: config.seed,
        cases: cases.train(),
        batch_size: config.batch_size,
        per_case: config.patch.per_case,
    };
    let going_on = execution.resume && run.last().exists();
    let network = starting_network(config, cases.channels, cases.classes.outputs(), going_on)?;
    let weights = config.class_weights.resolve(&cases.classes.names(), &cases.voxels)?;
    if let Some(weights) = &weights {
        let weight = |(name, weight): (String, &f32)| format!("{name} {weight:.4}");
        let all: Vec<String> = cases.classes.names().into_iter().zip(weights).map(weight).collect();
        tracing::info!("weights of the classes: {}", all.join(", "));
    }
    let mut trainer = SegmentationTrainer::new(cx, network, config, weights, plan.steps_per_epoch())?;
    trainer.trace = Trace::start(&execution.trace, &trainer.cx, trainer.network.parameters().places())?;
    let identity = Identity { config: config.identity(), cases: cases.split.clone() };
    let mut progress = Progress::default();
    if going_on {
        let defaults = SegmentationConfig::default().identity();
        let SegmentationTrainer { network, updater, .. } = &mut trainer;
        let (state, saved): (StateDict, Progress) =
            resume_run(&run.last(), network.parameters(), updater, &defaults, &identity)?;
        network.load(&state).map_err(|error| Error::file(run.last(), error))?;
        updater.step = saved.step;
        progress = saved;
        tracing::info!("going on from step {} of epoch {}", progress.step, progress.epoch);
    } else if execution.resume {
        tracing::warn!("no checkpoint was written yet: starting at step 0");
    }
    let task = TaskDescription {
        task: Task::Segment,
        classes: cases.classes.names(),
        values: cases.classes.values(),
        inputs: cases.inputs.clone(),
        channels: cases.channels,
        patch: config.patch.size,
        preprocessing: config.preprocessing.clone(),
        network: trainer.network.config(),
    };
    task.check()?;
    // Only now: a refused start or resumption must not change the run's configuration.
    run.write_config("finetune segment", &config.to_toml()?)?;
    announce(config, &trainer, &cases, &plan);
    let journal =
        Journal::open(&run, progress.step, &format!("{} loss; 1 - Dice", config.loss), execution.quiet)?;
    let session = Session {
        config,
        run: &run,
        cases: &cases,
        plan,
        trainer,
        task,
        identity,
        progress,
        journal,
        started,
    };
    let summary = session.train()?;
    run.write_summary(&summary)?;
    Ok(summary)
}

fn announce(
    config: &SegmentationConfig,
    trainer: &SegmentationTrainer,
    cases: &SegmentationCases,
    plan: &PatchPlan,
) {
    tracing::info!(
        "{} training cases, {} validation cases; {} channel(s); classes: {}",
        cases.train(),
        cases.valid().len(),
        cases.channels,
        cases.classes.names().join(", ")
    );
    tracing::info!(
        "patches of {} voxels, {} a step, {} steps an epoch",
        crate::training::times(config.patch.size),
        config.batch_size,
        plan.steps_per_epoch()
    );
    tracing::info!(
        "3D U-Net of width {}, {} parameters; {}, {} thread(s), {}",
        trainer.network.config().width,
        trainer.network.parameters().count(),
        config.precision,
        trainer.cx.pool.threads(),
        trainer.cx.isa
    );
}

struct Session<'a> {
    config: &'a SegmentationConfig,
    run: &'a RunDirectory,
    cases: &'a SegmentationCases,
    plan: PatchPlan,
    trainer: SegmentationTrainer,
    task: TaskDescription,
    identity: Identity,
    progress: Progress,
    journal: Journal,
    started: Instant,
}

impl Session<'_> {
    fn train(mut self) -> Result<SegmentationSummary> {
        let spe = self.plan.steps_per_epoch();
        let limit = self.config.epochs.saturating_mul(spe);
        let end = if self.config.steps > 0 { self.config.steps.min(limit) } else { limit };
        let order = PatchOrder {
            store: self.cases.store.clone(),
            plan: self.plan,
            patch: self.config.patch.clone(),
            recipe: self.config.augmentation.clone(),
            seed: self.config.seed,
        };
        let mut loader = order.start(self.progress.step..end, self.config.loader_threads)?;
        let (mut train_seconds, mut waiting_seconds, mut samples) = (0.0, 0.0, 0.0);
        let mut reason = if end < limit { "steps" } else { "epochs" };
        let mut last = None;
        self.journal.start(self.progress.step, end);
        loop {
            let waiting = Instant::now();
            let Some(batch) = loader.next_batch()? else { break };
            self.trainer.trace.span("waiting for the loader", waiting);
            waiting_seconds += waiting.elapsed().as_secs_f64();
            let size = batch.input.shape()[0] as f64;
            let start = Instant::now();
            let report = self.trainer.train(batch)?;
            let seconds = start.elapsed().as_secs_f64();
            train_seconds += seconds;
            samples += size;
            let step = self.trainer.updater.step;
            self.progress.step = step;
            self.progress.epoch = step / spe;
            let epoch = (step - 1) / spe + 1;
            let elapsed = self.started.elapsed().as_secs_f64();
            self.journal.train(step, epoch, &report, elapsed, size / seconds)?;
            let every = self.config.validation.every_epochs;
            let due = step.is_multiple_of(spe) && epoch.is_multiple_of(every);
            if due || step == end {
                let validating = Instant::now();
                let report = self.validate(epoch)?;
                self.trainer.trace.span("validation", validating);
                let stop = self.judge(epoch, if due { every } else { 0 }, report.mean())?;
                last = Some(report);
                self.save(&self.run.last())?;
                self.trainer.trace.step_done()?;
                if stop {
                    reason = "patience";
                    break;
                }
                continue;
            }
            if self.config.checkpoint_every > 0 && step.is_multiple_of(self.config.checkpoint_every) {
                self.save(&self.run.last())?;
            }
            self.trainer.trace.step_done()?;
        }
        self.journal.finish();
        let last = match last {
            Some(report) => report,
            // Resumed at its very end.
            None => self.dice(self.progress.epoch)?.0,
        };
        let classes = self.cases.classes.foreground.iter().map(|class| class.name.clone());
        let best_valid_dice = self.progress.best_valid_dice.unwrap_or(last.mean());
        if best_valid_dice == 0.0 {
            tracing::warn!(
                "the network predicts nothing but background: train longer, lower the learning rate (--lr), or check \
                 the window (--window) with genesis inspect"
            );
        }
        Ok(SegmentationSummary {
            status: "complete",
            reason,
            best_valid_dice,
            best_epoch: self.progress.best_epoch,
            last_valid_dice: last.mean(),
            last_valid_dice_classes: classes.zip(last.classes()).collect(),
            train_cases: self.cases.train(),
            valid_cases: self.cases.valid().len(),
            epochs: self.progress.epoch,
            steps: self.progress.step,
            seconds: self.started.elapsed().as_secs_f64(),
            samples_per_second: if train_seconds > 0.0 { samples / train_seconds } else { 0.0 },
            waiting_seconds,
            parameters: self.trainer.network.parameters().count(),
            peak_memory_bytes: memory::statistics().peak,
            peak_resident_bytes: memory::peak_resident_bytes(),
        })
    }

    fn save(&self, path: &Path) -> Result<()> {
        let mut state = self.trainer.network.state(self.config.validation.statistics)?;
        self.task.to_metadata(&mut state.metadata)?;
        let parameters = self.trainer.network.parameters();
        save_run(path, state, parameters, &self.trainer.updater, &self.identity, &self.progress)
    }

    /// The Dice of the validation cases, and a picture of the first.
    fn dice(&mut self, epoch: u64) -> Result<(DiceReport, Option<crate::report::picture::Picture>)> {
        // Every epoch at first, then every tenth: a long run must not fill a disk with pictures.
        let wanted = epoch <= 20 || epoch.is_multiple_of(10);
        let mut shown = Vec::new();
        let validation = &self.config.validation;
        let settings = SegmentSettings {
            window: SlidingWindow { size: self.config.patch.size, overlap: validation.overlap },
            batch_size: 1,
            flips: false,
            statistics: validation.statistics,
            precision: self.config.precision,
        };
        let report = validate(&mut self.trainer, self.cases, &settings, |number, case, predicted, dice| {
            if wanted && number < SHOWN {
                let mean = dice.mean().map_or("no foreground".into(), |dice| format!("Dice {dice:.3}"));
                let caption = format!("{}\n{mean}", case.name);
                let voxels: usize = case.size.iter().product();
                let image = case.image[..voxels].to_vec();
                shown.push((caption, image, predicted, case.labels.clone(), case.size));
            }
        })?;
        let samples: Vec<SegmentationSample<'_>> = shown
            .iter()
            .map(|(caption, image, predicted, reference, size)| SegmentationSample {
                caption: caption.clone(),
                image,
                predicted,
                reference,
                size: *size,
            })
            .collect();
        let picture = if samples.is_empty() { None } else { Some(segmentation_montage(&samples)?) };
        Ok((report, picture))
    }

    /// Validates and tells of it.
    fn validate(&mut self, epoch: u64) -> Result<DiceReport> {
        let (report, picture) = self.dice(epoch)?;
        let step = self.progress.step;
        let mut more = BTreeMap::from([("dice".to_string(), Number(report.mean()))]);
        self.journal.scalar("dice/mean", step, report.mean() as f32)?;
        for (class, dice) in self.cases.classes.foreground.iter().zip(report.classes()) {
            if let Some(dice) = dice {
                more.insert(format!("dice {}", class.name), Number(dice));
                self.journal.scalar(&format!("dice/{}", class.name), step, dice as f32)?;
            }
        }
        let rate = self.trainer.updater.learning_rate();
        let elapsed = self.started.elapsed().as_secs_f64();
        self.journal.validation(step, epoch, 1.0 - report.mean(), more, rate, elapsed)?;
        if let Some(picture) = picture {
            self.journal.sample(self.run, step, epoch, "segmentation", &picture)?;
        }
        let classes: Vec<String> = report
            .classes()
            .iter()
            .map(|dice| dice.map_or("-".to_string(), |dice| format!("{dice:.4}")))
            .collect();
        tracing::debug!("epoch {epoch}: Dice {:.4} ({})", report.mean(), classes.join(", "));
        Ok(report)
    }

    /// Records an improvement, and says whether patience is at its end. `epochs` have passed since the
    /// last judgement.
    fn judge(&mut self, epoch: u64, epochs: u64, dice: f64) -> Result<bool> {
        if self.progress.best_valid_dice.is_none_or(|best| dice > best) {
            self.progress.best_valid_dice = Some(dice);
            self.progress.best_epoch = epoch;
            self.progress.epochs_without_improvement = 0;
            self.save(&self.run.best())?;
        } else {
            self.progress.epochs_without_improvement += epochs;
        }
        Ok(self.progress.epochs_without_improvement >= self.config.patience)
    }
}

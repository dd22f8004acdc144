//! A fine-tuning run for segmentation, from its configuration to `summary.json`.

use super::PatchOrder;
use super::config::{SegmentationConfig, weighted};
use super::data::SegmentationCases;
use super::pictures::{SegmentationSample, segmentation_montage};
use super::sampler::PatchPlan;
use super::validation::{DiceReport, validate};
use crate::Result;
use crate::bad_volume::{Skipped, write_report};
use crate::finetune::TargetConfig;
use crate::finetune::class_weights::{described, shares};
use crate::finetune::split::Split;
use crate::finetune::target_loop::{Description, Finished, RunOutcome, TargetRun, TargetTask, Validation};
use crate::finetune::target_trainer::{TargetBatch, TargetTrainer};
use crate::inference::{SegmentSettings, SlidingWindow};
use crate::report::metrics::Number;
use crate::task::{Task, TaskDescription};
use crate::training::Execution;
use crate::training::prefetch::Prefetch;
use genesis_model::UNet3d;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Validation cases shown in `samples/`.
const SHOWN: usize = 3;

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
    /// What every run tells.
    #[serde(flatten)]
    pub run: RunOutcome,
    /// The highest mean Dice of the validation cases.
    pub best_valid_dice: f64,
    /// The mean Dice at the end.
    pub last_valid_dice: f64,
    /// The Dice of every class at the end; nothing where no case holds it.
    pub last_valid_dice_classes: BTreeMap<String, Option<f64>>,
    /// Training cases.
    pub train_cases: usize,
    /// Validation cases.
    pub valid_cases: usize,
    /// Cases passed over (`--on-bad-volume skip`), with the reasons.
    pub skipped: Vec<Skipped>,
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
    let run = TargetRun::open(config.settings(), out, execution)?;
    let cases = SegmentationCases::open(config, run.threads(), run.is_quiet())?;
    write_report(&run.directory.path("skipped.csv"), &cases.skipped)?;
    let plan = PatchPlan {
        seed: config.seed,
        cases: cases.train(),
        batch_size: config.batch_size,
        per_case: config.patch.per_case,
    };
    let outputs = cases.classes.outputs();
    let names = cases.classes.names();
    let weights = config.class_weights.resolve(&names, &cases.voxels)?;
    if let Some(weights) = &weights {
        tracing::info!("weights of the classes: {}", described(&names, weights));
    }
    let loss = weighted(config.loss, outputs, weights)?;
    let identity = Identity { config: config.identity(), cases: cases.split.clone() };
    let description = Description {
        identity: &identity,
        defaults: &SegmentationConfig::default().identity(),
        toml: &config.to_toml()?,
        loss_name: &format!("{} loss; 1 - Dice", config.loss),
    };
    let task = Segmentation { config, cases, plan };
    task.announce();
    let finished = run.train(&task, [task.cases.channels, outputs], loss, &description)?;
    let summary = task.summary(finished);
    run.directory.write_summary(&summary)?;
    Ok(summary)
}

struct Segmentation<'a> {
    config: &'a SegmentationConfig,
    cases: SegmentationCases,
    plan: PatchPlan,
}

impl Segmentation<'_> {
    fn announce(&self) {
        let Self { config, cases, plan } = self;
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
    }

    fn summary(&self, finished: Finished<DiceReport>) -> SegmentationSummary {
        if finished.best_score == 0.0 {
            tracing::warn!(
                "the network predicts nothing but background: train longer, lower the learning rate (--lr), or check \
                 the window (--window) with genesis inspect"
            );
        }
        let last = finished.last.report;
        let classes = self.cases.classes.foreground.iter().map(|class| class.name.clone());
        SegmentationSummary {
            run: finished.outcome,
            best_valid_dice: finished.best_score,
            last_valid_dice: last.mean(),
            last_valid_dice_classes: classes.zip(last.classes()).collect(),
            train_cases: self.cases.train(),
            valid_cases: self.cases.valid().len(),
            skipped: self.cases.skipped.clone(),
        }
    }
}

impl TargetTask for Segmentation<'_> {
    type Network = UNet3d;
    type Report = DiceReport;

    const COMMAND: &'static str = "finetune segment";

    fn steps_per_epoch(&self) -> u64 {
        self.plan.steps_per_epoch()
    }

    fn class_shares(&self) -> Vec<f64> {
        shares(&self.cases.voxels)
    }

    fn samples(&self, step: u64) -> Vec<String> {
        let name = |case: usize| self.cases.split.train[case].clone();
        self.plan.batch(step).iter().map(|sample| format!("case {}", name(sample.case))).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.cases.files.clone()
    }

    fn batches(&self, steps: Range<u64>) -> Result<Prefetch<TargetBatch>> {
        let order = PatchOrder {
            store: self.cases.store.clone(),
            plan: self.plan,
            patch: self.config.patch.clone(),
            recipe: self.config.augmentation.clone(),
            seed: self.config.seed,
        };
        order.start(steps, self.config.loader_threads)
    }

    fn describe(&self, network: &UNet3d) -> Result<TaskDescription> {
        Ok(TaskDescription {
            task: Task::Segment,
            classes: self.cases.classes.names(),
            values: self.cases.classes.values(),
            inputs: self.cases.inputs.clone(),
            channels: self.cases.channels,
            patch: self.config.patch.size,
            preprocessing: self.config.preprocessing.clone(),
            network: network.config(),
        })
    }

    /// The Dice of the validation cases, and a picture of the first.
    fn validate(&self, trainer: &mut TargetTrainer<UNet3d>, picture: bool) -> Result<Validation<DiceReport>> {
        let mut shown = Vec::new();
        let validation = &self.config.validation;
        let settings = SegmentSettings {
            window: SlidingWindow { size: self.config.patch.size, overlap: validation.overlap },
            batch_size: 1,
            flips: false,
            statistics: validation.statistics,
            precision: self.config.precision,
        };
        let report = validate(trainer, &self.cases, &settings, |number, case, predicted, dice| {
            if picture && number < SHOWN {
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
        let picture = match samples.is_empty() {
            true => None,
            false => Some(("segmentation", segmentation_montage(&samples)?)),
        };
        let mean = report.mean();
        let mut more = BTreeMap::from([("dice".to_string(), Number(mean))]);
        let mut curves = vec![("dice/mean".to_string(), mean)];
        for (class, dice) in self.cases.classes.foreground.iter().zip(report.classes()) {
            if let Some(dice) = dice {
                more.insert(format!("dice {}", class.name), Number(dice));
                curves.push((format!("dice/{}", class.name), dice));
            }
        }
        tracing::debug!("validation Dice {mean:.4}");
        Ok(Validation { score: mean, loss: 1.0 - mean, more, curves, picture, report })
    }
}

//! A fine-tuning run for classification, from its configuration to `summary.json`.

use super::config::ClassificationConfig;
use super::data::ClassifiedCubes;
use super::loader::CubeOrder;
use super::loss::on_logits;
use super::pictures::classification_montage;
use super::sampler::CubePlan;
use super::validation::{ClassificationReport, validate};
use crate::Result;
use crate::bad_volume::{Skipped, write_report};
use crate::finetune::class_weights::{described, shares, weighted_loss};
use crate::finetune::settings::TargetConfig;
use crate::finetune::target_loop::{Description, Finished, RunOutcome, TargetRun, TargetTask, Validation};
use crate::finetune::target_trainer::{TargetBatch, TargetTrainer};
use crate::inference::shape_of;
use crate::report::metrics::Number;
use crate::task::{Task, TaskDescription};
use crate::training::Execution;
use crate::training::prefetch::Prefetch;
use genesis_model::Classifier3d;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What must agree between a checkpoint and the run that goes on from it.
#[derive(Serialize)]
struct Identity<'a> {
    #[serde(flatten)]
    config: ClassificationConfig,
    classes: &'a [String],
    /// Names of the rows.
    train: Vec<&'a str>,
    valid: Vec<&'a str>,
}

/// Last line of a run: `summary.json`.
#[derive(Clone, Debug, Serialize)]
pub struct ClassificationSummary {
    /// What every run tells.
    #[serde(flatten)]
    pub run: RunOutcome,
    /// The highest AUC of the validation cubes; nothing where they are of one class.
    pub best_valid_auc: Option<f64>,
    /// The loss of the best validation.
    pub best_valid_loss: f64,
    /// The AUC at the end.
    pub last_valid_auc: Option<f64>,
    /// The loss at the end.
    pub last_valid_loss: f64,
    /// The accuracy at the end.
    pub last_valid_accuracy: f64,
    /// The classes by name, with the numbers of their training cubes.
    pub classes: BTreeMap<String, u64>,
    /// Training cubes.
    pub train_cubes: usize,
    /// Validation cubes.
    pub valid_cubes: usize,
    /// Volumes passed over (`--on-bad-volume skip`), with the reasons.
    pub skipped: Vec<Skipped>,
}

/// Fine-tunes as configured in the run directory `out`.
///
/// # Errors
/// Bad data, a directory that cannot be written, a loss that is not finite. Checkpoints written before
/// stay.
pub fn finetune_classification(
    config: &ClassificationConfig,
    out: &Path,
    execution: &Execution,
) -> Result<ClassificationSummary> {
    config.check()?;
    let run = TargetRun::open(config.settings(), out, execution)?;
    let cubes = ClassifiedCubes::open(config, run.threads(), run.is_quiet())?;
    write_report(&run.directory.path("skipped.csv"), &cubes.skipped)?;
    let names = &cubes.table.classes;
    let weights = config.class_weights.resolve(names, &cubes.train_counts())?;
    if let Some(weights) = &weights {
        tracing::info!("weights of the classes: {}", described(names, weights));
    }
    let loss = weighted_loss(on_logits(config.loss, names.len()), weights, &config.loss)?;
    let plan = CubePlan::new(config.seed, config.batch_size, cubes.train_labels(), config.sampler);
    let classes = cubes.table.classes.len();
    let outputs = if classes == 2 { 1 } else { classes };
    let task = Classification { config, cubes, plan };
    let (train, valid) = task.cubes.table.rows.split_at(task.cubes.train());
    let description = Description {
        identity: &Identity {
            config: config.identity(),
            classes: &task.cubes.table.classes,
            train: train.iter().map(|row| row.name.as_str()).collect(),
            valid: valid.iter().map(|row| row.name.as_str()).collect(),
        },
        defaults: &ClassificationConfig::default().identity(),
        toml: &config.to_toml()?,
        loss_name: match config.loss {
            super::config::ClassLoss::Ce => "cross-entropy",
            super::config::ClassLoss::Focal => "focal loss",
        },
    };
    task.announce();
    let finished = run.train(&task, [task.cubes.channels, outputs], loss, &description)?;
    let summary = task.summary(finished);
    run.directory.write_summary(&summary)?;
    Ok(summary)
}

struct Classification<'a> {
    config: &'a ClassificationConfig,
    cubes: ClassifiedCubes,
    plan: CubePlan,
}

impl Classification<'_> {
    fn announce(&self) {
        let Self { config, cubes, plan } = self;
        let names = cubes.table.classes.iter().zip(cubes.train_counts());
        let counts: Vec<String> = names.map(|(name, count)| format!("{name} {count}")).collect();
        let labels = cubes.valid_labels();
        tracing::info!(
            "{} training cubes ({}), {} validation cubes; {} channel(s)",
            cubes.train(),
            counts.join(", "),
            labels.len(),
            cubes.channels
        );
        tracing::info!(
            "cubes of {} voxels, {} a step, {} steps an epoch",
            crate::training::times(config.cube),
            config.batch_size,
            plan.steps_per_epoch()
        );
        if labels.iter().all(|label| Some(label) == labels.first()) {
            tracing::warn!(
                "all validation cubes are of class {}: there is no AUC, the best state is that of the lowest loss",
                cubes.table.classes[labels[0]]
            );
        }
    }

    fn summary(&self, finished: Finished<ClassificationReport>) -> ClassificationSummary {
        let last = finished.last.report;
        let names = self.cubes.table.classes.iter().cloned();
        ClassificationSummary {
            run: finished.outcome,
            best_valid_auc: last.auc.map(|_| finished.best_score),
            best_valid_loss: finished.best_loss,
            last_valid_auc: last.auc,
            last_valid_loss: last.loss,
            last_valid_accuracy: last.accuracy,
            classes: names.zip(self.cubes.train_counts()).collect(),
            train_cubes: self.cubes.train(),
            valid_cubes: self.cubes.valid_labels().len(),
            skipped: self.cubes.skipped.clone(),
        }
    }
}

impl TargetTask for Classification<'_> {
    type Network = Classifier3d;
    type Report = ClassificationReport;

    const COMMAND: &'static str = "finetune classify";

    fn steps_per_epoch(&self) -> u64 {
        self.plan.steps_per_epoch()
    }

    fn class_shares(&self) -> Vec<f64> {
        shares(&self.cubes.train_counts())
    }

    fn samples(&self, step: u64) -> Vec<String> {
        let rows = &self.cubes.table.rows;
        let name = |cube: usize| format!("row {} ({})", rows[cube].name, rows[cube].path.display());
        self.plan.batch(step).iter().map(|sample| name(sample.cube)).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let volumes = self.cubes.table.by_volume().into_iter().map(|(path, _)| path.to_path_buf());
        std::iter::once(self.cubes.table.file.clone()).chain(volumes).collect()
    }

    fn batches(&self, steps: Range<u64>) -> Result<Prefetch<TargetBatch>> {
        let order = CubeOrder {
            store: Arc::clone(&self.cubes.store),
            labels: self.cubes.train_labels().into(),
            plan: self.plan.clone(),
            size: self.config.cube,
            channels: self.cubes.channels,
            margin: self.cubes.margin,
            recipe: self.config.augmentation.clone(),
            seed: self.config.seed,
        };
        order.start(steps, self.config.loader_threads)
    }

    fn describe(&self, network: &Classifier3d) -> Result<TaskDescription> {
        Ok(TaskDescription {
            task: Task::Classify,
            classes: self.cubes.table.classes.clone(),
            values: Vec::new(),
            inputs: None,
            channels: self.cubes.channels,
            patch: self.config.cube,
            preprocessing: self.config.preprocessing.clone(),
            network: shape_of(network.config()),
        })
    }

    fn validate(
        &self,
        trainer: &mut TargetTrainer<Classifier3d>,
        picture: bool,
    ) -> Result<Validation<ClassificationReport>> {
        let ClassificationConfig { batch_size, ref validation, .. } = *self.config;
        let report = validate(trainer, &self.cubes, batch_size, validation.statistics)?;
        let picture = match picture {
            true => Some(("classification", classification_montage(&self.cubes, &report)?)),
            false => None,
        };
        let mut more = BTreeMap::from([("accuracy".to_string(), Number(report.accuracy))]);
        let mut curves = vec![("accuracy".to_string(), report.accuracy)];
        if let Some(auc) = report.auc {
            more.insert("auc".to_string(), Number(auc));
            curves.push(("auc".to_string(), auc));
        }
        let (score, loss) = (report.auc.unwrap_or(0.0), report.loss);
        tracing::debug!("validation loss {loss:.5}, AUC {score:.4}, accuracy {:.4}", report.accuracy);
        Ok(Validation { score, loss, more, curves, picture, report })
    }
}

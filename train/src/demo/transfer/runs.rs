//! The runs: every seed, every number of labelled phantoms, from both starts.

use super::crops::{Crops, split_key};
use super::outcome::TransferRun;
use super::{Transfer, TransferSettings};
use crate::augment::AugmentationRecipe;
use crate::evaluation::overlap::Counts;
use crate::evaluation::statistics::mean;
use crate::finetune::{
    Case, CaseReader, CaseStore, Classes, SegmentationConfig, finetune_segmentation, predict_classes,
};
use crate::inference::{SegmentSettings, SlidingWindow};
use crate::progress::Progress;
use crate::report::metrics::{Split, read_metrics};
use crate::trace::TraceRequest;
use crate::training::{Execution, load_network};
use crate::workers::try_in_order;
use crate::{Error, Result};
use genesis_tensor::parallel::ThreadPool;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The learning rate of every run, three times the default, for a run this short. The Dice from scratch is as good at
/// ten times the default, that of the pre-trained start less.
const LEARNING_RATE: f64 = 3e-3;

/// Validations of a run, about.
const VALIDATIONS: u64 = 5;

/// Where a run's weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Drawn at random.
    Scratch,
    /// From pre-training.
    Pretrained,
}

impl Start {
    /// Both, in the order they are told of.
    pub const ALL: [Self; 2] = [Self::Scratch, Self::Pretrained];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scratch => "from scratch",
            Self::Pretrained => "pre-trained",
        }
    }
}

/// One run to do.
struct Job {
    seed: u64,
    labelled: usize,
    start: Start,
}

/// What only pictures need of a run.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// The predicted classes of every test crop.
    pub predictions: Vec<Vec<u8>>,
    /// The Dice of every test crop.
    pub dice: Vec<f64>,
    /// The training loss: (step, loss).
    pub training: Vec<(f64, f64)>,
    /// The validation crops' mean Dice: (step, Dice).
    pub validation: Vec<(f64, f64)>,
}

/// Everything done.
pub struct Finished {
    /// The runs by seed, then number of phantoms, then start.
    pub runs: Vec<(TransferRun, Detail)>,
    /// The test crops.
    pub cases: Vec<Arc<Case>>,
}

/// Does all runs, as many at a time as there are threads.
///
/// # Errors
/// The first in order that a run met.
pub fn run_all(transfer: &Transfer<'_>, crops: &Crops) -> Result<Finished> {
    let TransferSettings { seeds, labelled, .. } = transfer.settings;
    let mut jobs = Vec::new();
    for seed in 0..*seeds {
        for &labelled in labelled {
            jobs.extend(Start::ALL.map(|start| Job { seed, labelled, start }));
        }
    }
    let weights = std::fs::canonicalize(transfer.weights).map_err(Error::io("read", transfer.weights))?;
    let cases = test_cases(transfer, crops)?;
    tracing::info!("fine-tuning {} times, {} steps each", jobs.len(), transfer.settings.steps);
    let progress = Progress::new("fine-tuning", jobs.len() as u64, transfer.quiet);
    let runs = try_in_order(jobs.len(), transfer.threads, |index| {
        // Dozens of runs would drown the demo's own lines.
        let quiet = tracing::subscriber::NoSubscriber::new();
        let run =
            tracing::subscriber::with_default(quiet, || jobs[index].run(transfer, crops, &weights, &cases));
        progress.advance(1);
        run
    });
    progress.finish();
    Ok(Finished { runs: runs?, cases })
}

fn test_cases(transfer: &Transfer<'_>, crops: &Crops) -> Result<Vec<Arc<Case>>> {
    let reader = CaseReader {
        classes: Classes::resolve(None, &["1=nodule".into()], &[])?,
        preprocessing: SegmentationConfig::default().preprocessing,
        channels: Vec::new(),
    };
    let store = CaseStore::new(reader, crops.test.clone(), usize::MAX);
    let pool = ThreadPool::new(transfer.threads);
    (0..store.count()).map(|index| store.get(&pool, index)).collect()
}

impl Job {
    /// `genesis finetune segment`'s defaults but for the budget, the rate and the lighter augmentation that
    /// suit a short run; nothing differs between the starts.
    fn config(&self, transfer: &Transfer<'_>, crops: &Crops, weights: &Path) -> Result<SegmentationConfig> {
        let settings = transfer.settings;
        let mut config = SegmentationConfig {
            seed: transfer.seed + self.seed,
            steps: settings.steps,
            // Steps alone end a run.
            epochs: settings.steps,
            patience: settings.steps + 1,
            batch_size: settings.batch_size,
            width: transfer.width,
            weights: (self.start == Start::Pretrained).then(|| weights.to_path_buf()),
            precision: transfer.precision,
            threads: 1,
            augmentation: AugmentationRecipe::light(),
            ..SegmentationConfig::default()
        };
        config.optimizer.learning_rate = LEARNING_RATE;
        config.patch.size = settings.crop;
        config.patch.per_case = 1;
        let folder = |path: &Path| std::fs::canonicalize(path).map_err(Error::io("read", path));
        config.data.folder = folder(&crops.folder)?;
        config.data.splits = Some(folder(&crops.splits)?);
        config.data.splits_key = Some(split_key(self.seed, self.labelled));
        Ok(config)
    }

    fn run(
        &self,
        transfer: &Transfer<'_>,
        crops: &Crops,
        weights: &Path,
        cases: &[Arc<Case>],
    ) -> Result<(TransferRun, Detail)> {
        let mut config = self.config(transfer, crops, weights)?;
        let split = crate::finetune::Split::read(&crops.splits, config.data.splits_key.as_deref())?;
        let steps_per_epoch = split.train.len().div_ceil(config.batch_size).max(1) as u64;
        config.validation.every_epochs =
            (transfer.settings.steps / VALIDATIONS).div_ceil(steps_per_epoch).max(1);
        let out = self.folder(transfer.out);
        let trace = TraceRequest::new(None, 1);
        let execution = Execution::of_library(transfer.hardware.clone(), false, true, trace);
        let summary = finetune_segmentation(&config, &out, &execution)?;
        let checkpoints = out.join("checkpoints");
        let (counts, predictions) =
            self.test(transfer, &config, &checkpoints.join("best.safetensors"), cases)?;
        // A state with its optimiser is three times the network; config.toml makes it again.
        std::fs::remove_dir_all(&checkpoints).map_err(Error::io("remove", &checkpoints))?;
        let dice: Vec<f64> = counts.iter().map(Counts::dice).collect();
        let iou: Vec<f64> = counts.iter().map(Counts::iou).collect();
        let run = TransferRun {
            start: self.start,
            seed: config.seed,
            labelled: self.labelled,
            train_crops: split.train.len(),
            dice: mean(&dice).unwrap_or(0.0),
            iou: mean(&iou).unwrap_or(0.0),
            best_valid_dice: summary.best_valid_dice,
            steps: summary.run.steps,
            seconds: summary.run.seconds,
        };
        let records = read_metrics(&out.join("metrics.jsonl"))?;
        let of = |split: Split| records.iter().filter(move |record| record.split == split);
        let detail = Detail {
            predictions,
            dice,
            training: of(Split::Train).map(|record| (record.step as f64, record.loss.0)).collect(),
            validation: of(Split::Valid).map(|record| (record.step as f64, 1.0 - record.loss.0)).collect(),
        };
        Ok((run, detail))
    }

    fn folder(&self, out: &Path) -> PathBuf {
        let start = match self.start {
            Start::Scratch => "scratch",
            Start::Pretrained => "pretrained",
        };
        out.join(format!("runs/seed-{}-phantoms-{}-{start}", self.seed + 1, self.labelled))
    }

    /// The overlap in every test crop with the state that validated best.
    fn test(
        &self,
        transfer: &Transfer<'_>,
        config: &SegmentationConfig,
        checkpoint: &Path,
        cases: &[Arc<Case>],
    ) -> Result<(Vec<Counts>, Vec<Vec<u8>>)> {
        let mut cx = transfer.hardware.context(1);
        config.precision.choose(&mut cx)?;
        let (mut network, statistics) = load_network(checkpoint)?;
        let settings = SegmentSettings {
            window: SlidingWindow { size: config.patch.size, overlap: config.validation.overlap },
            batch_size: 1,
            flips: false,
            statistics,
            precision: config.precision,
        };
        let (mut counts, mut predictions) = (Vec::new(), Vec::new());
        for case in cases {
            let predicted = predict_classes(&cx, &mut network, case, &settings)?;
            let mask = |classes: &[u8]| classes.iter().map(|&class| class > 0).collect::<Vec<bool>>();
            counts.push(Counts::of(&mask(&predicted), &mask(&case.labels))?);
            predictions.push(predicted);
        }
        Ok((counts, predictions))
    }
}

//! The story `genesis demo` tells: scans → cubes → deformation → training → restored cubes of a scan
//! the network has never seen → nodules with few labels, from scratch and pre-trained → one page.

mod page;
pub mod transfer;

use crate::bad_volume::OnBadVolume;
use crate::cubes::{CubeSettings, Modality, extract_volumes};
use crate::deform::{Deformer, Recipe, VALIDATION_EPOCH};
use crate::inference::restore_cubes;
use crate::phantom::{PhantomConfig, generate, write_dataset};
use crate::report::file::write_atomically;
use crate::trace::TraceRequest;
use crate::training::{Execution, Preset, RunConfig, Summary, load_network, pretrain};
use crate::volume::{CubeFile, list_volumes};
use crate::{Error, Precision, Result};
use genesis_kernels::Hardware;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use transfer::{Comparison, Transfer, TransferOutcome, TransferSettings};

/// Phantoms made: the last is for testing, the one before for validation.
const PHANTOMS: u64 = 8;
/// Voxels of a phantom: coarse, so that a cube shows a good part of a lung.
const PHANTOM_SIZE: [usize; 3] = [160, 160, 112];
/// Cubes cut from each training volume.
const CUBES_PER_VOLUME: usize = 16;
/// Cubes of the unseen scan.
const TEST_CUBES: usize = 12;
/// Cubes per step.
const BATCH: usize = 2;

/// What the demo is to do.
pub struct Demo {
    /// Directory to write.
    pub out: PathBuf,
    /// Volumes instead of phantoms.
    pub volumes: Option<PathBuf>,
    /// Voxels left out at each side of the volumes.
    pub border: [usize; 3],
    /// Training steps.
    pub steps: u64,
    /// Width of the network.
    pub width: usize,
    /// Seed of everything.
    pub seed: u64,
    /// Compute threads.
    pub threads: usize,
    /// What computes.
    pub hardware: Hardware,
    /// Number format of activations and gradients.
    pub precision: Precision,
    /// The comparison of fine-tuning from scratch and from the pre-trained weights, if there is to be one.
    pub transfer: Option<TransferSettings>,
    /// What of the pre-training is to be traced.
    pub trace: TraceRequest,
    /// No progress.
    pub quiet: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Mean squared error of the unseen scan's deformed cubes: what doing nothing gives.
    pub identity_mse: f64,
    /// Mean squared error after restoration.
    pub restored_mse: f64,
    /// Training steps.
    pub steps: u64,
    /// What the weights are worth for a task with few labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferOutcome>,
    /// Wall time of everything in seconds.
    pub seconds: f64,
    /// The page.
    pub report: PathBuf,
}

/// The unseen scan's cubes, before and after.
struct Restored {
    size: [usize; 3],
    /// True cubes, deformed ones, restored ones.
    target: Vec<Vec<f32>>,
    input: Vec<Vec<f32>>,
    output: Vec<Vec<f32>>,
}

impl Restored {
    fn errors(&self) -> (f64, f64) {
        let mean = |cubes: &[Vec<f32>]| {
            let each = cubes.iter().zip(&self.target);
            each.map(|(a, b)| crate::training::mean_squared_error(a, b)).sum::<f64>() / cubes.len() as f64
        };
        (mean(&self.input), mean(&self.output))
    }
}

impl Demo {
    /// Training steps unless told otherwise.
    pub const STEPS: u64 = 200;
    /// Width of the network unless told otherwise.
    pub const WIDTH: usize = 8;

    /// Runs the story.
    ///
    /// # Errors
    /// A directory that is not empty or cannot be written; too few volumes; whatever training meets.
    pub fn run(&self) -> Result<Outcome> {
        let start = Instant::now();
        if let Some(settings) = &self.transfer {
            settings.check()?;
        }
        claim(&self.out)?;
        let folder = match &self.volumes {
            Some(folder) => folder.clone(),
            None => self.phantoms()?,
        };
        let volumes = list_volumes(&folder)?;
        if volumes.len() < 3 {
            let cause =
                format!("{} volumes, but the demo needs three: to train, validate and test", volumes.len());
            return Err(Error::file(&folder, cause));
        }
        tracing::info!("cutting cubes from {} volumes", volumes.len());
        let (train, valid, test) = self.cubes(&folder, &volumes)?;
        let config = self.config(train, valid);
        let run = self.out.join("run");
        let execution = Execution::of_library(self.hardware.clone(), false, self.quiet, self.trace.clone());
        let summary = pretrain(&config, &run, &execution)?;
        tracing::info!("restoring {} cubes of a scan the network has not seen", TEST_CUBES);
        let weights = run.join("checkpoints/best.safetensors");
        let restored = self.restore(&weights, &test, &config.deformation)?;
        let comparison =
            self.transfer.as_ref().map(|settings| self.compare(settings, &weights)).transpose()?;
        let report = self.out.join("report.html");
        let seconds = start.elapsed().as_secs_f64();
        page::Story {
            demo: self,
            volumes: &volumes,
            run: &run,
            config: &config,
            summary: &summary,
            restored: &restored,
            comparison: comparison.as_ref(),
            seconds,
        }
        .write(&report)?;
        let (identity_mse, restored_mse) = restored.errors();
        let transfer = comparison.map(|comparison| comparison.outcome);
        let outcome = Outcome { identity_mse, restored_mse, steps: summary.steps, transfer, seconds, report };
        let text = serde_json::to_string_pretty(&outcome).map_err(|error| Error::Work(error.to_string()))?;
        write_atomically(&self.out.join("summary.json"), format!("{text}\n").as_bytes())?;
        Ok(outcome)
    }

    fn compare(&self, settings: &TransferSettings, weights: &Path) -> Result<Comparison> {
        Transfer {
            settings,
            out: &self.out.join("transfer"),
            weights,
            width: self.width,
            seed: self.seed,
            threads: self.threads,
            hardware: self.hardware.clone(),
            precision: self.precision,
            quiet: self.quiet,
        }
        .run()
    }

    fn phantoms(&self) -> Result<PathBuf> {
        tracing::info!("making {PHANTOMS} phantom chest CTs");
        let phantoms = (0..PHANTOMS)
            .map(|index| generate(&PhantomConfig::new(PHANTOM_SIZE, self.seed, index), self.threads));
        let folder = self.out.join("phantoms");
        write_dataset(&folder, phantoms, &mut crate::phantom::write_volume)?;
        Ok(folder.join("imagesTr"))
    }

    /// Files of training, validation and test cubes, from separate volumes.
    fn cubes(&self, folder: &Path, volumes: &[PathBuf]) -> Result<(PathBuf, PathBuf, PathBuf)> {
        let test = volumes.len() - 1;
        let settings = CubeSettings {
            per_volume: CUBES_PER_VOLUME,
            border: self.border,
            // A cube of coarse voxels holds heart and chest wall beside the lung.
            max_tissue: 0.6,
            min_tissue: 0.05,
            ..CubeSettings::new(Modality::Ct)
        };
        let cut = |name: &str, range: std::ops::Range<usize>, per_volume: usize| -> Result<PathBuf> {
            let out = self.out.join(name);
            let settings = CubeSettings { per_volume, ..settings.clone() };
            let first = range.start;
            extract_volumes(
                folder,
                &volumes[range],
                first,
                &settings,
                self.seed,
                OnBadVolume::Skip,
                &out,
                |_, _| (),
            )?;
            Ok(out)
        };
        Ok((
            cut("train.npy", 0..test - 1, CUBES_PER_VOLUME)?,
            cut("valid.npy", test - 1..test, TEST_CUBES)?,
            cut("test.npy", test..test + 1, TEST_CUBES)?,
        ))
    }

    fn config(&self, train: PathBuf, valid: PathBuf) -> RunConfig {
        let mut config = RunConfig::preset(Preset::Genesis);
        config.seed = self.seed;
        config.steps = self.steps;
        config.batch_size = BATCH;
        // A short run gains most from a rate that ends at 0, and from Adam: the paper's SGD at rate 1 hardly moves the
        // deepest levels in so few steps (restored error 0.048, with Adam 0.042).
        config.schedule.name = "cosine".into();
        config.optimizer.name = "adam".into();
        config.optimizer.learning_rate = 3e-3;
        config.threads = self.threads;
        config.precision = self.precision;
        config.network.width = self.width;
        config.data.cubes = vec![train];
        config.data.valid = vec![valid];
        config
    }

    fn restore(&self, weights: &Path, cubes: &Path, recipe: &Recipe) -> Result<Restored> {
        let mut cx = self.hardware.context(self.threads);
        self.precision.choose(&mut cx)?;
        let (mut network, statistics) = load_network(weights)?;
        let file = CubeFile::open(cubes)?;
        let size = file.size();
        let voxels: usize = size.iter().product();
        let mut deformer = Deformer::new(recipe.clone(), size)?;
        let mut result = Restored { size, target: Vec::new(), input: Vec::new(), output: Vec::new() };
        let mut cube = vec![0.0; voxels];
        for index in 0..file.count() {
            file.read(index, &mut cube)?;
            let (mut target, mut input) = (vec![0.0; voxels], vec![0.0; voxels]);
            // Numbers no validation pair has.
            let sample = 1_000_000 + index as u64;
            deformer.pair_for_sample(
                self.seed,
                VALIDATION_EPOCH,
                sample,
                &cube,
                &mut target,
                &mut input,
                None,
            );
            let output =
                restore_cubes(&cx, &mut network, &input, size, 1, statistics, self.precision, |_| ())?;
            result.target.push(target);
            result.input.push(input);
            result.output.push(output);
        }
        Ok(result)
    }
}

/// Creates the directory, or takes an empty one.
fn claim(out: &Path) -> Result<()> {
    if out.is_dir() && std::fs::read_dir(out).map_err(Error::io("read", out))?.next().is_some() {
        return Err(Error::file(out, "is not empty: give another --out"));
    }
    std::fs::create_dir_all(out).map_err(Error::io("create", out))
}

/// A summary line of a run, for tests and the page.
fn speed(summary: &Summary) -> String {
    format!("{:.1} cubes/s", summary.samples_per_second)
}

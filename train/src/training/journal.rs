//! What a run tells: `metrics.jsonl`, TensorBoard events, `loss.png`, sample pictures, progress.

use super::loader::Batch;
use super::run_directory::RunDirectory;
use super::trainer::StepReport;
use crate::Result;
use crate::progress::Progress;
use crate::report::curves::LossCurves;
use crate::report::metrics::{MetricsWriter, Number, Record, Split, read_metrics};
use crate::report::montage::{RestorationSample, restoration_montage};
use crate::report::picture::Picture;
use crate::report::tensorboard::TensorBoardWriter;
use genesis_tensor::Tensor;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Pixels of one voxel in sample pictures.
const SCALE: usize = 2;

/// Everything a run writes besides its checkpoints.
pub struct Journal {
    metrics: MetricsWriter,
    events: TensorBoardWriter,
    curves: LossCurves,
    loss_picture: PathBuf,
    /// Seconds the run took before it was interrupted.
    earlier_seconds: f64,
    progress: Option<Progress>,
    quiet: bool,
}

impl Journal {
    /// Opens the journal of a run whose checkpoint stands at `step` (0 for a new run): what was told
    /// of later steps is dropped, and of a validation at it unless it is `validated`. `loss_name` labels the curves.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn open(
        run: &RunDirectory,
        step: u64,
        validated: bool,
        loss_name: &str,
        quiet: bool,
    ) -> Result<Self> {
        let path = run.path("metrics.jsonl");
        let metrics = MetricsWriter::resume(&path, step, validated)?;
        let mut curves = LossCurves { loss_name: loss_name.into(), ..LossCurves::default() };
        let mut earlier_seconds = 0.0;
        for record in read_metrics(&path)? {
            earlier_seconds = record.seconds.0;
            add(&mut curves, &record);
        }
        let events = TensorBoardWriter::create(&run.path(""), (step > 0).then_some(step))?;
        let loss_picture = run.path("loss.png");
        Ok(Self { metrics, events, curves, loss_picture, earlier_seconds, progress: None, quiet })
    }

    /// Shows progress from `step` to `end`.
    pub fn start(&mut self, step: u64, end: u64) {
        let progress = Progress::new("training", end, self.quiet);
        progress.start_at(step);
        self.progress = Some(progress);
    }

    /// Takes the progress away.
    pub fn finish(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
    }

    /// One training step.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn train(
        &mut self,
        step: u64,
        epoch: u64,
        report: &StepReport,
        seconds: f64,
        samples_per_second: f64,
    ) -> Result<()> {
        let record = Record {
            step,
            epoch,
            split: Split::Train,
            loss: Number(f64::from(report.loss)),
            lr: Some(Number(f64::from(report.learning_rate))),
            seconds: Number(self.earlier_seconds + seconds),
            samples_per_second: Some(Number(samples_per_second)),
            more: BTreeMap::new(),
        };
        self.metrics.write(&record)?;
        add(&mut self.curves, &record);
        self.events.scalar("loss/train", step, report.loss)?;
        self.events.scalar("learning rate", step, report.learning_rate)?;
        if let Some(progress) = &self.progress {
            let best = self.curves.validation.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
            let valid = if best.is_finite() { format!(", best validation {best:.5}") } else { String::new() };
            progress.message(format!("epoch {epoch}, loss {:.5}{valid}", report.loss));
            progress.advance(1);
        }
        Ok(())
    }

    /// One validation, with further numbers by name.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn validation(
        &mut self,
        step: u64,
        epoch: u64,
        loss: f64,
        more: BTreeMap<String, Number>,
        learning_rate: f32,
        seconds: f64,
    ) -> Result<()> {
        let record = Record {
            step,
            epoch,
            split: Split::Valid,
            loss: Number(loss),
            lr: Some(Number(f64::from(learning_rate))),
            seconds: Number(self.earlier_seconds + seconds),
            samples_per_second: None,
            more,
        };
        self.metrics.write(&record)?;
        add(&mut self.curves, &record);
        self.events.scalar("loss/valid", step, loss as f32)?;
        self.curves.write_png(&self.loss_picture)
    }

    /// A number for TensorBoard alone.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn scalar(&mut self, name: &str, step: u64, value: f32) -> Result<()> {
        self.events.scalar(name, step, value)
    }

    /// A picture for `samples/` and TensorBoard.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn sample(
        &mut self,
        run: &RunDirectory,
        step: u64,
        epoch: u64,
        name: &str,
        picture: &Picture,
    ) -> Result<()> {
        picture.write_png(&run.path(&format!("samples/epoch-{epoch:04}.png")))?;
        self.events.image(name, step, picture)
    }

    /// The picture of an epoch: input, restored, original in three planes.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn picture(
        &mut self,
        run: &RunDirectory,
        step: u64,
        epoch: u64,
        preview: &Batch,
        restored: &Tensor,
    ) -> Result<()> {
        let dims = restored.shape();
        let size = [dims[1], dims[2], dims[3]];
        let voxels: usize = size.iter().product();
        let cubes = |tensor: &Tensor| -> Vec<Vec<f32>> {
            tensor.as_slice().chunks_exact(voxels).map(<[f32]>::to_vec).collect()
        };
        let (input, output, target) = (cubes(&preview.input), cubes(restored), cubes(&preview.target));
        let samples: Vec<RestorationSample> = (0..input.len())
            .map(|index| RestorationSample {
                caption: format!(
                    "MSE {:.4} to {:.4}",
                    mean_squared_error(&input[index], &target[index]),
                    mean_squared_error(&output[index], &target[index])
                ),
                input: &input[index],
                restored: &output[index],
                original: &target[index],
            })
            .collect();
        let picture = restoration_montage(&samples, size, SCALE, false)?;
        self.sample(run, step, epoch, "restored", &picture)
    }
}

fn add(curves: &mut LossCurves, record: &Record) {
    let point = (record.step as f64, record.loss.0);
    match record.split {
        Split::Train => curves.training.push(point),
        Split::Valid => curves.validation.push(point),
    }
    if let Some(identity) = record.more.get("identity") {
        curves.identity_baseline = Some(identity.0);
    }
}

/// Mean squared difference of two cubes.
pub fn mean_squared_error(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum();
    sum / a.len() as f64
}

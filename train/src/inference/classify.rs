//! Class probabilities of cubes: of a table's candidates, or of any cubes.

use super::work;
use crate::candidates::{CandidateTable, Cropper};
use crate::task::{TASK_KEY, Task, TaskDescription};
use crate::volume::ReadOptions;
use crate::{Error, Precision, Result};
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_model::checkpoint::{StateDict, read_checkpoint};
use genesis_model::{Classifier3d, ClassifierConfig, Statistics, UNetConfig, wanted_statistics};
use genesis_tensor::{DType, Tensor};
use std::path::Path;

/// How cubes are classified.
#[derive(Clone, Copy, Debug)]
pub struct ClassifySettings {
    /// Cubes in one pass of the network.
    pub batch_size: usize,
    /// Average the probabilities of all eight mirror images.
    pub flips: bool,
    /// The number format of activations.
    pub precision: Precision,
}

/// A fine-tuned classifier with what its checkpoint says about its task.
#[derive(Debug)]
pub struct Classifier {
    network: Classifier3d,
    statistics: Statistics,
    /// The task.
    pub task: TaskDescription,
    /// How volumes are read.
    pub read: ReadOptions,
}

impl Classifier {
    /// Reads a checkpoint of a classification.
    ///
    /// # Errors
    /// A file that cannot be read, or whose metadata describes no classification or another network.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_state(path, &read_checkpoint(path)?.state)
    }

    /// The network of a checkpoint that was read from `path`.
    ///
    /// # Errors
    /// Metadata that describe no classification or another network.
    pub fn from_state(path: &Path, state: &StateDict) -> Result<Self> {
        let fail = |error: &dyn ToString| Error::file(path, error.to_string());
        let task = TaskDescription::from_metadata(&state.metadata).map_err(|error| fail(&error))?;
        let task = match task {
            Some(task) if task.task == Task::Classify => task,
            Some(_) => return Err(fail(&"holds a segmentation, a classifier is needed")),
            None => {
                return Err(fail(&format!(
                    "holds no classifier ({TASK_KEY} in its metadata says none): fine-tune it first with \
                     genesis finetune classify"
                )));
            }
        };
        let network = Classifier3d::from_state(state).map_err(|error| fail(&error))?;
        if shape_of(network.config()) != task.network {
            return Err(fail(&format!("{TASK_KEY} describes another network than its tensors make")));
        }
        let (statistics, _) = wanted_statistics(state);
        Ok(Self { network, statistics, task, read: ReadOptions::default() })
    }

    /// What cubes the network wants.
    pub fn cropper(&self) -> Cropper {
        Cropper { read: self.read.clone(), ..Cropper::of_task(&self.task) }
    }
}

/// A classifier's shape as a [`TaskDescription`] holds it.
pub fn shape_of(config: ClassifierConfig) -> UNetConfig {
    let ClassifierConfig { channels, classes, width, activation } = config;
    UNetConfig { channels, classes, width, activation }
}

/// The probabilities of the classes of every row of a table, in its order: one number a class, summing to 1.
/// Cubes are cut as [`Cropper::for_each`] does. `done(rows, total)` reports progress.
///
/// # Errors
/// A volume that cannot be read or has other channels; a place outside its volume; memory.
pub fn classify_table(
    cx: &Context,
    classifier: &mut Classifier,
    table: &CandidateTable,
    settings: &ClassifySettings,
    mut done: impl FnMut(usize, usize),
) -> Result<Vec<Vec<f64>>> {
    let cropper = classifier.cropper();
    let size = settings.batch_size.max(1);
    let mut found = vec![Vec::new(); table.rows.len()];
    let (mut rows, mut values) = (Vec::with_capacity(size), Vec::with_capacity(size * cropper.values()));
    let mut finished = 0;
    let mut run = |rows: &mut Vec<usize>, values: &mut Vec<f32>| -> Result<()> {
        let probabilities = classify_cubes(
            cx,
            &mut classifier.network,
            values,
            cropper.extents,
            classifier.statistics,
            settings,
        )?;
        finished += rows.len();
        rows.drain(..).zip(probabilities).for_each(|(row, probabilities)| found[row] = probabilities);
        values.clear();
        done(finished, table.rows.len());
        Ok(())
    };
    cropper.for_each(&cx.pool, table, |row, cube| {
        rows.push(row);
        values.extend_from_slice(cube);
        if rows.len() == size { run(&mut rows, &mut values) } else { Ok(()) }
    })?;
    if !rows.is_empty() {
        run(&mut rows, &mut values)?;
    }
    Ok(found)
}

/// The probabilities of the classes of cubes `[N, C, X, Y, Z]`, prepared as in training, in one pass of the
/// network (eight with flips).
///
/// # Errors
/// Values that are no such cubes; a probability that is not finite; memory.
pub fn classify_cubes(
    cx: &Context,
    network: &mut Classifier3d,
    cubes: &[f32],
    extents: [usize; 3],
    statistics: Statistics,
    settings: &ClassifySettings,
) -> Result<Vec<Vec<f64>>> {
    let images: u8 = if settings.flips { 8 } else { 1 };
    let mut sums: Vec<Vec<f64>> = Vec::new();
    for flip in 0..images {
        let mirrored = std::array::from_fn(|axis| flip >> axis & 1 == 1);
        let channels = network.config().channels;
        let input = channels_last(cx, cubes, channels, extents, mirrored)?;
        let logits = class_logits(cx, network, input, statistics, settings.precision)?;
        let columns = logits.shape().channels();
        let all = logits.as_slice().chunks_exact(columns).map(class_probabilities);
        if sums.is_empty() {
            sums = all.collect();
        } else {
            sums.iter_mut()
                .zip(all)
                .for_each(|(sum, new)| sum.iter_mut().zip(new).for_each(|(s, p)| *s += p));
        }
    }
    sums.iter_mut().flatten().for_each(|sum| *sum /= f64::from(images));
    if sums.iter().flatten().any(|probability| !probability.is_finite()) {
        return Err(Error::Work("the network's output is not finite".into()));
    }
    Ok(sums)
}

/// The logits `[N, K]`, f32, of an input `[N, D, H, W, C]`.
///
/// # Errors
/// An input the network cannot take; memory.
pub fn class_logits(
    cx: &Context,
    network: &mut Classifier3d,
    input: Tensor,
    statistics: Statistics,
    precision: Precision,
) -> Result<Tensor> {
    let input = Var::constant(precision.input(cx, input)?);
    let logits = network.forward(cx, &mut Tape::inference(), input, statistics)?.into_tensor();
    let logits = logits.to_host().map_err(work)?;
    if logits.dtype() == DType::F32 { Ok(logits) } else { logits.cast(DType::F32).map_err(work) }
}

/// The probability of every class: softmax, or for one logit the sigmoid as that of class 1.
pub fn class_probabilities(logits: &[f32]) -> Vec<f64> {
    if let [logit] = logits {
        // Each by itself, so that neither is lost to rounding.
        let of = |logit: f64| 1.0 / (1.0 + (-logit).exp());
        return vec![of(-f64::from(*logit)), of(f64::from(*logit))];
    }
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - highest).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

/// The most probable class, the lowest of equal ones; of two, class 1 from one half on.
pub fn predicted_class(probabilities: &[f64]) -> usize {
    if let [_, second] = probabilities {
        return usize::from(*second >= 0.5);
    }
    let mut best = 0;
    for (class, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[best] {
            best = class;
        }
    }
    best
}

/// From `[N, C, X, Y, Z]` to `[N, X, Y, Z, C]`, mirrored along the given axes.
fn channels_last(
    cx: &Context,
    cubes: &[f32],
    channels: usize,
    [nx, ny, nz]: [usize; 3],
    mirrored: [bool; 3],
) -> Result<Tensor> {
    let voxels = nx * ny * nz;
    let values = voxels * channels;
    if values == 0 || cubes.is_empty() || !cubes.len().is_multiple_of(values) {
        let cause = format!("{} values are no cubes of {nx}x{ny}x{nz} with {channels} channels", cubes.len());
        return Err(Error::Work(cause));
    }
    let count = cubes.len() / values;
    let mut input = Tensor::unspecified([count, nx, ny, nz, channels], DType::F32)?;
    cx.pool.run_pieces(input.as_mut_slice()?, ny * nz * channels, |index, plane| {
        let cube = &cubes[index / nx * values..][..values];
        let turn = |place: usize, axis: usize, extent: usize| {
            if mirrored[axis] { extent - 1 - place } else { place }
        };
        let x = turn(index % nx, 0, nx);
        for (place, voxel) in plane.chunks_exact_mut(channels).enumerate() {
            let (y, z) = (turn(place / nz, 1, ny), turn(place % nz, 2, nz));
            for (channel, value) in voxel.iter_mut().enumerate() {
                *value = cube[channel * voxels + (x * ny + y) * nz + z];
            }
        }
    });
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_model::Initialiser;

    #[test]
    fn probabilities_sum_to_one_and_decide() {
        let two = class_probabilities(&[1.5]);
        assert!(
            (two[1] - 1.0 / (1.0 + (-1.5f64).exp())).abs() < 1e-12 && (two[0] + two[1] - 1.0).abs() < 1e-12
        );
        let three = class_probabilities(&[800.0, 801.0, -1e4]);
        assert!((three[1] - 1.0 / (1.0 + (-1f64).exp())).abs() < 1e-9 && three[2] == 0.0);
        assert_eq!([predicted_class(&two), predicted_class(&three)], [1, 1]);
        assert_eq!([predicted_class(&[0.5, 0.5]), predicted_class(&[0.4, 0.4, 0.2])], [1, 0]);
    }

    #[test]
    fn a_mirror_image_has_the_same_probabilities_once_all_are_averaged() {
        let cx = Context::new(1);
        let config = ClassifierConfig { channels: 2, classes: 3, width: 2, ..ClassifierConfig::default() };
        let mut network = Classifier3d::new(config).unwrap();
        network.initialise(Initialiser::Pytorch, 1).unwrap();
        let (extents, voxels) = ([8, 16, 8], 8 * 16 * 8);
        let cube: Vec<f32> = (0..2 * voxels).map(|i| ((i * 7919) % 101) as f32 / 101.0).collect();
        let mirrored: Vec<f32> = cube.chunks_exact(8).flat_map(|row| row.iter().rev().copied()).collect();
        let mut run = |cube: &[f32], flips| {
            let settings = ClassifySettings { batch_size: 1, flips, precision: Precision::F32 };
            classify_cubes(&cx, &mut network, cube, extents, Statistics::Running, &settings).unwrap()[0]
                .clone()
        };
        let far = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let (one, other) = (run(&cube, false), run(&mirrored, false));
        assert!(far(&one, &other) > 1e-7, "{one:?} {other:?}");
        let (one, other) = (run(&cube, true), run(&mirrored, true));
        assert!(
            far(&one, &other) < 1e-7 && (one.iter().sum::<f64>() - 1.0).abs() < 1e-9,
            "{one:?} {other:?}"
        );
        let settings = ClassifySettings { batch_size: 1, flips: false, precision: Precision::F32 };
        let short = classify_cubes(&cx, &mut network, &cube[1..], extents, Statistics::Running, &settings);
        assert!(short.is_err());
    }
}

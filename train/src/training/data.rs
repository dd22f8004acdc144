//! The cubes of a run: given files, or cut from a directory of volumes into the run directory.

use super::config::RunConfig;
use super::run_directory::RunDirectory;
use super::source::{CubeFiles, CubeSource};
use crate::bad_volume::{Skipped, write_report};
use crate::cubes::extract_volumes;
use crate::volume::{list_volumes, no_volumes};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Training and validation cubes.
pub struct Cubes {
    /// To train on.
    pub train: Arc<dyn CubeSource>,
    /// Held out.
    pub valid: Arc<dyn CubeSource>,
}

/// Opens the cubes a configuration names. What is passed over of them, or of the volumes they are cut from, is in the
/// run's `skipped.csv`.
///
/// # Errors
/// Files that cannot be read, cubes that are not finite or scaled to [0, 1], too few cubes to hold any out.
pub fn open(config: &RunConfig, run: &RunDirectory) -> Result<Cubes> {
    let mut data = config.data.clone();
    let mut skipped = Vec::new();
    if data.volumes.is_some() {
        (data.cubes, data.valid, skipped) = cut(config, run)?;
    }
    // A run that goes on cut them before, and reported then.
    let report = run.path("skipped.csv");
    let is_reported = data.volumes.is_some() && run.is_resumed() && skipped.is_empty() && report.exists();
    let mut usable = |paths: &[PathBuf], are_given: bool| -> Result<CubeFiles> {
        let cubes = CubeFiles::open(paths)?;
        // Those just cut are sound.
        if !are_given {
            return Ok(cubes);
        }
        let (cubes, bad) = cubes.usable(config.data.on_bad_volume, config.loader_threads)?;
        skipped.extend(bad);
        Ok(cubes)
    };
    let all = usable(&data.cubes, data.volumes.is_none())?;
    let valid = match data.valid.is_empty() {
        true => None,
        false => Some(usable(&data.valid, !config.data.valid.is_empty())?),
    };
    if !is_reported {
        write_report(&report, &skipped)?;
    }
    if let Some(valid) = valid {
        return Ok(Cubes { train: Arc::new(all), valid: Arc::new(valid) });
    }
    let count = all.count();
    let held_out = held_out(count, data.held_out);
    if held_out == 0 || held_out == count {
        let cause = format!("{count} cubes are too few to hold some out for validation: give --valid FILE");
        return Err(Error::Work(cause));
    }
    let split = count - held_out;
    tracing::info!("the last {held_out} of {count} cubes are held out for validation");
    Ok(Cubes { train: Arc::new(all.part(0..split)), valid: Arc::new(all.part(split..count)) })
}

/// The files a run's cubes come from.
///
/// # Errors
/// A directory of volumes that cannot be read.
pub fn files(config: &RunConfig) -> Result<Vec<PathBuf>> {
    let data = &config.data;
    let mut files = match &data.volumes {
        Some(directory) => list_volumes(directory)?,
        None => data.cubes.clone(),
    };
    files.extend_from_slice(&data.valid);
    Ok(files)
}

/// The share of `count` that is held out: at least one if there are two.
fn held_out(count: usize, share: f64) -> usize {
    if share <= 0.0 || count < 2 {
        return 0;
    }
    ((count as f64 * share).round() as usize).clamp(1, count - 1)
}

/// Cuts cubes from volumes, whole volumes held out where there are two or more; a run that goes on
/// finds them again. The files of training and of validation cubes, and what was passed over.
fn cut(config: &RunConfig, run: &RunDirectory) -> Result<(Vec<PathBuf>, Vec<PathBuf>, Vec<Skipped>)> {
    let (train, valid) = (run.path("cubes/train.npy"), run.path("cubes/valid.npy"));
    let directory = config.data.volumes.clone().unwrap_or_default();
    let volumes = list_volumes(&directory)?;
    if volumes.is_empty() {
        return Err(no_volumes(&directory));
    }
    let separate = config.data.valid.is_empty() && volumes.len() > 1;
    let held_out = if separate { held_out(volumes.len(), config.data.held_out) } else { 0 };
    let split = volumes.len() - held_out;
    let settings = &config.data.extraction;
    let on_bad = config.data.on_bad_volume;
    let told = |path: &Path, cubes: usize| tracing::info!("{cubes} cubes from {}", path.display());
    let mut skipped = Vec::new();
    let folder = run.path("cubes");
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    if !run.is_resumed() || !train.exists() {
        let done =
            extract_volumes(&directory, &volumes[..split], 0, settings, config.seed, on_bad, &train, told)?;
        skipped.extend(done.skipped);
    }
    if held_out == 0 {
        return Ok((vec![train], config.data.valid.clone(), skipped));
    }
    tracing::info!("the last {held_out} of {} volumes are held out for validation", volumes.len());
    if !run.is_resumed() || !valid.exists() {
        let held = &volumes[split..];
        let done = extract_volumes(&directory, held, split, settings, config.seed, on_bad, &valid, told)?;
        skipped.extend(done.skipped);
    }
    Ok((vec![train], vec![valid], skipped))
}

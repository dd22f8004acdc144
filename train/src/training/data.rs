//! The cubes of a run: given files, or cut from a directory of volumes into the run directory.

use super::config::RunConfig;
use super::run_directory::RunDirectory;
use super::source::{CubeFiles, CubeSource};
use crate::bad_volume::write_report;
use crate::cubes::extract_volumes;
use crate::volume::list_volumes;
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

/// Opens the cubes a configuration names.
///
/// # Errors
/// Files that cannot be read, too few cubes to hold any out.
pub fn open(config: &RunConfig, run: &RunDirectory) -> Result<Cubes> {
    let mut data = config.data.clone();
    if data.volumes.is_some() {
        (data.cubes, data.valid) = cut(config, run)?;
    }
    if !data.valid.is_empty() {
        let train = Arc::new(CubeFiles::open(&data.cubes)?);
        return Ok(Cubes { train, valid: Arc::new(CubeFiles::open(&data.valid)?) });
    }
    let all = CubeFiles::open(&data.cubes)?;
    let count = all.count();
    let held_out = held_out(count, data.held_out);
    if held_out == 0 || held_out == count {
        let cause = format!("{count} cubes are too few to hold some out for validation: give --valid FILE");
        return Err(Error::Work(cause));
    }
    let split = count - held_out;
    tracing::info!("the last {held_out} of {count} cubes are held out for validation");
    Ok(Cubes {
        train: Arc::new(CubeFiles::part(&data.cubes, 0..split)?),
        valid: Arc::new(CubeFiles::part(&data.cubes, split..count)?),
    })
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
/// finds them again.
fn cut(config: &RunConfig, run: &RunDirectory) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (train, valid) = (run.path("cubes/train.npy"), run.path("cubes/valid.npy"));
    let directory = config.data.volumes.clone().unwrap_or_default();
    let volumes = list_volumes(&directory)?;
    if volumes.is_empty() {
        return Err(Error::file(
            &directory,
            "holds no volume (.nii, .nii.gz, .hdr, .mhd, .mha, DICOM series)",
        ));
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
        if !skipped.is_empty() {
            write_report(&run.path("skipped.csv"), &skipped)?;
        }
        return Ok((vec![train], config.data.valid.clone()));
    }
    tracing::info!("the last {held_out} of {} volumes are held out for validation", volumes.len());
    if !run.is_resumed() || !valid.exists() {
        let held = &volumes[split..];
        let done = extract_volumes(&directory, held, split, settings, config.seed, on_bad, &valid, told)?;
        skipped.extend(done.skipped);
    }
    // A run that goes on cut them before, and reported then.
    if !skipped.is_empty() {
        write_report(&run.path("skipped.csv"), &skipped)?;
    }
    Ok((vec![train], vec![valid]))
}

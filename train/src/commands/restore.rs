//! `genesis restore`: runs the network on cubes, or on a volume by sliding window.

use super::Common;
use crate::deform::{Deformer, Recipe, VALIDATION_EPOCH};
use crate::inference::{SlidingWindow, restore_cubes, restore_volume};
use crate::progress::Progress;
use crate::training::load_network;
use crate::volume::{self, CubeFile, CubeWriter, ReadOptions, Reorientation, Volume};
use crate::{Error, Result};
use clap::{Args, ValueEnum};
use genesis_kernels::Context;
use genesis_model::{DIVISOR, Statistics, UNet3d};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Restores deformed cubes, or a whole volume by sliding window
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis restore --weights runs/a/checkpoints/best.safetensors --input cubes.npy --out restored.npy --deform
  genesis restore --weights Genesis_Chest_CT.pt --input cubes.npy --out restored.npy
  genesis restore --weights best.safetensors --input scan.nii.gz --out restored.nii.gz")]
pub struct RestoreArgs {
    /// Weights (.safetensors or .pt)
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Cubes (.npy, [N, 64, 64, 32] in [0, 1]) or a volume
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Restored cubes (.npy) or volume (.nii, .nii.gz, .mha, .nrrd, …)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Which volume of a file of several (4D) to read, counted from 0
    #[arg(long, value_name = "N")]
    frame: Option<usize>,
    /// Deform the cubes first, and report the error before and after
    #[arg(long)]
    deform: bool,
    /// Which statistics batch norm uses: those the checkpoint wants, the batch's, or the running ones
    #[arg(long, value_enum, default_value_t = StatisticsName::Auto, value_name = "auto|batch|running")]
    statistics: StatisticsName,
    /// Cubes per pass; decides the result only with the batch's statistics
    #[arg(long, default_value_t = 6, value_name = "N")]
    batch_size: usize,
    /// Window for volumes
    #[arg(long, default_value = "64x64x32", value_name = "XxYxZ", value_parser = super::parse_size)]
    cube: [usize; 3],
    /// Overlap of neighbouring windows
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    overlap: f64,
    /// Intensities that become 0 and 1, in the volume's unit (HU for CT)
    #[arg(long, default_value = "-1000,1000", value_name = "LO,HI", allow_hyphen_values = true,
          value_parser = super::parse_window)]
    window: [f64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StatisticsName {
    Auto,
    Batch,
    Running,
}

#[derive(Serialize)]
struct Report {
    out: PathBuf,
    cubes: usize,
    /// Mean squared error between the deformed and the true cubes, with `--deform`.
    identity_mse: Option<f64>,
    /// Mean squared error between the restored and the true cubes, with `--deform`.
    restored_mse: Option<f64>,
    seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// Files that cannot be read or do not fit together; an output that cannot be written.
pub fn run(args: &RestoreArgs, common: &Common) -> Result<()> {
    if args.batch_size == 0 {
        return Err(Error::Usage("--batch-size must be at least 1".into()));
    }
    for input in [&args.input, &args.weights] {
        volume::refuse_to_replace(input, &args.out)?;
    }
    let cx = common.context()?;
    let (network, wanted) = load_network(&args.weights)?;
    if network.config().channels != 1 || network.config().classes != 1 {
        let config = network.config();
        let cause =
            format!("restores {} channels into {}, not one into one", config.channels, config.classes);
        return Err(Error::file(&args.weights, cause));
    }
    let statistics = match args.statistics {
        StatisticsName::Auto => wanted,
        StatisticsName::Batch => Statistics::Batch,
        StatisticsName::Running => Statistics::Running,
    };
    let start = std::time::Instant::now();
    let mut report = if args.input.extension().is_some_and(|extension| extension == "npy") {
        cubes(args, common, &cx, network, statistics)?
    } else {
        whole_volume(args, common, &cx, network, statistics)?
    };
    report.seconds = start.elapsed().as_secs_f64();
    if common.json {
        return super::print_json(&report);
    }
    match (report.identity_mse, report.restored_mse) {
        (Some(identity), Some(restored)) => println!(
            "{} cubes in {:.1} s: MSE {identity:.6} deformed, {restored:.6} restored ({:.2} x)",
            report.cubes,
            report.seconds,
            restored / identity
        ),
        _ => println!("{} window(s) or cube(s) in {:.1} s", report.cubes, report.seconds),
    }
    println!("{}", report.out.display());
    Ok(())
}

fn cubes(
    args: &RestoreArgs,
    common: &Common,
    cx: &Context,
    mut network: UNet3d,
    statistics: Statistics,
) -> Result<Report> {
    let file = CubeFile::open(&args.input)?;
    let size = file.size();
    if size.iter().any(|extent| extent % DIVISOR != 0) {
        let cause = format!("holds cubes of {size:?} voxels: every extent must divide by {DIVISOR}");
        return Err(Error::file(&args.input, cause));
    }
    let voxels: usize = size.iter().product();
    let mut deformer = if args.deform { Some(Deformer::new(Recipe::genesis(), size)?) } else { None };
    let mut writer = CubeWriter::create(&args.out, size)?;
    let progress = Progress::new("restoring", file.count() as u64, common.quiet);
    let (mut identity, mut error) = (0.0f64, 0.0f64);
    let mut cube = vec![0.0; voxels];
    for first in (0..file.count()).step_by(args.batch_size) {
        let count = args.batch_size.min(file.count() - first);
        let (mut input, mut target) = (vec![0.0; count * voxels], vec![0.0; count * voxels]);
        for index in 0..count {
            let (input, target) =
                (&mut input[index * voxels..][..voxels], &mut target[index * voxels..][..voxels]);
            file.read(first + index, &mut cube)?;
            match &mut deformer {
                None => input.copy_from_slice(&cube),
                Some(deformer) => {
                    let sample = (first + index) as u64;
                    deformer.pair_for_sample(
                        common.seed(),
                        VALIDATION_EPOCH,
                        sample,
                        &cube,
                        target,
                        input,
                        None,
                    );
                }
            }
        }
        let restored = restore_cubes(
            cx,
            &mut network,
            &input,
            size,
            args.batch_size,
            statistics,
            common.precision(),
            |count| {
                progress.advance(count as u64);
            },
        )?;
        if deformer.is_some() {
            identity += squared(&input, &target);
            error += squared(&restored, &target);
        }
        restored.chunks_exact(voxels).try_for_each(|cube| writer.push(cube))?;
    }
    progress.finish();
    writer.finish()?;
    let mean = |sum: f64| deformer.is_some().then(|| sum / (file.count() * voxels) as f64);
    let (identity_mse, restored_mse) = (mean(identity), mean(error));
    Ok(Report { out: args.out.clone(), cubes: file.count(), identity_mse, restored_mse, seconds: 0.0 })
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
}

fn whole_volume(
    args: &RestoreArgs,
    common: &Common,
    cx: &Context,
    mut network: UNet3d,
    statistics: Statistics,
) -> Result<Report> {
    if args.deform {
        return Err(Error::Usage("--deform works on cubes (.npy), not on volumes".into()));
    }
    let [low, high] = args.window.map(|bound| bound as f32);
    let input = read_finite(&args.input, args.frame)?;
    let (canonical, change): (Volume, Reorientation) = input.to_canonical();
    let scaled: Vec<f32> =
        canonical.voxels.iter().map(|&v| ((v - low) / (high - low)).clamp(0.0, 1.0)).collect();
    let window = SlidingWindow { size: args.cube, overlap: args.overlap };
    let mut progress = None;
    let mut windows = 0;
    let restored = restore_volume(
        cx,
        &mut network,
        &scaled,
        canonical.size,
        window,
        statistics,
        common.precision(),
        |done, total| {
            let bar = progress.get_or_insert_with(|| Progress::new("restoring", total as u64, common.quiet));
            bar.advance(1);
            windows = done;
        },
    )?;
    if let Some(progress) = &progress {
        progress.finish();
    }
    let intensities: Vec<f32> = restored.iter().map(|&v| low + v * (high - low)).collect();
    let restored = canonical.with_voxels(intensities)?.reorient(&change.inverse());
    volume::write_volume(&args.out, &restored, volume::ElementType::Float32)?;
    Ok(Report { out: args.out.clone(), cubes: windows, identity_mse: None, restored_mse: None, seconds: 0.0 })
}

fn read_finite(path: &Path, frame: Option<usize>) -> Result<Volume> {
    let volume = volume::read_volume_with(path, &ReadOptions::frame(frame))?;
    volume.check_finite()?;
    Ok(volume)
}

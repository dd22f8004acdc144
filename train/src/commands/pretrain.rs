//! `genesis pretrain`: restoration training.

use super::Common;
use crate::bad_volume::OnBadVolume;
use crate::training::{Execution, OnNan, Preset, RunConfig, RunDirectory, Summary, pretrain};
use crate::{Error, Result};
use clap::{Args, ValueEnum};
use genesis_model::Levels;
use std::path::PathBuf;

/// Trains the 3D U-Net to restore deformed cubes
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis cubes --volumes scans/ --out cubes.npy
  genesis pretrain --cubes cubes.npy --out runs/a
  genesis pretrain --volumes scans/ --out runs/b --width 16 --steps 2000
  genesis pretrain --cubes bat_32_s_64x64x32_[0-4].npy --valid bat_32_s_64x64x32_[56].npy --out runs/c --preset original
  genesis pretrain --resume --out runs/a")]
pub struct PretrainArgs {
    /// Defaults to start from: the mended method, the released code with its quirks, or the paper
    #[arg(long, value_enum)]
    preset: Option<PresetName>,
    /// Files of training cubes (.npy, [N, 64, 64, 32] in [0, 1])
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "volumes")]
    cubes: Vec<PathBuf>,
    /// Directory of volumes to cut cubes from
    #[arg(long, value_name = "DIR")]
    volumes: Option<PathBuf>,
    /// Files of validation cubes [default: the last fifth of the training cubes or volumes]
    #[arg(long, num_args = 1.., value_name = "FILE")]
    valid: Vec<PathBuf>,
    /// Run directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Configuration laid over the preset (a run's config.toml reruns it)
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// The most epochs [default: 10000]
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Stop after this many steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Cubes per step [default: 6]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Base learning rate [default: 1]
    #[arg(long, value_name = "X")]
    lr: Option<f64>,
    /// sgd, adam or adamw [default: sgd]
    #[arg(long, value_name = "NAME")]
    optimizer: Option<String>,
    /// Channels of the first convolution [default: 32]
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Initial values: pytorch, uniform, xavier or msra [default: pytorch]
    #[arg(long, value_name = "NAME")]
    init: Option<String>,
    /// Activation: relu, prelu or elu [default: relu]
    #[arg(long, value_name = "NAME")]
    activation: Option<String>,
    /// Weights to start from (.safetensors or .pt)
    #[arg(long, value_name = "FILE", conflicts_with = "init")]
    weights: Option<PathBuf>,
    /// Only these deformations: flip, local-shuffling, nonlinear, inner-cutout, outer-cutout,
    /// autoencoder, denoising, patch-shuffling, in-painting
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,
    /// Epochs without a lower validation loss before stopping [default: 50]
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// Also write a checkpoint every N steps
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// A step whose loss or gradient is not finite: stop, or skip it; its batch is written to not-finite/ [default: stop]
    #[arg(long, value_name = "stop|skip")]
    on_nan: Option<OnNan>,
    /// A volume that cannot be used, or a cube that is not finite: skip it, which skipped.csv tells, or fail
    /// [default: skip]
    #[arg(long, value_name = "skip|fail")]
    on_bad_volume: Option<OnBadVolume>,
    /// Threads that read and deform cubes [default: 2]
    #[arg(long, value_name = "N")]
    loader_threads: Option<usize>,
    /// Extents of the cubes cut from --volumes [default: 64x64x32]
    #[arg(long, value_name = "XxYxZ", value_parser = super::parse_size, requires = "volumes")]
    cube: Option<[usize; 3]>,
    /// Cubes from each of --volumes [default: 32]
    #[arg(long, value_name = "N", requires = "volumes")]
    per_volume: Option<usize>,
    /// Which volume of each file of several (4D) in --volumes to read, counted from 0
    #[arg(long, value_name = "N", requires = "volumes")]
    frame: Option<usize>,
    /// Voxels left out at each side of --volumes [default: 100,100,30]
    #[arg(long, value_name = "X,Y,Z", value_parser = super::parse_triple, requires = "volumes")]
    border: Option<[usize; 3]>,
    /// What to make again in the backward pass instead of keeping it: 0 nothing, 1 what is cheap,
    /// 2 whole levels, which run twice; less memory, the same result to the bit [default: 1]
    #[arg(long, value_name = "0|1|2", value_parser = clap::value_parser!(u8).range(0..=2))]
    recompute: Option<u8>,
    /// The levels of --recompute 2: some of 64,128,256,512 [default: 64,128]
    #[arg(long, value_name = "LIST")]
    checkpoint_levels: Option<Levels>,
    #[command(flatten)]
    trace: super::TraceArgs,
    /// Go on from the run's last checkpoint
    #[arg(long)]
    resume: bool,
}

/// The presets as flags.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PresetName {
    Genesis,
    Original,
    Paper,
}

impl From<PresetName> for Preset {
    fn from(name: PresetName) -> Self {
        match name {
            PresetName::Genesis => Self::Genesis,
            PresetName::Original => Self::Original,
            PresetName::Paper => Self::Paper,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Wrong usage, bad data, a run directory that cannot be written, a training that fails.
pub fn run(args: &PretrainArgs, common: &Common) -> Result<()> {
    let config = resolve(args, common)?;
    let trace = args.trace.request();
    let execution = Execution::of_command(common.hardware()?, args.resume, common.quiet, trace);
    let summary = pretrain(&config, &args.out, &execution)?;
    report(&summary, args, common)
}

/// The configuration from preset, file and flags, the later over the earlier.
fn resolve(args: &PretrainArgs, common: &Common) -> Result<RunConfig> {
    let preset = args.preset.map(Preset::from);
    let mut config = match (&args.config, args.resume) {
        (Some(path), _) => RunConfig::from_file(path, preset)?,
        (None, true) => RunDirectory::read_config(&args.out)?,
        (None, false) => RunConfig::preset(preset.unwrap_or_default()),
    };
    if !args.cubes.is_empty() {
        config.data.cubes = absolute(&args.cubes)?;
        config.data.volumes = None;
    }
    if !args.valid.is_empty() {
        config.data.valid = absolute(&args.valid)?;
    }
    if let Some(path) = &args.volumes {
        config.data.volumes = Some(absolute(std::slice::from_ref(path))?.remove(0));
        config.data.cubes.clear();
    }
    if config.data.cubes.is_empty() && config.data.volumes.is_none() {
        return Err(Error::Usage("give --cubes FILE… or --volumes DIR".into()));
    }
    if let Some(path) = &args.weights {
        config.weights = Some(absolute(std::slice::from_ref(path))?.remove(0));
    }
    set(&mut config.epochs, args.epochs);
    set(&mut config.steps, args.steps);
    set(&mut config.batch_size, args.batch_size);
    set(&mut config.optimizer.learning_rate, args.lr);
    if let Some(name) = &args.optimizer {
        config.optimizer.name.clone_from(name);
        // SGD's rate of 1 would destroy Adam's first step.
        if name != "sgd" && args.lr.is_none() && config.optimizer.learning_rate == 1.0 {
            config.optimizer.learning_rate = 1e-3;
        }
    }
    set(&mut config.network.width, args.width);
    set(&mut config.patience, args.patience);
    set(&mut config.checkpoint_every, args.checkpoint_every);
    set(&mut config.on_nan, args.on_nan);
    set(&mut config.data.on_bad_volume, args.on_bad_volume);
    set(&mut config.loader_threads, args.loader_threads);
    if let Some(cube) = args.cube {
        config.data.extraction.cube = cube;
        config.data.extraction.crop = [cube[0], cube[1]];
    }
    set(&mut config.data.extraction.per_volume, args.per_volume);
    set(&mut config.data.extraction.border, args.border);
    if args.frame.is_some() {
        config.data.extraction.frame = args.frame;
    }
    if let Some(name) = &args.init {
        config.initialiser = name.parse().map_err(Error::Usage)?;
    }
    if let Some(name) = &args.activation {
        config.network.activation = name.parse().map_err(Error::Usage)?;
    }
    if !args.only.is_empty() {
        config.deformation = config.deformation.restricted_to(&args.only)?;
    }
    if common.seed_given() || !args.resume && args.config.is_none() {
        config.seed = common.seed();
    }
    set(&mut config.precision, common.precision_given());
    if let Some(levels) = args.checkpoint_levels {
        config.checkpoint_levels = levels;
        config.recompute = 2;
    }
    set(&mut config.recompute, args.recompute);
    if let Some(threads) = common.threads {
        config.threads = threads;
    }
    config.check()?;
    Ok(config)
}

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

/// Paths as they are found from anywhere, since `config.toml` keeps them.
fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    paths.iter().map(|path| std::fs::canonicalize(path).map_err(Error::io("read", path))).collect()
}

fn report(summary: &Summary, args: &PretrainArgs, common: &Common) -> Result<()> {
    if common.json {
        return super::print_json(summary);
    }
    println!(
        "{} steps, {} epochs in {:.1} s ({:.2} samples/s): validation MSE {:.6}, best {:.6} (epoch {}); leaving \
         cubes deformed gives {:.6} ({:.2} x)",
        summary.steps,
        summary.epochs,
        summary.seconds,
        summary.samples_per_second,
        summary.last_valid_loss,
        summary.best_valid_loss,
        summary.best_epoch,
        summary.identity_loss,
        summary.best_valid_loss / summary.identity_loss
    );
    println!("{}", args.out.join("checkpoints/best.safetensors").display());
    Ok(())
}

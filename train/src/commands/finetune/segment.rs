//! `genesis finetune segment`: a label for every voxel.

use crate::augment::AugmentationRecipe;
use crate::commands::{Common, TraceArgs, parse_size, parse_spacing, parse_window, print_json};
use crate::cubes::Modality;
use crate::finetune::{
    ClassWeights, Freeze, LossName, SegmentationConfig, SegmentationSummary, finetune_segmentation,
};
use crate::preprocess::Intensity;
use crate::training::Execution;
use crate::{Error, Result};
use clap::Args;
use genesis_model::Levels;
use std::path::{Path, PathBuf};

/// Trains a network to label every voxel
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis finetune segment --data Task09_Spleen --weights runs/a/checkpoints/best.safetensors --out runs/spleen
  genesis finetune segment --data brats/ --modality mri --labels 1+2+4=tumour --channels FLAIR --out runs/tumour
  genesis finetune segment --data hippocampus/ --modality mri --patch 40x56x40 --splits splits.json --out runs/h
  genesis finetune segment --data liver/ --labels liver --window -160,240 --spacing 1.5,1.5,2 --out runs/liver
  genesis finetune segment --data Task03_Liver --loss dice-ce --class-weights balanced --out runs/tumours
  genesis finetune segment --resume --out runs/liver

Data: a folder with dataset.json (Medical Segmentation Decathlon, nnU-Net), with imagesTr/ and labelsTr/ or
images/ and labels/ (the same file names; _0000, _0001, … are channels), or BraTS or LiTS as distributed.")]
pub struct SegmentArgs {
    /// Folder of scans with label maps
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Run directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Weights to start from (.safetensors or .pt; whole network or encoder)
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Initial values of what no weights are loaded for: pytorch, uniform, xavier or msra [default: pytorch]
    #[arg(long, value_name = "NAME")]
    init: Option<String>,
    /// Configuration laid over the defaults (a run's config.toml reruns it)
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Go on from the run's last checkpoint
    #[arg(long)]
    resume: bool,
    /// JSON with the names of the cases: {"train": […], "val": […]} [default: a fifth validates, by --seed]
    #[arg(long, value_name = "FILE.json")]
    splits: Option<PathBuf>,
    /// The split in a file of several, such as hippocampus, or 0 for nnU-Net's first fold
    #[arg(long, value_name = "KEY", requires = "splits")]
    splits_key: Option<String>,
    /// Share of the cases that validates without --splits [default: 0.2]
    #[arg(long, value_name = "SHARE", conflicts_with = "splits")]
    held_out: Option<f64>,
    /// Share of the training cases that is used, by --seed [default: 1]
    #[arg(long, value_name = "SHARE")]
    label_fraction: Option<f64>,
    /// Foreground classes: values or names, merged by +, named by =; the rest is background
    /// [default: every label]
    #[arg(long, value_delimiter = ',', value_name = "LABEL[+LABEL…][=NAME],…")]
    labels: Vec<String>,
    /// Channels of the scans that are used, by number or name [default: all]
    #[arg(long, value_delimiter = ',', value_name = "CHANNEL,…")]
    channels: Vec<String>,
    /// Sets intensities: ct clips to -1000,1000 HU, mri to the percentiles 0.5 and 99.5 [default: ct]
    #[arg(long, value_enum)]
    modality: Option<Modality>,
    /// Intensities that become 0 and 1, such as -160,240 (HU) for the liver
    #[arg(long, value_name = "LO,HI", allow_hyphen_values = true, value_parser = parse_window)]
    window: Option<[f64; 2]>,
    /// Intensities with mean 0 and deviation 1; nonzero leaves out the background of a stripped brain
    #[arg(long, value_name = "all|nonzero", conflicts_with = "window", value_parser = ["all", "nonzero"])]
    z_score: Option<String>,
    /// Millimetres between voxels everything is resampled to [default: as scanned]
    #[arg(long, value_name = "X,Y,Z", value_parser = parse_spacing)]
    spacing: Option<[f64; 3]>,
    /// Extents of a patch, each a multiple of 8 [default: 64x64x32]
    #[arg(long, value_name = "XxYxZ", value_parser = parse_size)]
    patch: Option<[usize; 3]>,
    /// Share of the patches centred on the foreground [default: 0.5]
    #[arg(long, value_name = "SHARE")]
    foreground_share: Option<f64>,
    /// Patches of each case in an epoch [default: 2]
    #[arg(long, value_name = "N")]
    patches_per_case: Option<usize>,
    /// Augmentation: none, light or default [default: default]
    #[arg(long, value_name = "NAME")]
    augment: Option<String>,
    /// dice, dice-ce, ce, focal, or bce for one class [default: dice-ce]
    #[arg(long, value_name = "NAME")]
    loss: Option<LossName>,
    /// How much each class counts in ce, dice-ce or focal: none, balanced (by the voxels of the training cases), or a
    /// weight for each, the background's first [default: none]
    #[arg(long, value_name = "none|balanced|W,W,…")]
    class_weights: Option<ClassWeights>,
    /// What stays as it was loaded: none or encoder [default: none]
    #[arg(long, value_name = "none|encoder")]
    freeze: Option<Freeze>,
    /// The encoder's learning rate as a multiple of --lr [default: 1]
    #[arg(long, value_name = "X")]
    encoder_lr_factor: Option<f64>,
    /// The most epochs [default: 200]
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Stop after this many steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Patches per step [default: 2]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Base learning rate [default: 0.001]
    #[arg(long, value_name = "X")]
    lr: Option<f64>,
    /// adam, adamw or sgd [default: adam]
    #[arg(long, value_name = "NAME")]
    optimizer: Option<String>,
    /// Learning rate over time: poly, cosine, step or constant [default: poly]
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// Steps over which the learning rate rises at the start [default: 0]
    #[arg(long, value_name = "N")]
    warm_up: Option<u64>,
    /// Epochs without a higher validation Dice before stopping [default: 50]
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// Epochs between validations [default: 1]
    #[arg(long, value_name = "N")]
    validate_every: Option<u64>,
    /// Channels of the first convolution [default: the weights', or 32]
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Also write a checkpoint every N steps
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// Threads that cut and augment patches [default: 1]
    #[arg(long, value_name = "N")]
    loader_threads: Option<usize>,
    /// The most memory for cases, in MiB [default: 4096]
    #[arg(long, value_name = "MIB")]
    cache: Option<usize>,
    /// What to make again in the backward pass instead of keeping it, as in pretrain [default: 1]
    #[arg(long, value_name = "0|1|2", value_parser = clap::value_parser!(u8).range(0..=2))]
    recompute: Option<u8>,
    /// The levels of --recompute 2: some of 64,128,256,512 [default: 64,128]
    #[arg(long, value_name = "LIST")]
    checkpoint_levels: Option<Levels>,
    #[command(flatten)]
    trace: TraceArgs,
}

/// Runs the command.
///
/// # Errors
/// Wrong usage, bad data, a run directory that cannot be written, a training that fails.
pub fn run(args: &SegmentArgs, common: &Common) -> Result<()> {
    let config = resolve(args, common)?;
    let trace = args.trace.request();
    let execution = Execution { isa: common.isa()?, resume: args.resume, quiet: common.quiet, trace };
    let summary = finetune_segmentation(&config, &args.out, &execution)?;
    report(&summary, args, common)
}

/// The configuration from defaults, file and flags, the later over the earlier.
fn resolve(args: &SegmentArgs, common: &Common) -> Result<SegmentationConfig> {
    let mut config = match (&args.config, args.resume) {
        (Some(path), _) => SegmentationConfig::from_file(path)?,
        (None, true) => {
            let path = args.out.join("config.toml");
            if !path.is_file() {
                return Err(Error::file(&args.out, "holds no run to go on with (no config.toml)"));
            }
            SegmentationConfig::from_file(&path)?
        }
        (None, false) => SegmentationConfig::default(),
    };
    data(args, &mut config)?;
    preprocessing(args, &mut config);
    if let Some(path) = &args.weights {
        config.weights = Some(absolute(path)?);
    }
    if let Some(name) = &args.init {
        config.initialiser = name.parse().map_err(Error::Usage)?;
    }
    set(&mut config.patch.size, args.patch);
    set(&mut config.patch.foreground_share, args.foreground_share);
    set(&mut config.patch.per_case, args.patches_per_case);
    if let Some(name) = &args.augment {
        config.augmentation = AugmentationRecipe::named(name)?;
    }
    set(&mut config.loss, args.loss);
    set(&mut config.class_weights, args.class_weights.clone());
    set(&mut config.freeze, args.freeze);
    set(&mut config.encoder_lr_factor, args.encoder_lr_factor);
    set(&mut config.epochs, args.epochs);
    set(&mut config.steps, args.steps);
    set(&mut config.batch_size, args.batch_size);
    set(&mut config.optimizer.learning_rate, args.lr);
    set(&mut config.optimizer.name, args.optimizer.clone());
    set(&mut config.schedule.name, args.schedule.clone());
    set(&mut config.schedule.warm_up_steps, args.warm_up);
    set(&mut config.patience, args.patience);
    set(&mut config.validation.every_epochs, args.validate_every);
    set(&mut config.width, args.width);
    set(&mut config.checkpoint_every, args.checkpoint_every);
    set(&mut config.loader_threads, args.loader_threads);
    if common.seed_given() || !args.resume && args.config.is_none() {
        config.seed = common.seed();
    }
    set(&mut config.precision, common.precision_given());
    if let Some(levels) = args.checkpoint_levels {
        config.checkpoint_levels = levels;
        config.recompute = 2;
    }
    set(&mut config.recompute, args.recompute);
    set(&mut config.threads, common.threads);
    config.check()?;
    Ok(config)
}

fn data(args: &SegmentArgs, config: &mut SegmentationConfig) -> Result<()> {
    if let Some(path) = &args.data {
        config.data.folder = absolute(path)?;
    }
    if config.data.folder.as_os_str().is_empty() {
        return Err(Error::Usage("give --data DIR".into()));
    }
    if let Some(path) = &args.splits {
        config.data.splits = Some(absolute(path)?);
        config.data.splits_key.clone_from(&args.splits_key);
    }
    set(&mut config.data.held_out, args.held_out);
    set(&mut config.data.label_fraction, args.label_fraction);
    set(&mut config.data.cache_mib, args.cache);
    if !args.labels.is_empty() {
        config.data.labels.clone_from(&args.labels);
    }
    if !args.channels.is_empty() {
        config.data.channels.clone_from(&args.channels);
    }
    Ok(())
}

fn preprocessing(args: &SegmentArgs, config: &mut SegmentationConfig) {
    let intensity = &mut config.preprocessing.intensity;
    match args.modality {
        Some(Modality::Ct) => *intensity = Intensity::default(),
        Some(Modality::Mri) => *intensity = Intensity::Percentiles { low: 0.5, high: 99.5 },
        None => {}
    }
    if let Some([low, high]) = args.window {
        *intensity = Intensity::Window { low, high };
    }
    if let Some(name) = &args.z_score {
        *intensity = Intensity::ZScore { nonzero_only: name == "nonzero" };
    }
    if args.spacing.is_some() {
        config.preprocessing.spacing = args.spacing;
    }
}

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

/// A path as it is found from anywhere, since `config.toml` keeps it.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(Error::io("read", path))
}

fn report(summary: &SegmentationSummary, args: &SegmentArgs, common: &Common) -> Result<()> {
    if common.json {
        return print_json(summary);
    }
    println!(
        "{} steps, {} epochs in {:.1} s ({:.2} patches/s): validation Dice {:.4}, best {:.4} (epoch {})",
        summary.run.steps,
        summary.run.epochs,
        summary.run.seconds,
        summary.run.samples_per_second,
        summary.last_valid_dice,
        summary.best_valid_dice,
        summary.run.best_epoch
    );
    for (class, dice) in &summary.last_valid_dice_classes {
        match dice {
            Some(dice) => println!("  {class}: {dice:.4}"),
            None => println!("  {class}: in no validation case"),
        }
    }
    println!("{}", args.out.join("checkpoints/best.safetensors").display());
    Ok(())
}

//! The flags that all target tasks share.

use crate::augment::AugmentationRecipe;
use crate::bad_volume::OnBadVolume;
use crate::commands::{Common, TraceArgs, parse_spacing, parse_window};
use crate::cubes::Modality;
use crate::finetune::{Freeze, TargetConfig, TargetSettings, read_config};
use crate::preprocess::Intensity;
use crate::training::{Execution, OnNan};
use crate::{Error, Result};
use clap::Args;
use genesis_model::Levels;
use std::path::{Path, PathBuf};

/// Flags of every `genesis finetune`.
#[derive(Args, Debug)]
pub struct TrainingArgs {
    /// Run directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
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
    /// JSON with names of cases, or of rows or groups of a table: {"train": […], "val": […]}
    /// [default: a table's column split, or a fifth validates, by --seed]
    #[arg(long, value_name = "FILE.json")]
    splits: Option<PathBuf>,
    /// The split in a file of several, such as hippocampus, or 0 for nnU-Net's first fold
    #[arg(long, value_name = "KEY", requires = "splits")]
    splits_key: Option<String>,
    /// Share of the cases (groups of a table) that validates where no split is given [default: 0.2]
    #[arg(long, value_name = "SHARE", conflicts_with = "splits")]
    held_out: Option<f64>,
    /// Share of the training cases (of a table: of the rows of every class) that is used, by --seed [default: 1]
    #[arg(long, value_name = "SHARE")]
    label_fraction: Option<f64>,
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
    /// Augmentation: none, light or default [default: default]
    #[arg(long, value_name = "NAME")]
    augment: Option<String>,
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
    /// Samples per step [default: 2 patches or 8 cubes]
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
    /// Epochs without a better validation (Dice, AUC) before stopping [default: 50]
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
    /// A step whose loss or gradient is not finite: stop, or skip it; its batch is written to not-finite/ [default: stop]
    #[arg(long, value_name = "stop|skip")]
    on_nan: Option<OnNan>,
    /// A volume that cannot be used: fail, or skip it, which skipped.csv tells [default: fail]
    #[arg(long, value_name = "fail|skip")]
    on_bad_volume: Option<OnBadVolume>,
    /// Threads that cut and augment samples [default: 1]
    #[arg(long, value_name = "N")]
    loader_threads: Option<usize>,
    /// The most memory for samples, in MiB [default: 4096]
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

impl TrainingArgs {
    /// How the run is carried out.
    ///
    /// # Errors
    /// A `GENESIS_ISA` that is unknown or that this machine lacks.
    pub fn execution(&self, common: &Common) -> Result<Execution> {
        let trace = self.trace.request();
        Ok(Execution::of_command(common.hardware()?, self.resume, common.quiet, trace))
    }

    /// The configuration from defaults, file and these flags, the later over the earlier.
    ///
    /// # Errors
    /// Files that cannot be read; values that make no sense.
    pub fn config<C: TargetConfig>(&self, common: &Common) -> Result<C> {
        let mut config: C = match (&self.config, self.resume) {
            (Some(path), _) => read_config(path)?,
            (None, true) => {
                let path = self.out.join("config.toml");
                if !path.is_file() {
                    return Err(Error::file(&self.out, "holds no run to go on with (no config.toml)"));
                }
                read_config(&path)?
            }
            (None, false) => C::default(),
        };
        let mut settings = config.settings();
        self.apply(&mut settings, common)?;
        config.set_settings(settings);
        Ok(config)
    }

    fn apply(&self, settings: &mut TargetSettings, common: &Common) -> Result<()> {
        if let Some(path) = &self.weights {
            settings.weights = Some(absolute(path)?);
        }
        if let Some(name) = &self.init {
            settings.initialiser = name.parse().map_err(Error::Usage)?;
        }
        if let Some(path) = &self.splits {
            settings.splits = Some(absolute(path)?);
            settings.splits_key.clone_from(&self.splits_key);
        }
        if let Some(name) = &self.augment {
            settings.augmentation = AugmentationRecipe::named(name)?;
        }
        self.preprocess(settings);
        set(&mut settings.held_out, self.held_out);
        set(&mut settings.label_fraction, self.label_fraction);
        set(&mut settings.cache_mib, self.cache);
        set(&mut settings.freeze, self.freeze);
        set(&mut settings.encoder_lr_factor, self.encoder_lr_factor);
        set(&mut settings.epochs, self.epochs);
        set(&mut settings.steps, self.steps);
        set(&mut settings.batch_size, self.batch_size);
        set(&mut settings.optimizer.learning_rate, self.lr);
        set(&mut settings.optimizer.name, self.optimizer.clone());
        set(&mut settings.schedule.name, self.schedule.clone());
        set(&mut settings.schedule.warm_up_steps, self.warm_up);
        set(&mut settings.patience, self.patience);
        set(&mut settings.every_epochs, self.validate_every);
        set(&mut settings.width, self.width);
        set(&mut settings.checkpoint_every, self.checkpoint_every);
        set(&mut settings.on_nan, self.on_nan);
        set(&mut settings.on_bad_volume, self.on_bad_volume);
        set(&mut settings.loader_threads, self.loader_threads);
        if common.seed_given() || !self.resume && self.config.is_none() {
            settings.seed = common.seed();
        }
        set(&mut settings.precision, common.precision_given());
        if let Some(levels) = self.checkpoint_levels {
            settings.checkpoint_levels = levels;
            settings.recompute = 2;
        }
        set(&mut settings.recompute, self.recompute);
        set(&mut settings.threads, common.threads);
        Ok(())
    }

    fn preprocess(&self, settings: &mut TargetSettings) {
        let intensity = &mut settings.preprocessing.intensity;
        match self.modality {
            Some(Modality::Ct) => *intensity = Intensity::default(),
            Some(Modality::Mri) => *intensity = Intensity::Percentiles { low: 0.5, high: 99.5 },
            None => {}
        }
        if let Some([low, high]) = self.window {
            *intensity = Intensity::Window { low, high };
        }
        if let Some(name) = &self.z_score {
            *intensity = Intensity::ZScore { nonzero_only: name == "nonzero" };
        }
        if self.spacing.is_some() {
            settings.preprocessing.spacing = self.spacing;
        }
    }
}

/// Replaces a value by one that was given.
pub fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

/// A path as it is found from anywhere, since `config.toml` keeps it.
///
/// # Errors
/// A path that leads nowhere.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(Error::io("read", path))
}

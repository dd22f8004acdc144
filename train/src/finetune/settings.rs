//! The settings that every target task has, whatever else its configuration holds.

use crate::augment::AugmentationRecipe;
use crate::bad_volume::OnBadVolume;
use crate::preprocess::Preprocessing;
use crate::training::config_file::{laid_over, one_line, read_table};
use crate::training::{OnNan, OptimizerConfig, ScheduleConfig, StepSettings};
use crate::{Error, Precision, Result};
use genesis_model::{Initialiser, Levels, Nonlinearity, Statistics};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which parameters stay as they were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freeze {
    /// All layers are trained, as in the paper.
    #[default]
    None,
    /// The encoder's parameters and running statistics stay.
    Encoder,
}

impl FromStr for Freeze {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "encoder" => Ok(Self::Encoder),
            _ => Err("use none or encoder".into()),
        }
    }
}

/// The part of a configuration that is the same for all target tasks. In `config.toml` these values stand
/// beside the task's own; [`TargetConfig`] takes them out and puts them back.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSettings {
    /// Seed of every random stream.
    pub seed: u64,
    /// The most epochs.
    pub epochs: u64,
    /// Stop after this many steps; 0: no such limit.
    pub steps: u64,
    /// Samples per step.
    pub batch_size: usize,
    /// Stop after this many epochs without a better validation.
    pub patience: u64,
    /// Initial values of what no weights are loaded for.
    pub initialiser: Initialiser,
    /// Weights to start from.
    pub weights: Option<PathBuf>,
    /// Which parameters stay as they were loaded.
    pub freeze: Freeze,
    /// The encoder's learning rate, as a multiple of the others'.
    pub encoder_lr_factor: f64,
    /// Channels of the first convolution; 0: the weights', or 32.
    pub width: usize,
    /// The activation; weights bring their own.
    pub activation: Nonlinearity,
    /// Steps between checkpoints besides those of validations; 0: none.
    pub checkpoint_every: u64,
    /// What is done about a step whose loss or gradient is not finite.
    pub on_nan: OnNan,
    /// Number format of activations and gradients.
    pub precision: Precision,
    /// What the forward pass keeps for the backward pass, as in pre-training.
    pub recompute: u8,
    /// The levels of `recompute = 2`.
    pub checkpoint_levels: Levels,
    /// Compute threads; 0: all cores.
    pub threads: usize,
    /// Threads that cut and augment samples.
    pub loader_threads: usize,
    /// A file that says which samples train and which validate.
    pub splits: Option<PathBuf>,
    /// Leads to one split in a file of several.
    pub splits_key: Option<String>,
    /// Share of the samples that validates where nothing says which.
    pub held_out: f64,
    /// Share of the training samples that is used.
    pub label_fraction: f64,
    /// What is done about a volume that cannot be used.
    pub on_bad_volume: OnBadVolume,
    /// The most memory for samples, in MiB; others are read again when needed.
    pub cache_mib: usize,
    /// Epochs between validations.
    pub every_epochs: u64,
    /// The statistics batch norm uses in validation.
    pub statistics: Statistics,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// The learning rate's schedule.
    pub schedule: ScheduleConfig,
    /// What is done to a volume first.
    pub preprocessing: Preprocessing,
    /// How samples are augmented.
    pub augmentation: AugmentationRecipe,
}

/// The configuration of a target task.
pub trait TargetConfig: Clone + Default + Serialize + DeserializeOwned {
    /// The shared part.
    fn settings(&self) -> TargetSettings;

    /// Replaces the shared part.
    fn set_settings(&mut self, settings: TargetSettings);
}

/// Implements [`TargetConfig`] for a structure with the fields of [`TargetSettings`], those of the data in
/// `data` and those of validation in `validation`.
macro_rules! target_config {
    ($config:ty) => {
        $crate::finetune::settings::target_config! {
            $config; seed, epochs, steps, batch_size, patience, initialiser, weights, freeze, encoder_lr_factor,
            width, activation, checkpoint_every, on_nan, precision, recompute, checkpoint_levels, threads,
            loader_threads, optimizer, schedule, preprocessing, augmentation;
            data: splits, splits_key, held_out, label_fraction, on_bad_volume, cache_mib;
            validation: every_epochs, statistics
        }
    };
    ($config:ty; $($own:ident),+; data: $($data:ident),+; validation: $($validation:ident),+) => {
        impl $crate::finetune::TargetConfig for $config {
            // Some of the fields are Copy, others are not.
            #[allow(clippy::clone_on_copy)]
            fn settings(&self) -> $crate::finetune::TargetSettings {
                $crate::finetune::TargetSettings {
                    $($own: self.$own.clone(),)+
                    $($data: self.data.$data.clone(),)+
                    $($validation: self.validation.$validation.clone(),)+
                }
            }

            fn set_settings(&mut self, settings: $crate::finetune::TargetSettings) {
                $(self.$own = settings.$own;)+
                $(self.data.$data = settings.$data;)+
                $(self.validation.$validation = settings.$validation;)+
            }
        }
    };
}
pub(super) use target_config;

/// The defaults with the values of a TOML file laid over them.
///
/// # Errors
/// An unreadable file, an unknown key or a value of the wrong type, named.
pub fn read_config<C: TargetConfig>(path: &Path) -> Result<C> {
    let mut over = read_table(path)?;
    // Preprocessing is one choice among several of different keys, not values to merge one by one.
    let preprocessing = over.remove("preprocessing").map(toml::Value::try_into).transpose();
    let preprocessing: Option<Preprocessing> =
        preprocessing.map_err(|error: toml::de::Error| Error::file(path, one_line(&error)))?;
    let mut config: C = laid_over(path, &C::default(), over)?;
    if let Some(preprocessing) = preprocessing {
        config.set_settings(TargetSettings { preprocessing, ..config.settings() });
    }
    Ok(config)
}

impl TargetSettings {
    /// Without what may differ between a checkpoint and the run that goes on from it: the number of threads,
    /// what is recomputed, the length of the run and the places of files.
    pub fn identity(self) -> Self {
        Self {
            epochs: 0,
            steps: 0,
            checkpoint_every: 0,
            on_nan: OnNan::Stop,
            recompute: 1,
            checkpoint_levels: Levels::WIDEST,
            threads: 0,
            loader_threads: 0,
            weights: None,
            splits: None,
            splits_key: None,
            on_bad_volume: OnBadVolume::Fail,
            cache_mib: 0,
            ..self
        }
    }

    /// How a step keeps what its backward pass reads.
    pub fn step(&self) -> StepSettings {
        let Self { precision, recompute, checkpoint_levels, .. } = *self;
        StepSettings { precision, recompute, checkpoint_levels }
    }

    /// Checks values that types cannot.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value.
    pub fn check(&self) -> Result<()> {
        let usage = |message: String| Err(Error::Usage(message));
        if self.batch_size == 0 || self.every_epochs == 0 {
            return usage("batch_size and validation.every_epochs must be at least 1".into());
        }
        if !(0.0..=1.0).contains(&self.label_fraction) {
            return usage(format!("data.label_fraction = {} is not in [0, 1]", self.label_fraction));
        }
        if self.label_fraction == 0.0 {
            return usage("a label fraction of 0 leaves nothing to train on".into());
        }
        if !(0.0..1.0).contains(&self.held_out) {
            return usage("data.held_out must be in [0, 1)".into());
        }
        if self.recompute > 2 {
            return usage(format!("recompute = {} is not 0, 1 or 2", self.recompute));
        }
        let rate = self.optimizer.learning_rate;
        if !(rate.is_finite() && rate > 0.0) {
            return usage(format!("the learning rate must be positive, not {rate}"));
        }
        if !(self.encoder_lr_factor.is_finite() && self.encoder_lr_factor >= 0.0) {
            return usage(format!("the encoder's factor {} must not be negative", self.encoder_lr_factor));
        }
        if !["sgd", "adam", "adamw"].contains(&self.optimizer.name.as_str()) {
            return usage(format!("unknown optimizer '{}' (sgd, adam or adamw)", self.optimizer.name));
        }
        if !["step", "cosine", "poly", "constant"].contains(&self.schedule.name.as_str()) {
            let name = &self.schedule.name;
            return usage(format!("unknown schedule '{name}' (step, cosine, poly or constant)"));
        }
        self.augmentation.check()?;
        self.preprocessing.check().map_err(|error| Error::Usage(error.to_string()))
    }
}

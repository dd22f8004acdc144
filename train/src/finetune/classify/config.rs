//! Everything that decides a fine-tuning run for classification, as written to `config.toml`.

use crate::augment::AugmentationRecipe;
use crate::bad_volume::OnBadVolume;
use crate::finetune::class_weights::ClassWeights;
use crate::finetune::settings::{Freeze, TargetConfig, read_config, target_config};
use crate::preprocess::Preprocessing;
use crate::training::{OnNan, OptimizerConfig, ScheduleConfig};
use crate::{Error, Precision, Result};
use genesis_model::{DIVISOR, Initialiser, Levels, Nonlinearity, Statistics};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the cubes come from and how they are shared out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationData {
    /// The table, see [`crate::candidates`].
    pub file: PathBuf,
    /// The folder of the table's volumes, if it is not the table's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<PathBuf>,
    /// Leave out rows whose volume is missing.
    pub skip_missing: bool,
    /// The table's splits that train; empty: `train`.
    pub train: Vec<String>,
    /// The table's splits that validate; empty: `valid`.
    pub valid: Vec<String>,
    /// A JSON file with the names (or groups) of training and validation rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<PathBuf>,
    /// Leads to one split in a file of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits_key: Option<String>,
    /// Share of the groups (rows, where there are no groups) that validates where nothing says which.
    pub held_out: f64,
    /// Share of the training rows of every class that is used.
    pub label_fraction: f64,
    /// What is done about a volume that cannot be used.
    pub on_bad_volume: OnBadVolume,
    /// The most memory for cubes, in MiB; others are read again when needed.
    pub cache_mib: usize,
}

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassLoss {
    /// Cross-entropy, for two classes the binary one.
    Ce,
    /// Focal loss, γ = 2.
    Focal,
}

impl fmt::Display for ClassLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ce => "ce",
            Self::Focal => "focal",
        })
    }
}

impl FromStr for ClassLoss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ce" => Ok(Self::Ce),
            "focal" => Ok(Self::Focal),
            _ => Err("use ce or focal".into()),
        }
    }
}

/// How the cubes of a step are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// Every cube once, in a new order each time.
    Shuffled,
    /// Every class as often as any other.
    Balanced,
}

impl FromStr for Sampler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "shuffled" => Ok(Self::Shuffled),
            "balanced" => Ok(Self::Balanced),
            _ => Err("use shuffled or balanced".into()),
        }
    }
}

/// How validation cubes are classified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationValidation {
    /// Epochs between validations.
    pub every_epochs: u64,
    /// The statistics batch norm uses.
    pub statistics: Statistics,
}

/// Everything that decides a run. Threads change the speed, never the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationConfig {
    /// Seed of every random stream.
    pub seed: u64,
    /// The most epochs; one shows as many cubes as there are to train on.
    pub epochs: u64,
    /// Stop after this many steps; 0: no such limit.
    pub steps: u64,
    /// Cubes per step.
    pub batch_size: usize,
    /// Stop after this many epochs without a higher validation AUC.
    pub patience: u64,
    /// Initial values of what no weights are loaded for.
    pub initialiser: Initialiser,
    /// Weights to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Which parameters stay as they were loaded.
    pub freeze: Freeze,
    /// The encoder's learning rate, as a multiple of the others'.
    pub encoder_lr_factor: f64,
    /// What is minimised.
    pub loss: ClassLoss,
    /// What each class weighs in it: `none`, `balanced`, or numbers parted by commas.
    pub class_weights: ClassWeights,
    /// How the cubes of a step are drawn.
    pub sampler: Sampler,
    /// Extents of a cube along x, y and z of the working grid; each must divide by 8.
    pub cube: [usize; 3],
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
    /// The levels of `recompute = 2`: some of 64, 128, 256, 512.
    pub checkpoint_levels: Levels,
    /// Compute threads; 0: all cores.
    pub threads: usize,
    /// Threads that augment cubes.
    pub loader_threads: usize,
    /// Where the cubes come from.
    pub data: ClassificationData,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// The learning rate's schedule.
    pub schedule: ScheduleConfig,
    /// Validation.
    pub validation: ClassificationValidation,
    /// What is done to a volume first.
    pub preprocessing: Preprocessing,
    /// How cubes are augmented.
    pub augmentation: AugmentationRecipe,
}

target_config!(ClassificationConfig);

impl Default for ClassificationConfig {
    /// The paper's where it names a value: Adam with rate 1e-3, early stopping on validation, cubes of
    /// 64×64×32.
    fn default() -> Self {
        Self {
            seed: 1,
            epochs: 200,
            steps: 0,
            batch_size: 8,
            patience: 50,
            initialiser: Initialiser::Pytorch,
            weights: None,
            freeze: Freeze::None,
            encoder_lr_factor: 1.0,
            loss: ClassLoss::Ce,
            class_weights: ClassWeights::None,
            sampler: Sampler::Shuffled,
            cube: [64, 64, 32],
            width: 0,
            activation: Nonlinearity::Relu,
            checkpoint_every: 0,
            on_nan: OnNan::Stop,
            precision: Precision::F32,
            recompute: 1,
            checkpoint_levels: Levels::WIDEST,
            threads: 0,
            loader_threads: 1,
            data: ClassificationData {
                file: PathBuf::new(),
                volumes: None,
                skip_missing: false,
                train: Vec::new(),
                valid: Vec::new(),
                splits: None,
                splits_key: None,
                held_out: 0.2,
                label_fraction: 1.0,
                on_bad_volume: OnBadVolume::Fail,
                cache_mib: 4096,
            },
            optimizer: OptimizerConfig {
                name: "adam".into(),
                learning_rate: 1e-3,
                momentum: 0.9,
                weight_decay: 0.0,
                nesterov: false,
                clip_norm: 0.0,
            },
            schedule: ScheduleConfig { name: "poly".into(), every_epochs: 40, factor: 0.5, warm_up_steps: 0 },
            validation: ClassificationValidation { every_epochs: 1, statistics: Statistics::Running },
            preprocessing: Preprocessing::default(),
            augmentation: AugmentationRecipe::default(),
        }
    }
}

impl ClassificationConfig {
    /// The defaults with the values of a TOML file laid over them.
    ///
    /// # Errors
    /// An unreadable file, an unknown key or a value of the wrong type, named.
    pub fn from_file(path: &Path) -> Result<Self> {
        read_config(path)
    }

    /// The whole configuration as TOML.
    ///
    /// # Errors
    /// Values TOML cannot hold (none in practice).
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Work(format!("configuration: {error}")))
    }

    /// What must agree between a checkpoint and the run that goes on from it: all but the number of
    /// threads, what is recomputed, the length of the run and the places of files.
    pub fn identity(&self) -> Self {
        let mut identity = self.clone();
        identity.set_settings(self.settings().identity());
        identity.data.file = PathBuf::new();
        identity.data.volumes = None;
        identity
    }

    /// Checks values that types cannot.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value.
    pub fn check(&self) -> Result<()> {
        if self.cube.iter().any(|&extent| extent == 0 || extent % DIVISOR != 0) {
            let size = crate::training::times(self.cube);
            let cause = format!("a cube of {size} voxels: every extent must divide by {DIVISOR}");
            return Err(Error::Usage(cause));
        }
        self.settings().check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolved_configuration_reads_back_equal() {
        let mut config = ClassificationConfig {
            class_weights: ClassWeights::Given(vec![1.0, 4.5]),
            sampler: Sampler::Balanced,
            ..ClassificationConfig::default()
        };
        config.data.valid = vec!["subset9".into()];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config.to_toml().unwrap()).unwrap();
        assert_eq!(ClassificationConfig::from_file(file.path()).unwrap(), config);
        std::fs::write(file.path(), "class_weights = 'heavy'\n").unwrap();
        let line = ClassificationConfig::from_file(file.path()).unwrap_err().to_string();
        assert!(line.contains("balanced") && !line.contains('\n'), "{line}");
        config.cube = [64, 60, 32];
        assert!(config.check().unwrap_err().to_string().contains("64x60x32"));
        assert!(ClassificationConfig::default().check().is_ok());
    }
}

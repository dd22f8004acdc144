//! Everything that decides a fine-tuning run for segmentation, as written to `config.toml`.

use super::sampler::PatchConfig;
use crate::augment::AugmentationRecipe;
use crate::bad_volume::OnBadVolume;
use crate::finetune::class_weights::{ClassWeights, weighted_loss};
use crate::finetune::settings::{Freeze, TargetConfig, read_config, target_config};
use crate::finetune::target_trainer::TargetLoss;
use crate::preprocess::Preprocessing;
use crate::training::{OnNan, OptimizerConfig, ScheduleConfig};
use crate::{Error, Precision, Result};
use genesis_kernels::ops::loss::Loss;
use genesis_model::{DIVISOR, Initialiser, Levels, Nonlinearity, Statistics};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the cases come from and how they are shared out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationData {
    /// The data set's folder.
    pub folder: PathBuf,
    /// A JSON file with the names of training, validation and test cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<PathBuf>,
    /// Leads to one split in a file of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits_key: Option<String>,
    /// Share of the cases that validates where there is no file of splits.
    pub held_out: f64,
    /// Share of the training cases that is used.
    pub label_fraction: f64,
    /// The foreground classes, each `VALUE` or `NAME`, merged by `+`, named by `=NAME`; empty: every label.
    pub labels: Vec<String>,
    /// The channels used, by number or name; empty: all.
    pub channels: Vec<String>,
    /// What is done about a volume that cannot be used.
    pub on_bad_volume: OnBadVolume,
    /// The most memory for cases, in MiB; others are read again when needed.
    pub cache_mib: usize,
}

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// Soft Dice of the foreground classes.
    Dice,
    /// Soft Dice plus cross-entropy.
    DiceCe,
    /// Cross-entropy.
    Ce,
    /// Focal loss, γ = 2.
    Focal,
    /// Binary cross-entropy, for one foreground class.
    Bce,
}

impl LossName {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Dice, "dice"),
        (Self::DiceCe, "dice-ce"),
        (Self::Ce, "ce"),
        (Self::Focal, "focal"),
        (Self::Bce, "bce"),
    ];

    /// The loss on the logits of a network with so many outputs: 1 (sigmoid) or one a class (softmax).
    ///
    /// # Errors
    /// [`Error::Usage`] for `bce` with several classes.
    pub fn on_logits(self, outputs: usize) -> Result<Loss> {
        // 1 in the original.
        let smooth = 1.0;
        Ok(match (self, outputs) {
            (Self::Dice, 1) => Loss::SigmoidDice { smooth },
            (Self::DiceCe, 1) => Loss::SigmoidDiceBce { smooth },
            (Self::Ce | Self::Bce, 1) => Loss::BceWithLogits,
            (Self::Focal, 1) => Loss::SigmoidFocal { alpha: 0.25, gamma: 2.0 },
            (Self::Dice, _) => Loss::SoftmaxDice { smooth, background: false },
            (Self::DiceCe, _) => Loss::SoftmaxDiceCrossEntropy { smooth, background: false },
            (Self::Ce, _) => Loss::CrossEntropy,
            (Self::Focal, _) => Loss::SoftmaxFocal { gamma: 2.0 },
            (Self::Bce, _) => {
                let foreground = outputs - 1;
                return Err(Error::Usage(format!(
                    "--loss bce is for one foreground class, the data set has {foreground} (choose by --labels, or \
                     use ce)"
                )));
            }
        })
    }
}

/// The loss on the logits of a network with so many outputs, weighted by class if wanted.
///
/// # Errors
/// Those of [`LossName::on_logits`] and [`weighted_loss`].
pub fn weighted(name: LossName, outputs: usize, weights: Option<Vec<f32>>) -> Result<TargetLoss> {
    weighted_loss(name.on_logits(outputs)?, weights, &name)
}

impl fmt::Display for LossName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(loss, _)| loss == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for LossName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text).map(|(loss, _)| *loss);
        found.ok_or_else(|| "use dice, dice-ce, ce, focal or bce".to_string())
    }
}

/// How validation cases are predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationValidation {
    /// Overlap of neighbouring windows, in [0, 1).
    pub overlap: f64,
    /// Epochs between validations.
    pub every_epochs: u64,
    /// The statistics batch norm uses.
    pub statistics: Statistics,
}

/// Everything that decides a run. Threads change the speed, never the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationConfig {
    /// Seed of every random stream.
    pub seed: u64,
    /// The most epochs; one shows `patch.per_case` patches of every case.
    pub epochs: u64,
    /// Stop after this many steps; 0: no such limit.
    pub steps: u64,
    /// Patches per step.
    pub batch_size: usize,
    /// Stop after this many epochs without a higher validation Dice.
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
    pub loss: LossName,
    /// How much each class counts in it.
    #[serde(default)]
    pub class_weights: ClassWeights,
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
    /// Threads that cut and augment patches.
    pub loader_threads: usize,
    /// Where the cases come from.
    pub data: SegmentationData,
    /// How patches are drawn.
    pub patch: PatchConfig,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// The learning rate's schedule.
    pub schedule: ScheduleConfig,
    /// Validation.
    pub validation: SegmentationValidation,
    /// What is done to a volume first.
    pub preprocessing: Preprocessing,
    /// How patches are augmented.
    pub augmentation: AugmentationRecipe,
}

target_config!(SegmentationConfig);

impl Default for SegmentationConfig {
    /// The paper's where it names a value: Adam with rate 1e-3 and early stopping on validation.
    fn default() -> Self {
        Self {
            seed: 1,
            epochs: 200,
            steps: 0,
            batch_size: 2,
            patience: 50,
            initialiser: Initialiser::Pytorch,
            weights: None,
            freeze: Freeze::None,
            encoder_lr_factor: 1.0,
            loss: LossName::DiceCe,
            class_weights: ClassWeights::None,
            width: 0,
            activation: Nonlinearity::Relu,
            checkpoint_every: 0,
            on_nan: OnNan::Stop,
            precision: Precision::F32,
            recompute: 1,
            checkpoint_levels: Levels::WIDEST,
            threads: 0,
            loader_threads: 1,
            data: SegmentationData {
                folder: PathBuf::new(),
                splits: None,
                splits_key: None,
                held_out: 0.2,
                label_fraction: 1.0,
                labels: Vec::new(),
                channels: Vec::new(),
                on_bad_volume: OnBadVolume::Fail,
                cache_mib: 4096,
            },
            patch: PatchConfig { size: [64, 64, 32], foreground_share: 0.5, per_case: 2 },
            optimizer: OptimizerConfig {
                name: "adam".into(),
                learning_rate: 1e-3,
                momentum: 0.9,
                weight_decay: 0.0,
                nesterov: false,
                clip_norm: 0.0,
            },
            schedule: ScheduleConfig { name: "poly".into(), every_epochs: 40, factor: 0.5, warm_up_steps: 0 },
            validation: SegmentationValidation {
                overlap: 0.5,
                every_epochs: 1,
                statistics: Statistics::Running,
            },
            preprocessing: Preprocessing::default(),
            augmentation: AugmentationRecipe::default(),
        }
    }
}

impl SegmentationConfig {
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
        identity.data.folder = PathBuf::new();
        identity
    }

    /// Checks values that types cannot.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value.
    pub fn check(&self) -> Result<()> {
        let usage = |message: String| Err(Error::Usage(message));
        let size = crate::training::times(self.patch.size);
        if self.patch.size.iter().any(|&extent| extent == 0 || extent % DIVISOR != 0) {
            return usage(format!("a patch of {size} voxels: every extent must divide by {DIVISOR}"));
        }
        if self.patch.per_case == 0 {
            return usage("patch.per_case must be at least 1".into());
        }
        if !(0.0..=1.0).contains(&self.patch.foreground_share) {
            return usage(format!(
                "patch.foreground_share = {} is not in [0, 1]",
                self.patch.foreground_share
            ));
        }
        if !(0.0..1.0).contains(&self.validation.overlap) {
            return usage("validation.overlap must be in [0, 1)".into());
        }
        self.settings().check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Intensity;

    #[test]
    fn a_resolved_configuration_reads_back_equal() {
        let mut config = SegmentationConfig::default();
        config.preprocessing.intensity = Intensity::ZScore { nonzero_only: true };
        config.preprocessing.spacing = Some([1.0, 1.0, 2.5]);
        config.data.labels = vec!["1+2=whole".into()];
        config.class_weights = ClassWeights::Given(vec![0.25, 1.0]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config.to_toml().unwrap()).unwrap();
        assert_eq!(SegmentationConfig::from_file(file.path()).unwrap(), config);
        std::fs::write(file.path(), "loss = 'hinge'\n").unwrap();
        let line = SegmentationConfig::from_file(file.path()).unwrap_err().to_string();
        assert!(line.contains("hinge") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn values_that_make_no_sense_are_usage_errors() {
        type Change = fn(&mut SegmentationConfig);
        let changes: [(&str, Change); 6] = [
            ("60x64x32", |c| c.patch.size[0] = 60),
            ("label_fraction", |c| c.data.label_fraction = 1.5),
            ("leaves nothing", |c| c.data.label_fraction = 0.0),
            ("schedule", |c| c.schedule.name = "square".into()),
            ("positive", |c| c.optimizer.learning_rate = 0.0),
            ("batch_size", |c| c.batch_size = 0),
        ];
        assert!(SegmentationConfig::default().check().is_ok());
        for (part, change) in changes {
            let mut config = SegmentationConfig::default();
            change(&mut config);
            let error = config.check().unwrap_err();
            assert!(matches!(&error, Error::Usage(_)) && error.to_string().contains(part), "{error}");
        }
        assert!(LossName::Bce.on_logits(3).is_err());
    }
}

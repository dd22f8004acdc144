//! Everything that decides a run, as written to `config.toml`.

use super::config_file::{laid_over, one_line, read_table};
use super::on_nan::OnNan;
use crate::bad_volume::OnBadVolume;
use crate::cubes::{CubeSettings, Modality};
use crate::deform::Recipe;
use crate::{Error, Precision, Result};
use genesis_model::{Initialiser, Levels, Statistics, UNetConfig};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Which set of defaults a run starts from (see METHOD in the README).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The released method with its bugs mended.
    #[default]
    Genesis,
    /// The released code, quirk by quirk.
    Original,
    /// The paper's text where it differs from the release.
    Paper,
}

/// Where the cubes come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Files of training cubes, `.npy` `[N, rows, cols, deps]`.
    pub cubes: Vec<PathBuf>,
    /// Files of validation cubes; empty: the last part of the training cubes is held out.
    pub valid: Vec<PathBuf>,
    /// A directory of volumes to cut cubes from, instead of `cubes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<PathBuf>,
    /// Share of the cubes (or volumes) held out when `valid` is empty.
    pub held_out: f64,
    /// How cubes are cut from `volumes`.
    pub extraction: CubeSettings,
    /// What is done about a volume that cannot be used.
    pub on_bad_volume: OnBadVolume,
}

/// How the batches of an epoch are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Each cube once an epoch, in a new order every epoch.
    Pass,
    /// Every batch afresh, without replacement within itself only (the release).
    Afresh,
}

/// How validation pairs are made and evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// True: pairs are fixed by the seed, so that losses of different epochs compare. False: drawn
    /// anew each epoch (the release).
    pub fixed: bool,
    /// The statistics batch norm uses.
    pub statistics: Statistics,
}

/// The update rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// `sgd`, `adam` or `adamw`.
    pub name: String,
    /// Base learning rate.
    pub learning_rate: f64,
    /// Momentum (SGD).
    pub momentum: f64,
    /// L2 penalty (SGD, Adam) or decoupled decay (AdamW).
    pub weight_decay: f64,
    /// Nesterov's momentum (SGD).
    pub nesterov: bool,
    /// Largest norm of the whole gradient; 0: unlimited.
    pub clip_norm: f64,
}

/// How the learning rate changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// `step`, `cosine` or `constant`.
    pub name: String,
    /// Epochs between two reductions (`step`).
    pub every_epochs: u64,
    /// Factor of each reduction (`step`).
    pub factor: f64,
    /// Steps over which the rate rises linearly from 0 at the start.
    pub warm_up_steps: u64,
}

/// Everything that decides a run. Threads change the speed, never the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The preset these values started from.
    pub preset: Preset,
    /// Seed of every random stream.
    pub seed: u64,
    /// The most epochs.
    pub epochs: u64,
    /// Stop after this many steps; 0: no such limit.
    pub steps: u64,
    /// Cubes per step.
    pub batch_size: usize,
    /// Stop after this many epochs without a lower validation loss.
    pub patience: u64,
    /// How batches are drawn.
    pub sampling: Sampling,
    /// Initial values when no weights are given.
    pub initialiser: Initialiser,
    /// Weights to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Steps between checkpoints besides those at the end of each epoch; 0: none.
    pub checkpoint_every: u64,
    /// Stop when the network's output has become constant.
    pub stop_on_collapse: bool,
    /// What is done about a step whose loss or gradient is not finite.
    pub on_nan: OnNan,
    /// Number format of activations and gradients.
    pub precision: Precision,
    /// What the forward pass keeps for the backward pass, which changes memory and time but no bit of
    /// the result. 0: everything. 1: nothing that is cheap to make again. 2: as 1, and of
    /// `checkpoint_levels` only their inputs; they run twice.
    pub recompute: u8,
    /// The levels of `recompute = 2`: some of 64, 128, 256, 512.
    pub checkpoint_levels: Levels,
    /// Compute threads; 0: all cores.
    pub threads: usize,
    /// Threads that read and deform cubes.
    pub loader_threads: usize,
    /// Where the cubes come from.
    pub data: Data,
    /// The network.
    pub network: UNetConfig,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// The learning rate's schedule.
    pub schedule: ScheduleConfig,
    /// Validation.
    pub validation: Validation,
    /// How cubes are deformed.
    pub deformation: Recipe,
}

impl RunConfig {
    /// The defaults of a preset: the released ones, except where [`Preset::Genesis`] mends a bug.
    pub fn preset(preset: Preset) -> Self {
        let original = preset == Preset::Original;
        Self {
            preset,
            seed: 1,
            epochs: 10_000,
            steps: 0,
            batch_size: 6,
            patience: 50,
            sampling: if original { Sampling::Afresh } else { Sampling::Pass },
            initialiser: Initialiser::Pytorch,
            weights: None,
            checkpoint_every: 0,
            stop_on_collapse: !original,
            on_nan: OnNan::Stop,
            precision: Precision::F32,
            recompute: 1,
            checkpoint_levels: Levels::WIDEST,
            threads: 0,
            loader_threads: 2,
            data: Data {
                cubes: Vec::new(),
                valid: Vec::new(),
                volumes: None,
                held_out: 0.2,
                extraction: CubeSettings::new(Modality::Ct),
                on_bad_volume: OnBadVolume::Skip,
            },
            network: UNetConfig::default(),
            optimizer: OptimizerConfig {
                name: "sgd".into(),
                learning_rate: 1.0,
                momentum: 0.9,
                weight_decay: 0.0,
                nesterov: false,
                clip_norm: 0.0,
            },
            schedule: ScheduleConfig { name: "step".into(), every_epochs: 40, factor: 0.5, warm_up_steps: 0 },
            validation: Validation {
                fixed: !original,
                statistics: if original { Statistics::BatchAndUpdate } else { Statistics::Running },
            },
            deformation: match preset {
                Preset::Genesis => Recipe::genesis(),
                Preset::Original => Recipe::original(),
                Preset::Paper => Recipe::paper(),
            },
        }
    }

    /// A preset with the values of a TOML file laid over it; the file needs to name only what
    /// differs, and may name the preset itself.
    ///
    /// # Errors
    /// An unreadable file, an unknown key or a value of the wrong type, named.
    pub fn from_file(path: &Path, preset: Option<Preset>) -> Result<Self> {
        let over = read_table(path)?;
        let named = over.get("preset").cloned().map(toml::Value::try_into).transpose();
        let named: Option<Preset> = named.map_err(|error| Error::file(path, one_line(&error)))?;
        let base = Self::preset(preset.or(named).unwrap_or_default());
        let mut config: Self = laid_over(path, &base, over)?;
        if let Some(preset) = preset {
            config.preset = preset;
        }
        Ok(config)
    }

    /// The whole configuration as TOML.
    ///
    /// # Errors
    /// Values TOML cannot hold (none in practice).
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Work(format!("configuration: {error}")))
    }

    /// What must agree between a checkpoint and the run that goes on from it: all but the number of
    /// threads, what is recomputed, the length of the run, what is done about bad data and the places of files.
    pub fn identity(&self) -> Self {
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
            data: Data {
                cubes: Vec::new(),
                valid: Vec::new(),
                volumes: None,
                on_bad_volume: OnBadVolume::Skip,
                ..self.data.clone()
            },
            ..self.clone()
        }
    }

    /// Checks values that types cannot.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value.
    pub fn check(&self) -> Result<()> {
        let usage = |message: String| Err(Error::Usage(message));
        if self.batch_size == 0 {
            return usage("batch_size must be at least 1".into());
        }
        if self.network.width == 0 || self.network.channels != 1 {
            return usage("the network needs a width of at least 1 and one input channel".into());
        }
        if self.recompute > 2 {
            return usage(format!("recompute = {} is not 0, 1 or 2", self.recompute));
        }
        if !(0.0..1.0).contains(&self.data.held_out) {
            return usage(format!("held_out = {} is not in [0, 1)", self.data.held_out));
        }
        let rate = self.optimizer.learning_rate;
        if !(rate.is_finite() && rate > 0.0) {
            return usage(format!("the learning rate must be positive, not {rate}"));
        }
        if !["sgd", "adam", "adamw"].contains(&self.optimizer.name.as_str()) {
            return usage(format!("unknown optimizer '{}' (sgd, adam or adamw)", self.optimizer.name));
        }
        if !["step", "cosine", "constant"].contains(&self.schedule.name.as_str()) {
            return usage(format!("unknown schedule '{}' (step, cosine or constant)", self.schedule.name));
        }
        if self.schedule.name == "cosine" && self.steps == 0 && self.epochs >= 10_000 {
            return usage("a cosine schedule needs the run's length: give --epochs or --steps".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RunConfig> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        RunConfig::from_file(file.path(), None)
    }

    #[test]
    fn a_resolved_configuration_reads_back_equal() {
        for preset in [Preset::Genesis, Preset::Original, Preset::Paper] {
            let config = RunConfig::preset(preset);
            assert_eq!(parse(&config.to_toml().unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn a_file_names_only_what_differs() {
        let config = parse("preset = 'original'\nbatch_size = 2\n[optimizer]\nname = 'adam'\n").unwrap();
        assert_eq!(config.batch_size, 2);
        assert_eq!(config.optimizer.name, "adam");
        assert_eq!(config.optimizer.momentum, 0.9);
        assert_eq!(config.sampling, Sampling::Afresh);
    }

    #[test]
    fn an_unknown_key_is_named_in_one_line() {
        let message = parse("batchsize = 2\n").unwrap_err().to_string();
        assert!(message.contains("batchsize") && !message.contains('\n'), "{message}");
        let message = parse("batch_size = 'two'\n").unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn presets_differ_where_the_method_says() {
        let original = RunConfig::preset(Preset::Original);
        assert_eq!(original.validation.statistics, Statistics::BatchAndUpdate);
        assert!(!original.validation.fixed);
        let genesis = RunConfig::preset(Preset::Genesis);
        assert_eq!((genesis.batch_size, genesis.patience, genesis.schedule.every_epochs), (6, 50, 40));
    }
}

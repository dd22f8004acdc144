//! What `last.safetensors` and `best.safetensors` hold, and how a run goes on from one.
//!
//! Tensors stand under the original's names; the optimiser's state under
//! `optimizer.<state>.<parameter>`; configuration and progress in the metadata. Nothing in these depends
//! on the number of threads, on the clock or on where files lie, so equal runs write equal ones. What does
//! is the provenance ([`crate::provenance`]) beside them.

use super::config::RunConfig;
use super::trainer::Trainer;
use super::updater::Updater;
use crate::provenance::Provenance;
use crate::{Error, Result};
use genesis_autograd::Parameters;
use genesis_model::checkpoint::{
    Checkpoint, NamedTensor, OptimizerState, ParameterState, StateDict, read_checkpoint, write_safetensors,
};
use genesis_model::{Statistics, UNet3d, wanted_statistics};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Metadata key of the configuration of the run that wrote a checkpoint, as JSON.
pub(crate) const CONFIG_KEY: &str = "genesis.config";
const PROGRESS_KEY: &str = "genesis.progress";
const VERSION_KEY: &str = "genesis.version";

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Whole epochs done.
    pub epoch: u64,
    /// The lowest validation loss so far.
    pub best_valid_loss: Option<f64>,
    /// The epoch that had it.
    pub best_epoch: u64,
    /// Epochs since then.
    pub epochs_without_improvement: u64,
    /// True if the validation that is due at this step was not done yet.
    #[serde(default)]
    pub validation_due: bool,
}

/// Writes a checkpoint, atomically.
///
/// # Errors
/// A disk that is full or cannot be written; the file that was there before stays as it was.
pub fn save(
    path: &Path,
    trainer: &Trainer,
    config: &RunConfig,
    progress: &Progress,
    provenance: &Provenance,
) -> Result<()> {
    let mut state = trainer.network.state(config.validation.statistics)?;
    provenance.to_metadata(&mut state.metadata)?;
    let parameters = trainer.network.parameters();
    save_run(path, state, parameters, &trainer.updater, &config.identity(), progress)
}

/// Puts a checkpoint's weights, statistics and optimiser state into a trainer of the same run.
///
/// # Errors
/// A damaged file, or one of another configuration (the first difference is named).
pub fn resume(
    path: &Path,
    checkpoint: Checkpoint,
    trainer: &mut Trainer,
    config: &RunConfig,
) -> Result<Progress> {
    let Trainer { network, updater, .. } = trainer;
    let defaults = RunConfig::preset(config.preset).identity();
    let identity = config.identity();
    let (state, progress): (StateDict, Progress) =
        resume_run(path, checkpoint, network.parameters(), updater, &defaults, &identity)?;
    network.load(&state).map_err(|error| Error::file(path, error))?;
    updater.step = progress.step;
    Ok(progress)
}

/// Writes a checkpoint of any network, atomically: its tensors in `state`, the updater's, and in the
/// metadata the configuration's `identity` and the run's `progress`.
///
/// # Errors
/// As [`save`].
pub fn save_run(
    path: &Path,
    mut state: StateDict,
    parameters: &Parameters,
    updater: &Updater,
    identity: &impl Serialize,
    progress: &impl Serialize,
) -> Result<()> {
    let mut optimizer = OptimizerState::default();
    let buffers = updater.state.iter().map(|buffer| buffer.to_host()).collect::<Result<Vec<_>, _>>();
    let buffers = buffers.map_err(work)?;
    for place in parameters.places() {
        let mut slots = Vec::new();
        for (name, buffer) in updater.state_names().iter().zip(&buffers) {
            let values = buffer.window(place.start, place.shape).map_err(work)?;
            slots.push(NamedTensor::from_f32(*name, place.shape.dims(), values.as_slice()).map_err(work)?);
        }
        let parameter = place.name.clone();
        optimizer.parameters.push(ParameterState { parameter, step: Some(updater.step), slots });
    }
    optimizer.append_to(&mut state).map_err(work)?;
    let json = |value: std::result::Result<String, serde_json::Error>| value.map_err(work);
    state.metadata.insert(CONFIG_KEY.into(), json(serde_json::to_string(identity))?);
    state.metadata.insert(PROGRESS_KEY.into(), json(serde_json::to_string(progress))?);
    state.metadata.insert(VERSION_KEY.into(), env!("CARGO_PKG_VERSION").into());
    Ok(write_safetensors(path, &state)?)
}

/// Takes a checkpoint to go on from apart: the optimiser's state goes into `updater`, the network's tensors
/// and the run's progress are returned. `defaults` is the identity of a configuration that says
/// nothing: a checkpoint older than a setting was written under the setting's default.
///
/// # Errors
/// As [`resume`].
pub fn resume_run<P: DeserializeOwned>(
    path: &Path,
    checkpoint: Checkpoint,
    parameters: &Parameters,
    updater: &mut Updater,
    defaults: &impl Serialize,
    identity: &impl Serialize,
) -> Result<(StateDict, P)> {
    let metadata = |key: &str| {
        let text = checkpoint.state.metadata.get(key);
        text.ok_or_else(|| {
            Error::file(path, format!("is not the checkpoint of a run: no {key} in its metadata"))
        })
    };
    let mut saved: serde_json::Value =
        serde_json::from_str(metadata(CONFIG_KEY)?).map_err(|error| Error::file(path, error))?;
    let defaults = serde_json::to_value(defaults).map_err(work)?;
    if let (Some(saved), Some(defaults)) = (saved.as_object_mut(), defaults.as_object()) {
        for (key, value) in defaults {
            saved.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    let present = serde_json::to_value(identity).map_err(work)?;
    if let Some(difference) = first_difference("", &saved, &present) {
        return Err(Error::file(path, format!("belongs to a run of another configuration: {difference}")));
    }
    let progress = serde_json::from_str(metadata(PROGRESS_KEY)?).map_err(|error| Error::file(path, error))?;
    let optimizer = checkpoint.optimizer.unwrap_or_default();
    let names = updater.state_names();
    for (slot, buffer) in names.iter().zip(&mut updater.state) {
        *buffer = buffer.to_host().map_err(work)?;
        let values = buffer.as_mut_slice().map_err(work)?;
        for place in parameters.places() {
            let tensor = optimizer.get(&place.name, slot).filter(|tensor| tensor.shape == place.shape.dims());
            let tensor = tensor.ok_or_else(|| {
                Error::file(path, format!("optimizer state {slot} of {} is missing or misshapen", place.name))
            })?;
            let range = place.start..place.start + place.shape.elements();
            values[range].copy_from_slice(&tensor.to_f32());
        }
    }
    Ok((checkpoint.state, progress))
}

/// A network read from any checkpoint, with the statistics it wants to be evaluated with.
///
/// # Errors
/// An unreadable file; missing or misshapen tensors, named.
pub fn load_network(path: &Path) -> Result<(UNet3d, Statistics)> {
    let checkpoint = read_checkpoint(path)?;
    let network = UNet3d::from_state(&checkpoint.state).map_err(|error| Error::file(path, error))?;
    let (statistics, why) = wanted_statistics(&checkpoint.state);
    tracing::info!("{}: batch norm uses {statistics:?} statistics ({why})", path.display());
    let unused = checkpoint.state.tensors.len() - network.state(statistics).map_err(work)?.tensors.len();
    if unused > 0 {
        tracing::warn!("{}: {unused} tensors have no place in the network and are ignored", path.display());
    }
    Ok((network, statistics))
}

/// Loads weights to start a run from into a network of a given shape.
///
/// # Errors
/// As [`load_network`]; a network of another shape, with the first tensor that differs.
pub fn load_weights(path: &Path, network: &mut UNet3d) -> Result<()> {
    let checkpoint = read_checkpoint(path)?;
    let unused = network.load(&checkpoint.state).map_err(|error| Error::file(path, error))?;
    if !unused.is_empty() {
        tracing::warn!("{}: {} tensors are ignored ({}, …)", path.display(), unused.len(), unused[0]);
    }
    let values = network.parameters().places().len();
    tracing::info!("{}: {values} parameters loaded", path.display());
    Ok(())
}

fn first_difference(path: &str, saved: &serde_json::Value, present: &serde_json::Value) -> Option<String> {
    if let (Some(saved), Some(present)) = (saved.as_object(), present.as_object()) {
        let null = serde_json::Value::Null;
        return present.iter().find_map(|(key, value)| {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            first_difference(&inner, saved.get(key).unwrap_or(&null), value)
        });
    }
    (saved != present).then(|| format!("{path} is {saved} there and {present} here"))
}

fn work(error: impl ToString) -> Error {
    Error::Work(error.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_of_a_runs_progress_come_back_to_the_bit() {
        // The best validation loss of a run whose resumption was one bit off.
        for value in [0.020_910_663_664_928_286, 0.1 + 0.2, f64::MIN_POSITIVE, 1.0 / 3.0] {
            let text = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), value.to_bits(), "{text}");
        }
    }
}

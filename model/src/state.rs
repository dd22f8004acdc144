//! Between a network and a state dict under the original's names.

use crate::blocks::Kind;
use crate::checkpoint::{NamedTensor, StateDict};
use crate::network::Tensors;
use crate::{Classifier3d, ClassifierConfig, Error, Nonlinearity, Result, Statistics, UNet3d, UNetConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Metadata key of a U-Net's shape, as JSON.
const NETWORK_KEY: &str = "genesis.network";
/// Metadata key of a classifier's shape, as JSON.
const CLASSIFIER_KEY: &str = "genesis.classifier";
/// Metadata key of the statistics to evaluate with: `running` or `batch`.
const STATISTICS_KEY: &str = "genesis.statistics";

impl UNetConfig {
    /// The shape of the network whose weights a state dict holds: from its metadata if Genesis wrote
    /// it, else from the extents of its tensors (ReLU is then assumed where no PReLU slope is found).
    ///
    /// # Errors
    /// A state dict without the first or last convolution, or with extents that do not fit together.
    pub fn from_state(state: &StateDict) -> Result<Self> {
        if let Some(config) = recorded::<Self>(state, NETWORK_KEY)? {
            check_width(state, config.width)?;
            return Ok(config);
        }
        if is_classifier(state) {
            return Err(Error::invalid("the weights of a classifier (dense_2), not of a U-Net"));
        }
        let first = extents(state, "down_tr64.ops.0.conv1.weight")?;
        let last = extents(state, "out_tr.final_conv.weight")?;
        let (&[width, channels, 3, 3, 3], &[classes, inputs, 1, 1, 1]) = (&first[..], &last[..]) else {
            return Err(Error::Invalid(format!(
                "not the weights of a 3D U-Net: down_tr64.ops.0.conv1.weight {first:?}, out_tr.final_conv.weight \
                 {last:?}"
            )));
        };
        if inputs != 2 * width {
            return Err(Error::Invalid(format!(
                "tensor out_tr.final_conv.weight: wanted {} input channels for width {width}, given {inputs}",
                2 * width
            )));
        }
        check_width(state, width)?;
        Ok(Self { channels, classes, width, activation: activation(state) })
    }
}

impl ClassifierConfig {
    /// As [`UNetConfig::from_state`], for a classifier.
    ///
    /// # Errors
    /// A state dict without the first convolution or the dense layers, or with extents that do not fit together.
    pub fn from_state(state: &StateDict) -> Result<Self> {
        if let Some(config) = recorded::<Self>(state, CLASSIFIER_KEY)? {
            check_width(state, config.width)?;
            return Ok(config);
        }
        if !is_classifier(state) && state.get("out_tr.final_conv.weight").is_some() {
            return Err(Error::invalid("the weights of a U-Net (out_tr), not of a classifier"));
        }
        let first = extents(state, "down_tr64.ops.0.conv1.weight")?;
        let last = extents(state, "dense_2.weight")?;
        match (&first[..], &last[..]) {
            (&[width, channels, 3, 3, 3], &[classes, hidden]) if hidden == 32 * width => {
                check_width(state, width)?;
                Ok(Self { channels, classes, width, activation: activation(state) })
            }
            _ => Err(Error::Invalid(format!(
                "not the weights of a classifier: down_tr64.ops.0.conv1.weight {first:?}, dense_2.weight {last:?}"
            ))),
        }
    }
}

/// True if a state dict holds a classifier: it has the layer `dense_2`.
pub fn is_classifier(state: &StateDict) -> bool {
    state.get("dense_2.weight").is_some()
}

/// Refuses a width for which a state dict has too few values, before a network of it is made.
///
/// # Errors
/// Fewer values than the widest convolution of the encoder has, `[16·width, 8·width, 3, 3, 3]`.
fn check_width(state: &StateDict, width: usize) -> Result<()> {
    let (values, needed) = (state.parameters(), (width as u128).pow(2) * 16 * 8 * 27);
    if needed > values as u128 {
        return Err(Error::Invalid(format!(
            "{values} values are too few for the weights of a network of width {width}"
        )));
    }
    Ok(())
}

/// A network's shape in the metadata.
fn recorded<T: DeserializeOwned>(state: &StateDict, key: &str) -> Result<Option<T>> {
    let parse = |text: &String| {
        serde_json::from_str(text).map_err(|error| Error::Invalid(format!("metadata {key}: {error}")))
    };
    state.metadata.get(key).map(parse).transpose()
}

fn extents(state: &StateDict, name: &str) -> Result<Vec<usize>> {
    let missing = || Error::MissingTensor { tensor: name.to_string() };
    Ok(state.get(name).ok_or_else(missing)?.shape.clone())
}

/// PReLU if there are slopes, else ReLU.
fn activation(state: &StateDict) -> Nonlinearity {
    let prelu = state.get("down_tr64.ops.0.activation.weight").is_some();
    if prelu { Nonlinearity::Prelu } else { Nonlinearity::Relu }
}

/// The statistics a checkpoint wants to be evaluated with, and why.
///
/// Genesis records them. The original's network always normalises by the batch and never counts its
/// updates, so a state dict with running statistics that moved but counters that did not is one of
/// its own.
pub fn wanted_statistics(state: &StateDict) -> (Statistics, &'static str) {
    match state.metadata.get(STATISTICS_KEY).map(String::as_str) {
        Some("batch") => return (Statistics::Batch, "recorded in the checkpoint"),
        Some("running") => return (Statistics::Running, "recorded in the checkpoint"),
        _ => {}
    }
    let counted = state
        .tensors
        .iter()
        .filter(|tensor| tensor.name.ends_with("num_batches_tracked"))
        .any(|tensor| tensor.to_i64() != Some(0));
    let moved = state
        .tensors
        .iter()
        .filter(|tensor| tensor.name.ends_with("running_mean"))
        .any(|tensor| tensor.to_f32().iter().any(|&value| value != 0.0));
    if moved && !counted {
        (Statistics::Batch, "running statistics without counted updates: the original's network")
    } else {
        (Statistics::Running, "the default")
    }
}

impl Tensors {
    /// All tensors, with a network's shape and statistics in the metadata.
    fn state(&self, key: &str, config: &impl Serialize, statistics: Statistics) -> Result<StateDict> {
        let (parameters, buffers) = (self.parameters.to_host()?, self.buffers.to_host()?);
        let mut state = StateDict::default();
        for (name, kind) in &self.order {
            let tensor = match kind {
                Kind::Parameter(id) => parameters.view(*id)?,
                Kind::Buffer(id) => buffers.view(*id)?,
                Kind::Updates(number) => {
                    state.tensors.push(NamedTensor::from_i64(name, self.updates[*number] as i64));
                    continue;
                }
            };
            state.tensors.push(NamedTensor::from_f32(name, tensor.shape().dims(), tensor.as_slice())?);
        }
        let network = serde_json::to_string(config).map_err(|error| Error::Invalid(error.to_string()))?;
        state.metadata.insert(key.into(), network);
        let statistics = if statistics == Statistics::Running { "running" } else { "batch" };
        state.metadata.insert(STATISTICS_KEY.into(), statistics.into());
        Ok(state)
    }

    pub(crate) fn load(&mut self, state: &StateDict) -> Result<Vec<String>> {
        let tensors = |kind: &Kind| !matches!(kind, Kind::Updates(_));
        let missing: Vec<&str> = self
            .order
            .iter()
            .filter(|(name, kind)| tensors(kind) && state.get(name).is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if !missing.is_empty() {
            let shown = missing[..missing.len().min(3)].join(", ");
            let more = if missing.len() > 3 { ", …" } else { "" };
            let count = missing.len();
            return Err(Error::Invalid(format!("{count} tensors are missing: {shown}{more}")));
        }
        self.fetch()?;
        for (name, kind) in &self.order {
            let values = match kind {
                Kind::Parameter(id) => {
                    (self.parameters.places()[id.0].shape, self.parameters.values_mut(*id)?)
                }
                Kind::Buffer(id) => (self.buffers.places()[id.0].shape, self.buffers.values_mut(*id)?),
                Kind::Updates(number) => {
                    let count = state.get(name).and_then(NamedTensor::to_i64).unwrap_or(0);
                    self.updates[*number] = u64::try_from(count).unwrap_or(0);
                    continue;
                }
            };
            let (shape, values) = values;
            let given = state.require(name, shape.dims())?.to_f32();
            if let Some(position) = given.iter().position(|value| !value.is_finite()) {
                return Err(Error::tensor(name, format!("value {position} is {}", given[position])));
            }
            values.copy_from_slice(&given);
        }
        let known = |tensor: &&NamedTensor| self.order.iter().all(|(name, _)| *name != tensor.name);
        Ok(state.tensors.iter().filter(known).map(|tensor| tensor.name.clone()).collect())
    }
}

impl UNet3d {
    /// All tensors under the original's names and in its order, with the metadata Genesis needs to
    /// rebuild the network. `statistics` says how the network is to be evaluated.
    ///
    /// # Errors
    /// Memory.
    pub fn state(&self, statistics: Statistics) -> Result<StateDict> {
        self.tensors.state(NETWORK_KEY, &self.config(), statistics)
    }

    /// The network a state dict describes, with its weights.
    ///
    /// # Errors
    /// As [`UNetConfig::from_state`] and [`UNet3d::load`].
    pub fn from_state(state: &StateDict) -> Result<Self> {
        let mut network = Self::new(UNetConfig::from_state(state)?)?;
        network.load(state)?;
        Ok(network)
    }
}

impl Classifier3d {
    /// All tensors under the original's names, the encoder's first, with the metadata Genesis needs to
    /// rebuild the network. `statistics` says how the network is to be evaluated.
    ///
    /// # Errors
    /// Memory.
    pub fn state(&self, statistics: Statistics) -> Result<StateDict> {
        self.tensors.state(CLASSIFIER_KEY, &self.config(), statistics)
    }

    /// The network a state dict describes, with its weights.
    ///
    /// # Errors
    /// As [`ClassifierConfig::from_state`] and [`Classifier3d::load`].
    pub fn from_state(state: &StateDict) -> Result<Self> {
        let mut network = Self::new(ClassifierConfig::from_state(state)?)?;
        network.load(state)?;
        Ok(network)
    }
}

//! The network a run starts from: drawn anew, or with weights transferred into it.

use super::settings::{Freeze, TargetSettings};
use crate::task::TASK_KEY;
use crate::{Error, Result};
use genesis_model::checkpoint::{StateDict, read_checkpoint};
use genesis_model::{
    Classifier3d, ClassifierConfig, Network, Nonlinearity, Transfer, UNet3d, UNetConfig, is_classifier,
    transfer,
};

/// A network that a target task trains.
pub trait TargetNetwork: Network + Sized {
    /// A network of a shape, its weights 0.
    ///
    /// # Errors
    /// Memory.
    fn of_shape(shape: UNetConfig) -> Result<Self>;

    /// Which part of a checkpoint goes into such a network.
    fn scope(state: &StateDict) -> Transfer;
}

impl TargetNetwork for UNet3d {
    fn of_shape(shape: UNetConfig) -> Result<Self> {
        Ok(Self::new(shape)?)
    }

    fn scope(state: &StateDict) -> Transfer {
        // Metadata tell a target task; without, the weights were trained to restore images.
        match state.metadata.contains_key(TASK_KEY) {
            true => Transfer::EncoderDecoder,
            false => Transfer::Features,
        }
    }
}

impl TargetNetwork for Classifier3d {
    fn of_shape(shape: UNetConfig) -> Result<Self> {
        let UNetConfig { channels, classes, width, activation } = shape;
        Ok(Self::new(ClassifierConfig { channels, classes, width, activation })?)
    }

    fn scope(state: &StateDict) -> Transfer {
        match is_classifier(state) {
            true => Transfer::EncoderDecoder,
            false => Transfer::Encoder,
        }
    }
}

/// The network for so many channels and outputs. Weights decide its width and activation; what became of
/// every tensor is told. `shares`: the classes' of the training samples. `going_on`: a checkpoint of the run follows, so weights are read for their shape
/// alone.
///
/// # Errors
/// Weights that cannot be read or have another width than asked for; `freeze` without weights.
pub fn starting_network<N: TargetNetwork>(
    settings: &TargetSettings,
    channels: usize,
    outputs: usize,
    shares: &[f64],
    going_on: bool,
) -> Result<N> {
    let Some(path) = &settings.weights else {
        if settings.freeze == Freeze::Encoder {
            return Err(Error::Usage(
                "--freeze encoder would freeze random weights: give --weights FILE".into(),
            ));
        }
        let width = if settings.width == 0 { 32 } else { settings.width };
        let activation = settings.activation;
        let mut network = N::of_shape(UNetConfig { channels, classes: outputs, width, activation })?;
        network.initialise(settings.initialiser, settings.seed)?;
        set_factors(&mut network, settings)?;
        return Ok(network);
    };
    let checkpoint = read_checkpoint(path)?;
    let shape = shape_of(&checkpoint.state).map_err(|error| Error::file(path, error))?;
    if settings.width != 0 && settings.width != shape.width {
        let cause = format!("holds weights of width {}, --width says {}", shape.width, settings.width);
        return Err(Error::file(path, cause));
    }
    let mut network = N::of_shape(UNetConfig { channels, classes: outputs, ..shape })?;
    network.initialise(settings.initialiser, settings.seed)?;
    // Before the transfer, which leaves what is frozen as it is loaded.
    set_factors(&mut network, settings)?;
    if !going_on {
        let scope = N::scope(&checkpoint.state);
        let mut report = transfer::into_network(&mut network, &checkpoint.state, scope)
            .map_err(|error| Error::file(path, error))?;
        transfer::resize_convolutions(&mut network, &mut report, settings.initialiser)?;
        transfer::start_at_shares(&mut network, &report, shares)?;
        for line in report.lines() {
            tracing::info!("{line}");
        }
    }
    Ok(network)
}

/// Width and activation of weights of any kind: a whole network, a classifier, an encoder alone.
fn shape_of(state: &StateDict) -> Result<UNetConfig> {
    if is_classifier(state) {
        let ClassifierConfig { width, activation, .. } = ClassifierConfig::from_state(state)?;
        return Ok(UNetConfig { width, activation, ..UNetConfig::default() });
    }
    let whole = UNetConfig::from_state(state);
    if whole.is_ok() {
        return Ok(whole?);
    }
    // Wrappers put something before the names, and an encoder has no last layer.
    let find = |end: &str| state.tensors.iter().find(|tensor| tensor.name.ends_with(end));
    match find("down_tr64.ops.0.conv1.weight").map(|tensor| tensor.shape.as_slice()) {
        Some(&[width, _, 3, 3, 3]) => {
            let prelu = find("down_tr64.ops.0.activation.weight").is_some();
            let activation = if prelu { Nonlinearity::Prelu } else { Nonlinearity::Relu };
            Ok(UNetConfig { width, activation, ..UNetConfig::default() })
        }
        _ => Ok(whole?),
    }
}

/// Freezes or slows down the encoder.
fn set_factors(network: &mut impl Network, settings: &TargetSettings) -> Result<()> {
    let factor = if settings.freeze == Freeze::Encoder { 0.0 } else { settings.encoder_lr_factor as f32 };
    if factor != 1.0 {
        network.parameters_mut().set_factor("down_tr", factor)?;
    }
    Ok(())
}

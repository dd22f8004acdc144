//! The network a run starts from: drawn anew, or with weights transferred into it.

use super::config::{Freeze, SegmentationConfig};
use crate::{Error, Result};
use genesis_model::checkpoint::read_checkpoint;
use genesis_model::{Transfer, UNet3d, UNetConfig, transfer};

/// The network for so many channels and outputs. Weights decide its width and activation; what became of
/// every tensor is told. `going_on`: a checkpoint of the run follows, so weights are read for their shape
/// alone.
///
/// # Errors
/// Weights that cannot be read or have another width than asked for; `freeze` without weights.
pub fn starting_network(
    config: &SegmentationConfig,
    channels: usize,
    outputs: usize,
    going_on: bool,
) -> Result<UNet3d> {
    let Some(path) = &config.weights else {
        if config.freeze == Freeze::Encoder {
            return Err(Error::Usage("--freeze encoder would freeze random weights: give --weights FILE".into()));
        }
        let width = if config.width == 0 { 32 } else { config.width };
        let activation = config.activation;
        let mut network = UNet3d::new(UNetConfig { channels, classes: outputs, width, activation })?;
        network.initialise(config.initialiser, config.seed)?;
        set_factors(&mut network, config)?;
        return Ok(network);
    };
    let checkpoint = read_checkpoint(path)?;
    let shape = shape_of(&checkpoint.state).map_err(|error| Error::file(path, error))?;
    if config.width != 0 && config.width != shape.width {
        let cause = format!("holds weights of width {}, --width says {}", shape.width, config.width);
        return Err(Error::file(path, cause));
    }
    let mut network = UNet3d::new(UNetConfig { channels, classes: outputs, ..shape })?;
    network.initialise(config.initialiser, config.seed)?;
    if !going_on {
        let report = transfer::into_network(&mut network, &checkpoint.state, Transfer::EncoderDecoder)
            .map_err(|error| Error::file(path, error))?;
        for line in report.lines() {
            tracing::info!("{line}");
        }
    }
    set_factors(&mut network, config)?;
    Ok(network)
}

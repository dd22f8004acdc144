//! The network a run starts from: drawn anew, or loaded from weights.

use super::config::SegmentationConfig;
use crate::Result;
use genesis_model::{UNet3d, UNetConfig};

/// The network for so many channels and outputs.
pub fn starting_network(
    config: &SegmentationConfig,
    channels: usize,
    outputs: usize,
    _going_on: bool,
) -> Result<UNet3d> {
    let width = if config.width == 0 { 32 } else { config.width };
    let mut network = UNet3d::new(UNetConfig { channels, classes: outputs, width, activation: config.activation })?;
    network.initialise(config.initialiser, config.seed)?;
    Ok(network)
}

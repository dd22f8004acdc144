//! The tape's profile under the network's own names.

use genesis_autograd::{Executed, Place};
use genesis_kernels::op::{Operation, Work};
use genesis_kernels::ops::optimizer::{Optimizer, OptimizerStep};
use genesis_tensor::Shape;
use serde::Serialize;

/// One executed operation of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerTime {
    /// The layer's name in the network, `down_tr64.ops.0`.
    pub layer: String,
    /// The operation's name in `OPS`.
    pub operation: &'static str,
    /// `forward`, `backward` (every gradient) or `update`.
    pub direction: &'static str,
    /// The output's extents.
    pub output: String,
    /// Wall time.
    pub seconds: f64,
    /// Arithmetic.
    pub flops: u64,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
    /// Arithmetic a second, in 1e9; convolutions count as direct ones.
    pub gflops: f64,
    /// Traffic a second, in 1e9 bytes.
    pub gigabytes_per_second: f64,
    /// `gflops` over the arithmetic ceiling; for convolutions only, since memory limits the others.
    pub share_of_peak: Option<f64>,
    /// Bytes kept for the backward pass; what several layers share counts in each.
    pub saved_bytes: usize,
}

impl LayerTime {
    /// True for convolutions and transposed convolutions.
    pub fn is_convolution(&self) -> bool {
        is_convolution(self.operation)
    }

    /// The optimiser's pass over flat buffers of this shape.
    pub fn optimizer(optimizer: Optimizer, flat: Shape, states: usize, seconds: f64) -> Self {
        let step = OptimizerStep { optimizer, step: 1, rate: 1.0 };
        let Work { flops, bytes } = step.cost(&vec![flat; 2 + states]).forward;
        Self {
            layer: "all parameters".into(),
            operation: OptimizerStep::NAME,
            direction: "update",
            output: flat.to_string(),
            seconds,
            flops,
            bytes,
            gflops: flops as f64 / seconds / 1e9,
            gigabytes_per_second: bytes as f64 / seconds / 1e9,
            share_of_peak: None,
            saved_bytes: 0,
        }
    }
}

/// Gives every executed operation its layer's name; `element` is the bytes of one activation, `peak`
/// the arithmetic ceiling in GFLOP/s.
pub fn name(executed: &[Executed], places: &[Place], element: usize, peak: f64) -> Vec<LayerTime> {
    let mut above = String::new();
    // Operations without parameters, found again in the backward pass by what they are.
    let mut unnamed: Vec<(&str, Shape, String)> = Vec::new();
    let mut first_convolution = None;
    let mut layers = Vec::with_capacity(executed.len());
    for entry in executed {
        let parameter = entry.parameter.and_then(|id| places.get(id.0));
        let layer = match parameter {
            Some(place) => layer_of(&place.name),
            None if entry.backward => unnamed
                .iter()
                .find(|(name, output, _)| *name == entry.name && *output == entry.output)
                .map_or_else(|| entry.name.to_string(), |(_, _, layer)| layer.clone()),
            None => {
                let layer = follower(&above, entry.name);
                unnamed.push((entry.name, entry.output, layer.clone()));
                layer
            }
        };
        let convolution = is_convolution(entry.name);
        let mut work = if entry.backward { entry.cost.backward } else { entry.cost.forward };
        work.bytes = work.bytes * element as u64 / 4;
        if convolution
            && *first_convolution.get_or_insert(entry.parameter) == entry.parameter
            && entry.backward
        {
            // The network's input has no gradient, which is one of backward's two products.
            work.flops = entry.cost.forward.flops;
        }
        if parameter.is_some() {
            above.clone_from(&layer);
        }
        let gflops = work.flops as f64 / entry.seconds / 1e9;
        layers.push(LayerTime {
            layer,
            operation: entry.name,
            direction: match (entry.backward, entry.recomputed) {
                (true, _) => "backward",
                (false, true) => "recompute",
                (false, false) => "forward",
            },
            output: entry.output.to_string(),
            seconds: entry.seconds,
            flops: work.flops,
            bytes: work.bytes,
            gflops,
            gigabytes_per_second: work.bytes as f64 / entry.seconds / 1e9,
            share_of_peak: convolution.then_some(gflops / peak),
            saved_bytes: entry.saved_bytes,
        });
    }
    layers
}

fn is_convolution(operation: &str) -> bool {
    operation.starts_with("conv")
}

/// `down_tr64.ops.0` of `down_tr64.ops.0.conv1.weight`; `up_tr64.up_conv` of `up_tr64.up_conv.weight`.
fn layer_of(parameter: &str) -> String {
    let module = parameter.rsplit_once('.').map_or(parameter, |(module, _)| module);
    let inner = [".conv1", ".bn1", ".activation"];
    inner.iter().find_map(|part| module.strip_suffix(part)).unwrap_or(module).to_string()
}

/// The name of an operation without parameters after a layer: `down_tr64.pool` after
/// `down_tr64.ops.1`; a loss follows the whole network.
fn follower(above: &str, operation: &str) -> String {
    match (operation, above.split('.').next()) {
        ("max_pool3d", Some(block)) => format!("{block}.pool"),
        ("loss", _) => "loss".into(),
        _ => format!("{above}.{operation}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_after_their_parameters() {
        for (parameter, layer) in [
            ("down_tr64.ops.0.conv1.weight", "down_tr64.ops.0"),
            ("down_tr64.ops.0.bn1.bias", "down_tr64.ops.0"),
            ("up_tr64.ops.1.activation.weight", "up_tr64.ops.1"),
            ("up_tr64.up_conv.weight", "up_tr64.up_conv"),
            ("out_tr.final_conv.weight", "out_tr.final_conv"),
        ] {
            assert_eq!(layer_of(parameter), layer);
        }
        assert_eq!(follower("down_tr64.ops.1", "max_pool3d"), "down_tr64.pool");
        assert_eq!(follower("out_tr.final_conv", "loss"), "loss");
    }
}

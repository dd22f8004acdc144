//! The size of transferred convolutions: brought back to that of fresh ones.

use super::TransferReport;
use crate::blocks::Kind;
use crate::network::Network;
use crate::{Initialiser, Result};

/// What a convolution before batch norm was multiplied by.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Resized {
    /// The name of its weight.
    pub tensor: String,
    /// The factor.
    pub factor: f32,
}

/// Factors beyond these are not applied.
const BELIEVED: std::ops::RangeInclusive<f32> = 0.01..=100.0;

/// Brings every transferred convolution before batch norm to the root mean square that `fresh` would have given it:
/// weight and bias times a factor, and the running mean and variance with them.
///
/// Batch norm undoes the factor, so the network computes what it did (but for the ε under the root). What changes is
/// how far a step goes: an optimiser like Adam moves every weight by about the learning rate, and behind batch norm only
/// the direction of a filter counts, so one that pre-training has made three times as large turns a third as far per
/// step (van Laarhoven, *L2 regularization versus batch and weight normalization*, 2017, section 3). The filters that
/// grow are those of the first levels, by up to 2.6 in a short restoration at the paper's rate of 1. Afterwards a
/// learning rate means what it means for a network from scratch. What is frozen keeps its bits.
///
/// # Errors
/// Memory.
pub fn resize_convolutions<N: Network>(
    network: &mut N,
    report: &mut TransferReport,
    fresh: Initialiser,
) -> Result<()> {
    let order = network.tensors().order.clone();
    let kind = |name: &str| order.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind);
    for (name, weight) in &order {
        let Some(block) = name.strip_suffix("conv1.weight") else { continue };
        let given = report.loaded.iter().chain(&report.inflated).any(|noted| noted.tensor == *name);
        let tensors = network.tensors_mut();
        let is_frozen = matches!(weight, Kind::Parameter(id) if tensors.parameters.is_frozen(*id));
        if !given || is_frozen {
            continue;
        }
        let Some((shape, values)) = tensors.values_mut(*weight)? else { continue };
        let squares: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
        let size = (squares / values.len() as f64).sqrt();
        let factor = (f64::from(fresh.bound(&shape)) / 3f64.sqrt() / size) as f32;
        // Far from any size there is no direction worth keeping, and the ε of batch norm would no longer be small.
        if !BELIEVED.contains(&factor) {
            continue;
        }
        for (part, times) in [
            ("conv1.weight", factor),
            ("conv1.bias", factor),
            ("bn1.running_mean", factor),
            ("bn1.running_var", factor * factor),
        ] {
            let Some(place) = kind(&format!("{block}{part}")) else { continue };
            if let Some((_, values)) = tensors.values_mut(place)? {
                values.iter_mut().for_each(|value| *value *= times);
            }
        }
        report.resized.push(Resized { tensor: name.clone(), factor });
    }
    Ok(())
}

/// The least and the greatest factor.
pub(super) fn range(resized: &[Resized]) -> Option<(f32, f32)> {
    let factors = resized.iter().map(|each| each.factor);
    Some((factors.clone().reduce(f32::min)?, factors.reduce(f32::max)?))
}

//! A new last layer on the learnt features of a decoder: how both start, so that no class is lost.
//!
//! A decoder that starts anew finds its way from any start. One that was trained for another task moves slowly, and its
//! features (after a ReLU, never below 0) are much alike: what is needed for a class to be found must be there at once.

use super::{TransferReport, TransferredTensor, is_last};
use crate::blocks::Kind;
use crate::network::Network;
use crate::{Nonlinearity, Result};

/// γ and β of the last block before the last layer.
pub(super) const GAMMA: &str = "up_tr64.ops.1.bn1.weight";
const BETA: &str = "up_tr64.ops.1.bn1.bias";

/// The smallest share of a class that its bias starts from: foreground is sampled more often than it occurs.
const LEAST_SHARE: f64 = 0.01;

fn among(noted: &[TransferredTensor], name: &str) -> bool {
    noted.iter().any(|noted| noted.tensor == name)
}

/// Brings features and weights to a common start, where there is a new last layer on learnt features.
pub(super) fn prepare<N: Network>(
    network: &mut N,
    order: &[(String, Kind)],
    report: &mut TransferReport,
) -> Result<()> {
    scale_last_features(network, order, report)?;
    balance_last_layer(network, order, report)
}

/// Sets the biases of a new last layer on learnt features to what gives each class its share of the samples (Lin et
/// al., *Focal loss*, ICCV 2017, section 4.1); of a single output `shares` has two. Nothing changes for other networks.
///
/// Otherwise the first steps push every rare class down everywhere: with the hippocampus its features were driven to 0,
/// where ReLU has no gradient, and one class in two stayed lost for some seeds.
///
/// # Errors
/// Memory.
pub fn start_at_shares<N: Network>(network: &mut N, report: &TransferReport, shares: &[f64]) -> Result<()> {
    let shares: Vec<f64> = shares.iter().map(|share| share.max(LEAST_SHARE)).collect();
    let order = network.tensors().order.clone();
    let bias = |name: &str| is_last(name) && name.ends_with(".bias");
    let place = order.iter().find(|(name, _)| bias(name) && among(&report.initialised, name));
    let (Some((_, kind)), true) = (place, among(&report.loaded, GAMMA)) else { return Ok(()) };
    if let Some((_, values)) = network.tensors_mut().values_mut(*kind)? {
        match (&mut values[..], &shares[..]) {
            ([one], [background, foreground]) => *one = (foreground / background).ln() as f32,
            (all, shares) if all.len() == shares.len() => {
                let sum: f64 = shares.iter().sum();
                all.iter_mut().zip(shares).for_each(|(bias, share)| *bias = (share / sum).ln() as f32);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where a new last layer stands on the learnt features of a decoder, brings these to the size a new decoder's would
/// have: scales γ and β of the last block's batch norm.
///
/// The last layer of a restoring network takes what size it finds; here the features can be small (a third of a new
/// decoder's after 600 steps), and a new layer, whose every step is of one size, would then take several times as many
/// steps to tell classes apart; a rare one may be lost meanwhile. Nothing else reads these features, so nothing that was
/// learnt is changed. ELU is left alone: its output does not grow with its input in proportion.
fn scale_last_features<N: Network>(
    network: &mut N,
    order: &[(String, Kind)],
    report: &mut TransferReport,
) -> Result<()> {
    let places = [GAMMA, BETA].map(|name| order.iter().find(|(known, _)| known == name));
    let [Some((_, gamma)), Some((_, beta))] = places else { return Ok(()) };
    let learnt = [GAMMA, BETA].iter().all(|name| among(&report.loaded, name));
    let new = order.iter().any(|(name, _)| is_last(name) && among(&report.initialised, name));
    let slopes = match network.activation() {
        Nonlinearity::Relu => 0.0,
        // Slopes are learnt; near their initial value they hardly matter here.
        Nonlinearity::Prelu => 0.25,
        Nonlinearity::Elu => return Ok(()),
    };
    if !learnt || !new {
        return Ok(());
    }
    let tensors = network.tensors_mut();
    let mut read = |kind: Kind| -> Result<Vec<f32>> {
        Ok(tensors.values_mut(kind)?.map(|(_, values)| values.to_vec()).unwrap_or_default())
    };
    let (gammas, betas) = (read(*gamma)?, read(*beta)?);
    let squares: f64 = gammas.iter().zip(&betas).map(|(&g, &b)| mean_square(g, b, slopes)).sum();
    let factor = (mean_square(1.0, 0.0, slopes) * gammas.len() as f64 / squares).sqrt() as f32;
    if !factor.is_finite() {
        return Ok(());
    }
    for kind in [gamma, beta] {
        if let Some((_, values)) = tensors.values_mut(*kind)? {
            values.iter_mut().for_each(|value| *value *= factor);
        }
    }
    report.scaled = Some(factor);
    Ok(())
}

/// Gives every class of a new last layer on learnt features of a decoder the same start: weights that add up to 0, and
/// no bias.
///
/// The features are never below 0 and, learnt for another task, much alike. A class whose weights happen to be negative
/// on the whole lies behind wherever the features are, and its logit can never exceed its bias; Dice then leaves a rare
/// one at 0 for hundreds of steps (seen with the hippocampus, for one seed in three). A decoder that starts anew moves
/// fast enough to get out of this.
fn balance_last_layer<N: Network>(
    network: &mut N,
    order: &[(String, Kind)],
    report: &TransferReport,
) -> Result<()> {
    if !among(&report.loaded, GAMMA) {
        return Ok(());
    }
    for (_, kind) in order.iter().filter(|(name, _)| is_last(name) && among(&report.initialised, name)) {
        let Some((shape, values)) = network.tensors_mut().values_mut(*kind)? else { continue };
        // [classes, features, 1, 1, 1]; a bias is one value a class, its own mean, and becomes 0.
        let features = shape[1..].iter().product::<usize>().max(1);
        for row in values.chunks_exact_mut(features) {
            let mean = row.iter().sum::<f32>() / features as f32;
            row.iter_mut().for_each(|weight| *weight -= mean);
        }
    }
    Ok(())
}

/// E f(γz + β)² for a standard normal z, by the midpoint rule; f is a ReLU of this slope below 0.
fn mean_square(gamma: f32, beta: f32, slope: f64) -> f64 {
    const STEPS: usize = 4000;
    const REACH: f64 = 8.0;
    let width = 2.0 * REACH / STEPS as f64;
    let density = |z: f64| (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    let value = |z: f64| {
        let v = f64::from(gamma) * z + f64::from(beta);
        if v > 0.0 { v } else { slope * v }
    };
    (0..STEPS).map(|i| (i as f64 + 0.5) * width - REACH).map(|z| value(z).powi(2) * density(z) * width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{NamedTensor, StateDict};
    use crate::transfer::{Transfer, into_network};
    use crate::{Initialiser, Statistics, UNet3d, UNetConfig};

    #[test]
    fn mean_squares_of_known_distributions() {
        // Half of a standard normal's; a value far above 0 passes whole.
        assert!((mean_square(1.0, 0.0, 0.0) - 0.5).abs() < 1e-6);
        assert!((mean_square(0.1, 5.0, 0.0) - 25.01).abs() < 1e-6);
        assert!((mean_square(2.0, 0.0, 0.25) - 4.0 * (0.5 + 0.5 / 16.0)).abs() < 1e-5);
    }

    #[test]
    fn features_below_a_new_last_layer_get_a_new_decoders_size_and_keep_their_proportions() {
        let shape = UNetConfig { width: 4, ..UNetConfig::default() };
        let mut restoring = UNet3d::new(shape).unwrap();
        restoring.initialise(Initialiser::Pytorch, 1).unwrap();
        let mut state = restoring.state(Statistics::Running).unwrap();
        for tensor in &mut state.tensors {
            if tensor.name == GAMMA || tensor.name == BETA {
                let values: Vec<f32> = (0..8).map(|i| 0.2 - 0.02 * i as f32).collect();
                *tensor = NamedTensor::from_f32(&tensor.name, &[8], &values).unwrap();
            }
        }
        let values = |state: &StateDict, name: &str| state.get(name).unwrap().to_f32();
        for (classes, scope, scaled) in [
            (3, Transfer::EncoderDecoder, true),
            (1, Transfer::Features, true),
            (1, Transfer::EncoderDecoder, false),
        ] {
            let mut network = UNet3d::new(UNetConfig { classes, ..shape }).unwrap();
            network.initialise(Initialiser::Pytorch, 2).unwrap();
            let report = into_network(&mut network, &state, scope).unwrap();
            assert_eq!(report.scaled.is_some(), scaled, "{classes} {scope:?}");
            let found = network.state(Statistics::Running).unwrap();
            let (gamma, beta) = (values(&found, GAMMA), values(&found, BETA));
            let squares: f64 = gamma.iter().zip(&beta).map(|(&g, &b)| mean_square(g, b, 0.0)).sum();
            let factor = report.scaled.unwrap_or(1.0);
            assert!((squares / 8.0 - 0.5).abs() < 1e-4 || !scaled, "{squares}");
            let (weights, biases) =
                (values(&found, "out_tr.final_conv.weight"), values(&found, "out_tr.final_conv.bias"));
            let sums: Vec<f32> = weights.chunks_exact(8).map(|row| row.iter().sum::<f32>().abs()).collect();
            assert!(weights.iter().any(|&weight| weight.abs() > 0.1), "{weights:?}");
            start_at_shares(&mut network, &report, &[0.8, 0.2, 0.0][..classes.max(2)]).unwrap();
            let started = values(&network.state(Statistics::Running).unwrap(), "out_tr.final_conv.bias");
            match (scaled, classes) {
                (false, _) => assert_eq!(started, biases),
                (true, 1) => assert!((started[0] - 0.25f32.ln()).abs() < 1e-6, "{started:?}"),
                (true, _) => {
                    let chances: Vec<f32> = started.iter().map(|bias| bias.exp()).collect();
                    assert!((chances.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{chances:?}");
                    assert!(
                        (chances[0] / chances[1] - 4.0).abs() < 1e-4 && chances[2] > 0.009,
                        "{chances:?}"
                    );
                }
            }
            assert_eq!(sums.iter().all(|&sum| sum < 1e-6) && biases.iter().all(|&b| b == 0.0), scaled);
            for (found, given) in gamma.iter().zip(values(&state, GAMMA)) {
                assert!((found / given / factor - 1.0).abs() < 1e-5);
            }
        }
    }
}

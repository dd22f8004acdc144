//! Weight transfer: what a checkpoint holds goes into a network for another task, and a report says what became
//! of every tensor.
//!
//! The network is initialised first ([`crate::UNet3d::initialise`]); whatever the file does not give stays so.
//! A first convolution with one input channel is **inflated** for a network with more: the weights are repeated
//! over the channels and divided by their number, so that the response to the same picture in all channels is
//! what it was (Carreira and Zisserman, *I3D*, 2017). Running statistics and their counters come along.
//!
//! ```no_run
//! use genesis_model::{Initialiser, Transfer, UNet3d, UNetConfig, transfer};
//! let mut network = UNet3d::new(UNetConfig { channels: 4, classes: 3, ..UNetConfig::default() })?;
//! network.initialise(Initialiser::Pytorch, 1)?;
//! let report = transfer::load(&mut network, "Genesis_Chest_CT.pt", Transfer::EncoderDecoder)?;
//! report.lines().iter().for_each(|line| println!("{line}"));
//! # Ok::<(), genesis_model::Error>(())
//! ```

mod convolutions;
mod last_layer;

pub use convolutions::{Resized, resize_convolutions};
pub use last_layer::start_at_shares;

use crate::blocks::Kind;
use crate::checkpoint::{Checkpoint, NamedTensor, StateDict, read_checkpoint};
use crate::network::Network;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The first convolution: its extents are `[width, channels, 3, 3, 3]`.
const FIRST: &str = "down_tr64.ops.0.conv1.weight";
/// What wrappers put before names: PyTorch's `DataParallel`, and the original's target networks.
const PREFIXES: [&str; 2] = ["module.", "base_model."];

/// Which part of a checkpoint is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transfer {
    /// Everything the network has a place for: segmentation.
    #[default]
    EncoderDecoder,
    /// All but the last layer: for weights that were trained for another task. One that maps features to
    /// intensities may have negative weights alone; as a segmenter its probability then never exceeds that
    /// of its bias.
    Features,
    /// `down_tr64` to `down_tr512` alone.
    Encoder,
}

impl Transfer {
    /// Why a tensor of this name is left alone, if it is.
    fn leaves(self, name: &str) -> Option<&'static str> {
        match self {
            Self::Encoder if !is_encoder(name) => Some("only the encoder was asked for"),
            Self::Features if is_last(name) => Some("the file's last layer is another task's"),
            _ => None,
        }
    }
}

/// One tensor and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TransferredTensor {
    /// Its name in the network, or in the file for one that was skipped.
    pub tensor: String,
    /// Why.
    pub reason: String,
}

/// What became of every tensor. Each of the network's is in exactly one of `loaded`, `inflated` and `initialised`;
/// `skipped` holds those of the file that have no place in the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TransferReport {
    /// Taken from the file as they are.
    pub loaded: Vec<TransferredTensor>,
    /// Spread over more input channels.
    pub inflated: Vec<TransferredTensor>,
    /// In the file, without a place in the network.
    pub skipped: Vec<TransferredTensor>,
    /// Left at their initial values.
    pub initialised: Vec<TransferredTensor>,
    /// What the last block's γ and β were multiplied by for a new last layer, if there is one.
    pub scaled: Option<f32>,
    /// Convolutions that were brought to another size, see [`resize_convolutions`].
    pub resized: Vec<Resized>,
}

impl TransferReport {
    /// The report for people: a line for each fate and reason, naming the first and last of its tensors.
    pub fn lines(&self) -> Vec<String> {
        let fates = [
            ("loaded", &self.loaded),
            ("inflated", &self.inflated),
            ("skipped", &self.skipped),
            ("re-initialised", &self.initialised),
        ];
        let mut lines = Vec::new();
        for (fate, tensors) in fates {
            let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
            for TransferredTensor { tensor, reason } in tensors {
                match groups.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, names)) => names.push(tensor),
                    None => groups.push((reason, vec![tensor])),
                }
            }
            for (reason, names) in groups {
                let names = match &names[..] {
                    [one] => (*one).to_string(),
                    [one, other] => format!("{one}, {other}"),
                    [first, .., last] => format!("{} tensors, {first} to {last}", names.len()),
                    [] => continue,
                };
                lines.push(format!("{fate}: {names}: {reason}"));
            }
        }
        if let Some(factor) = self.scaled {
            lines.push(format!(
                "{} and bias: times {factor:.3}, to the size that a new last layer expects, whose classes start balanced",
                last_layer::GAMMA
            ));
        }
        if let Some(((least, most), first)) = convolutions::range(&self.resized).zip(self.resized.first()) {
            lines.push(format!(
                "resized: {}, {} and on, times {least:.2} to {most:.2}, to the size of fresh ones: batch norm undoes \
                 it, and a step of training turns them as far as fresh ones",
                plural(self.resized.len(), "convolution", "convolutions"),
                first.tensor,
            ));
        }
        lines
    }
}

fn note(to: &mut Vec<TransferredTensor>, tensor: &str, reason: impl Into<String>) {
    to.push(TransferredTensor { tensor: tensor.into(), reason: reason.into() });
}

/// Reads a checkpoint, ours or the original's `.pt`, and transfers it; returns the file's content too, for what its
/// metadata say ([`crate::wanted_statistics`]).
///
/// # Errors
/// One line that names the file: as [`read_checkpoint`] and [`into_network`].
pub fn load_file<N: Network>(
    network: &mut N,
    path: impl AsRef<Path>,
    scope: Transfer,
) -> Result<(TransferReport, Checkpoint)> {
    let path = path.as_ref();
    let checkpoint = read_checkpoint(path)?;
    let report = into_network(network, &checkpoint.state, scope).map_err(|error| Error::file(path, error))?;
    Ok((report, checkpoint))
}

/// [`load_file`] without the file's content.
///
/// # Errors
/// As [`load_file`].
pub fn load<N: Network>(network: &mut N, path: impl AsRef<Path>, scope: Transfer) -> Result<TransferReport> {
    Ok(load_file(network, path, scope)?.0)
}

/// What is to be written into one tensor of the network.
enum Given {
    Values(Vec<f32>),
    Count(u64),
}

/// Transfers a state dict into a network that has been initialised. After an error the network is as it was.
///
/// # Errors
/// Weights of another width; no tensor that fits; another shape for any other reason than channels and classes; a value
/// that is not finite.
pub fn into_network<N: Network>(
    network: &mut N,
    state: &StateDict,
    scope: Transfer,
) -> Result<TransferReport> {
    let found: HashMap<&str, &NamedTensor> = state.tensors.iter().map(|t| (plain(&t.name), t)).collect();
    let (channels, classes) = (network.channels(), network.classes());
    let order = network.tensors().order.clone();
    let mut report = TransferReport::default();
    let mut given: Vec<(Kind, Given)> = Vec::new();
    for (name, kind) in &order {
        if let Some(reason) = scope.leaves(name) {
            note(&mut report.initialised, name, reason);
            continue;
        }
        let Some(tensor) = found.get(name.as_str()) else {
            note(&mut report.initialised, name, "not in the file");
            continue;
        };
        let Some((wanted, _)) = network.tensors_mut().values_mut(*kind)? else {
            let count = tensor.to_i64().and_then(|count| u64::try_from(count).ok());
            let count = count.ok_or_else(|| Error::tensor(name, "is no count of updates"))?;
            given.push((*kind, Given::Count(count)));
            note(&mut report.loaded, name, "as in the file");
            continue;
        };
        if name == FIRST && tensor.shape.first() != wanted.first() {
            return Err(Error::invalid(format!(
                "the weights have width {}, this network has width {}: both must be of one width",
                tensor.shape.first().copied().unwrap_or(0),
                wanted[0]
            )));
        }
        if tensor.shape == wanted {
            given.push((*kind, Given::Values(finite(tensor)?)));
            note(&mut report.loaded, name, "as in the file");
        } else if is_last(name) && tensor.shape.get(1..) == wanted.get(1..) {
            let theirs = plural(tensor.shape[0], "class", "classes");
            note(&mut report.initialised, name, format!("{theirs} in the file, {classes} here"));
        } else if name == FIRST && tensor.shape.get(2..) == wanted.get(2..) {
            let theirs = tensor.shape[1];
            let counts = format!("{} in the file, {channels} here", plural(theirs, "channel", "channels"));
            if theirs > 0 && channels > theirs && channels.is_multiple_of(theirs) {
                let values = inflate(&finite(tensor)?, theirs, channels);
                given.push((*kind, Given::Values(values)));
                let copies = channels / theirs;
                let how = format!("{counts}: repeated over the channels and divided by {copies}");
                note(&mut report.inflated, name, how);
            } else {
                note(&mut report.initialised, name, counts);
            }
        } else {
            return Err(Error::Shape { tensor: name.clone(), wanted, given: tensor.shape.clone() });
        }
    }
    let known: HashMap<&str, ()> = order.iter().map(|(name, _)| (name.as_str(), ())).collect();
    for tensor in &state.tensors {
        let name = plain(&tensor.name);
        if let Some(reason) = scope.leaves(name) {
            note(&mut report.skipped, name, reason);
        } else if !known.contains_key(name) {
            note(&mut report.skipped, name, reason_to_skip(name, N::KIND));
        }
    }
    if !given.iter().any(|(kind, _)| matches!(kind, Kind::Parameter(_))) {
        return Err(Error::invalid(nothing_fits(&found, &order, scope)));
    }
    let tensors = network.tensors_mut();
    for (kind, given) in given {
        match (kind, given) {
            (Kind::Updates(number), Given::Count(count)) => tensors.updates[number] = count,
            (kind, Given::Values(values)) => {
                if let Some((_, to)) = tensors.values_mut(kind)? {
                    to.copy_from_slice(&values);
                }
            }
            (_, Given::Count(_)) => {}
        }
    }
    last_layer::prepare(network, &order, &mut report)?;
    Ok(report)
}

/// A name without what wrappers put before it.
fn plain(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

fn is_encoder(name: &str) -> bool {
    name.starts_with("down_tr")
}

/// True for the layer whose outputs are the classes.
fn is_last(name: &str) -> bool {
    name.starts_with("out_tr.") || name.starts_with("dense_2.")
}

fn reason_to_skip(name: &str, kind: &str) -> String {
    let part = ["up_tr", "out_tr", "dense_"].iter().any(|prefix| name.starts_with(prefix));
    if part {
        format!("not part of a {kind}")
    } else if name.ends_with("activation.weight") {
        "the slope of a PReLU; this network has another activation".into()
    } else {
        format!("no tensor of a {kind} has this name")
    }
}

fn nothing_fits(found: &HashMap<&str, &NamedTensor>, order: &[(String, Kind)], scope: Transfer) -> String {
    let mut names: Vec<&str> = found.keys().copied().collect();
    names.sort_unstable();
    let shown = names[..names.len().min(3)].join(", ");
    let more = if names.len() > 3 { ", …" } else { "" };
    let place = if scope == Transfer::Encoder { " in the encoder" } else { "" };
    let wanted = order.first().map_or("", |(name, _)| name.as_str());
    match names.len() {
        0 => "holds no tensors".into(),
        count => format!(
            "none of its {count} tensors has a place{place} ({shown}{more}); wanted {wanted} and others"
        ),
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn finite(tensor: &NamedTensor) -> Result<Vec<f32>> {
    let values = tensor.to_f32();
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(i) => Err(Error::tensor(&tensor.name, format!("value {i} is {}", values[i]))),
    }
}

/// From `[O, from, 3, 3, 3]` to `[O, to, 3, 3, 3]`, `to` a multiple of `from`.
fn inflate(weights: &[f32], from: usize, to: usize) -> Vec<f32> {
    let taps = 27;
    let copies = to / from;
    let filters = weights.chunks_exact(from * taps);
    filters.flat_map(|filter| filter.repeat(copies)).map(|weight| weight / copies as f32).collect()
}

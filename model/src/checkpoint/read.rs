//! Reading a checkpoint of any known format, recognised by its first bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use super::read_pt::read_pt;
use super::{OptimizerState, StateDict, read_safetensors};
use crate::{Error, Result};

/// What a checkpoint file holds.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The network's tensors under their plain names (no `module.`), and the metadata. Single
    /// values beside the weights of a `.pt` file (`epoch`, a best loss) are among the metadata.
    pub state: StateDict,
    /// The kind of file it came from.
    pub format: Format,
    /// The `epoch` entry, where the file has one. The original writes the epoch to continue with,
    /// counted from 0, which is the number of finished epochs.
    pub epoch: Option<u64>,
    /// The optimiser's memory, where the file has one.
    pub optimizer: Option<OptimizerState>,
    /// Whether a checksum in the file vouched for the values.
    pub integrity: Integrity,
    /// Top-level entries of a `.pt` file that were not read: neither weights, optimiser, nor a
    /// single value.
    pub ignored: Vec<String>,
}

/// The kinds of checkpoint files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `.safetensors`.
    Safetensors,
    /// PyTorch since 1.6: a zip archive.
    PytorchZip,
    /// PyTorch 0.1.10 to 1.5: a row of pickles, then the raw values.
    PytorchLegacy,
    /// PyTorch before 0.1.10: a tar archive.
    PytorchTar,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::PytorchZip => "PyTorch (zip, since 1.6)",
            Self::PytorchLegacy => "PyTorch (legacy, before 1.6)",
            Self::PytorchTar => "PyTorch (tar, before 0.1.10)",
        })
    }
}

/// Whether damage to the values would have been noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Integrity {
    /// Checksums in the file cover all values and fit.
    Verified,
    /// No checksum, or none for some values (views that share storage).
    Unchecked,
}

/// Reads the checkpoint at `path`: safetensors or any of PyTorch's containers, whatever the name's
/// extension says. Nothing in a pickle is executed, and what it may name is limited to tensors and
/// plain values.
///
/// # Errors
/// One line that names the file and what is wrong with it.
pub fn read_checkpoint(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref();
    // Looked at first: opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(Error::io("open", path))?.is_file() {
        return Err(Error::file(path, "is not a file"));
    }
    let file = File::open(path).map_err(Error::io("open", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    let mut start = Vec::new();
    file.take(512).read_to_end(&mut start).map_err(Error::io("read", path))?;
    match recognise(&start).map_err(|cause| Error::file(path, cause))? {
        Container::Safetensors => from_safetensors(path),
        Container::Pytorch => read_pt(path, metadata.len()),
    }
}

/// The two families of readers.
#[derive(Debug, PartialEq)]
enum Container {
    Safetensors,
    Pytorch,
}

/// Tells a file's kind by its first 512 bytes.
fn recognise(start: &[u8]) -> Result<Container, String> {
    if start.is_empty() {
        return Err("is empty (0 bytes)".to_string());
    }
    // A header length below 2^32 and the brace its JSON starts with.
    if start.get(4..9) == Some(b"\0\0\0\0{") {
        return Ok(Container::Safetensors);
    }
    let tar = start.get(257..262) == Some(b"ustar");
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") || start[0] == 0x80 || tar {
        return Ok(Container::Pytorch);
    }
    Err(if start.starts_with(b"\x89HDF\r\n\x1a\n") {
        // Keras names layers by the order in which they were made, and lays kernels out the other way round.
        "is HDF5, as Keras keeps weights (.h5), which is not read: take the original's weights for PyTorch \
         (Genesis_Chest_CT.pt, from the same page), which hold the same network"
            .to_string()
    } else if start.starts_with(b"\x93NUMPY") {
        "is a NumPy array, not a checkpoint".to_string()
    } else {
        "is neither safetensors nor a PyTorch checkpoint".to_string()
    })
}

fn from_safetensors(path: &Path) -> Result<Checkpoint> {
    let (mut state, integrity) = read_safetensors(path)?;
    let optimizer = OptimizerState::take_from(&mut state).map_err(|cause| Error::file(path, cause))?;
    state.strip_prefix("module.");
    let epoch = state.metadata.get("epoch").and_then(|epoch| epoch.parse().ok());
    Ok(Checkpoint { state, format: Format::Safetensors, epoch, optimizer, integrity, ignored: Vec::new() })
}

//! What a checkpoint holds, for `genesis inspect`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::{Checkpoint, Format, Integrity, NamedTensor, OptimizerState, StoredType, read_checkpoint};
use crate::{Error, Result};

/// A checkpoint file in figures.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// The file, as given.
    pub path: String,
    /// Its kind.
    pub format: Format,
    /// Its size in bytes.
    pub file_bytes: u64,
    /// Whether a checksum vouched for the values.
    pub integrity: Integrity,
    /// Number of tensors of the network.
    pub tensor_count: usize,
    /// Number of trainable values: without running statistics and counters.
    pub parameters: usize,
    /// Bytes of the network's tensors.
    pub tensor_bytes: usize,
    /// The `epoch` entry.
    pub epoch: Option<u64>,
    /// The optimiser's memory.
    pub optimizer: Option<OptimizerDescription>,
    /// Free text metadata.
    pub metadata: BTreeMap<String, String>,
    /// Top-level entries of a `.pt` file that were not read.
    pub ignored: Vec<String>,
    /// The network's tensors in order.
    pub tensors: Vec<TensorDescription>,
}

/// Optimiser state in figures.
#[derive(Debug, Clone, Serialize)]
pub struct OptimizerDescription {
    /// Names of the tensors kept per parameter: `momentum_buffer` or `exp_avg`, `exp_avg_sq`.
    pub slots: BTreeSet<String>,
    /// Number of parameters with state.
    pub parameters: usize,
    /// Bytes of all its tensors.
    pub tensor_bytes: usize,
    /// Steps taken by the parameter that has taken most, where counted.
    pub steps: Option<u64>,
}

/// One tensor without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorDescription {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: StoredType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

/// Reads the checkpoint at `path`, values included so that damage is noticed, and describes it.
///
/// # Errors
/// As [`read_checkpoint`].
pub fn describe(path: impl AsRef<Path>) -> Result<Description> {
    let path = path.as_ref();
    let Checkpoint { state, format, epoch, optimizer, integrity, ignored } = read_checkpoint(path)?;
    let file_bytes = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    Ok(Description {
        path: path.display().to_string(),
        format,
        file_bytes,
        integrity,
        tensor_count: state.tensors.len(),
        parameters: state.parameters(),
        tensor_bytes: state.byte_len(),
        epoch,
        optimizer: optimizer.as_ref().map(describe_optimizer),
        tensors: state.tensors.into_iter().map(describe_tensor).collect(),
        metadata: state.metadata,
        ignored,
    })
}

fn describe_tensor(tensor: NamedTensor) -> TensorDescription {
    TensorDescription { name: tensor.name, dtype: tensor.dtype, shape: tensor.shape }
}

fn describe_optimizer(optimizer: &OptimizerState) -> OptimizerDescription {
    let tensors = || optimizer.parameters.iter().flat_map(|state| &state.slots);
    OptimizerDescription {
        slots: tensors().map(|tensor| tensor.name.clone()).collect(),
        parameters: optimizer.parameters.len(),
        tensor_bytes: tensors().map(|tensor| tensor.bytes.len()).sum(),
        steps: optimizer.parameters.iter().filter_map(|state| state.step).max(),
    }
}

//! From one checkpoint format to another, for `genesis convert`.

use std::path::Path;

use super::{PtLayout, read_checkpoint, write_pt, write_safetensors};
use crate::{Error, Result};

/// Reads the checkpoint `from` and writes it to `to` in the format that `to`'s extension names:
/// `.safetensors`, or `.pt` / `.pth` for PyTorch.
///
/// Weights, metadata, epoch and optimiser state are kept. A `.pt` file is a bare state dict when
/// there are only weights, and `{"epoch", "state_dict", …}` as the original writes it otherwise.
/// Gives the top-level entries of a `.pt` file that were not carried over (see
/// [`Checkpoint::ignored`](super::Checkpoint::ignored)), for a warning.
///
/// # Errors
/// Another extension, a file that cannot be read, or what the writers report.
pub fn convert(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Vec<String>> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let extension = to.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let to_safetensors = match extension.to_ascii_lowercase().as_str() {
        "safetensors" => true,
        "pt" | "pth" => false,
        _ => return Err(Error::file(to, "a checkpoint is written as .safetensors, .pt or .pth")),
    };
    let mut checkpoint = read_checkpoint(from)?;
    if to_safetensors {
        if let Some(optimizer) = checkpoint.optimizer.take() {
            optimizer.append_to(&mut checkpoint.state)?;
        }
        write_safetensors(to, &checkpoint.state)?;
        return Ok(checkpoint.ignored);
    }
    let (state, optimizer) = (&checkpoint.state, checkpoint.optimizer.as_ref());
    let only_weights = state.metadata.is_empty() && optimizer.is_none();
    let layout = match only_weights {
        true => PtLayout::StateDict,
        false => PtLayout::Training { epoch: checkpoint.epoch, optimizer },
    };
    write_pt(to, state, layout)?;
    Ok(checkpoint.ignored)
}

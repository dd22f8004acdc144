//! Writing `.safetensors`.
//!
//! The header is written here rather than by the `safetensors` crate, because that one keeps
//! metadata in a hash map (equal content would give unequal bytes) and builds the whole file in
//! memory. The format: <https://github.com/huggingface/safetensors#format>.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;

use super::checksum::{CHECKSUM_KEY, VERSION, VERSION_KEY, checksum};
use super::read_safetensors::LONGEST_HEADER;
use super::{NamedTensor, StateDict, write_atomically};
use crate::{Error, Result};

/// Writes `state` to `path` as safetensors, atomically (see [`write_atomically`]).
///
/// Equal content gives equal bytes: metadata sorted by key, tensors laid out by falling element
/// size (so that each lies aligned, as other readers want) and in their given order within a size.
/// The metadata receive a checksum that [`read_checkpoint`](super::read_checkpoint) verifies and
/// takes out again.
///
/// # Errors
/// Names used twice, a tensor whose bytes do not fit its shape, and what the file system reports.
pub fn write_safetensors(path: impl AsRef<Path>, state: &StateDict) -> Result<()> {
    let path = path.as_ref();
    let mut names = HashSet::new();
    for tensor in &state.tensors {
        tensor.check()?;
        if !names.insert(tensor.name.as_str()) || tensor.name == "__metadata__" {
            return Err(Error::tensor(&tensor.name, "this name is used twice or reserved"));
        }
    }
    let mut metadata = state.metadata.clone();
    metadata.insert(VERSION_KEY.to_string(), VERSION.to_string());
    metadata.insert(CHECKSUM_KEY.to_string(), checksum(&state.tensors, &state.metadata));
    let mut laid_out: Vec<&NamedTensor> = state.tensors.iter().collect();
    laid_out.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.size()));

    let header = header(&laid_out, &metadata);
    if header.len() as u64 > LONGEST_HEADER {
        return Err(Error::file(
            path,
            format!("names and metadata exceed the {LONGEST_HEADER} bytes that are read"),
        ));
    }
    write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        laid_out.iter().try_for_each(|tensor| file.write_all(&tensor.bytes))
    })
}

/// The JSON header, padded with spaces to a multiple of eight bytes.
fn header(tensors: &[&NamedTensor], metadata: &BTreeMap<String, String>) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let entries: Vec<String> =
        metadata.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
    let mut header = format!("{{\"__metadata__\":{{{}}}", entries.join(","));
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes.len();
        let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
        header.push_str(&format!(
            ",{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{start},{end}]}}",
            quoted(&tensor.name),
            tensor.dtype.name(),
            shape.join(","),
        ));
        start = end;
    }
    header.push('}');
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    header
}

//! The checksum that `.safetensors` files of Genesis carry in their metadata.
//!
//! safetensors itself would read a file with flipped bits without a word. The checksum is a CRC-32
//! over everything that matters (metadata, names, types, shapes, values), built from one CRC per
//! tensor so that the order in which tensors are met does not matter.

use std::collections::BTreeMap;

use crc32fast::Hasher;

use super::NamedTensor;

/// Metadata key of the checksum, `crc32:` and eight hexadecimal digits.
pub(super) const CHECKSUM_KEY: &str = "genesis.checksum";

/// Metadata key of the version of this layout. Written with every checksum, so that a damaged
/// checksum key is noticed as well.
pub(super) const VERSION_KEY: &str = "genesis.format";

/// The version written.
pub(super) const VERSION: &str = "1";

/// The checksum of tensors and metadata, in the form it has in the file.
pub(super) fn checksum(tensors: &[NamedTensor], metadata: &BTreeMap<String, String>) -> String {
    let mut per_tensor: Vec<(&str, u32)> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor_checksum(tensor))).collect();
    per_tensor.sort_unstable();
    let mut hasher = Hasher::new();
    for (key, value) in metadata {
        if key != CHECKSUM_KEY && key != VERSION_KEY {
            hash_text(&mut hasher, key);
            hash_text(&mut hasher, value);
        }
    }
    for (_, crc) in per_tensor {
        hasher.update(&crc.to_le_bytes());
    }
    format!("crc32:{:08x}", hasher.finalize())
}

fn tensor_checksum(tensor: &NamedTensor) -> u32 {
    let mut hasher = Hasher::new();
    hash_text(&mut hasher, &tensor.name);
    hash_text(&mut hasher, tensor.dtype.name());
    hasher.update(&(tensor.shape.len() as u64).to_le_bytes());
    for &extent in &tensor.shape {
        hasher.update(&(extent as u64).to_le_bytes());
    }
    hasher.update(&tensor.bytes);
    hasher.finalize()
}

/// The length goes first, so that text cannot wander from one field to the next unnoticed.
fn hash_text(hasher: &mut Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

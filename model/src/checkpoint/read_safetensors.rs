//! Reading `.safetensors`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata};

use super::checksum::{CHECKSUM_KEY, VERSION, VERSION_KEY, checksum};
use super::{Integrity, NamedTensor, StateDict, StoredType};
use crate::{Error, Result};

/// Longest header accepted, in bytes: room for 80 000 tensors. The format's description allows 100 MB, which takes
/// a gigabyte and seconds to parse.
pub(super) const LONGEST_HEADER: u64 = 8 << 20;

/// Reads every tensor of a safetensors file, in the order they lie in the file, and its metadata,
/// all verbatim (optimiser state included). Says whether a checksum vouched for them.
///
/// # Errors
/// A file that is no safetensors file, is cut short or too long, or fails its checksum. Nothing
/// beyond the file's own size is allocated for tensors.
pub fn read_safetensors(path: impl AsRef<Path>) -> Result<(StateDict, Integrity)> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::io("open", path))?;
    let file_len = file.metadata().map_err(Error::io("read", path))?.len();
    let mut reader = BufReader::new(file);

    let header = read_header(&mut reader, file_len).map_err(|cause| Error::file(path, cause))?;
    let header_len = header.len() as u64;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| Error::file(path, format!("not a valid safetensors header: {error}")))?;
    // `Metadata` has checked that the tensors follow each other without gaps from offset 0 and
    // that each one's length fits its shape and type.
    let wanted = (header.data_len() as u64).saturating_add(8 + header_len);
    if wanted != file_len {
        let damage = if wanted > file_len { "cut short" } else { "too long" };
        let cause = format!("{damage}: its header asks for {wanted} bytes, it has {file_len}");
        return Err(Error::file(path, cause));
    }

    let mut infos: Vec<_> = header.tensors().into_iter().collect();
    // Empty tensors share an offset, hence the name.
    infos.sort_by(|(a_name, a), (b_name, b)| (a.data_offsets, a_name).cmp(&(b.data_offsets, b_name)));
    let mut state = StateDict::default();
    for (name, info) in infos {
        let dtype = stored_type(info.dtype).ok_or_else(|| {
            Error::file(path, format!("tensor {name}: type {} is not supported", info.dtype))
        })?;
        let bytes = read_bytes(&mut reader, (info.data_offsets.1 - info.data_offsets.0) as u64)
            .map_err(Error::io("read", path))?;
        let tensor = NamedTensor::new(name, dtype, info.shape.clone(), bytes)
            .map_err(|error| Error::file(path, error))?;
        state.tensors.push(tensor);
    }
    state.metadata.extend(header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
    let integrity = verify(&mut state).map_err(|cause| Error::file(path, cause))?;
    Ok((state, integrity))
}

/// The header's JSON bytes, after checks on the length the file declares for it.
fn read_header(reader: &mut impl Read, file_len: u64) -> Result<Vec<u8>, String> {
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(|_| format!("cut short: only {file_len} bytes"))?;
    let length = u64::from_le_bytes(length);
    if length > file_len.saturating_sub(8) {
        return Err(format!("cut short or damaged: a header of {length} bytes in a file of {file_len}"));
    }
    if length > LONGEST_HEADER {
        return Err(format!("a header of {length} bytes is beyond the {LONGEST_HEADER} allowed"));
    }
    read_bytes(reader, length).map_err(|error| format!("cannot be read: {error}"))
}

/// Exactly `length` bytes, which the caller has checked against the file's size.
fn read_bytes(reader: &mut impl Read, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length as usize);
    reader.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

/// Takes Genesis's own keys out of the metadata and checks the checksum among them.
fn verify(state: &mut StateDict) -> Result<Integrity, String> {
    let version = state.metadata.remove(VERSION_KEY);
    let stored = state.metadata.remove(CHECKSUM_KEY);
    if version.is_none() && stored.is_none() {
        return Ok(Integrity::Unchecked);
    }
    if let Some(version) = version.as_ref().filter(|version| *version != VERSION) {
        return Err(format!("damaged, or written by a newer Genesis: {VERSION_KEY} is {version:?}"));
    }
    let computed = checksum(&state.tensors, &state.metadata);
    match stored {
        Some(stored) if version.is_some() && stored == computed => Ok(Integrity::Verified),
        Some(stored) => Err(format!("damaged: its checksum is {stored}, its content gives {computed}")),
        None => Err("damaged: its checksum is gone".to_string()),
    }
}

fn stored_type(dtype: Dtype) -> Option<StoredType> {
    Some(match dtype {
        Dtype::F64 => StoredType::F64,
        Dtype::F32 => StoredType::F32,
        Dtype::F16 => StoredType::F16,
        Dtype::BF16 => StoredType::BF16,
        Dtype::I64 => StoredType::I64,
        Dtype::I32 => StoredType::I32,
        Dtype::I16 => StoredType::I16,
        Dtype::I8 => StoredType::I8,
        Dtype::U64 => StoredType::U64,
        Dtype::U32 => StoredType::U32,
        Dtype::U16 => StoredType::U16,
        Dtype::U8 => StoredType::U8,
        Dtype::BOOL => StoredType::Bool,
        _ => return None,
    })
}

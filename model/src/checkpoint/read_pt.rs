//! Reading PyTorch's `.pt` and `.pth`.
//!
//! `pytorch-reader` takes the containers and pickles apart without executing anything. This file
//! adds what a checkpoint of untrusted origin needs on top: archives that unpack to no more than
//! their own size, pickles of a bounded number of objects, a refusal by name of every Python object that is no plain value, a bound on
//! what views of one storage may unfold to, the dictionary's order, and the layouts in use.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use pytorch_reader::{DType, FileFormat, PickleValue, PytorchReader, Tensor};
use serde_json::Value;
use zip::{CompressionMethod, ZipArchive, ZipReadOptions};

use super::optimizer::step_of;
use super::pickle_order::{first_occurrences, natural};
use super::{Checkpoint, Format, Integrity, NamedTensor, OptimizerState, ParameterGroup};
use super::{ParameterState, StateDict, StoredType};
use super::{pickle_size, tar_size};
use crate::{Error, Result};

type Dictionary = HashMap<String, PickleValue>;

/// Keys under which training programs keep the weights: the original and Lightning, PyTorch's
/// tutorial, nnU-Net, timm.
const WEIGHTS_KEYS: [&str; 4] = ["state_dict", "model_state_dict", "network_weights", "model"];

/// Keys under which they keep the optimiser.
const OPTIMIZER_KEYS: [&str; 3] = ["optimizer_state_dict", "optimizer_state", "optimizer"];

/// How many times the file's size its tensors may take in memory. Several names may show one
/// storage (tied weights), but a hostile file may show it a million times.
const SHARED_VIEWS_LIMIT: u64 = 4;

/// What the pickle may name besides plain values; nothing here has an effect.
const ALLOWED: [&str; 5] =
    ["torch.Tensor", "torch.Size", "torch.device", "collections.defaultdict", "collections.OrderedDict"];

/// Reads a file whose first bytes are those of one of PyTorch's containers.
pub(super) fn read_pt(path: &Path, file_len: u64) -> Result<Checkpoint> {
    read(path, file_len).map_err(|cause| Error::file(path, cause))
}

fn read(path: &Path, file_len: u64) -> Result<Checkpoint, String> {
    let archived = archived_pickle(path, file_len)?;
    match &archived {
        Some((pickle, _)) => pickle_size::check(pickle, true)?,
        None => {
            let start = start_of(path)?;
            match tar_size::is_tar(&start) {
                true => tar_size::check(path, file_len)?,
                false => pickle_size::check(&start, start.len() as u64 == file_len)?,
            }
        }
    }
    let damaged = |error: pytorch_reader::PytorchError| format!("not a usable PyTorch checkpoint: {error}");
    let root = PytorchReader::read_pickle_data(path, None).map_err(damaged)?;
    refuse_objects(&root)?;
    let PickleValue::Dict(root) = root else {
        return Err("holds no state dict: its content is not a dictionary".to_string());
    };
    let reader = PytorchReader::new(path).map_err(damaged)?;
    let format = match reader.metadata().format_type {
        FileFormat::Zip => Format::PytorchZip,
        FileFormat::Legacy => Format::PytorchLegacy,
        FileFormat::Tar => Format::PytorchTar,
        FileFormat::Pickle => return Err("is a bare pickle, which holds no tensors".to_string()),
    };
    let data_len = reader.metadata().total_data_size;
    let (pickle, has_checksums) = match archived {
        Some(archived) => archived,
        None => (leading_pickle(path, file_len, data_len)?, false),
    };
    let mut tensors = reader.into_tensors();
    let integrity = integrity(&tensors, data_len, has_checksums);
    check_sizes(&tensors, file_len)?;

    let weights_key = weights_key(&root)?;
    let optimizer_key =
        OPTIMIZER_KEYS.into_iter().find(|key| weights_key.is_some() && is_dictionary(root.get(*key)));
    let mut state = weights(&mut tensors, weights_key, &pickle)?;
    if state.tensors.is_empty() {
        return Err("holds no tensors".to_string());
    }
    state.strip_prefix("module.");
    let optimizer = match optimizer_key {
        Some(key) => read_optimizer(&root, key, &tensors, &state)?,
        None => None,
    };
    let ignored = match weights_key {
        Some(_) => single_values(&root, [weights_key, optimizer_key], &mut state),
        None => Vec::new(),
    };
    let epoch = state.metadata.get("epoch").and_then(|epoch| epoch.parse().ok());
    Ok(Checkpoint { state, format, epoch, optimizer, integrity, ignored })
}

/// Whether checksums vouch for all values: `pytorch-reader` checks that of a zip archive's entry when
/// one tensor fills it, which all do unless views share or skip values.
fn integrity(tensors: &HashMap<String, Tensor>, data_len: Option<usize>, has_checksums: bool) -> Integrity {
    let tensor_len: usize = tensors.values().map(Tensor::byte_len).fold(0, usize::saturating_add);
    match has_checksums && data_len == Some(tensor_len) {
        true => Integrity::Verified,
        false => Integrity::Unchecked,
    }
}

/// The pickle inside a zip archive and whether all entries have checksums (PyTorch can leave them
/// out, and writes 0), after checks that the archive is PyTorch's and unpacks to no more than its own
/// size; `None` when the file is no zip archive.
fn archived_pickle(path: &Path, file_len: u64) -> Result<Option<(Vec<u8>, bool)>, String> {
    let mut file = BufReader::new(File::open(path).map_err(|error| error.to_string())?);
    let mut magic = [0; 2];
    if file.read_exact(&mut magic).is_err() || magic != *b"PK" {
        return Ok(None);
    }
    let mut archive = ZipArchive::new(file).map_err(|error| format!("cut short or damaged: {error}"))?;
    let mut unpacked = 0_u64;
    let mut has_checksums = true;
    let mut pickle: Option<(usize, usize, bool)> = None;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| format!("damaged: {error}"))?;
        let name = entry.name().map_err(|error| format!("damaged: {error}"))?;
        if entry.compression() != CompressionMethod::Stored {
            return Err(format!("entry {name} is compressed, which PyTorch never does"));
        }
        unpacked = unpacked.saturating_add(entry.size());
        let has_checksum = entry.crc32() != 0 || entry.size() == 0;
        has_checksums &= has_checksum;
        let is_pickle = name == "data.pkl" || name.ends_with("/data.pkl");
        if is_pickle && pickle.is_none_or(|(length, ..)| name.len() < length) {
            pickle = Some((name.len(), index, has_checksum));
        }
    }
    if unpacked > file_len {
        return Err(format!("damaged: {file_len} bytes claim to hold entries of {unpacked}"));
    }
    let (_, index, has_checksum) =
        pickle.ok_or("is a zip archive but no PyTorch file (no data.pkl in it)")?;
    let options = ZipReadOptions::new().ignore_crc32(!has_checksum);
    let mut entry =
        archive.by_index_with_options(index, options).map_err(|error| format!("damaged: {error}"))?;
    let mut pickle = Vec::new();
    entry.read_to_end(&mut pickle).map_err(|error| format!("entry data.pkl: {error}"))?;
    Ok(Some((pickle, has_checksums)))
}

/// The longest start of a legacy file that is looked at for pickles.
const LONGEST_PICKLES: u64 = 64 << 20;

fn start_of(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_PICKLES).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The part before the values of a legacy file; empty where the container has no such part.
fn leading_pickle(path: &Path, file_len: u64, data_len: Option<usize>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let length = file_len.saturating_sub(data_len.map_or(file_len, |length| length as u64));
    File::open(path)
        .and_then(|file| file.take(length).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Refuses a pickle that names a Python object other than tensors and plain values.
fn refuse_objects(value: &PickleValue) -> Result<(), String> {
    match value {
        PickleValue::Unsupported(name) if !is_allowed(name) => Err(format!(
            "refused: its pickle asks for the Python object {name}; only tensors and plain values are read"
        )),
        PickleValue::List(items) => items.iter().try_for_each(refuse_objects),
        PickleValue::Dict(entries) => entries.values().try_for_each(refuse_objects),
        _ => Ok(()),
    }
}

/// Besides [`ALLOWED`]: `int` (one too wide for 64 bits) and types such as `torch.float32`.
fn is_allowed(name: &str) -> bool {
    let is_type = |rest: &str| {
        ["float", "bfloat", "int", "uint", "bool"].iter().any(|kind| {
            rest.strip_prefix(kind).is_some_and(|bits| bits.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    name == "int" || ALLOWED.contains(&name) || name.strip_prefix("torch.").is_some_and(is_type)
}

/// Bounds memory before any value is read.
fn check_sizes(tensors: &HashMap<String, Tensor>, file_len: u64) -> Result<(), String> {
    let mut total = 0_u64;
    for tensor in tensors.values() {
        let bytes = tensor.byte_len() as u64;
        total = total.saturating_add(bytes);
        if bytes > file_len {
            let (name, shape) = (&tensor.name, tensor.shape());
            return Err(format!("tensor {name}: {shape:?} is more than the file's {file_len} bytes hold"));
        }
    }
    if total > file_len.saturating_mul(SHARED_VIEWS_LIMIT) {
        return Err(format!("its tensors unfold to {total} bytes from a file of {file_len}"));
    }
    Ok(())
}

fn is_dictionary(value: Option<&PickleValue>) -> bool {
    matches!(value, Some(PickleValue::Dict(_)))
}

/// The top-level key of the weights; `None` for a bare state dict (or a whole saved module, which
/// is a dictionary of dictionaries).
fn weights_key(root: &Dictionary) -> Result<Option<&'static str>, String> {
    let is_tensor = |value: &PickleValue| matches!(value, PickleValue::Unsupported(_));
    if let Some(key) = WEIGHTS_KEYS.into_iter().find(|key| is_dictionary(root.get(*key))) {
        return Ok(Some(key));
    }
    if root.values().any(is_tensor) || root.values().all(|value| is_dictionary(Some(value))) {
        return Ok(None);
    }
    let mut keys: Vec<&str> = root.keys().map(String::as_str).collect();
    keys.sort_unstable();
    Err(format!("holds no state dict: no {}, only {}", WEIGHTS_KEYS.join(", "), keys.join(", ")))
}

/// Reads the tensors below `key` (all of them for `None`), in the dictionary's order.
fn weights(
    tensors: &mut HashMap<String, Tensor>,
    key: Option<&str>,
    pickle: &[u8],
) -> Result<StateDict, String> {
    let prefix = key.map_or(String::new(), |key| format!("{key}."));
    let mut chosen: Vec<Tensor> =
        tensors.extract_if(|name, _| name.starts_with(&prefix)).map(|(_, tensor)| tensor).collect();
    for tensor in &mut chosen {
        tensor.name.drain(..prefix.len());
    }
    let places = first_occurrences(pickle, chosen.iter().map(|tensor| tensor.name.as_str()));
    let mut order: Vec<usize> = (0..chosen.len()).collect();
    let place = |index: usize| places.get(chosen[index].name.as_str()).copied().unwrap_or(usize::MAX);
    order.sort_by(|&a, &b| place(a).cmp(&place(b)).then_with(|| natural(&chosen[a].name, &chosen[b].name)));
    let tensors = order.into_iter().map(|index| materialise(&chosen[index])).collect::<Result<_, _>>()?;
    Ok(StateDict { tensors, ..StateDict::default() })
}

/// Reads the values of a tensor; a strided view comes out contiguous.
fn materialise(tensor: &Tensor) -> Result<NamedTensor, String> {
    let dtype = match tensor.dtype() {
        DType::F64 => StoredType::F64,
        DType::F32 => StoredType::F32,
        DType::F16 => StoredType::F16,
        DType::BF16 => StoredType::BF16,
        DType::I64 => StoredType::I64,
        DType::I32 => StoredType::I32,
        DType::I16 => StoredType::I16,
        DType::I8 => StoredType::I8,
        DType::U64 => StoredType::U64,
        DType::U32 => StoredType::U32,
        DType::U16 => StoredType::U16,
        DType::U8 => StoredType::U8,
        DType::Bool => StoredType::Bool,
    };
    let bytes = tensor.read().map_err(|error| error.to_string())?;
    NamedTensor::new(tensor.name.clone(), dtype, tensor.shape().to_vec(), bytes)
        .map_err(|error| error.to_string())
}

/// Moves single values (and a `metadata` dictionary of text, which `write_pt` writes) into the
/// metadata; the keys of all else come back, sorted.
fn single_values(root: &Dictionary, read_keys: [Option<&str>; 2], state: &mut StateDict) -> Vec<String> {
    let text = |value: &PickleValue| match value {
        PickleValue::Bool(value) => Some(value.to_string()),
        PickleValue::Int(value) => Some(value.to_string()),
        PickleValue::Float(value) => Some(value.to_string()),
        PickleValue::String(value) => Some(value.clone()),
        _ => None,
    };
    let mut ignored = Vec::new();
    for (key, value) in root.iter().filter(|(key, _)| !read_keys.contains(&Some(key.as_str()))) {
        if let Some(value) = text(value) {
            state.metadata.insert(key.clone(), value);
            continue;
        }
        match value {
            PickleValue::None => {}
            PickleValue::Dict(entries)
                if key == "metadata" && entries.values().all(|value| text(value).is_some()) =>
            {
                for (key, value) in entries {
                    // An entry beside the weights says the same and is the better source.
                    let beside = root.get(key).and_then(text).or_else(|| text(value));
                    state.metadata.extend(beside.map(|value| (key.clone(), value)));
                }
            }
            _ => ignored.push(key.clone()),
        }
    }
    ignored.sort_unstable();
    ignored
}

/// PyTorch's `Optimizer.state_dict()` under `key`; `None` when it has another layout or is empty.
fn read_optimizer(
    root: &Dictionary,
    key: &str,
    tensors: &HashMap<String, Tensor>,
    weights: &StateDict,
) -> Result<Option<OptimizerState>, String> {
    let Some(PickleValue::Dict(optimizer)) = root.get(key) else { return Ok(None) };
    let (Some(PickleValue::Dict(states)), Some(PickleValue::List(groups))) =
        (optimizer.get("state"), optimizer.get("param_groups"))
    else {
        return Ok(None);
    };
    // The keys of `state` number the parameters; before PyTorch 1.6 they were memory addresses,
    // whose order the groups' lists tell.
    let mut index_of_key = HashMap::new();
    let mut result = OptimizerState::default();
    for group in groups {
        let PickleValue::Dict(group) = group else { return Ok(None) };
        let mut read = ParameterGroup::default();
        for (setting, value) in group {
            match (setting.as_str(), value) {
                ("params", PickleValue::List(parameters)) => {
                    for parameter in parameters {
                        let PickleValue::Int(parameter) = parameter else { return Ok(None) };
                        let index = index_of_key.len();
                        index_of_key.insert(parameter.to_string(), index);
                        read.parameters.push(index.to_string());
                    }
                }
                _ => {
                    read.settings.insert(setting.clone(), to_json(value));
                }
            }
        }
        result.groups.push(read);
    }
    let mut indexed: Vec<(usize, &str, &PickleValue)> = Vec::new();
    for (state_key, state) in states {
        let index = index_of_key
            .get(state_key)
            .ok_or_else(|| format!("{key}: state of parameter {state_key}, which is in no group"))?;
        indexed.push((*index, state_key, state));
    }
    indexed.sort_by_key(|&(index, ..)| index);
    for (index, state_key, state) in indexed {
        let PickleValue::Dict(entries) = state else { continue };
        let mut entry = ParameterState { parameter: index.to_string(), step: None, slots: Vec::new() };
        let mut slots: Vec<(&String, &PickleValue)> = entries.iter().collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        for (slot, value) in slots {
            if let (PickleValue::Int(step), "step") = (value, slot.as_str()) {
                entry.step = u64::try_from(*step).ok();
            } else if let Some(tensor) = tensors.get(&format!("{key}.state.{state_key}.{slot}")) {
                let mut tensor = materialise(tensor)?;
                if slot == "step" {
                    entry.step = Some(step_of(&tensor)?);
                } else {
                    tensor.name = slot.clone();
                    entry.slots.push(tensor);
                }
            }
        }
        result.parameters.push(entry);
    }
    result.name_parameters(weights, index_of_key.len());
    Ok(Some(result))
}

/// A setting of the optimiser as JSON; what JSON lacks (infinity, bytes) as text.
fn to_json(value: &PickleValue) -> Value {
    match value {
        PickleValue::None => Value::Null,
        PickleValue::Bool(value) => Value::from(*value),
        PickleValue::Int(value) => Value::from(*value),
        PickleValue::Float(value) if value.is_finite() => Value::from(*value),
        PickleValue::Float(value) => Value::from(value.to_string()),
        PickleValue::String(value) | PickleValue::Unsupported(value) => Value::from(value.as_str()),
        PickleValue::Bytes(value) => Value::from(String::from_utf8_lossy(value)),
        PickleValue::List(items) => items.iter().map(to_json).collect(),
        PickleValue::Dict(entries) => {
            entries.iter().map(|(key, value)| (key.clone(), to_json(value))).collect()
        }
    }
}

//! Writing PyTorch's `.pt`: a zip archive of uncompressed entries, `data.pkl` and one entry of raw
//! values per tensor. <https://docs.pytorch.org/docs/stable/notes/serialization.html>

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::pickle_writer::PickleWriter;
use super::{NamedTensor, OptimizerState, StateDict, StoredType, write_atomically};
use crate::{Error, Result};

/// What surrounds the tensors.
#[derive(Debug, Clone, Copy, Default)]
pub enum PtLayout<'a> {
    /// The state dict alone: `model.load_state_dict(torch.load(path))`. Has no place for metadata.
    #[default]
    StateDict,
    /// As the original writes its checkpoints: `{"epoch", "state_dict", "optimizer_state_dict"}`,
    /// absent parts left out, and the metadata as a dictionary of text under `"metadata"`.
    Training {
        /// The epoch to continue with.
        epoch: Option<u64>,
        /// The optimiser's memory.
        optimizer: Option<&'a OptimizerState>,
    },
}

/// Entries begin at multiples of this many bytes, as in PyTorch's own files.
const ALIGNMENT: u16 = 64;

/// Entries from this size on need the archive's 64-bit fields.
const LARGE_ENTRY: usize = u32::MAX as usize;

/// Writes `state` to `path` in PyTorch's format, atomically (see [`write_atomically`]). The file
/// loads with `torch.load(path, weights_only=True)`; equal content gives equal bytes.
///
/// # Errors
/// Names used twice, a tensor whose bytes do not fit its shape or whose type PyTorch's format
/// lacks (unsigned integers beyond 8 bits), and what the file system reports.
pub fn write_pt(path: impl AsRef<Path>, state: &StateDict, layout: PtLayout) -> Result<()> {
    let mut names = HashSet::new();
    for tensor in &state.tensors {
        storage_class(tensor)?;
        if !names.insert(tensor.name.as_str()) {
            return Err(Error::tensor(&tensor.name, "this name is used twice"));
        }
    }
    let mut pickle = PickleWriter::new();
    let mut storages = Vec::new();
    let numbered;
    match layout {
        PtLayout::StateDict => write_state_dict(&mut pickle, &mut storages, &state.tensors)?,
        PtLayout::Training { epoch, optimizer } => {
            numbered = optimizer.map(NumberedOptimizer::new).transpose()?;
            pickle.dictionary(|pickle| {
                if let Some(epoch) = epoch {
                    pickle.text("epoch");
                    pickle.integer(i128::from(epoch));
                }
                pickle.text("state_dict");
                write_state_dict(pickle, &mut storages, &state.tensors)?;
                if let Some(optimizer) = &numbered {
                    pickle.text("optimizer_state_dict");
                    optimizer.write(pickle, &mut storages)?;
                }
                if !state.metadata.is_empty() {
                    pickle.text("metadata");
                    pickle.dictionary(|pickle| {
                        for (key, value) in &state.metadata {
                            pickle.text(key);
                            pickle.text(value);
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            })?;
        }
    }
    write_archive(path.as_ref(), &pickle.finish(), &storages)
}

/// The class of a tensor's storage in PyTorch, after a check that its bytes fit its shape.
fn storage_class(tensor: &NamedTensor) -> Result<&'static str> {
    tensor.check()?;
    Ok(match tensor.dtype {
        StoredType::F64 => "DoubleStorage",
        StoredType::F32 => "FloatStorage",
        StoredType::F16 => "HalfStorage",
        StoredType::BF16 => "BFloat16Storage",
        StoredType::I64 => "LongStorage",
        StoredType::I32 => "IntStorage",
        StoredType::I16 => "ShortStorage",
        StoredType::I8 => "CharStorage",
        StoredType::U8 => "ByteStorage",
        StoredType::Bool => "BoolStorage",
        StoredType::U16 | StoredType::U32 | StoredType::U64 => {
            let cause = format!("type {} has no place in PyTorch's .pt", tensor.dtype.name());
            return Err(Error::tensor(&tensor.name, cause));
        }
    })
}

/// An ordered dictionary of tensors.
fn write_state_dict<'a>(
    pickle: &mut PickleWriter,
    storages: &mut Vec<&'a [u8]>,
    tensors: &'a [NamedTensor],
) -> Result<()> {
    pickle.ordered_dictionary(|pickle| {
        tensors.iter().try_for_each(|tensor| {
            pickle.text(&tensor.name);
            write_tensor(pickle, storages, tensor)
        })
    })
}

/// A contiguous tensor on the processor, in a storage of its own.
fn write_tensor<'a>(
    pickle: &mut PickleWriter,
    storages: &mut Vec<&'a [u8]>,
    tensor: &'a NamedTensor,
) -> Result<()> {
    let class = storage_class(tensor)?;
    let mut strides = vec![1; tensor.shape.len()];
    for axis in (1..strides.len()).rev() {
        strides[axis - 1] = strides[axis] * tensor.shape[axis].max(1);
    }
    let key = storages.len().to_string();
    storages.push(&tensor.bytes);
    pickle.call("torch._utils", "_rebuild_tensor_v2", |pickle| {
        pickle.persistent(|pickle| {
            pickle.text("storage");
            pickle.global("torch", class);
            pickle.text(&key);
            pickle.text("cpu");
            pickle.integer(tensor.elements() as i128);
        });
        pickle.integer(0); // offset into the storage
        pickle.lengths(&tensor.shape);
        pickle.lengths(&strides);
        pickle.boolean(false); // requires_grad
        pickle.ordered_dictionary(|_| Ok(())) // backward hooks
    })
}

/// An optimiser's state with its parameters numbered, as PyTorch wants it.
struct NumberedOptimizer<'a> {
    /// Number, step counter and tensors of each parameter with state.
    states: Vec<(usize, Option<NamedTensor>, &'a [NamedTensor])>,
    /// Settings and numbers of each group.
    groups: Vec<(&'a BTreeMap<String, serde_json::Value>, Vec<usize>)>,
}

impl<'a> NumberedOptimizer<'a> {
    fn new(optimizer: &'a OptimizerState) -> Result<Self> {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut groups = Vec::new();
        for group in &optimizer.groups {
            let mut members = Vec::new();
            for parameter in &group.parameters {
                let number = numbers.len();
                if numbers.insert(parameter, number).is_some() {
                    return Err(Error::tensor(parameter, "is in two groups of the optimiser"));
                }
                members.push(number);
            }
            groups.push((&group.settings, members));
        }
        let mut states = Vec::new();
        for state in &optimizer.parameters {
            let number = *numbers.get(state.parameter.as_str()).ok_or_else(|| {
                Error::tensor(&state.parameter, "has optimiser state but is in no group of the optimiser")
            })?;
            let step = state.step.map(|step| NamedTensor::from_f32("step", &[], &[step as f32]));
            states.push((number, step.transpose()?, state.slots.as_slice()));
        }
        Ok(Self { states, groups })
    }

    fn write<'b>(&'b self, pickle: &mut PickleWriter, storages: &mut Vec<&'b [u8]>) -> Result<()> {
        pickle.dictionary(|pickle| {
            pickle.text("state");
            pickle.dictionary(|pickle| {
                self.states.iter().try_for_each(|(number, step, slots)| {
                    pickle.integer(*number as i128);
                    pickle.dictionary(|pickle| {
                        step.iter().chain(*slots).try_for_each(|tensor| {
                            pickle.text(&tensor.name);
                            write_tensor(pickle, storages, tensor)
                        })
                    })
                })
            })?;
            pickle.text("param_groups");
            pickle.list(|pickle| {
                self.groups.iter().try_for_each(|(settings, members)| {
                    pickle.dictionary(|pickle| {
                        for (setting, value) in *settings {
                            pickle.text(setting);
                            pickle.json(value)?;
                        }
                        pickle.text("params");
                        pickle.list(|pickle| {
                            members.iter().for_each(|&number| pickle.integer(number as i128));
                            Ok(())
                        })
                    })
                })
            })
        })
    }
}

/// The archive around the pickle and the storages, whose entries are their numbers.
fn write_archive(path: &Path, pickle: &[u8], storages: &[&[u8]]) -> Result<()> {
    write_atomically(path, |file| {
        let mut archive = ZipWriter::new(file);
        let mut entry = |name: &str, bytes: &[u8]| -> io::Result<()> {
            // A fixed time: equal content, equal bytes.
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .last_modified_time(DateTime::default())
                .large_file(bytes.len() >= LARGE_ENTRY)
                .with_alignment(ALIGNMENT);
            archive.start_file(format!("archive/{name}"), options)?;
            archive.write_all(bytes)
        };
        entry("data.pkl", pickle)?;
        entry("byteorder", b"little")?;
        for (number, bytes) in storages.iter().enumerate() {
            entry(&format!("data/{number}"), bytes)?;
        }
        entry("version", b"3\n")?;
        archive.finish()?;
        Ok(())
    })
}

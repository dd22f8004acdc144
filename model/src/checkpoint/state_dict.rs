//! Named tensors as they lie in a file: the common ground of all checkpoint formats.

use std::collections::BTreeMap;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Element type of a stored tensor; the serialised names are those of safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it: sign or kind, and bits.
pub enum StoredType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    /// One byte, 0 or 1.
    #[serde(rename = "BOOL")]
    Bool,
}

impl StoredType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The name safetensors gives it: `F32`, `BF16`, `BOOL`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }
}

/// One tensor as stored: row-major, contiguous, little-endian bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTensor {
    /// Its name, unique within a state dict.
    pub name: String,
    /// Element type.
    pub dtype: StoredType,
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// `shape.product() * dtype.size()` bytes.
    pub bytes: Vec<u8>,
}

impl NamedTensor {
    /// A tensor from its parts.
    ///
    /// # Errors
    /// When `bytes` is not exactly as long as `shape` and `dtype` ask.
    pub fn new(
        name: impl Into<String>,
        dtype: StoredType,
        shape: Vec<usize>,
        bytes: Vec<u8>,
    ) -> Result<Self> {
        let tensor = Self { name: name.into(), dtype, shape, bytes };
        tensor.check()?;
        Ok(tensor)
    }

    /// A float32 tensor from its values in row-major order.
    ///
    /// # Errors
    /// When there are not `shape.product()` values.
    pub fn from_f32(name: impl Into<String>, shape: &[usize], values: &[f32]) -> Result<Self> {
        Self::new(name, StoredType::F32, shape.to_vec(), bytemuck::cast_slice(values).to_vec())
    }

    /// An int64 scalar, as PyTorch keeps counters (`num_batches_tracked`).
    pub fn from_i64(name: impl Into<String>, value: i64) -> Self {
        let bytes = value.to_le_bytes().to_vec();
        Self { name: name.into(), dtype: StoredType::I64, shape: Vec::new(), bytes }
    }

    /// Number of elements. Saturates, so that a hand-made absurd shape cannot overflow.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, &extent| product.saturating_mul(extent))
    }

    /// Whether this is a buffer of a normalisation layer (running statistics or their counter)
    /// rather than a trainable parameter.
    pub fn is_buffer(&self) -> bool {
        let last = self.name.rsplit('.').next().unwrap_or_default();
        matches!(last, "running_mean" | "running_var" | "num_batches_tracked")
    }

    /// All values, row-major, as float32: float64 and integers rounded to the nearest, booleans
    /// 0 or 1.
    pub fn to_f32(&self) -> Vec<f32> {
        macro_rules! convert {
            ($stored:ty, $to_f32:expr) => {
                self.bytes
                    .as_chunks::<{ size_of::<$stored>() }>()
                    .0
                    .iter()
                    .map(|&bytes| ($to_f32)(<$stored>::from_le_bytes(bytes)))
                    .collect()
            };
        }
        match self.dtype {
            StoredType::F64 => convert!(f64, |v| v as f32),
            StoredType::F32 => convert!(f32, |v| v),
            StoredType::F16 => convert!(f16, f16::to_f32),
            StoredType::BF16 => convert!(bf16, bf16::to_f32),
            StoredType::I64 => convert!(i64, |v| v as f32),
            StoredType::I32 => convert!(i32, |v| v as f32),
            StoredType::I16 => convert!(i16, f32::from),
            StoredType::I8 => convert!(i8, f32::from),
            StoredType::U64 => convert!(u64, |v| v as f32),
            StoredType::U32 => convert!(u32, |v| v as f32),
            StoredType::U16 => convert!(u16, f32::from),
            StoredType::U8 => convert!(u8, f32::from),
            StoredType::Bool => self.bytes.iter().map(|&byte| f32::from(u8::from(byte != 0))).collect(),
        }
    }

    /// The single value of an int64 tensor of one element; `None` for any other tensor.
    pub fn to_i64(&self) -> Option<i64> {
        let bytes = self.bytes.as_slice().try_into().ok()?;
        (self.dtype == StoredType::I64).then(|| i64::from_le_bytes(bytes))
    }

    /// Checks that the bytes fit shape and type; the fields are public, so writers ask again.
    pub(super) fn check(&self) -> Result<()> {
        let wanted = self.elements().checked_mul(self.dtype.size());
        if wanted == Some(self.bytes.len()) {
            return Ok(());
        }
        let wanted = wanted.map_or("more than memory".to_string(), |bytes| bytes.to_string());
        let (dtype, shape, given) = (self.dtype.name(), &self.shape, self.bytes.len());
        Err(Error::tensor(&self.name, format!("{dtype} {shape:?} wants {wanted} bytes, given {given}")))
    }
}

/// The tensors of a network in order, with free text metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateDict {
    /// The tensors; names are unique.
    pub tensors: Vec<NamedTensor>,
    /// Anything else worth keeping: configuration, progress, origin.
    pub metadata: BTreeMap<String, String>,
}

impl StateDict {
    /// The tensor called `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&NamedTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] when there is none, [`Error::Shape`] when it has another shape.
    pub fn require(&self, name: &str, shape: &[usize]) -> Result<&NamedTensor> {
        let tensor = self.get(name).ok_or_else(|| Error::MissingTensor { tensor: name.to_string() })?;
        if tensor.shape == shape {
            return Ok(tensor);
        }
        let (wanted, given) = (shape.to_vec(), tensor.shape.clone());
        Err(Error::Shape { tensor: name.to_string(), wanted, given })
    }

    /// Adds a tensor at the end, or puts it in the place of the one with its name.
    pub fn insert(&mut self, tensor: NamedTensor) {
        match self.tensors.iter_mut().find(|present| present.name == tensor.name) {
            Some(present) => *present = tensor,
            None => self.tensors.push(tensor),
        }
    }

    /// Takes `prefix` off every name when all names start with it (`module.` is what PyTorch's
    /// `DataParallel` puts there). Says whether it did.
    pub fn strip_prefix(&mut self, prefix: &str) -> bool {
        let everywhere = self.tensors.iter().all(|tensor| tensor.name.starts_with(prefix));
        if prefix.is_empty() || self.tensors.is_empty() || !everywhere {
            return false;
        }
        for tensor in &mut self.tensors {
            tensor.name.drain(..prefix.len());
        }
        true
    }

    /// Moves the tensors whose names start with `prefix` out, keeping their names.
    pub fn split_off_prefix(&mut self, prefix: &str) -> Vec<NamedTensor> {
        let all = std::mem::take(&mut self.tensors);
        let (taken, kept) = all.into_iter().partition(|tensor| tensor.name.starts_with(prefix));
        self.tensors = kept;
        taken
    }

    /// Number of trainable values: all elements but those of running statistics and counters.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().filter(|tensor| !tensor.is_buffer()).map(NamedTensor::elements).sum()
    }

    /// Bytes of all tensors together.
    pub fn byte_len(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.bytes.len()).sum()
    }
}

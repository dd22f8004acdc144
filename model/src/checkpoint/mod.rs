//! Checkpoints: named tensors in files, `.safetensors` (native) and PyTorch's `.pt`.
//!
//! ```text
//! state_dict.rs        NamedTensor, StateDict: what every format is read into and written from
//! optimizer.rs         optimiser state: momentum and the like, one set of tensors a parameter
//! read.rs              read_checkpoint: looks at a file's first bytes and picks a reader
//! read_safetensors.rs  read_pt.rs        the readers; neither trusts a length or runs a pickle
//! write_safetensors.rs write_pt.rs       the writers; equal content gives equal bytes
//! atomic/              AtomicFile, write_atomically: a file is either the old one or the whole new one
//! checksum.rs          the checksum in `.safetensors` metadata
//! pickle_writer.rs     pickle_order.rs   the few pickle opcodes that writing and ordering need
//! pickle_size.rs       what a pickle unfolds to, bounded before it is interpreted
//! describe.rs          convert.rs        behind `genesis inspect` and `genesis convert`
//! ```
//!
//! Tensor names and layouts are PyTorch's throughout: `down_tr64.ops.0.conv1.weight` is
//! `[out, in, depth, height, width]`.

#[cfg(target_endian = "big")]
compile_error!("checkpoints hold little-endian values that are used as they lie");

mod atomic;
mod checksum;
mod convert;
mod describe;
mod optimizer;
mod pickle_order;
mod pickle_size;
mod pickle_writer;
mod read;
mod read_pt;
mod read_safetensors;
mod state_dict;
mod tar_size;
mod write_pt;
mod write_safetensors;

pub use atomic::{AtomicFile, write_atomically};
pub use convert::convert;
pub use describe::{Description, OptimizerDescription, TensorDescription, describe};
pub use optimizer::{OPTIMIZER_PREFIX, OptimizerState, ParameterGroup, ParameterState};
pub use read::{Checkpoint, Format, Integrity, read_checkpoint};
pub use read_safetensors::read_safetensors;
pub use state_dict::{NamedTensor, StateDict, StoredType};
pub use write_pt::{PtLayout, write_pt};
pub use write_safetensors::write_safetensors;

//! An NVIDIA card in software, for tests: runs the PTX that we ship, exactly and with every access checked.
//!
//! ```
//! use ptx_emulator::{Argument, Grid, Memory, Module};
//! let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry set(.param .u64 p) {\n\
//!     .reg .b64 %rd<2>; .reg .b32 %r<2>;\n\
//!     ld.param.u64 %rd1, [p]; mov.u32 %r1, 7; st.global.u32 [%rd1], %r1; ret; }";
//! let mut memory = Memory::default();
//! let module = Module::load(text, &mut memory)?;
//! let place = memory.allocate(4)?;
//! module.launch("set", Grid::line(1, 1), &mut memory, &[Argument::U64(place)])?;
//! assert_eq!(memory.download::<u32>(place, 1)?, [7]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `parse` reads text, `program` resolves it, `instructions` say what each opcode does, `execute` runs warps and blocks,
//! `memory` checks accesses, `counters` count, `launch` puts it together. The C ABI of the driver is a crate of its own
//! (`ptx-emulator/driver`).

// `instructions/vector.rs` alone is excepted.
#![deny(unsafe_code)]

mod capability;
mod counters;
mod error;
mod execute;
mod instructions;
mod launch;
mod memory;
mod module;
mod parse;
mod program;

pub use capability::{Capability, Target};
pub use counters::{Banks, Counters, Traffic};
pub use error::{Finding, FindingKind, LaunchError, ParseError};
pub use launch::{Grid, Options, SHARED_DEFAULT, SHARED_MOST};
pub use memory::{DEVICE_BASE, Memory, MemoryError, Plain, Swizzle, TENSOR_MAP_BYTES, TensorMap, TensorType};
pub use module::{Argument, Kernel, LoadError, Module};
pub use program::Class;

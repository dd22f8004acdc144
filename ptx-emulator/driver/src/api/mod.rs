//! The C functions, as the CUDA driver's manual defines them.

pub mod context;
pub mod device;
pub mod event;
pub mod graph;
pub mod launch;
pub mod memory;
pub mod modules;
pub mod occupancy;
pub mod procedures;
pub mod stream;
pub mod tensor_map;
pub mod unsupported;

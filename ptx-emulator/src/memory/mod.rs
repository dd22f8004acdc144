//! The memories of the card: `device`, shared (`arrays` of a block), local (`arrays` of a thread), `shadow`, which knows
//! who touched them, and what copies of tensors need: `tensor_map`, `swizzle`.

pub(crate) mod arrays;
pub mod device;
pub(crate) mod shadow;
pub mod swizzle;
pub mod tensor_map;

pub use device::{DEVICE_BASE, Memory, MemoryError, Plain};
pub use swizzle::Swizzle;
pub use tensor_map::{TENSOR_MAP_BYTES, TensorMap, TensorType};

/// Generic addresses of shared memory begin here.
pub const SHARED_BASE: u64 = 0x0100_0000_0000;
/// Generic addresses of local memory begin here.
pub const LOCAL_BASE: u64 = 0x0200_0000_0000;
/// Generic addresses of kernel parameters begin here.
pub const PARAM_BASE: u64 = 0x0300_0000_0000;
/// Each window's size.
pub const WINDOW: u64 = 1 << 32;

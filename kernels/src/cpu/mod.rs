//! What the CPU paths of several operations share: instruction sets, vectors, convolution kernels,
//! the measured ceiling.

pub(crate) mod convolution;
mod isa;
pub mod peak;
pub(crate) mod vector;

pub use isa::Isa;

/// Elements one task of an elementwise kernel handles: small enough to balance, large enough that
/// handing it out costs nothing.
pub const PIECE: usize = 1 << 14;

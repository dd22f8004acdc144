//! What the CPU paths of several operations share: instruction sets and reductions.

mod isa;

pub use isa::Isa;

/// Elements one task of an elementwise kernel handles: small enough to balance, large enough that
/// handing it out costs nothing.
pub const PIECE: usize = 1 << 14;

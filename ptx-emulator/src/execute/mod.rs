//! Running a kernel: `block` runs the warps of a block and its barriers, `warp` the lanes of a warp, `spaces` the
//! checked accesses to memory, `clocks` knows what is ordered before what.

pub(crate) mod block;
pub(crate) mod clocks;
pub(crate) mod spaces;
pub(crate) mod warp;

pub(crate) use block::Block;
pub(crate) use warp::Warp;

//! Running a kernel: `block` runs the warps of a block and its barriers, `warp` the lanes of a warp, `warpgroup` four warps
//! and their products, `spaces` the checked accesses to memory, `requests` those of many lanes at a time, `bulk` copies of tensors, `mbarrier` what they arrive at;
//! `clocks` knows what is ordered before what.

pub(crate) mod block;
pub(crate) mod bulk;
pub(crate) mod clocks;
pub(crate) mod mbarrier;
pub(crate) mod requests;
pub(crate) mod spaces;
pub(crate) mod warp;
pub(crate) mod warpgroup;

pub(crate) use block::Block;
pub(crate) use warp::Warp;

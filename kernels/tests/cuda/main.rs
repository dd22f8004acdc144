//! The CUDA kernels, executed on an emulated card, against the f64 references. What the emulator cannot show is said
//! in docs/kernels/cuda.md.

mod card;
mod convolution;
mod hopper;
mod losses;
mod memory_bound;
mod planted;
mod planted_hopper;
mod scenes;
mod traffic;
mod transposed;

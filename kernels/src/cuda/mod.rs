//! CUDA kernels: their PTX, launches in plain numbers, and the card that runs them ([`device`], all that needs a
//! driver).
//!
//! The kernels are the `.cu` files beside each operation's CPU code, their shared parts the `.cuh` files here;
//! `cargo xtask ptx` compiles them to `kernels/ptx`, which [`ptx`] embeds. Whoever has a device (or the emulator of
//! the tests) loads a module, asks an operation's `cuda` module for its [`Launch`]es, and runs them in order:
//!
//! ```
//! use genesis_kernels::cuda::{Workspace, elementwise, ptx};
//! use genesis_tensor::DType;
//! // Any device address will do to see what is launched.
//! let launch = elementwise::fill(DType::F32, 0x1000, 1000, 0.5)?;
//! assert_eq!((launch.kernel.name, launch.grid, launch.kernel.threads), ("fill_f32", [4, 1, 1], 256));
//! assert!(ptx(launch.kernel.module).unwrap().contains(".entry fill_f32"));
//! # Ok::<(), genesis_kernels::Error>(())
//! ```
//!
//! Every kernel takes one structure by value: [`Launch::arguments`] are its bytes (and before it tensor maps, if
//! any). Its Rust twin stands in the file
//! that builds it. Scratch memory comes from a [`Workspace`], which a dry run measures. Grids depend on shapes
//! alone, never on the card, so results have the same bits on every card of one generation and in every run.
//!
//! Tiles, resources and limits: `docs/kernels/cuda.md`.

pub mod cases;
pub mod channels;
pub mod convolution;
pub mod device;
pub mod direct;
pub mod elementwise;
mod geometry;
mod hopper;
mod launch;
mod modules;
pub mod packing;
mod table;
mod tensor_map;
pub mod weight_gradient;

pub use device::{CudaCard, Graph, Upload};
pub use geometry::{Divisor, Gather, Geometry};
pub(crate) use launch::int;
pub use launch::{Address, Format, Launch, NULL, Operand, Target, Workspace};
pub use modules::ptx;
pub use table::{KERNELS, Kernel, MODULES};
pub use tensor_map::TensorMap;

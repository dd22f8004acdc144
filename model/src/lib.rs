//! Floor 4 of Genesis: blocks, the 3D U-Net, initialisers, checkpoints.
//!
//! ```
//! use genesis_autograd::{Tape, Var};
//! use genesis_kernels::Context;
//! use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
//! use genesis_tensor::Tensor;
//!
//! let cx = Context::new(1);
//! let mut network = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() })?;
//! network.initialise(Initialiser::Pytorch, 1)?;
//! let cube = Var::constant(Tensor::zeros([1, 16, 16, 8, 1])?);
//! let logits = network.forward(&cx, &mut Tape::inference(), cube, Statistics::Running)?;
//! assert_eq!(logits.shape().dims(), [1, 16, 16, 8, 1]);
//! # Ok::<(), genesis_model::Error>(())
//! ```
#![forbid(unsafe_code)]

mod blocks;
pub mod checkpoint;
pub mod error;
mod initialise;
mod levels;
mod state;
mod unet;

pub use error::{Error, Result};
pub use initialise::Initialiser;
pub use levels::Levels;
pub use state::wanted_statistics;
pub use unet::{DIVISOR, Nonlinearity, Statistics, UNet3d, UNetConfig};

//! Floor 4 of Genesis: blocks, the 3D U-Net, the classifier, initialisers, checkpoints, weight transfer.
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
mod classifier;
mod encoder;
pub mod error;
mod initialise;
mod levels;
mod network;
mod state;
pub mod transfer;
mod unet;

pub use classifier::{Classifier3d, ClassifierConfig};
pub use encoder::DIVISOR;
pub use error::{Error, Result};
pub use initialise::Initialiser;
pub use levels::Levels;
pub use network::{Network, RunningStatistics, Tensors};
pub use state::{is_classifier, wanted_statistics};
pub use transfer::{Transfer, TransferReport};
pub use unet::{Nonlinearity, Statistics, UNet3d, UNetConfig};

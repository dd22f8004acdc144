//! Floor 4 of Genesis: blocks, the 3D U-Net, initialisers, checkpoints.

pub mod checkpoint;
pub mod error;

pub use error::{Error, Result};

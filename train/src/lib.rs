//! Floor 5 of Genesis: volumes, cubes, deformation, loader, training, pictures, and the commands of
//! the `genesis` program.

pub mod commands;
pub mod cubes;
pub mod deform;
pub mod error;
pub mod phantom;
pub mod progress;
pub mod report;
pub mod volume;

pub use error::{Error, Result};

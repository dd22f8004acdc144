//! Floor 5 of Genesis: volumes, cubes, deformation, loader, training, pictures, and the commands of
//! the `genesis` program.
#![forbid(unsafe_code)]

pub mod augment;
pub mod bad_volume;
pub mod bench;
pub mod candidates;
pub mod commands;
pub mod cubes;
pub mod deform;
pub mod demo;
pub mod error;
pub mod evaluate;
pub mod evaluation;
pub mod finetune;
pub mod inference;
pub mod phantom;
pub mod precision;
pub mod preprocess;
pub mod progress;
pub mod provenance;
pub mod report;
pub mod stop;
pub mod task;
mod text_file;
pub mod trace;
pub mod training;
pub mod volume;
mod workers;

pub use error::{Error, Result};
pub use precision::Precision;

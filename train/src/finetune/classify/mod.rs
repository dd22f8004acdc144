//! Classification: from a table of cubes or places in volumes with their classes to a network that tells
//! the class of a cube.
//!
//! ```text
//! table ─ data (which rows train) ─ store ─ sampler ─ loader ─ target_trainer ─┐
//!                                                                              ├─ session
//!                                      network (encoder) ─ validation (AUC) ───┘
//! ```
//!
//! The network is the encoder with the original's head ([`genesis_model::Classifier3d`]). Two classes have
//! one logit and binary cross-entropy, more have one logit each and cross-entropy.

mod config;
mod data;
mod loader;
mod loss;
mod pictures;
mod rows;
mod sampler;
mod session;
#[cfg(test)]
mod tests;
mod validation;

pub use config::{ClassLoss, ClassificationConfig, ClassificationData, ClassificationValidation, Sampler};
pub use data::{ClassifiedCubes, Cube};
pub use rows::Rows;
pub use sampler::{CubePlan, CubeSample};
pub use session::{ClassificationSummary, finetune_classification};
pub use validation::{ClassificationReport, area_under_curve};

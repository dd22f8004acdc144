//! Fine-tuning for target tasks (floor 5): from labelled scans and pre-trained weights to a network
//! for the task.
//!
//! ```text
//! data ─ split ─ store ─ loader ─ target_trainer ─┐
//!                                                 ├─ target_loop ─ run directory
//!              network (weights) ─ validation ────┘
//! ```
//!
//! [`segment`] and [`classify`] hold what only one task needs: its data, its loss, its validation. All
//! else is shared, the training loop first of all.
//!
//! The whole network is trained, its last layer drawn anew when the number of classes differs (Zhou et
//! al., *Models Genesis*, Medical Image Analysis 67 (2021) 101840).

mod class_weights;
pub mod classify;
mod network;
mod passes;
pub mod segment;
mod settings;
mod split;
mod store;
mod target_loop;
mod target_trainer;

pub use class_weights::ClassWeights;
pub use classify::*;
pub use network::{TargetNetwork, starting_network};
pub use segment::*;
pub use settings::{Freeze, TargetConfig, TargetSettings, read_config};
pub use split::Split;
pub use store::{Store, Stored};
pub use target_loop::{RunOutcome, TargetTask, Validation};
pub use target_trainer::{TargetBatch, TargetLoss, TargetTrainer};

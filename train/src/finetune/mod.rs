//! Fine-tuning for target tasks (floor 5): from a folder of scans with label maps and pre-trained
//! weights to a network that segments.
//!
//! ```text
//! folder ─ layout ─ split ─┬─ case ─ store ─ sampler ─ loader ─ trainer ─┐
//!               classes ───┘                                             ├─ session ─ run directory
//!                                        network (weights) ─ validation ─┘
//! ```
//!
//! The whole network is trained, its last layer drawn anew when the number of classes differs (Zhou et
//! al., *Models Genesis*, Medical Image Analysis 67 (2021) 101840); patches and validation follow
//! nnU-Net (Isensee et al., Nature Methods 18, 2021).

mod case;
mod class_weights;
mod classes;
mod config;
mod data;
mod layout;
mod loader;
mod network;
mod pictures;
mod prediction;
mod sampler;
mod session;
mod split;
mod store;
#[cfg(test)]
mod tests;
mod trainer;
mod validation;

pub(crate) use case::label_classes;
pub use case::{Case, CaseReader};
pub use class_weights::{ClassWeights, weighted_loss};
pub use classes::{Class, Classes};
pub use config::{Freeze, LossName, SegmentationConfig, SegmentationData, SegmentationValidation};
pub use data::SegmentationCases;
pub use layout::{CaseFiles, Dataset, NamedLabel};
pub(crate) use layout::{case_name, is_brats_segmentation, sequence_file, sequence_of};
pub use loader::{PatchBatch, PatchLoader, PatchOrder};
pub use pictures::{LabelledRow, SegmentationSample, labelled_montage, segmentation_montage};
pub use prediction::predict_classes;
pub use sampler::{PatchConfig, PatchPlan, PatchSample};
pub use session::{SegmentationSummary, finetune_segmentation};
pub use split::Split;
pub use store::CaseStore;
pub use trainer::SegmentationTrainer;
pub use validation::{CaseDice, DiceReport, dice, validate};

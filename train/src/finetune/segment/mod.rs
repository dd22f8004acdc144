//! Segmentation: from a folder of scans with label maps to a network that labels every voxel.
//!
//! ```text
//! folder ─ layout ─ split ─┬─ case ─ store ─ sampler ─ loader ─ trainer ─┐
//!               classes ───┘                                             ├─ session ─ run directory
//!                                        network (weights) ─ validation ─┘
//! ```
//!
//! Patches and validation follow nnU-Net (Isensee et al., Nature Methods 18, 2021).

mod case;
mod classes;
mod config;
mod data;
mod layout;
mod loader;
mod pictures;
mod prediction;
mod sampler;
mod session;
#[cfg(test)]
mod tests;
mod validation;

pub(crate) use case::label_classes;
pub use case::{Case, CaseReader, CaseStore};
pub use classes::{Class, Classes};
pub use config::{LossName, SegmentationConfig, SegmentationData, SegmentationValidation};
pub use data::SegmentationCases;
pub use layout::{CaseFiles, Dataset, NamedLabel};
pub(crate) use layout::{case_name, is_brats_segmentation, sequence_file, sequence_of};
pub(in crate::finetune) use loader::interleave;
pub use loader::{PatchLoader, PatchOrder};
pub use pictures::{LabelledRow, SegmentationSample, labelled_montage, segmentation_montage};
pub use prediction::predict_classes;
pub use sampler::{PatchConfig, PatchPlan, PatchSample};
pub use session::{SegmentationSummary, finetune_segmentation};
pub use validation::{CaseDice, DiceReport, dice, validate};

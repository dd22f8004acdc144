//! Running a network over more than it was trained on: batches of cubes, and whole volumes by a
//! sliding window.
//!
//! Windows lie at even distances with the wanted overlap, and their results are averaged with
//! Gaussian weights of σ = 1/8 of the window, never 0 (the rule of nnU-Net, Isensee et al., 2021).

mod classify;
mod components;
mod predict;
mod restore;
mod segment;
mod windows;

pub use classify::{
    Classifier, ClassifySettings, class_logits, class_probabilities, classify_cubes, classify_table,
    predicted_class, shape_of,
};
pub use components::{Connectivity, keep_largest_component};
pub use predict::{
    Labelled, Prediction, PredictionFiles, PredictionSettings, ScanFiles, Segmenter, class_path,
    split_extension,
};
pub use restore::{restore_cubes, restore_volume};
pub use segment::{SegmentSettings, decide, segment_volume};
pub use windows::SlidingWindow;

use crate::Error;

fn work(error: impl ToString) -> Error {
    Error::Work(error.to_string())
}

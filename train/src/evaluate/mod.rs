//! Evaluation of a whole data set: from a folder of cases, and weights or predictions made elsewhere, to
//! `metrics.json`, `cases.csv` and pictures.
//!
//! ```text
//! folder ─ selection ─┬─ labeller (network, or files) ─┐
//!                     └─ reference ────────────────────┴─ case ─┬─ summary ─ metrics.json
//!                                                               ├─ table ─── cases.csv
//!                                                               ├─ overlay ─ overlay-*.png
//!                                                               └─ strip ─── dice.png
//! ```
//!
//! [`classification`] does the same for classifiers, from tables of candidates.
//!
//! Every case of a segmentation is scored on the grid its scan came on, not on the network's working grid, so that networks of
//! different spacings compare. What a metric is, and when it is undefined, says [`crate::evaluation`].

mod case;
pub mod classification;
mod labeller;
mod overlay;
mod segmentation;
mod selection;
mod strip;
mod summary;
mod table;
#[cfg(test)]
mod tests;

pub use case::{CaseScores, METRICS, Metric};
pub use labeller::LabelSource;
pub use segmentation::{SegmentationEvaluation, evaluate_segmentation};
pub use selection::{Part, SplitFile};
pub use summary::{ClassSummary, Failure, SegmentationReport, Spread};

//! Metrics of target tasks: pure functions from predictions and references to numbers.
//!
//! ```text
//! label volumes ─ overlap (Dice, IoU, …) ──┬─ segmentation (one class of one case) ─┐
//!       └─ distance_transform ─ surface ───┘                                        ├─ statistics
//! scores, labels ─ ranking (ROC, AUC, AP) ─┬─ classification (one test set) ────────┤   (over cases,
//!       └─ confusion ─ bootstrap ──────────┘                                        │    over trials)
//! candidates ─ detection (FROC) ────────────────────────────────────────────────────┘
//! ```
//!
//! **Undefined values** are `None` (`null` in JSON), never a number that would move a mean. The rules:
//!
//! | | both empty | prediction empty | reference empty |
//! | --- | --- | --- | --- |
//! | Dice, IoU, surface Dice | 1 | 0 | 0 |
//! | sensitivity | `None` | 0 | `None` |
//! | precision | `None` | `None` | 0 |
//! | Hausdorff, Hausdorff-95, average surface distance | `None` | `None` | `None` |
//!
//! A perfect "nothing there" is a success and counts as one; a distance exists only between two
//! surfaces. An AUC needs both classes, an average precision a positive case. [`statistics::Summary`]
//! says beside every mean how many values were undefined.
//!
//! The numbers agree with MedPy, MONAI, SciPy and scikit-learn; `tests/oracle/record_metrics.py`
//! records what those compute, and the tests here hold every metric to it within 1e-6.

pub mod bootstrap;
pub mod brier;
pub mod classification;
pub mod confusion;
pub mod detection;
pub mod distance_transform;
pub mod grid;
#[cfg(test)]
mod oracle;
pub mod overlap;
pub mod plots;
pub mod ranking;
pub mod segmentation;
pub mod statistics;
pub mod student;
pub mod surface;
pub mod two_class_iou;

pub use grid::Grid;

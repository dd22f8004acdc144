//! Evaluation of a classifier: from probabilities of candidates to `metrics.json`, `cases.csv` and curves.
//!
//! ```text
//! weights + table, or a table of probabilities ─ scored ─ aggregate ─┬─ report ── metrics.json
//!                                                                   ├─ results ─ cases.csv
//!                                                                   ├─ plots ─── roc, precision-recall, confusion
//!                                                                   └─ froc ──── froc.png
//! ```
//!
//! **Groups.** Where a candidate has several crops (ECC), [`Aggregate`] makes one score of the rows that
//! share a `group`; they must share a label.
//!
//! **FROC.** Scans are told apart by the column `scan`, or else `group` (LUNA16: `seriesuid`). Every positive
//! row is a finding of its own; where several candidates lie on one nodule, a column `annotation` names the
//! nodule (unique within its scan), of which the best candidate counts. Findings without a candidate and
//! scans without a row are not in a table: their true numbers can be given. With LUNA16's `annotations.csv`
//! the places decide, as in the challenge's own script.

mod aggregate;
mod froc;
mod plots;
mod predictions;
mod report;
mod run;
mod scored;
#[cfg(test)]
mod tests;

pub use aggregate::Aggregate;
pub use froc::{FrocReport, FrocSettings, read_findings};
pub use predictions::read as read_predictions;
pub use report::{ClassificationReport, ClassificationScores, MacroScores};
pub use run::{ClassificationEvaluation, ProbabilitySource, evaluate_classification};
pub use scored::Scored;

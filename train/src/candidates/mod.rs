//! Candidate tables: a CSV file that says which places of which volumes are looked at, what each of them
//! is, and which part of the data it belongs to; and the cubes around those places.
//!
//! Two kinds of tables are read; which one a file is, its header says.
//!
//! **Volumes or cubes with labels.** Columns by name, in any order, other columns are ignored:
//!
//! | column | holds |
//! | --- | --- |
//! | `path` | the volume, relative to the table's folder or absolute |
//! | `label` | the class, as a name or a number; may be missing, wholly or in some rows, to predict |
//! | `split` | the part of the data: `train`, `valid` (or `val`), `test`, or any name, such as `fold3` |
//! | `group` | what belongs together: the scan of a candidate, the candidate of several crops, the patient |
//! | `scan` | the scan of a candidate, for FROC, where the group is something else |
//! | `annotation` | the finding that a positive row lies on, for FROC; see `genesis evaluate --froc` |
//! | `x`, `y`, `z` | the place in world millimetres; missing or empty: the volume's centre |
//!
//! **LUNA16's `candidates.csv` and `candidates_V2.csv`**, with the columns
//! `seriesuid,coordX,coordY,coordZ,class`, and a folder that is searched recursively for
//! `<seriesuid>.mhd`, `.mha`, `.nii`, `.nii.gz`, `.nrrd`, `.nhdr`. The scan is the group. A volume below a folder `subset0` to
//! `subset9` has that folder's name as its split, unless the table has a column `split` of its own. Lung
//! masks in LUNA16's `seg-lungs-LUNA16` carry the same names as the scans; the file in a subset wins.
//!
//! **World millimetres** are LPS: x grows to the patient's left, y to the back, z to the head. That is how
//! ITK, SimpleITK, LUNA16 and 3D Slicer's "LPS" write them; NIfTI tools write RAS, whose x and y have the
//! other sign. A `.npy` file has no geometry: its positions are voxel indices.
//!
//! **Classes.** Where all labels are whole numbers, they are the classes 0 to the highest; names are sorted,
//! so that of two the later one in the alphabet is class 1, the positive one. Classes given by the caller
//! (a checkpoint's) come first: a label is then one of their names, or else their number.

mod crop;
mod labels;
mod read;
mod results;
mod sheet;
mod table;
#[cfg(test)]
mod tests;
mod volumes;

pub use crop::{Cropper, Scan};
pub use read::TableSource;

pub(crate) use results::{CsvText, results_csv};
pub(crate) use sheet::Sheet;
pub use table::{Candidate, CandidateTable};

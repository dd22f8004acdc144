//! DICOM series: slices in files of one folder, read as one volume.
//!
//! The few attributes a volume is made of are read by a small reader of our own (`data_set`), not by `dicom-object`:
//! that crate reserves memory for whatever length an element declares (a file of 724 bytes makes version 0.10 touch
//! 3.9 GB), so every file would have to be walked through beforehand by just such a reader, and 36 crates would then do
//! the same work again. Ours holds every length to the bytes that are there, sequences to a depth, elements to a number,
//! and passes over what it does not need: pixels are read when the geometry of the whole series is known to be sound, and
//! names of patients never. Libraries decompress JPEG (`jpeg-decoder`) and JPEG 2000 (`hayro-jpeg2000`), both pure Rust,
//! each behind a look at the stream's own header; `flate2` inflates.
//!
//! Slices are put in order by ImagePositionPatient along the normal of ImageOrientationPatient; their distance is
//! measured. Whatever lies on no even, upright grid is refused with its measure.

#[cfg(feature = "dicom")]
mod bytes;
#[cfg(feature = "dicom")]
mod data_set;
#[cfg(feature = "dicom")]
mod element;
#[cfg(feature = "dicom")]
mod geometry;
#[cfg(feature = "dicom")]
mod header;
#[cfg(feature = "dicom")]
mod jpeg;
#[cfg(feature = "dicom")]
mod jpeg2000;
#[cfg(feature = "dicom")]
mod pixels;
#[cfg(feature = "dicom")]
mod read;
mod recognise;
#[cfg(feature = "dicom")]
mod run_length;
#[cfg(feature = "dicom")]
mod series;
#[cfg(all(test, feature = "dicom"))]
mod tests;
#[cfg(feature = "dicom")]
mod text;
#[cfg(feature = "dicom")]
mod transfer;

use std::path::{Path, PathBuf};

pub(super) use recognise::{is_dicom, is_dicom_name};

use super::Volume;
use super::describe::SeriesDescription;
use crate::error::Result;

/// Reads the series a path names: a folder with one, or a file of one.
///
/// # Errors
/// No series or several; a slice that is damaged or missing; slices on no grid; values that are not read; a program
/// built without the feature `dicom`.
pub(super) fn read(path: &Path) -> Result<(Volume, SeriesDescription)> {
    #[cfg(feature = "dicom")]
    return read::read(path);
    #[cfg(not(feature = "dicom"))]
    Err(crate::error::Error::file(path, "is DICOM, but this program was built without the feature dicom"))
}

/// The files of the series that a file belongs to, in the order of their names; none where they cannot be told.
pub(super) fn series_files(path: &Path) -> Vec<PathBuf> {
    #[cfg(feature = "dicom")]
    return read::files(path);
    #[cfg(not(feature = "dicom"))]
    {
        let _ = path;
        Vec::new()
    }
}

/// The series among some files of a folder, each by what [`read`] takes for it; what is left out is told.
pub(super) fn list(folder: &Path, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    #[cfg(feature = "dicom")]
    return read::list(folder, paths);
    #[cfg(not(feature = "dicom"))]
    {
        let count = paths.iter().filter(|path| recognise::is_dicom_file(path)).count();
        if count > 0 {
            tracing::warn!(
                "{}: {count} DICOM files left out: this program was built without the feature dicom",
                folder.display()
            );
        }
        Vec::new()
    }
}

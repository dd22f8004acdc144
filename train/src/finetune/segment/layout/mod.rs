//! Where the cases of a data set lie: each scan of one or more files with its label map.
//!
//! Five layouts are recognised, in this order:
//!
//! | layout | files |
//! | --- | --- |
//! | Medical Segmentation Decathlon, nnU-Net | `dataset.json`, `imagesTr/`, `labelsTr/` |
//! | paired folders | `imagesTr/` and `labelsTr/`, or `images/` with `labels/` or `masks/` |
//! | BraTS | one folder a case: `CASE/CASE_flair.nii.gz`, `_t1`, `_t1ce`, `_t2`, `_seg` (and 2023's `-t2f`, …) |
//! | LiTS | `volume-N.nii` beside `segmentation-N.nii` |
//!
//! In folders a case is a name that image and label share, extension aside; `NAME_0000`, `NAME_0001`, …
//! (nnU-Net) are the channels of case `NAME`. The channels may also lie in one file of four dimensions.

mod decathlon;
mod folders;
mod published;
#[cfg(test)]
mod tests;

pub(crate) use published::{is_brats_segmentation, sequence_file, sequence_of};

use super::case::values_of;
use super::classes::Classes;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One scan and its label map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFiles {
    /// The case's name, by which splits know it.
    pub name: String,
    /// The files of the scan, in the order of their channels.
    pub images: Vec<PathBuf>,
    /// The label map.
    pub label: PathBuf,
}

impl CaseFiles {
    /// The scan's first file, to name the scan by.
    pub fn image(&self) -> &Path {
        self.images.first().unwrap_or(&self.label)
    }
}

/// A value of label maps with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedLabel {
    /// The value.
    pub value: u8,
    /// What it means.
    pub name: String,
}

/// A data set as it lies on disk; no volume is read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The folder.
    pub root: PathBuf,
    /// All cases with a label map, sorted by name.
    pub cases: Vec<CaseFiles>,
    /// The labels `dataset.json` declares, background included; `None` where nothing declares them.
    pub labels: Option<Vec<NamedLabel>>,
    /// The channels' names, where they are known.
    pub channels: Vec<String>,
}

impl Dataset {
    /// Finds the cases below a folder.
    ///
    /// # Errors
    /// A folder that cannot be read or holds no case; a scan without a label map; channels that some cases
    /// have and others lack; a `dataset.json` that makes no sense. Each names the file.
    pub fn open(root: &Path) -> Result<Self> {
        if !root.is_dir() {
            return Err(Error::file(root, "is not a folder (a data set of images and labels is needed)"));
        }
        let mut dataset = if root.join("dataset.json").is_file() {
            decathlon::open(root)?
        } else if let Some((images, labels)) = folders::find(root) {
            let cases = folders::pair(&images, &labels)?;
            Self { root: root.to_path_buf(), cases, labels: None, channels: Vec::new() }
        } else if let Some(dataset) = published::open(root)? {
            dataset
        } else {
            return Err(Error::file(
                root,
                "holds no data set: no dataset.json, no imagesTr/ with labelsTr/, no images/ with labels/",
            ));
        };
        dataset.cases.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = dataset.cases.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::file(root, format!("has two cases named {}", pair[0].name)));
        }
        let Some(first) = dataset.cases.first() else {
            return Err(Error::file(root, "holds no case (a volume with a label map)"));
        };
        let wanted = first.images.len();
        if let Some(case) = dataset.cases.iter().find(|case| case.images.len() != wanted) {
            let path = case.images.first().unwrap_or(&case.label);
            let cause = format!(
                "case {} has {} files, case {} has {wanted}",
                case.name,
                case.images.len(),
                first.name
            );
            return Err(Error::file(path, cause));
        }
        Ok(dataset)
    }

    /// The numbers of the channels a user names, by number or name.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that no channel has.
    pub fn channel_numbers(&self, wanted: &[String]) -> Result<Vec<usize>> {
        let known = &self.channels;
        let number = |name: &String| {
            let by_name = known.iter().position(|known| known.eq_ignore_ascii_case(name));
            by_name.or_else(|| name.parse().ok()).ok_or_else(|| {
                let known = if known.is_empty() { "none by name".to_string() } else { known.join(", ") };
                Error::Usage(format!("--channels {name}: the data set has no such channel (it has {known})"))
            })
        };
        wanted.iter().map(number).collect()
    }

    /// The foreground classes of the data set's label maps: those the user wants, those it declares, or every
    /// value in the label maps of `cases`. A label map that cannot be read is an error, unless `lenient` and
    /// another one can.
    ///
    /// # Errors
    /// As [`Classes::resolve`]; a label map that cannot be read.
    pub fn classes<'a>(
        &self,
        wanted: &[String],
        cases: impl IntoIterator<Item = &'a CaseFiles>,
        lenient: bool,
    ) -> Result<Classes> {
        let mut found = Vec::new();
        if self.labels.is_none() && wanted.is_empty() {
            let (mut readable, mut unreadable) = (false, None);
            for files in cases {
                match values_of(files) {
                    Ok(values) => {
                        readable = true;
                        found.extend(values);
                    }
                    Err(error) if lenient => unreadable = unreadable.or(Some(error)),
                    Err(error) => return Err(error),
                }
            }
            if let (false, Some(error)) = (readable, unreadable) {
                return Err(error);
            }
            found.sort();
            found.dedup();
        }
        Classes::resolve(self.labels.as_deref(), wanted, &found).map_err(|error| match error {
            Error::Work(cause) => Error::file(&self.root, cause),
            other => other,
        })
    }
}

/// A file name without the extension of its volume format.
pub(crate) fn case_name(name: &str) -> &str {
    stem(name)
}

fn stem(name: &str) -> &str {
    let cut = |name: &str, extension: &str| -> Option<usize> {
        let at = name.len().checked_sub(extension.len())?;
        name.get(at..).filter(|end| end.eq_ignore_ascii_case(extension)).map(|_| at)
    };
    // 3D Slicer calls its segmentations NAME.seg.nrrd.
    let extensions = [".nii.gz", ".nii", ".hdr.gz", ".hdr", ".mha", ".mhd", ".seg.nrrd", ".nrrd", ".nhdr"];
    extensions.iter().find_map(|extension| cut(name, extension)).map_or(name, |at| &name[..at])
}

//! What is done about a volume that cannot be used, and the report of those passed over.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The policy for a volume that cannot be used: damaged, too small, with voxels that are not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadVolume {
    /// Go on without it, with a warning and a line in the report.
    #[default]
    Skip,
    /// End with an error that names it.
    Fail,
}

impl FromStr for OnBadVolume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "skip" => Ok(Self::Skip),
            "fail" => Ok(Self::Fail),
            _ => Err("use skip or fail".into()),
        }
    }
}

/// A volume that was passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The volume file.
    pub file: PathBuf,
    /// Why.
    pub reason: String,
}

impl OnBadVolume {
    /// Passes over a volume, telling of it, or gives its error back.
    ///
    /// # Errors
    /// The volume's own, for [`OnBadVolume::Fail`].
    pub fn pass_over(self, file: &Path, error: Error) -> Result<Skipped> {
        if self == Self::Fail {
            return Err(error);
        }
        tracing::warn!("passed over {error}");
        Ok(Skipped { file: file.to_path_buf(), reason: error.to_string() })
    }
}

/// Writes `file,reason` of every volume passed over as CSV, or removes an old report where there is none.
///
/// # Errors
/// A folder that cannot be written.
pub fn write_report(path: &Path, skipped: &[Skipped]) -> Result<()> {
    if skipped.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        };
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer.write_record(["file", "reason"]).and_then(|()| {
        skipped
            .iter()
            .try_for_each(|each| writer.write_record([&*each.file.to_string_lossy(), each.reason.as_str()]))
    });
    written.map_err(|error| Error::file(path, error))?;
    let text = writer.into_inner().map_err(|error| Error::file(path, error))?;
    crate::report::file::write_atomically(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_quotes_what_needs_it_and_goes_when_nothing_was_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("skipped.csv");
        let error = Error::file("a,b.nii", "is \"truncated\"");
        let skipped = OnBadVolume::Skip.pass_over(Path::new("a,b.nii"), error).unwrap();
        write_report(&path, std::slice::from_ref(&skipped)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "file,reason\n\"a,b.nii\",\"a,b.nii: is \"\"truncated\"\"\"\n");
        write_report(&path, &[]).unwrap();
        write_report(&path, &[]).unwrap();
        assert!(!path.exists());
        assert!(OnBadVolume::Fail.pass_over(Path::new("x"), Error::file("x", "is bad")).is_err());
    }
}

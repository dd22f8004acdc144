//! Results never replace what they were made from.

use std::path::{Path, PathBuf};

use super::files::{Kind, kind};
use super::{metaimage, nifti};
use crate::error::{Error, Result};

/// Refuses an output that is a file of the input: under the same path, another path, a symbolic or a hard link.
/// The data file beside a header counts on both sides.
///
/// # Errors
/// [`Error::Usage`] naming both.
pub fn refuse_to_replace(input: &Path, output: &Path) -> Result<()> {
    let (read, written) = (files_of(input), written_files(output));
    match written.iter().find(|written| read.iter().any(|read| is_same_file(read, written))) {
        Some(written) => Err(Error::Usage(format!(
            "writing {} would replace the input {}",
            written.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

/// The files that hold a volume, as far as its header tells.
fn files_of(path: &Path) -> Vec<PathBuf> {
    let data = match kind(path) {
        Some(Kind::NiftiPair) => {
            nifti::companion(path, "hdr", "img").or_else(|| nifti::companion(path, "img", "hdr"))
        }
        Some(Kind::MetaImage) => metaimage::data_file(path),
        _ => None,
    };
    data.into_iter().chain([path.to_path_buf()]).collect()
}

/// The files that writing a volume under a name makes.
fn written_files(path: &Path) -> Vec<PathBuf> {
    let is = |wanted: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted));
    let data = match (is("mhd"), is("nhdr")) {
        (true, _) => Some(path.with_extension("zraw")),
        (_, true) => Some(path.with_extension("raw.gz")),
        _ => None,
    };
    data.into_iter().chain([path.to_path_buf()]).collect()
}

/// True if both paths lead to one existing file.
#[cfg(unix)]
fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    identity(a).is_some_and(|a| identity(b) == Some(a))
}

/// True if both paths lead to one existing file.
#[cfg(not(unix))]
fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

//! Results never replace what they were made from.

use std::path::{Path, PathBuf};

use super::files::{Kind, kind};
use super::{dicom, metaimage, nifti, nrrd};
use crate::error::{Error, Result};

/// Refuses an output that is a file of the input: under the same path, another path, a symbolic or a hard link.
/// The data file beside a header counts on both sides.
///
/// # Errors
/// [`Error::Usage`] naming both.
pub fn refuse_to_replace(input: &Path, output: &Path) -> Result<()> {
    // Before the input, which may be a folder of a thousand slices, is looked into.
    let mut written = written_files(output);
    written.retain(|file| file.exists());
    if written.is_empty() {
        return Ok(());
    }
    let read = files_of(input);
    match written.iter().find(|written| read.iter().any(|read| is_same_file(read, written))) {
        Some(written) => Err(Error::Usage(format!(
            "writing {} would replace the input {}",
            written.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

/// The files that hold the volume a path names: itself, and its data files or the other slices of its series as far as
/// the header tells. Of anything else, the path alone.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let others = match kind(path) {
        Some(Kind::NiftiPair) => {
            let other = nifti::companion(path, "hdr", "img").or_else(|| nifti::companion(path, "img", "hdr"));
            other.into_iter().collect()
        }
        Some(Kind::MetaImage) => metaimage::data_file(path).into_iter().collect(),
        Some(Kind::Nrrd) => nrrd::data_files(path),
        Some(Kind::Dicom) if path.is_file() => dicom::series_files(path),
        _ => Vec::new(),
    };
    let others = others.into_iter().filter(|other| other != path && other.is_file());
    std::iter::once(path.to_path_buf()).chain(others).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn data_files_of_headers_count_as_the_input() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let volume = crate::volume::test_support::counting_volume([3, 4, 5]);
        for (header, data) in [("a.mhd", "a.zraw"), ("b.nhdr", "b.raw.gz")] {
            crate::volume::write_volume(&at(header), &volume, crate::volume::ElementType::Float32).unwrap();
            assert_eq!(files_of(&at(header)), [at(header), at(data)]);
            fs::rename(at(data), at("other.raw.gz")).unwrap();
            let text = fs::read(at(header)).unwrap();
            let text = String::from_utf8_lossy(&text).replace(data, "other.raw.gz");
            fs::write(at(header), text).unwrap();
            assert_eq!(files_of(&at(header)), [at(header), at("other.raw.gz")]);
            // What would be written as `other.nhdr` has its data in that very file.
            let told = refuse_to_replace(&at(header), &at("other.nhdr")).unwrap_err().to_string();
            assert!(told.contains("would replace the input"), "{told}");
            assert!(refuse_to_replace(&at(header), &at("new.nhdr")).is_ok());
            fs::remove_file(at("other.raw.gz")).unwrap();
        }
        assert_eq!(files_of(&at("none.nii")), [at("none.nii")]);
        assert_eq!(files_of(&at("none.nhdr")), [at("none.nhdr")]);
    }
}

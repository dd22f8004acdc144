//! Telling DICOM files by their content.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Length of a preamble and the letters `DICM` behind it (PS3.10, 7.1).
pub(super) const PREAMBLE: usize = 132;

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// `DICM` behind a preamble.
    Dicom,
    /// Shorter than a preamble: cannot be told.
    Short,
    /// Anything else.
    Unknown,
}

/// Looks at the first bytes of a file.
pub(super) fn content(path: &Path) -> Content {
    let mut start = Vec::with_capacity(PREAMBLE);
    let read = File::open(path).and_then(|file| file.take(PREAMBLE as u64).read_to_end(&mut start));
    match read {
        Ok(PREAMBLE) if start.ends_with(b"DICM") => Content::Dicom,
        Ok(PREAMBLE) | Err(_) => Content::Unknown,
        Ok(_) => Content::Short,
    }
}

/// True for the names DICOM files are usually given, `.dcm`, `.dicom` and `.ima`: these are taken for DICOM even
/// without the letters (old files have no preamble).
pub(in crate::volume) fn is_dicom_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["dcm", "dicom", "ima"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// True for a file that is taken for DICOM, by content or by name.
pub(super) fn is_dicom_file(path: &Path) -> bool {
    path.is_file() && (is_dicom_name(path) || content(path) == Content::Dicom)
}

/// True for a DICOM file, or a folder with a DICOM file in it.
pub(in crate::volume) fn is_dicom(path: &Path) -> bool {
    if !path.is_dir() {
        return is_dicom_file(path);
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| !is_hidden(&path) && is_dicom_file(&path))
}

/// Names that start with a dot; macOS leaves `._IM0001` files that are no images.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

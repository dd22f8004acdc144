//! Voxels in another file than their header.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// The longest name a header may give a file, in bytes: several folders deep.
const LONGEST_NAME: usize = 1024;

/// The path of the file `name` that `field` of the header at `header` names.
///
/// A header from elsewhere must not make this program read arbitrary files, so the file must lie in the header's
/// folder or below it, links followed.
///
/// # Errors
/// A name that leads elsewhere; a file that is not there.
pub(super) fn beside(header: &Path, field: &str, name: &str) -> Result<PathBuf> {
    let leaves = |how: &str| {
        Error::file(header, format!("{field} is {name:?}, which leaves the folder of the header{how}"))
    };
    if name.len() > LONGEST_NAME {
        let cause = format!("{field} is a name of {} bytes, more than any file's", name.len());
        return Err(Error::file(header, cause));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::file(header, format!("{field} is a name with control characters")));
    }
    let relative = Path::new(name);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside || relative.as_os_str().is_empty() {
        return Err(leaves(""));
    }
    let path = header.with_file_name(relative);
    let real = fs::canonicalize(&path).map_err(Error::io("read", &path))?;
    if real.is_dir() {
        return Err(Error::file(header, format!("{field} is {name:?}, which is a directory")));
    }
    // The folder the header was named in, or where a link to the header leads.
    let named = header.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let linked = fs::canonicalize(header).map_err(Error::io("read", header))?;
    let folders = [fs::canonicalize(named).ok(), linked.parent().map(Path::to_path_buf)];
    if !folders.iter().flatten().any(|folder| real.starts_with(folder)) {
        return Err(leaves(" by a link"));
    }
    Ok(path)
}

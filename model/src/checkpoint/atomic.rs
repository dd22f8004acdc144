//! Writing a file so that a crash, a full disk or a power cut leaves the old file or the whole new
//! one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Large enough that headers and small tensors gather into few system calls; larger writes pass
/// through.
const BUFFER_BYTES: usize = 1 << 18;

/// Replaces the file at `path` by what `write` produces, all or nothing.
///
/// The content goes to a temporary file `.NAME.PID-COUNT.tmp` in the same directory, is forced to
/// the disk, and is then renamed over `path`; the directory is forced to the disk last, so that the
/// new name survives a power cut too. Permissions follow the process's umask. A symbolic link at
/// `path` stays, and the file it points to is replaced.
///
/// # Errors
/// What `write` or the file system reports; the temporary file is removed and `path` left as it was.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let given = path.as_ref();
    // Fails for a file that does not exist yet, which is the common case and no error.
    let path = fs::canonicalize(given).unwrap_or_else(|_| given.to_path_buf());
    if path.is_dir() {
        return Err(Error::file(given, "is a directory, cannot be written as a file"));
    }
    let name = path.file_name().ok_or_else(|| Error::file(given, "names no file"))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };

    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    temporary_name.push(format!(".{}-{count}.tmp", std::process::id()));
    let temporary = directory.join(temporary_name);

    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&temporary)
        .map_err(Error::io("create", given))?;
    let unfinished = RemoveOnDrop(temporary);
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
    write(&mut writer)
        .and_then(|()| writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all())
        .map_err(Error::io("write", given))?;
    fs::rename(&unfinished.0, &path).map_err(Error::io("replace", given))?;
    std::mem::forget(unfinished);
    synchronise_directory(directory).map_err(Error::io("synchronise the directory of", given))
}

/// Removes the file when dropped: on an error or a panic nothing half-written stays behind.
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // The write's own error is the one worth reporting.
        let _ = fs::remove_file(&self.0);
    }
}

/// Forces the directory entry to the disk.
#[cfg(unix)]
fn synchronise_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        // Some network file systems cannot do this; the file's own content is safe already.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        other => other,
    }
}

/// Directories cannot be opened for this elsewhere; the rename itself is journalled there.
#[cfg(not(unix))]
fn synchronise_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn entries(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_whole_files_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.bin");
        write_atomically(&path, |file| file.write_all(b"first")).unwrap();
        write_atomically(&path, |file| file.write_all(b"second")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(entries(directory.path()), ["file.bin"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.bin");
        write_atomically(&path, |file| file.write_all(b"old")).unwrap();
        let error = write_atomically(&path, |file| {
            file.write_all(&vec![1; BUFFER_BYTES * 2])?;
            Err(io::Error::other("disk on fire"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("file.bin: disk on fire"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(directory.path()), ["file.bin"]);
    }

    #[test]
    fn refuses_a_directory_and_a_missing_parent() {
        let directory = tempfile::tempdir().unwrap();
        let error = write_atomically(directory.path(), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
        let error = write_atomically(directory.path().join("no/such/file"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("cannot create "), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_follow_the_umask_and_links_stay() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (plain, path) = (directory.path().join("plain"), directory.path().join("atomic"));
        fs::write(&plain, b"").unwrap();
        let link = directory.path().join("link");
        fs::write(&path, b"old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_atomically(&link, |file| file.write_all(b"new")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}

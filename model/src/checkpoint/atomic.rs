//! Writing a file so that a crash, a full disk or a power cut leaves the old file or the whole new
//! one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
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
    write_on(&RealDisk, path.as_ref(), write)
}

/// The calls to the system that a write makes, so that a test can let each of them fail.
trait Disk {
    type File: Write;
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    fn synchronise(&self, file: &Self::File) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn synchronise_directory(&self, directory: &Path) -> io::Result<()>;
}

/// The system's own.
struct RealDisk;

impl Disk for RealDisk {
    type File = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    fn synchronise(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn synchronise_directory(&self, directory: &Path) -> io::Result<()> {
        synchronise_directory(directory)
    }
}

fn write_on<D: Disk>(
    disk: &D,
    given: &Path,
    write: impl FnOnce(&mut BufWriter<D::File>) -> io::Result<()>,
) -> Result<()> {
    // Fails for a file that does not exist yet, which is the common case and no error.
    let path = fs::canonicalize(given).unwrap_or_else(|_| given.to_path_buf());
    if path.is_dir() {
        return Err(Error::file(given, "is a directory, cannot be written as a file"));
    }
    // A rename would put a file in the place of /dev/null.
    if path.exists() && !path.is_file() {
        return Err(Error::file(given, "is a device or a pipe, a file is needed"));
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

    let file = disk.create(&temporary).map_err(Error::io("create", given))?;
    let unfinished = RemoveOnDrop(temporary);
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
    write(&mut writer)
        .and_then(|()| disk.synchronise(&writer.into_inner().map_err(io::IntoInnerError::into_error)?))
        .map_err(Error::io("write", given))?;
    disk.rename(&unfinished.0, &path).map_err(Error::io("replace", given))?;
    std::mem::forget(unfinished);
    disk.synchronise_directory(directory).map_err(Error::io("synchronise the directory of", given))
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
    use std::cell::Cell;
    use std::rc::Rc;

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

    /// A disk on which one call fails, counted over all calls of a write.
    struct FaultyDisk {
        left: Rc<Cell<u64>>,
        fault: Fault,
    }

    #[derive(Clone, Copy, Debug)]
    enum Fault {
        /// The call fails with this error.
        Error(i32),
        /// A write takes only half of what it is given, and says so.
        ShortWrite,
        /// A write takes half, and the next call fails: a disk that fills up.
        Fills(i32),
    }

    struct FaultyFile {
        file: File,
        left: Rc<Cell<u64>>,
        fault: Fault,
    }

    /// Counts a call; true for the one that is to fail.
    fn is_due(left: &Cell<u64>) -> bool {
        left.set(left.get().wrapping_sub(1));
        left.get() == 0
    }

    impl Fault {
        fn of_call(self) -> io::Result<()> {
            match self {
                Self::Error(code) | Self::Fills(code) => Err(io::Error::from_raw_os_error(code)),
                Self::ShortWrite => Ok(()),
            }
        }
    }

    impl Write for FaultyFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if is_due(&self.left) {
                return match self.fault {
                    Fault::Error(code) => Err(io::Error::from_raw_os_error(code)),
                    Fault::Fills(_) => {
                        self.left.set(1);
                        self.file.write(&bytes[..bytes.len().div_ceil(2)])
                    }
                    Fault::ShortWrite => self.file.write(&bytes[..bytes.len().div_ceil(2)]),
                };
            }
            // Small pieces, so that a write makes many calls.
            self.file.write(&bytes[..bytes.len().min(1000)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl FaultyDisk {
        fn call(&self) -> io::Result<()> {
            if is_due(&self.left) { self.fault.of_call() } else { Ok(()) }
        }
    }

    impl Disk for FaultyDisk {
        type File = FaultyFile;

        fn create(&self, path: &Path) -> io::Result<FaultyFile> {
            self.call()?;
            Ok(FaultyFile { file: RealDisk.create(path)?, left: Rc::clone(&self.left), fault: self.fault })
        }

        fn synchronise(&self, file: &FaultyFile) -> io::Result<()> {
            self.call().and_then(|()| RealDisk.synchronise(&file.file))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.call().and_then(|()| RealDisk.rename(from, to))
        }

        fn synchronise_directory(&self, directory: &Path) -> io::Result<()> {
            self.call().and_then(|()| RealDisk.synchronise_directory(directory))
        }
    }

    /// R2 of the design: after a fault at any call of a write, the old or the new checkpoint can be read, and nothing
    /// half-written is left beside it.
    #[test]
    fn a_fault_at_any_call_leaves_the_old_checkpoint_or_the_new_one() {
        let [no_space, input_output, interrupted] = [28, 5, 4];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("last.safetensors");
        let (old, new) = (vec![1; 50_000], vec![2; 50_000]);
        let mut executions = 0;
        let faults = [
            Fault::Error(no_space),
            Fault::Error(input_output),
            Fault::Error(interrupted),
            Fault::Fills(no_space),
            Fault::ShortWrite,
        ];
        for fault in faults {
            for call in 1.. {
                write_atomically(&path, |file| file.write_all(&old)).unwrap();
                let disk = FaultyDisk { left: Rc::new(Cell::new(call)), fault };
                let outcome = write_on(&disk, &path, |file| file.write_all(&new));
                let found = fs::read(&path).unwrap();
                executions += 1;
                // Only the last call, the directory's, comes after the new file has its name.
                assert!(
                    found == old && outcome.is_err() || found == new,
                    "{fault:?} at call {call}: {outcome:?}"
                );
                assert_eq!(entries(directory.path()), ["last.safetensors"], "{fault:?} at call {call}");
                if disk.left.get() > 0 && disk.left.get() < u64::MAX / 2 {
                    assert!(outcome.is_ok() && call > 40, "{fault:?}: {call} calls");
                    break;
                }
            }
        }
        println!(
            "trust | R2 | a fault at every call of a checkpoint's write, five kinds | {executions} | {executions} | 0"
        );
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

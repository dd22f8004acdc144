//! Files that are replaced whole or not at all, also on a disk that fails.

use super::disk::{Disk, RealDisk};
use super::*;
use std::cell::Cell;
use std::fs;
use std::io::Write;
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
            let left = Rc::new(Cell::new(call));
            let disk = FaultyDisk { left: Rc::clone(&left), fault };
            let outcome = write_on(disk, &path, |file| file.write_all(&new));
            let found = fs::read(&path).unwrap();
            executions += 1;
            // Only the last call, the directory's, comes after the new file has its name.
            assert!(
                found == old && outcome.is_err() || found == new,
                "{fault:?} at call {call}: {outcome:?}"
            );
            assert_eq!(entries(directory.path()), ["last.safetensors"], "{fault:?} at call {call}");
            if left.get() > 0 && left.get() < u64::MAX / 2 {
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

#[test]
fn a_file_appears_only_on_commit_and_a_dropped_one_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.bin");
    fs::write(&target, "old").unwrap();
    let mut file = AtomicFile::create(&target).unwrap();
    file.write_all(b"new content").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"old");
    drop(file);
    assert_eq!(entries(folder.path()), ["a.bin"]);
    let mut file = AtomicFile::create(&target).unwrap();
    file.write_all(b"new content").unwrap();
    file.overwrite(0, b"N").unwrap();
    file.write_all(b"!").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"New content!");
    assert_eq!(entries(folder.path()), ["a.bin"]);
    assert!(AtomicFile::create(folder.path()).is_err());
    assert!(AtomicFile::create(&folder.path().join("none/x")).is_err());
}

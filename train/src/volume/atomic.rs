//! Files that appear complete or not at all: written under a temporary name in the target's folder,
//! flushed to the disk, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A file under construction; dropped without [`commit`](Self::commit) it leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    writer: Option<BufWriter<File>>,
    temporary: PathBuf,
    target: PathBuf,
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl AtomicFile {
    /// Starts a file that will replace `target` on commit.
    ///
    /// # Errors
    /// If `target` names no file or its folder cannot be written.
    pub fn create(target: &Path) -> Result<Self> {
        let name = target.file_name().ok_or_else(|| Error::file(target, "is not a file name"))?;
        if target.is_dir() {
            return Err(Error::file(target, "is a directory, a file name is needed"));
        }
        // A rename would put a file in the place of /dev/null.
        if target.exists() && !target.is_file() {
            return Err(Error::file(target, "is a device or a pipe, a file is needed"));
        }
        loop {
            let mut temporary_name = std::ffi::OsString::from(".");
            temporary_name.push(name);
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            temporary_name.push(format!(".{}-{number}.partial", std::process::id()));
            let temporary = target.with_file_name(temporary_name);
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => {
                    let writer = Some(BufWriter::with_capacity(1 << 18, file));
                    return Ok(Self { writer, temporary, target: target.to_path_buf() });
                }
                // A left-over of a process of the same number that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => {
                    return Err(Error::Io { action: "create", path: target.to_path_buf(), source });
                }
            }
        }
    }

    /// The path this file will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes `bytes` at `offset`, then returns to the end of the file.
    pub(super) fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset))?;
        self.write_all(bytes)?;
        self.seek(SeekFrom::End(0)).map(drop)
    }

    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner()?.seek(position)
    }

    fn inner(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.writer.as_mut().ok_or_else(|| io::Error::other("the file is already finished"))
    }

    /// Flushes everything to the disk and gives the file its name.
    ///
    /// # Errors
    /// If the disk is full or the rename is refused; the target then keeps its old content.
    pub fn commit(mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let result = writer
                .into_inner()
                .map_err(io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&self.temporary, &self.target));
            if let Err(source) = result {
                // Best effort: the error that matters is the one being returned.
                let _ = fs::remove_file(&self.temporary);
                return Err(Error::Io { action: "write", path: self.target.clone(), source });
            }
            // Makes the new name itself survive a power failure, where the system allows it.
            let folder = match self.target.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            if let Ok(folder) = File::open(folder) {
                let _ = folder.sync_all();
            }
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner()?.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_on_commit_and_a_dropped_one_leaves_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let target = folder.path().join("a.bin");
        fs::write(&target, "old").expect("write");
        let mut file = AtomicFile::create(&target).expect("create");
        file.write_all(b"new content").expect("write");
        assert_eq!(fs::read(&target).expect("read"), b"old");
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
        let mut file = AtomicFile::create(&target).expect("create");
        file.write_all(b"new content").expect("write");
        file.overwrite(0, b"N").expect("overwrite");
        file.write_all(b"!").expect("write");
        file.commit().expect("commit");
        assert_eq!(fs::read(&target).expect("read"), b"New content!");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
        assert!(AtomicFile::create(folder.path()).is_err());
        assert!(AtomicFile::create(&folder.path().join("none/x")).is_err());
    }
}

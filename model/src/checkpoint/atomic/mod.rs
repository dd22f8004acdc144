//! Writing a file so that a crash, a full disk or a power cut leaves the old file or the whole new
//! one, never a part.

mod disk;
#[cfg(test)]
mod tests;

use crate::{Error, Result};
use disk::{Disk, RealDisk};
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Large enough that headers and small tensors gather into few system calls; larger writes pass
/// through.
const BUFFER_BYTES: usize = 1 << 18;

/// Replaces the file at `path` by what `write` produces, all or nothing, as [`AtomicFile`] does.
///
/// # Errors
/// What `write` or the file system reports; the temporary file is removed and `path` left as it was.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    write_on(RealDisk, path.as_ref(), write)
}

fn write_on<D: Disk>(
    disk: D,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<D::File>) -> io::Result<()>,
) -> Result<()> {
    let mut unfinished = Unfinished::create(disk, path)?;
    write(&mut unfinished.writer).map_err(Error::io("write", path))?;
    unfinished.commit()
}

/// A file under construction, which takes its name when it is committed and leaves nothing behind when it is not.
///
/// The content goes to a temporary file `.NAME.PID-COUNT.tmp` in the same directory, is forced to
/// the disk, and is then renamed over the target; the directory is forced to the disk last, so that the
/// new name survives a power cut too. Permissions follow the process's umask. A symbolic link at the
/// target's place stays, and the file it points to is replaced.
#[derive(Debug)]
pub struct AtomicFile(Unfinished<RealDisk>);

impl AtomicFile {
    /// Starts a file that will replace `target` on commit.
    ///
    /// # Errors
    /// If `target` names no file, or a directory or a device, or its folder cannot be written.
    pub fn create(target: &Path) -> Result<Self> {
        Unfinished::create(RealDisk, target).map(Self)
    }

    /// The path this file will have.
    pub fn target(&self) -> &Path {
        &self.0.target
    }

    /// Writes `bytes` at `offset`, then returns to the end of the file.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let writer = &mut self.0.writer;
        writer.seek(SeekFrom::Start(offset))?;
        writer.write_all(bytes)?;
        writer.seek(SeekFrom::End(0)).map(drop)
    }

    /// Forces everything to the disk and gives the file its name.
    ///
    /// # Errors
    /// If the disk is full or the rename is refused; the target then keeps its old content.
    pub fn commit(self) -> Result<()> {
        self.0.commit()
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.writer.flush()
    }
}

#[derive(Debug)]
struct Unfinished<D: Disk> {
    disk: D,
    writer: BufWriter<D::File>,
    temporary: RemoveOnDrop,
    target: PathBuf,
    /// What will be replaced: where links at `target` lead.
    resolved: PathBuf,
}

impl<D: Disk> Unfinished<D> {
    fn create(disk: D, target: &Path) -> Result<Self> {
        // Fails for a file that does not exist yet, which is the common case and no error.
        let resolved = fs::canonicalize(target).unwrap_or_else(|_| target.to_path_buf());
        if resolved.is_dir() {
            return Err(Error::file(target, "is a directory, cannot be written as a file"));
        }
        // A rename would put a file in the place of /dev/null.
        if resolved.exists() && !resolved.is_file() {
            return Err(Error::file(target, "is a device or a pipe, a file is needed"));
        }
        let name = resolved.file_name().ok_or_else(|| Error::file(target, "names no file"))?;
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (temporary, file) = loop {
            let mut temporary_name = std::ffi::OsString::from(".");
            temporary_name.push(name);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            temporary_name.push(format!(".{}-{count}.tmp", std::process::id()));
            let temporary = resolved.with_file_name(temporary_name);
            match disk.create(&temporary) {
                Ok(file) => break (temporary, file),
                // A left-over of a process of the same number that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", target)(error)),
            }
        };
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        let temporary = RemoveOnDrop(temporary);
        Ok(Self { disk, writer, temporary, target: target.to_path_buf(), resolved })
    }

    fn commit(self) -> Result<()> {
        let Self { disk, writer, temporary, target, resolved } = self;
        writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| disk.synchronise(&file))
            .map_err(Error::io("write", &target))?;
        disk.rename(&temporary.0, &resolved).map_err(Error::io("replace", &target))?;
        std::mem::forget(temporary);
        let directory = match resolved.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        disk.synchronise_directory(directory).map_err(Error::io("synchronise the directory of", &target))
    }
}

/// Removes the file when dropped: on an error or a panic nothing half-written stays behind.
#[derive(Debug)]
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // The write's own error is the one worth reporting.
        let _ = fs::remove_file(&self.0);
    }
}

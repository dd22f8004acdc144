//! The calls to the system that a write makes, so that a test can let each of them fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What a file is written with.
pub(super) trait Disk {
    /// An open file.
    type File: Write;
    /// A new file; one that exists is an error.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Forces a file's content to the disk.
    fn synchronise(&self, file: &Self::File) -> io::Result<()>;
    /// Gives a file another's name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Forces the names in a directory to the disk.
    fn synchronise_directory(&self, directory: &Path) -> io::Result<()>;
}

/// The system's own.
#[derive(Debug)]
pub(super) struct RealDisk;

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

    #[cfg(unix)]
    fn synchronise_directory(&self, directory: &Path) -> io::Result<()> {
        match File::open(directory)?.sync_all() {
            // Some network file systems cannot do this; the file's own content is safe already.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Directories cannot be opened for this elsewhere; the rename itself is journalled there.
    #[cfg(not(unix))]
    fn synchronise_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }
}

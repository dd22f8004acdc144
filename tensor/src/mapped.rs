//! Files read through memory: cubes larger than memory are paged in by the system as they are used.

use std::fs::File;
use std::io;
use std::ops::Deref;

/// The bytes of a file, mapped read-only.
///
/// Another program that truncates the file while it is mapped ends this one (SIGBUS), as with any
/// mapping: data sets are not to be rewritten under a training run.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps a whole file.
    ///
    /// # Errors
    /// What the system refuses: an empty file, a pipe.
    pub fn open(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is read-only and private to this process; bytes may change under us only
        // if another program writes the file, and every bit pattern is a valid byte.
        Ok(Self(unsafe { memmap2::Mmap::map(file) }?))
    }
}

impl Deref for MappedFile {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

//! Where the bytes become files.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// A temporary folder, in memory where the system has a place for that.
///
/// # Panics
/// If none can be made.
pub fn temporary() -> TempDir {
    let mut name = tempfile::Builder::new();
    name.prefix("genesis-fuzz-");
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { name.tempdir_in(memory) } else { name.tempdir() };
    made.or_else(|_| name.tempdir()).expect("a temporary folder can be made")
}

/// Runs `work` in this thread's folder, which lies in memory where the system has a place for that.
///
/// # Panics
/// If no temporary folder can be made.
pub(crate) fn with<T>(work: impl FnOnce(&Path) -> T) -> T {
    let path: PathBuf =
        FOLDER.with_borrow_mut(|folder| folder.get_or_insert_with(temporary).path().to_path_buf());
    work(&path)
}

/// Writes a file and gives its path.
///
/// # Panics
/// If the disk refuses.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("the temporary folder takes files");
    path
}

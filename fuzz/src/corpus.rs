//! The files that campaigns start from: tiny valid ones of every kind, and those that once did harm.

use std::path::PathBuf;

/// The folder of a target's files: `fuzz/corpus/NAME`.
pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// The files of a target with their names, sorted.
///
/// # Errors
/// A folder that cannot be read or is empty, in words.
pub fn files(name: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    let folder = folder(name);
    let broken = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, std::fs::read(&path).map_err(broken)?));
    }
    files.sort();
    if files.is_empty() { Err(format!("{}: is empty", folder.display())) } else { Ok(files) }
}

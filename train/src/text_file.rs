//! Small files of text from anywhere: read whole, up to a bound.

use crate::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest configuration, in bytes: a parsed one takes a hundred times as much memory.
pub(crate) const LONGEST_CONFIGURATION: u64 = 1 << 20;

/// The longest list of cases, in bytes: room for 100 000 of them.
pub(crate) const LONGEST_LIST: u64 = 16 << 20;

/// The text of a file of at most `longest` bytes.
///
/// # Errors
/// A file that cannot be read, is longer, or is not UTF-8.
pub(crate) fn read_text(path: &Path, longest: u64) -> Result<String> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > longest {
        return Err(Error::file(
            path,
            format!("is longer than the {longest} bytes that are read of such a file"),
        ));
    }
    String::from_utf8(bytes).map_err(|_| Error::file(path, "is not UTF-8 text"))
}

/// The JSON of a file of at most `longest` bytes.
///
/// # Errors
/// Those of [`read_text`]; text that is not JSON.
pub(crate) fn read_json(path: &Path, longest: u64) -> Result<serde_json::Value> {
    serde_json::from_str(&read_text(path, longest)?)
        .map_err(|error| Error::file(path, format!("is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_binary_files_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abcd").unwrap();
        assert_eq!(read_text(file.path(), 4).unwrap(), "abcd");
        assert!(read_text(file.path(), 3).unwrap_err().to_string().contains("longer than the 3 bytes"));
        std::fs::write(file.path(), b"a\xff").unwrap();
        assert!(read_text(file.path(), 4).unwrap_err().to_string().contains("not UTF-8"));
        std::fs::write(file.path(), "steps = 3\n").unwrap();
        assert!(
            read_json(file.path(), 20)
                .unwrap_err()
                .to_string()
                .contains("is not JSON: expected value at line 1")
        );
    }
}

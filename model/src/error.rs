//! The one error type of this crate: every variant prints as one line that names the file, tensor
//! or value and the cause.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong between a network description or checkpoint file and tensors in memory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file holds something that cannot be used.
    #[error("{}: {cause}", shown(path))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in words.
        cause: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", shown(path))]
    Io {
        /// What was attempted, as a verb: "read", "create", "write".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A tensor the network needs is not among the given ones.
    #[error("tensor {tensor} is missing")]
    MissingTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor has another shape than the network needs.
    #[error("tensor {tensor}: wanted shape {wanted:?}, given {given:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// The shape needed.
        wanted: Vec<usize>,
        /// The shape found.
        given: Vec<usize>,
    },
    /// A tensor cannot be stored or used for another reason.
    #[error("tensor {tensor}: {cause}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong with it, in words.
        cause: String,
    },
    /// A request that cannot be carried out.
    #[error("{}", one_line(.0))]
    Invalid(String),
    /// From an operation.
    #[error(transparent)]
    Kernel(#[from] genesis_kernels::Error),
    /// From the tape.
    #[error(transparent)]
    Autograd(#[from] genesis_autograd::Error),
    /// From a tensor.
    #[error(transparent)]
    Memory(#[from] genesis_tensor::Error),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Longest cause quoted in a message, in characters: a hostile file must not print pages.
const LONGEST_CAUSE: usize = 800;

impl Error {
    /// An error about the content of a file. Line breaks and other control characters in `cause`
    /// (a file may have put them there) are escaped, and an endless cause is cut short.
    pub fn file(path: impl AsRef<Path>, cause: impl ToString) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), cause: one_line(&cause.to_string()) }
    }

    /// For `map_err`: wraps an I/O error with the action and path.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// An error about a request.
    pub fn invalid(cause: impl ToString) -> Self {
        Self::Invalid(cause.to_string())
    }

    /// An error about one tensor.
    pub fn tensor(tensor: impl AsRef<str>, cause: impl ToString) -> Self {
        Self::Tensor { tensor: one_line(tensor.as_ref()), cause: one_line(&cause.to_string()) }
    }
}

/// `text` on one line that does nothing to a terminal: control characters, and those that turn the direction of
/// writing, are escaped as Rust does (`\\n`, `\\u{1b}`).
pub fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if does_something(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// True for control characters, and those that break lines or turn the direction of writing.
pub fn does_something(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A path as it may be printed; see [`printable`].
pub fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// `text` as it may be printed, cut at [`LONGEST_CAUSE`] characters.
pub fn one_line(text: &str) -> String {
    let cut = |text: &str| text.char_indices().nth(LONGEST_CAUSE).map(|(end, _)| text[..end].to_string());
    // Cut before and after: escapes are longer than what they stand for.
    let line = cut(text).map_or_else(|| printable(text), |start| printable(&start) + "…");
    cut(&line).map_or(line, |start| start + "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_one_short_line() {
        let hostile = format!("a\nb\r\u{1b}[31m\u{202e}{}", "x".repeat(5000));
        for error in [
            Error::file("weights.pt", &hostile),
            Error::tensor(&hostile, &hostile),
            Error::invalid(&hostile),
            Error::file("a\nb\r\u{1b}[31m\u{202e}.pt", "is empty"),
        ] {
            let message = error.to_string();
            assert!(!message.contains(['\n', '\r', '\u{1b}', '\u{202e}']), "{message:?}");
            assert!(message.contains("a\\nb\\r\\u{1b}[31m\\u{202e}"), "{message:?}");
            assert!(message.chars().count() < 1700, "{} characters", message.chars().count());
        }
        let shape = Error::Shape { tensor: "conv1.weight".into(), wanted: vec![32, 1], given: vec![1, 32] };
        assert_eq!(shape.to_string(), "tensor conv1.weight: wanted shape [32, 1], given [1, 32]");
    }
}

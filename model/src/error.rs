//! The one error type of this crate: every variant prints as one line that names the file, tensor
//! or value and the cause.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong between a network description or checkpoint file and tensors in memory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file holds something that cannot be used.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in words.
        cause: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
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
    #[error("{0}")]
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
const LONGEST_CAUSE: usize = 400;

impl Error {
    /// An error about the content of a file. Line breaks and other control characters in `cause`
    /// (a file may have put them there) become spaces, and an endless cause is cut short.
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

/// `text` without control characters and cut at [`LONGEST_CAUSE`] characters.
fn one_line(text: &str) -> String {
    let mut line: String =
        text.chars().take(LONGEST_CAUSE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST_CAUSE).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_one_short_line() {
        let hostile = format!("a\nb\r\u{1b}[31m{}", "x".repeat(5000));
        for error in [Error::file("weights.pt", &hostile), Error::tensor(&hostile, &hostile)] {
            let message = error.to_string();
            assert!(!message.contains(['\n', '\r', '\u{1b}']), "{message:?}");
            assert!(message.chars().count() < 900, "{} characters", message.chars().count());
        }
        let shape = Error::Shape { tensor: "conv1.weight".into(), wanted: vec![32, 1], given: vec![1, 32] };
        assert_eq!(shape.to_string(), "tensor conv1.weight: wanted shape [32, 1], given [1, 32]");
    }
}

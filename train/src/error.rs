//! The one error type of this crate: every variant prints as one line that names the file or value
//! and the cause.

use crate::stop::Signal;
use crate::training::NotFinite;
use genesis_model::error::{one_line, shown};
use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong between a command line and a finished run.
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
    /// A request that cannot be carried out; exit code 1.
    #[error("{}", one_line(.0))]
    Work(String),
    /// From the network and its checkpoints.
    #[error(transparent)]
    Model(#[from] genesis_model::Error),
    /// The process was asked to stop.
    #[error("stopped by {signal}{}", saved.as_deref().unwrap_or_default())]
    Stopped {
        /// By which signal.
        signal: Signal,
        /// After what was saved: at which step, and how to go on.
        saved: Option<String>,
    },
    /// A training step whose loss or gradient is not finite; the network is as it was before.
    #[error("the {} became {}", .0.what, .0.value)]
    NotFinite(NotFinite),
    /// A wrong combination of flags or values; exit code 2.
    #[error("{}", one_line(.0))]
    Usage(String),
}

impl Error {
    /// True if memory could not be had.
    pub fn is_out_of_memory(&self) -> bool {
        use genesis_autograd::Error as Tape;
        use genesis_kernels::Error as Kernel;
        use genesis_model::Error as Model;
        use genesis_tensor::Error::OutOfMemory;
        matches!(
            self,
            Self::Model(
                Model::Memory(OutOfMemory { .. })
                    | Model::Kernel(Kernel::Tensor(OutOfMemory { .. }))
                    | Model::Autograd(
                        Tape::Tensor(OutOfMemory { .. }) | Tape::Kernel(Kernel::Tensor(OutOfMemory { .. }))
                    )
            )
        )
    }
}

impl From<genesis_tensor::Error> for Error {
    fn from(error: genesis_tensor::Error) -> Self {
        Self::Model(error.into())
    }
}

impl From<genesis_kernels::Error> for Error {
    fn from(error: genesis_kernels::Error) -> Self {
        Self::Model(error.into())
    }
}

impl From<genesis_autograd::Error> for Error {
    fn from(error: genesis_autograd::Error) -> Self {
        Self::Model(error.into())
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error about the content of a file, on one short line whatever the file put into `cause`.
    pub fn file(path: impl AsRef<Path>, cause: impl ToString) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), cause: one_line(&cause.to_string()) }
    }

    /// For `map_err`: wraps an I/O error with the action and path.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// A run that was asked to stop and has saved its state of `step`.
    pub fn stopped_after(signal: Signal, step: u64) -> Self {
        let saved = format!(" after step {step}; the checkpoint is written, --resume goes on from it");
        Self::Stopped { signal, saved: Some(saved) }
    }

    /// The process exit code for this error: 2 for wrong usage, a shell's code for a signal, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Stopped { signal, .. } => signal.exit_code(),
            _ => 1,
        }
    }
}

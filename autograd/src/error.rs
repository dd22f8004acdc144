//! Errors of this floor.

/// What can go wrong while recording or walking a tape.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// From an operation.
    #[error(transparent)]
    Kernel(#[from] genesis_kernels::Error),
    /// From a tensor.
    #[error(transparent)]
    Tensor(#[from] genesis_tensor::Error),
    /// A segment that failed when it ran again, or a node that is not what it should be.
    #[error("tape: {0}")]
    Tape(String),
    /// A parameter name that does not exist, or exists twice.
    #[error("parameter '{name}': {cause}")]
    Parameter {
        /// The name.
        name: String,
        /// What is wrong.
        cause: String,
    },
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

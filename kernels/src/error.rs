//! Errors of this floor.

/// What can go wrong inside an operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// From the tensors underneath: shapes, formats, memory.
    #[error(transparent)]
    Tensor(#[from] genesis_tensor::Error),
    /// Parameters or values an operation cannot work with.
    #[error("{operation}: {cause}")]
    Operation {
        /// The operation.
        operation: &'static str,
        /// What is wrong, in words.
        cause: String,
    },
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error about parameters or values.
    pub fn operation(operation: &'static str, cause: impl ToString) -> Self {
        Self::Operation { operation, cause: cause.to_string() }
    }

    /// An error about shapes: what the operation wants and what it was given.
    pub fn shape(operation: &'static str, wanted: impl ToString, given: impl ToString) -> Self {
        genesis_tensor::Error::shape(operation, wanted, given).into()
    }
}

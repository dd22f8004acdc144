//! Errors of this floor.

use crate::{DType, Shape};

/// What can go wrong with a tensor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation was given shapes it cannot work with.
    #[error("{operation}: wanted {wanted}, was given {given}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// What it needs, in words or as a shape.
        wanted: String,
        /// What it got.
        given: String,
    },
    /// An operation was given a number format it cannot work with.
    #[error("{operation}: wanted {wanted:?} values, was given {given:?}")]
    DType {
        /// The operation.
        operation: &'static str,
        /// The format it needs.
        wanted: DType,
        /// The format it got.
        given: DType,
    },
    /// A card, or its driver, failed.
    #[error("{0}")]
    Device(String),
    /// Memory could not be had.
    #[error("out of memory: {bytes} bytes could not be allocated")]
    OutOfMemory {
        /// The size asked for, in bytes.
        bytes: usize,
    },
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A shape error from two printable values.
    pub fn shape(operation: &'static str, wanted: impl ToString, given: impl ToString) -> Self {
        Self::Shape { operation, wanted: wanted.to_string(), given: given.to_string() }
    }

    /// A shape error for two shapes that should be equal.
    pub fn unequal(operation: &'static str, wanted: Shape, given: Shape) -> Self {
        Self::shape(operation, wanted, given)
    }
}

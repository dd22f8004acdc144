//! One folder per operation.

pub mod activation;

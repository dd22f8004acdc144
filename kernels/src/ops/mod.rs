//! One folder per operation.

pub mod activation;
pub mod conv3d;
pub mod conv_transpose3d;

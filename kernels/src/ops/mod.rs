//! One folder per operation.

pub mod activation;
pub mod batch_norm;
pub mod concat;
pub mod conv3d;
pub mod conv_transpose3d;
pub mod global_average_pool;
pub mod linear;
pub mod loss;
pub mod max_pool3d;
pub mod optimizer;

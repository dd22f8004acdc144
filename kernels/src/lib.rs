//! Floor 2 of Genesis: what the machine does.
//!
//! **An operation is one folder under [`ops`] plus one line in [`OPS`].** It implements
//! [`op::Operation`]; tests, gradient checks, determinism checks, `genesis selftest` and benches are
//! derived from that list.
//!
//! ```
//! use genesis_kernels::{Context, op::Operation, ops::activation::Activation};
//! use genesis_tensor::Tensor;
//! let cx = Context::new(1);
//! let x = Tensor::from_slice([2], &[-1.0, 2.0])?;
//! let (y, saved) = Activation::Relu.forward(&cx, &[&x])?;
//! assert_eq!(y.as_slice(), [0.0, 2.0]);
//! let dx = Activation::Relu.backward(&cx, saved, Tensor::full([2], 1.0)?, &[true])?;
//! assert_eq!(dx[0].as_ref().unwrap().as_slice(), [0.0, 1.0]);
//! # Ok::<(), genesis_kernels::Error>(())
//! ```

mod array;
pub mod case;
mod context;
pub mod cpu;
pub mod cuda;
pub mod elementwise;
mod error;
pub mod op;
pub mod ops;

pub use array::Array;
pub use context::{Context, Hardware};
pub use cpu::Isa;
pub use error::{Error, Result};

/// The one list of operations.
pub static OPS: &[op::Entry] = &[
    ops::activation::ENTRY,
    ops::batch_norm::ENTRY,
    ops::concat::ENTRY,
    ops::conv3d::ENTRY,
    ops::conv_transpose3d::ENTRY,
    ops::global_average_pool::ENTRY,
    ops::linear::ENTRY,
    ops::loss::ENTRY,
    ops::max_pool3d::ENTRY,
    ops::optimizer::ENTRY,
];

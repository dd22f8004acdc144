//! Floor 3 of Genesis: reverse-mode automatic differentiation, knowing no single operation.
//!
//! ```
//! use genesis_autograd::{ParameterId, Parameters, Tape, Var};
//! use genesis_kernels::{Context, ops::activation::Activation};
//! use genesis_tensor::{Shape, Tensor};
//!
//! let cx = Context::new(1);
//! let mut parameters = Parameters::new(&[("x".into(), Shape::new(&[2]))])?;
//! parameters.values_mut(ParameterId(0))?.copy_from_slice(&[-1.0, 3.0]);
//! let mut gradients = parameters.zero_gradients()?;
//!
//! let mut tape = Tape::training();
//! let x = tape.parameter(ParameterId(0), parameters.view(ParameterId(0))?);
//! let y = tape.apply(&cx, Activation::Relu, &[&x])?;
//! drop(x);
//! tape.backward(&cx, y, Tensor::full([2], 1.0)?, &mut gradients)?;
//! assert_eq!(gradients.of(ParameterId(0))?.as_slice(), [0.0, 1.0]);
//! # Ok::<(), genesis_autograd::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod parameters;
mod tape;

pub use error::{Error, Result};
pub use parameters::{Gradients, ParameterId, Parameters, Place};
pub use tape::{Executed, Rerun, Tape, Var};

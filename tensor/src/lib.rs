//! Floor 1 of Genesis: what data is.
//!
//! A [`Tensor`] is a [`Shape`] and a [`DType`] over a reference-counted block from a pool
//! ([`memory`]). Activations are channels-last, `[N, D, H, W, C]`, everywhere. Kernels run their
//! loops on a [`parallel::ThreadPool`]; everything random comes from counter-based streams
//! ([`random`]).
//!
//! ```
//! use genesis_tensor::{Tensor, parallel::ThreadPool};
//! let pool = ThreadPool::new(2);
//! let mut x = Tensor::zeros([1, 4, 4, 4, 8])?;
//! pool.run_pieces(x.as_mut_slice()?, 64, |index, piece| piece.fill(index as f32));
//! assert_eq!(x.as_slice()[511], 7.0);
//! # Ok::<(), genesis_tensor::Error>(())
//! ```

mod card;
mod error;
pub mod mapped;
pub mod memory;
pub mod parallel;
pub mod random;
mod shape;
mod tensor;

pub use card::Card;
pub use error::{Error, Result};
pub use shape::{DType, Device, MAX_RANK, Shape};
pub use tensor::Tensor;

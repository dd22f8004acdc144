//! Convolution as one matrix product whose matrix is never built (implicit GEMM), in bf16 and f32.
//!
//! The rows of input voxels that a block of output voxels reads are copied once, with their padding, into
//! a buffer that stays in the L2 cache ([`pack`]). There every tap of every output voxel is an offset, so
//! that one micro-kernel ([`tile`]) runs over taps and channels without knowing of borders, strides or
//! odd widths. A micro-kernel exists for AMX tiles ([`amx_tile`]), for `vdpbf16ps` ([`dot_tile`]) and for
//! f32 registers ([`f32_tile`]); for the last, bf16 voxels are widened while they are copied.
//!
//! | what | of a convolution | of a transposed convolution |
//! | --- | --- | --- |
//! | [`Product`] over [`Axis::reading_image`] | forward | gradient of the input |
//! | [`Product`] over [`Axis::reading_result`] | gradient of the input | forward |
//! | [`weight_gradient`] | gradient of the weights | the same with the roles swapped |

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx_tile;
mod axis;
mod block;
#[cfg(target_arch = "x86_64")]
mod dot_tile;
mod f32_tile;
mod pack;
mod panel;
mod product;
mod scratch;
mod store;
mod tile;
mod turn;
mod unfold;
mod values;
mod weights;

pub(crate) use axis::Axis;
pub(crate) use product::{Product, Source};
pub(crate) use values::{Element, Values, ValuesMut};
pub(crate) use weights::weight_gradient;

//! The few vector instructions the micro-kernels are written in, for each instruction set.
//!
//! bf16 values are read by widening them and written rounded to nearest even. A *pair* is two bf16
//! values in the 32 bits of a lane, the first in the low half: what `vdpbf16ps` multiplies.
//!
//! Every method is `#[inline(always)]`, so that it becomes part of the `#[target_feature]` function
//! it is called from; on its own it would be compiled without the feature.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::cpu::element::Element;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::F32x8;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{F32x16, F32x16Bf16};
use half::bf16;
pub(crate) use portable::Portable;

/// A register of f32 lanes.
pub(crate) trait Vector: Copy {
    /// Number of lanes.
    const LANES: usize;

    /// Every lane set to `value`.
    ///
    /// # Safety
    /// The machine has the instruction set (the same for every method).
    unsafe fn splat(value: f32) -> Self;

    /// # Safety
    /// `from` is valid for reading `LANES` values.
    unsafe fn load(from: *const f32) -> Self;

    /// The first `count` lanes from memory, 0 in the others. `count` may be `LANES` or more.
    ///
    /// # Safety
    /// `from` is valid for reading `min(count, LANES)` values.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;

    /// # Safety
    /// `to` is valid for writing `LANES` values.
    unsafe fn store(self, to: *mut f32);

    /// As [`Vector::store`], past the caches where the machine can: for whole lines that nobody reads soon.
    /// Other threads see it after [`Store::finish`](crate::cpu::element::Store::finish).
    ///
    /// # Safety
    /// As [`Vector::store`]; `to` is aligned to the size of the vector.
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { self.store(to) }
    }

    /// Stores the first `count` lanes. `count` may be `LANES` or more.
    ///
    /// # Safety
    /// `to` is valid for writing `min(count, LANES)` values.
    unsafe fn store_first(self, to: *mut f32, count: usize);

    /// `self · factor + term`, fused where the machine can.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;

    /// `self + other`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn add(self, other: Self) -> Self;

    /// `self - other`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn sub(self, other: Self) -> Self;

    /// The first `count` bf16 values from memory, widened; 0 in the other lanes. `count` may be
    /// `LANES` or more.
    ///
    /// # Safety
    /// `from` is valid for reading `min(count, LANES)` values.
    unsafe fn load_bf16(from: *const bf16, count: usize) -> Self;

    /// Stores the first `count` lanes rounded to bf16. `count` may be `LANES` or more.
    ///
    /// # Safety
    /// `to` is valid for writing `min(count, LANES)` values.
    unsafe fn store_bf16(self, to: *mut bf16, count: usize);

    /// Every lane's pair: `self` rounded to bf16 in the low half, `high` in the high half.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn pair(self, high: Self) -> Self;

    /// `self + a.low · b.low + a.high · b.high` for pairs of bf16.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn add_pair_products(self, a: Self, b: Self) -> Self;
}

/// A number format of activations, as vectors read and write it.
pub(crate) trait VectorElement: Element {
    /// The first `count` values, widened; 0 in the other lanes.
    ///
    /// # Safety
    /// As [`Vector::load_first`].
    unsafe fn load<V: Vector>(from: *const Self, count: usize) -> V;

    /// Stores the first `count` lanes, rounded.
    ///
    /// # Safety
    /// As [`Vector::store_first`].
    unsafe fn store<V: Vector>(value: V, to: *mut Self, count: usize);
}

impl VectorElement for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self, count: usize) -> V {
        // SAFETY: the caller's contract; a full vector is read only if `count` covers it.
        unsafe { if count >= V::LANES { V::load(from) } else { V::load_first(from, count) } }
    }
    #[inline(always)]
    unsafe fn store<V: Vector>(value: V, to: *mut Self, count: usize) {
        // SAFETY: the caller's contract; a full vector is written only if `count` covers it.
        unsafe { if count >= V::LANES { value.store(to) } else { value.store_first(to, count) } }
    }
}

impl VectorElement for bf16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self, count: usize) -> V {
        // SAFETY: the caller's contract.
        unsafe { V::load_bf16(from, count) }
    }
    #[inline(always)]
    unsafe fn store<V: Vector>(value: V, to: *mut Self, count: usize) {
        // SAFETY: the caller's contract.
        unsafe { value.store_bf16(to, count) }
    }
}

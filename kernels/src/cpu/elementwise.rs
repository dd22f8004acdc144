//! Loops that compute each element from the elements of the same position.
//!
//! The function is a short closure, `move` where it uses outer numbers: those it holds by reference would
//! be read again after every store, and nothing would be vectorised.

use super::element::{Element, Store};
use super::{Kernel, PIECE, activation_format};
use crate::cpu::lanes::BLOCK;
use crate::{Context, Result};
use genesis_tensor::{DType, Tensor};
use half::bf16;
use std::ops::Range;

/// Slices of one length that are read side by side: an array of them, or a slice of activations with an
/// array of f32 slices.
pub trait Inputs: Copy + Send + Sync {
    /// The widened values at one position.
    type Values;
    /// The length of each slice.
    fn len(&self) -> usize;
    /// True if there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The same part of each slice.
    fn part(&self, range: Range<usize>) -> Self;
    /// The widened values at position `i`.
    fn at(&self, i: usize) -> Self::Values;
}

impl<E: Element, const N: usize> Inputs for [&[E]; N] {
    type Values = [f32; N];

    #[inline(always)]
    fn len(&self) -> usize {
        self.iter().map(|input| input.len()).min().unwrap_or(0)
    }

    #[inline(always)]
    fn part(&self, range: Range<usize>) -> Self {
        self.map(|input| &input[range.clone()])
    }

    #[inline(always)]
    fn at(&self, i: usize) -> [f32; N] {
        std::array::from_fn(|n| self[n][i].widen())
    }
}

impl<E: Element, const N: usize> Inputs for (&[E], [&[f32]; N]) {
    type Values = (f32, [f32; N]);

    #[inline(always)]
    fn len(&self) -> usize {
        self.1.iter().map(|input| input.len()).fold(self.0.len(), usize::min)
    }

    #[inline(always)]
    fn part(&self, range: Range<usize>) -> Self {
        (&self.0[range.clone()], self.1.part(range))
    }

    #[inline(always)]
    fn at(&self, i: usize) -> (f32, [f32; N]) {
        (self.0[i].widen(), self.1.at(i))
    }
}

/// out\[i\] = f(inputs\[0\]\[i\], inputs\[1\]\[i\], …) for slices of one length.
#[inline(always)]
pub fn map<E: Element, I: Inputs>(
    cx: &Context,
    out: &mut [E],
    inputs: I,
    f: impl Fn(I::Values) -> f32 + Copy + Sync,
) {
    let store = Store::of(cx.isa, out);
    cx.pool.run_pieces(out, PIECE, |index, out| {
        let inputs = inputs.part(index * PIECE..index * PIECE + out.len());
        cx.isa.launch(Map { out, inputs, f, store });
    });
}

/// out\[i\] = f(out\[i\], \[inputs\[0\]\[i\], …\]) for slices of one length.
#[inline(always)]
pub fn update<E: Element, I: Inputs>(
    cx: &Context,
    out: &mut [E],
    inputs: I,
    f: impl Fn(f32, I::Values) -> f32 + Copy + Sync,
) {
    cx.pool.run_pieces(out, PIECE, |index, out| {
        let inputs = inputs.part(index * PIECE..index * PIECE + out.len());
        cx.isa.launch(Update { out, inputs, f });
    });
}

/// `sum += term`, in place; two activations or gradients of one shape and format.
///
/// # Errors
/// [`genesis_tensor::Error`] if shape or format differ, or memory runs out (`sum` is copied if shared).
pub fn add(cx: &Context, sum: &mut Tensor, term: &Tensor) -> Result<()> {
    fn in_format<E: Element>(cx: &Context, sum: &mut Tensor, term: &Tensor) -> Result<()> {
        update(cx, E::slice_mut(sum)?, [E::slice(term)], |sum, [term]| sum + term);
        Ok(())
    }
    if sum.shape() != term.shape() {
        return Err(genesis_tensor::Error::unequal("sum", sum.shape(), term.shape()).into());
    }
    match activation_format("sum", &[sum, term], &[])? {
        DType::F32 => in_format::<f32>(cx, sum, term),
        DType::Bf16 => in_format::<bf16>(cx, sum, term),
    }
}

struct Map<'a, E, I, F> {
    out: &'a mut [E],
    inputs: I,
    f: F,
    store: Store,
}

impl<E: Element, I: Inputs, F: Fn(I::Values) -> f32> Kernel for Map<'_, E, I, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (out, out_rest) = self.out.as_chunks_mut::<BLOCK>();
        let whole = out.len() * BLOCK;
        for (block, out) in out.iter_mut().enumerate() {
            // The length of this part is known when compiling, so `at` checks no bounds.
            let inputs = self.inputs.part(block * BLOCK..block * BLOCK + BLOCK);
            let mut values = [E::narrow(0.0); BLOCK];
            for i in 0..BLOCK {
                values[i] = E::narrow((self.f)(inputs.at(i)));
            }
            self.store.block(out, values);
        }
        for (i, out) in out_rest.iter_mut().enumerate() {
            *out = E::narrow((self.f)(self.inputs.at(whole + i)));
        }
        self.store.finish();
    }
}

struct Update<'a, E, I, F> {
    out: &'a mut [E],
    inputs: I,
    f: F,
}

impl<E: Element, I: Inputs, F: Fn(f32, I::Values) -> f32> Kernel for Update<'_, E, I, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (out, out_rest) = self.out.as_chunks_mut::<BLOCK>();
        let whole = out.len() * BLOCK;
        for (block, out) in out.iter_mut().enumerate() {
            let inputs = self.inputs.part(block * BLOCK..block * BLOCK + BLOCK);
            for i in 0..BLOCK {
                out[i] = E::narrow((self.f)(out[i].widen(), inputs.at(i)));
            }
        }
        for (i, out) in out_rest.iter_mut().enumerate() {
            *out = E::narrow((self.f)(out.widen(), self.inputs.at(whole + i)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_of_every_length_is_computed_once() {
        let cx = Context::new(3);
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, PIECE, PIECE + BLOCK + 3] {
            let a: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let b = vec![0.5; length];
            let mut out = vec![f32::NAN; length];
            map(&cx, &mut out, [&a[..], &b], |[a, b]| a + b);
            update(&cx, &mut out, [&a[..]], |out, [a]| 2.0 * out - a);
            assert!(out.iter().enumerate().all(|(i, &out)| out == i as f32 + 1.0));
        }
    }

    #[test]
    fn formats_mix_and_an_output_larger_than_the_caches_is_whole() {
        let cx = Context::new(2);
        let length = (9 << 20) + 7;
        let narrow: Vec<bf16> = (0..length).map(|i| bf16::from_f32((i % 128) as f32)).collect();
        let wide: Vec<f32> = (0..length).map(|i| (i % 64) as f32).collect();
        let mut out = vec![bf16::NAN; length];
        assert_ne!(Store::of(cx.isa, &out), Store::Cached);
        map(&cx, &mut out, (&narrow[..], [&wide[..]]), |(a, [b])| a + b);
        assert!(out.iter().enumerate().all(|(i, out)| out.to_f32() == (i % 128 + i % 64) as f32));
    }

    #[test]
    fn sums_of_gradients_keep_their_format() {
        let cx = Context::new(2);
        let one = Tensor::full([70_001], 1.5).unwrap();
        for dtype in [DType::F32, DType::Bf16] {
            let (mut sum, term) = (one.cast(dtype).unwrap(), one.cast(dtype).unwrap());
            add(&cx, &mut sum, &term).unwrap();
            assert_eq!(sum.dtype(), dtype);
            assert!(sum.cast(DType::F32).unwrap().as_slice().iter().all(|&v| v == 3.0));
        }
        let mut sum = one.clone();
        assert!(add(&cx, &mut sum, &one.cast(DType::Bf16).unwrap()).is_err());
        assert!(add(&cx, &mut sum, &Tensor::zeros([3]).unwrap()).is_err());
    }
}

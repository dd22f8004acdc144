//! Loops that compute each element from the elements of the same position.
//!
//! The function is a short closure, `move` where it uses outer numbers: those it holds by reference would
//! be read again after every store, and nothing would be vectorised.

use super::{Kernel, PIECE};
use crate::Context;
use crate::cpu::lanes::BLOCK;

/// out\[i\] = f(inputs\[0\]\[i\], inputs\[1\]\[i\], …) for slices of one length.
#[inline(always)]
pub fn map<const N: usize>(
    cx: &Context,
    out: &mut [f32],
    inputs: [&[f32]; N],
    f: impl Fn([f32; N]) -> f32 + Copy + Sync,
) {
    cx.pool.run_pieces(out, PIECE, |index, out| {
        let start = index * PIECE;
        let inputs = inputs.map(|input| &input[start..start + out.len()]);
        cx.isa.launch(Loop { out, inputs, f: move |_: f32, values: [f32; N]| f(values) });
    });
}

/// out\[i\] = f(out\[i\], \[inputs\[0\]\[i\], …\]) for slices of one length.
#[inline(always)]
pub fn update<const N: usize>(
    cx: &Context,
    out: &mut [f32],
    inputs: [&[f32]; N],
    f: impl Fn(f32, [f32; N]) -> f32 + Copy + Sync,
) {
    cx.pool.run_pieces(out, PIECE, |index, out| {
        let start = index * PIECE;
        let inputs = inputs.map(|input| &input[start..start + out.len()]);
        cx.isa.launch(Loop { out, inputs, f });
    });
}

struct Loop<'a, F, const N: usize> {
    out: &'a mut [f32],
    inputs: [&'a [f32]; N],
    f: F,
}

impl<F: Fn(f32, [f32; N]) -> f32, const N: usize> Kernel for Loop<'_, F, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (out, out_rest) = self.out.as_chunks_mut::<BLOCK>();
        let inputs = self.inputs.map(|input| input.as_chunks::<BLOCK>());
        for (block, out) in out.iter_mut().enumerate() {
            let inputs: [&[f32; BLOCK]; N] = std::array::from_fn(|n| &inputs[n].0[block]);
            for i in 0..BLOCK {
                out[i] = (self.f)(out[i], std::array::from_fn(|n| inputs[n][i]));
            }
        }
        for (i, out) in out_rest.iter_mut().enumerate() {
            *out = (self.f)(*out, std::array::from_fn(|n| inputs[n].1[i]));
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
            map(&cx, &mut out, [&a, &b], |[a, b]| a + b);
            update(&cx, &mut out, [&a], |out, [a]| 2.0 * out - a);
            assert!(out.iter().enumerate().all(|(i, &out)| out == i as f32 + 1.0));
        }
    }
}

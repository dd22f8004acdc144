//! Sums over all elements, the same bits for any number of threads.

use super::{Kernel, PIECE};
use crate::Context;

/// Sums that are kept side by side, so that additions overlap and vectors fill.
const LANES: usize = 16;

/// K sums at once over N slices of equal length. `term` gives the K terms of one element; they are added
/// in f64, in [`LANES`] interleaved sums within each piece of [`PIECE`] elements, then over pieces in
/// order.
pub fn sum_pieces<const N: usize, const K: usize>(
    cx: &Context,
    inputs: [&[f32]; N],
    term: impl Fn([f32; N]) -> [f64; K] + Sync,
) -> [f64; K] {
    let elements = inputs.iter().map(|input| input.len()).min().unwrap_or(0);
    let mut partial = vec![[0.0f64; K]; elements.div_ceil(PIECE)];
    cx.pool.run_pieces(&mut partial, 1, |index, out| {
        let range = index * PIECE..elements.min((index + 1) * PIECE);
        let inputs = inputs.map(|input| &input[range.clone()]);
        out[0] = cx.isa.launch(Sum { inputs, term: &term });
    });
    partial.iter().fold([0.0; K], |total, piece| std::array::from_fn(|k| total[k] + piece[k]))
}

struct Sum<'a, F, const N: usize> {
    inputs: [&'a [f32]; N],
    term: F,
}

impl<F, const N: usize, const K: usize> Kernel for Sum<'_, F, N>
where
    F: Fn([f32; N]) -> [f64; K],
{
    type Output = [f64; K];

    #[inline(always)]
    fn run(self) -> [f64; K] {
        let mut lanes = [[0.0f64; LANES]; K];
        let parts = self.inputs.map(|input| input.as_chunks::<LANES>());
        for block in 0..parts.first().map_or(0, |(blocks, _)| blocks.len()) {
            let blocks: [&[f32; LANES]; N] = std::array::from_fn(|n| &parts[n].0[block]);
            for lane in 0..LANES {
                let terms = (self.term)(std::array::from_fn(|n| blocks[n][lane]));
                for k in 0..K {
                    lanes[k][lane] += terms[k];
                }
            }
        }
        for i in 0..parts.first().map_or(0, |(_, rest)| rest.len()) {
            let terms = (self.term)(std::array::from_fn(|n| parts[n].1[i]));
            for k in 0..K {
                lanes[k][0] += terms[k];
            }
        }
        lanes.map(|lanes| lanes.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_for_whole_numbers_at_every_length() {
        let cx = Context::new(3);
        for elements in [0, 1, 15, 16, 17, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let x: Vec<f32> = (0..elements).map(|i| i as f32).collect();
            let ones = vec![1.0; elements];
            let [one, other] = sum_pieces(&cx, [&x, &ones], |[x, y]| [f64::from(x), f64::from(y)]);
            assert_eq!(one, (elements * elements.saturating_sub(1) / 2) as f64);
            assert_eq!(other, elements as f64);
        }
    }
}

//! Sums over all elements, the same bits for any number of threads.

use super::elementwise::Inputs;
use super::{Kernel, PIECE};
use crate::Context;

/// Sums that are kept side by side, so that additions overlap and vectors fill.
const LANES: usize = 16;

/// K sums at once over slices of equal length. `term` gives the K terms of one element; they are added
/// in f64, in [`LANES`] interleaved sums within each piece of [`PIECE`] elements, then over pieces in
/// order.
pub fn sum_pieces<I: Inputs, const K: usize>(
    cx: &Context,
    inputs: I,
    term: impl Fn(I::Values) -> [f64; K] + Sync,
) -> [f64; K] {
    let elements = inputs.len();
    let mut partial = vec![[0.0f64; K]; elements.div_ceil(PIECE)];
    cx.pool.run_pieces(&mut partial, 1, |index, out| {
        let inputs = inputs.part(index * PIECE..elements.min((index + 1) * PIECE));
        out[0] = cx.isa.launch(Sum { inputs, term: &term });
    });
    partial.iter().fold([0.0; K], |total, piece| std::array::from_fn(|k| total[k] + piece[k]))
}

struct Sum<'a, F, I> {
    inputs: I,
    term: &'a F,
}

impl<F, I: Inputs, const K: usize> Kernel for Sum<'_, F, I>
where
    F: Fn(I::Values) -> [f64; K],
{
    type Output = [f64; K];

    #[inline(always)]
    fn run(self) -> [f64; K] {
        let mut lanes = [[0.0f64; LANES]; K];
        let elements = self.inputs.len();
        let whole = elements / LANES * LANES;
        for start in (0..whole).step_by(LANES) {
            // The length of this part is known when compiling, so `at` checks no bounds.
            let block = self.inputs.part(start..start + LANES);
            for lane in 0..LANES {
                let terms = (self.term)(block.at(lane));
                for k in 0..K {
                    lanes[k][lane] += terms[k];
                }
            }
        }
        for i in whole..elements {
            let terms = (self.term)(self.inputs.at(i));
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
            let [one, other] = sum_pieces(&cx, [&x[..], &ones], |[x, y]| [f64::from(x), f64::from(y)]);
            assert_eq!(one, (elements * elements.saturating_sub(1) / 2) as f64);
            assert_eq!(other, elements as f64);
        }
    }
}

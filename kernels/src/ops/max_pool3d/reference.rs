//! The definition, in f64.

use super::MaxPool3d;
use crate::Array;
use crate::op::Operation;

/// For every output element the position in x of its maximum.
fn winners(op: &MaxPool3d, x: &Array) -> Option<(Array, Vec<usize>)> {
    let output = op.infer(&[x.shape]).ok()?;
    let mut positions = Vec::new();
    for n in 0..output[0] {
        for d in 0..output[1] {
            for h in 0..output[2] {
                for w in 0..output[3] {
                    for c in 0..output[4] {
                        positions.push(winner(op, x, [n, d, h, w, c]));
                    }
                }
            }
        }
    }
    Some((Array::zeros(output), positions))
}

fn winner(op: &MaxPool3d, x: &Array, [n, d, h, w, c]: [usize; 5]) -> usize {
    let [sd, sh, sw] = op.stride;
    let mut best = x.at([n, d * sd, h * sh, w * sw, c]);
    for i in 0..op.kernel[0] {
        for j in 0..op.kernel[1] {
            for k in 0..op.kernel[2] {
                let here = x.at([n, d * sd + i, h * sh + j, w * sw + k, c]);
                if x.values[here] > x.values[best] || x.values[here].is_nan() {
                    best = here;
                }
            }
        }
    }
    best
}

pub fn forward(op: &MaxPool3d, inputs: &[Array]) -> Array {
    let Some((mut y, positions)) = winners(op, &inputs[0]) else { return Array::zeros([0]) };
    y.values = positions.iter().map(|&position| inputs[0].values[position]).collect();
    y
}

pub fn backward(op: &MaxPool3d, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let mut dx = Array::zeros(inputs[0].shape);
    if let Some((_, positions)) = winners(op, &inputs[0]) {
        for (&position, dy) in positions.iter().zip(&dy.values) {
            dx.values[position] += dy;
        }
    }
    vec![Some(dx)]
}

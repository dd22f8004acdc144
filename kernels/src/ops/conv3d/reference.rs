//! The definition, in f64: six loops.

use super::Conv3d;
use crate::Array;
use genesis_tensor::Shape;

fn channels(array: &Array) -> usize {
    array.shape.channels()
}

/// Calls `visit(x position, weight position, y position)`, with n, d, h, w and the channel in each
/// activation's position, for every product in the sum of an input that starts at channel `first`.
fn for_each_product(
    conv: &Conv3d,
    x: &Array,
    first: usize,
    weight: &Array,
    y: &Array,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let [batch, depth, height, width, outputs] = y.shape.ndhwc().unwrap_or_default();
    let taps: usize = conv.kernel.iter().product();
    // The coordinate of x along an axis, unless it lies in the padding.
    let read = |axis: usize, out: usize, tap: usize| {
        (out * conv.stride[axis] + tap * conv.dilation[axis])
            .checked_sub(conv.padding[axis][0])
            .filter(|&position| position < x.shape[axis + 1])
    };
    for n in 0..batch {
        for (d, h, w) in positions([depth, height, width]) {
            for (tap, (kd, kh, kw)) in positions(conv.kernel).enumerate() {
                let (Some(xd), Some(xh), Some(xw)) = (read(0, d, kd), read(1, h, kh), read(2, w, kw)) else {
                    continue;
                };
                let (at_x, at_y) = (x.at([n, xd, xh, xw, 0]), y.at([n, d, h, w, 0]));
                for o in 0..outputs {
                    for c in 0..channels(x) {
                        visit(at_x + c, (o * weight.shape[1] + first + c) * taps + tap, at_y + o);
                    }
                }
            }
        }
    }
}

/// All positions of a grid, row-major.
fn positions([depth, height, width]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..depth).flat_map(move |d| (0..height).flat_map(move |h| (0..width).map(move |w| (d, h, w))))
}

pub fn forward(conv: &Conv3d, inputs: &[Array]) -> Array {
    let extent = |axis: usize| {
        let padded = inputs[0].shape[axis + 1] + conv.padding[axis][0] + conv.padding[axis][1];
        (padded - (conv.kernel[axis] - 1) * conv.dilation[axis] - 1) / conv.stride[axis] + 1
    };
    let weight = &inputs[conv.inputs];
    let outputs = weight.shape[0];
    let mut y = Array::zeros(Shape::from([inputs[0].shape[0], extent(0), extent(1), extent(2), outputs]));
    if conv.bias {
        for (position, value) in y.values.iter_mut().enumerate() {
            *value = inputs[conv.inputs + 1].values[position % outputs];
        }
    }
    let mut first = 0;
    for x in &inputs[..conv.inputs] {
        let mut sums = std::mem::take(&mut y.values);
        for_each_product(conv, x, first, weight, &y, |at_x, at_weight, at_y| {
            sums[at_y] += x.values[at_x] * weight.values[at_weight];
        });
        y.values = sums;
        first += channels(x);
    }
    y
}

pub fn backward(conv: &Conv3d, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let weight = &inputs[conv.inputs];
    let mut weight_gradient = Array::zeros(weight.shape);
    let mut gradients = Vec::new();
    let mut first = 0;
    for x in &inputs[..conv.inputs] {
        let mut dx = Array::zeros(x.shape);
        for_each_product(conv, x, first, weight, dy, |at_x, at_weight, at_y| {
            dx.values[at_x] += weight.values[at_weight] * dy.values[at_y];
            weight_gradient.values[at_weight] += x.values[at_x] * dy.values[at_y];
        });
        gradients.push(Some(dx));
        first += channels(x);
    }
    gradients.push(Some(weight_gradient));
    if conv.bias {
        let outputs = channels(dy);
        let mut sums = Array::zeros([outputs]);
        for (position, dy) in dy.values.iter().enumerate() {
            sums.values[position % outputs] += dy;
        }
        gradients.push(Some(sums));
    }
    gradients
}

//! The definition, in f64: every input voxel scatters to the output voxels of its taps.

use super::ConvTranspose3d;
use crate::Array;

/// All positions of a grid, row-major.
fn positions([depth, height, width]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..depth).flat_map(move |d| (0..height).flat_map(move |h| (0..width).map(move |w| (d, h, w))))
}

/// Calls `visit(x position, weight position, y position)` for every product.
fn for_each_product(
    conv: &ConvTranspose3d,
    x: &Array,
    y: &Array,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let [batch, depth, height, width, channels] = x.shape.ndhwc().unwrap_or_default();
    let outputs = y.shape.channels();
    let taps: usize = conv.kernel.iter().product();
    // The coordinate of y along an axis, unless it is cut off.
    let written = |axis: usize, position: usize, tap: usize| {
        (position * conv.stride[axis] + tap * conv.dilation[axis])
            .checked_sub(conv.padding[axis][0])
            .filter(|&position| position < y.shape[axis + 1])
    };
    for n in 0..batch {
        for (d, h, w) in positions([depth, height, width]) {
            for (tap, (kd, kh, kw)) in positions(conv.kernel).enumerate() {
                let (Some(yd), Some(yh), Some(yw)) =
                    (written(0, d, kd), written(1, h, kh), written(2, w, kw))
                else {
                    continue;
                };
                let (at_x, at_y) = (x.at([n, d, h, w, 0]), y.at([n, yd, yh, yw, 0]));
                for c in 0..channels {
                    for o in 0..outputs {
                        visit(at_x + c, (c * outputs + o) * taps + tap, at_y + o);
                    }
                }
            }
        }
    }
}

pub fn forward(conv: &ConvTranspose3d, inputs: &[Array]) -> Array {
    let (x, weight) = (&inputs[0], &inputs[1]);
    let extent = |axis: usize| {
        (x.shape[axis + 1] - 1) * conv.stride[axis]
            + (conv.kernel[axis] - 1) * conv.dilation[axis]
            + 1
            + conv.output_padding[axis]
            - conv.padding[axis][0]
            - conv.padding[axis][1]
    };
    let outputs = weight.shape[1];
    let mut y = Array::zeros([x.shape[0], extent(0), extent(1), extent(2), outputs]);
    let mut sums = y.values.clone();
    if conv.bias {
        for (position, value) in sums.iter_mut().enumerate() {
            *value = inputs[2].values[position % outputs];
        }
    }
    for_each_product(conv, x, &y, |at_x, at_weight, at_y| {
        sums[at_y] += x.values[at_x] * weight.values[at_weight];
    });
    y.values = sums;
    y
}

pub fn backward(conv: &ConvTranspose3d, inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let (x, weight) = (&inputs[0], &inputs[1]);
    let (mut dx, mut weight_gradient) = (Array::zeros(x.shape), Array::zeros(weight.shape));
    for_each_product(conv, x, dy, |at_x, at_weight, at_y| {
        dx.values[at_x] += weight.values[at_weight] * dy.values[at_y];
        weight_gradient.values[at_weight] += x.values[at_x] * dy.values[at_y];
    });
    let mut gradients = vec![Some(dx), Some(weight_gradient)];
    if conv.bias {
        let outputs = dy.shape.channels();
        let mut sums = Array::zeros([outputs]);
        for (position, dy) in dy.values.iter().enumerate() {
            sums.values[position % outputs] += dy;
        }
        gradients.push(Some(sums));
    }
    gradients
}

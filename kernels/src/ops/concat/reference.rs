//! The definition, in f64.

use crate::Array;
use genesis_tensor::Shape;

pub fn forward(inputs: &[Array]) -> Array {
    let (a, b) = (&inputs[0], &inputs[1]);
    let (channels_a, channels_b) = (a.shape.channels(), b.shape.channels());
    let channels = channels_a + channels_b;
    let mut extents = a.shape.dims().to_vec();
    extents[a.shape.rank() - 1] = channels;
    let mut y = Array::zeros(Shape::new(&extents));
    for (i, y) in y.values.iter_mut().enumerate() {
        let (voxel, c) = (i / channels, i % channels);
        *y = if c < channels_a {
            a.values[voxel * channels_a + c]
        } else {
            b.values[voxel * channels_b + c - channels_a]
        };
    }
    y
}

pub fn backward(inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let channels = dy.shape.channels();
    let mut parts: Vec<Array> = inputs.iter().map(|input| Array::zeros(input.shape)).collect();
    let split = inputs[0].shape.channels();
    for (i, dy) in dy.values.iter().enumerate() {
        let (voxel, c) = (i / channels, i % channels);
        if c < split {
            parts[0].values[voxel * split + c] = *dy;
        } else {
            parts[1].values[voxel * (channels - split) + c - split] = *dy;
        }
    }
    parts.into_iter().map(Some).collect()
}

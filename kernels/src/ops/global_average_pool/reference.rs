//! The definition, in f64.

use crate::Array;

pub fn forward(inputs: &[Array]) -> Array {
    let x = &inputs[0];
    let (samples, channels) = (x.shape[0], x.shape.channels());
    let voxels = x.values.len() / samples / channels;
    let mut y = Array::zeros([samples, channels]);
    for (i, value) in x.values.iter().enumerate() {
        y.values[i / channels / voxels * channels + i % channels] += value / voxels as f64;
    }
    y
}

pub fn backward(inputs: &[Array], dy: &Array) -> Vec<Option<Array>> {
    let mut dx = Array::zeros(inputs[0].shape);
    let channels = dx.shape.channels();
    let voxels = dx.values.len() / dx.shape[0] / channels;
    for (i, value) in dx.values.iter_mut().enumerate() {
        *value = dy.values[i / channels / voxels * channels + i % channels] / voxels as f64;
    }
    vec![Some(dx)]
}

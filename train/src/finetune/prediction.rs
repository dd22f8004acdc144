//! The class of every voxel of a case, by sliding window.

use super::case::Case;
use super::loader::interleave;
use crate::inference::{gaussian, starts};
use crate::{Precision, Result};
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_model::{Statistics, UNet3d};
use genesis_tensor::{DType, Tensor};

/// Predicts a case on its working grid: logits of overlapping windows, averaged with Gaussian weights.
/// Beyond the volume's faces lies what training put there.
pub fn predict_classes(
    cx: &Context,
    network: &mut UNet3d,
    case: &Case,
    window: [usize; 3],
    overlap: f64,
    statistics: Statistics,
    precision: Precision,
) -> Result<Vec<u8>> {
    let size = case.size;
    let starts: [Vec<usize>; 3] = std::array::from_fn(|a| starts(size[a], window[a], overlap));
    let profiles: [Vec<f32>; 3] = std::array::from_fn(|a| gaussian(window[a]));
    let outputs = network.config().classes;
    let voxels: usize = size.iter().product();
    let mut sums = vec![0.0f32; voxels * outputs];
    let patch: usize = window.iter().product();
    let (mut first, mut last) = (vec![0.0; patch * case.channels], vec![0.0; patch * case.channels]);
    for &x0 in &starts[0] {
        for &y0 in &starts[1] {
            for &z0 in &starts[2] {
                let corner = [x0, y0, z0];
                cut(case, corner, window, &mut first);
                interleave(&first, case.channels, &mut last);
                let [d, h, w] = window;
                let input = Tensor::from_slice([1, d, h, w, case.channels], &last)?;
                let input = if precision == Precision::Bf16 { input.cast(DType::Bf16)? } else { input };
                let logits = network.forward(cx, &mut Tape::inference(), Var::constant(input), statistics)?;
                let logits = logits.tensor().cast(DType::F32)?;
                add(&mut sums, size, logits.as_slice(), corner, window, &profiles, outputs);
            }
        }
    }
    // The weights of a voxel are the same for all classes and positive: the largest sum is the largest mean.
    let class = |scores: &[f32]| match scores {
        [score] => u8::from(*score > 0.0),
        scores => {
            let best = (0..scores.len()).fold(0, |best, k| if scores[k] > scores[best] { k } else { best });
            best as u8
        }
    };
    Ok(sums.chunks_exact(outputs).map(class).collect())
}

fn cut(case: &Case, corner: [usize; 3], window: [usize; 3], out: &mut [f32]) {
    let size = case.size;
    let voxels: usize = size.iter().product();
    let channels = case.image.chunks_exact(voxels).zip(&case.padding);
    for ((channel, &padding), out) in channels.zip(out.chunks_exact_mut(window.iter().product())) {
        for (number, row) in out.chunks_exact_mut(window[2]).enumerate() {
            row.fill(padding);
            let (x, y) = (corner[0] + number / window[1], corner[1] + number % window[1]);
            if x < size[0] && y < size[1] {
                let start = (x * size[1] + y) * size[2];
                let length = window[2].min(size[2] - corner[2]);
                row[..length].copy_from_slice(&channel[start + corner[2]..][..length]);
            }
        }
    }
}

fn add(
    sums: &mut [f32],
    size: [usize; 3],
    logits: &[f32],
    corner: [usize; 3],
    window: [usize; 3],
    profiles: &[Vec<f32>; 3],
    outputs: usize,
) {
    let inside: [usize; 3] = std::array::from_fn(|a| window[a].min(size[a] - corner[a]));
    for x in 0..inside[0] {
        for y in 0..inside[1] {
            for z in 0..inside[2] {
                let weight = profiles[0][x] * profiles[1][y] * profiles[2][z];
                let from = ((x * window[1] + y) * window[2] + z) * outputs;
                let to = (((corner[0] + x) * size[1] + corner[1] + y) * size[2] + corner[2] + z) * outputs;
                for (sum, logit) in sums[to..to + outputs].iter_mut().zip(&logits[from..from + outputs]) {
                    *sum += weight * logit;
                }
            }
        }
    }
}

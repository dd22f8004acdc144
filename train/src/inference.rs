//! Running a network over more than it was trained on: batches of cubes, and whole volumes by a
//! sliding window.
//!
//! Windows lie at even distances with the wanted overlap, and their results are averaged with
//! Gaussian weights of σ = 1/8 of the window, never 0 (the rule of nnU-Net, Isensee et al., 2021).

use crate::training::restore;
use crate::{Error, Precision, Result};
use genesis_kernels::Context;
use genesis_model::{DIVISOR, Statistics, UNet3d};
use genesis_tensor::Tensor;

/// Extents of the window and the share by which neighbours overlap.
#[derive(Clone, Copy, Debug)]
pub struct SlidingWindow {
    /// Extents of a window; each must divide by 8.
    pub size: [usize; 3],
    /// Overlap of neighbouring windows, in [0, 1).
    pub overlap: f64,
}

/// Restores one cube after another in batches; `cubes` is `[N, rows, cols, deps]` in [0, 1].
///
/// # Errors
/// Extents that do not divide by 8; memory.
pub fn restore_cubes(
    cx: &Context,
    network: &mut UNet3d,
    cubes: &[f32],
    size: [usize; 3],
    batch_size: usize,
    statistics: Statistics,
    precision: Precision,
    mut done: impl FnMut(usize),
) -> Result<Vec<f32>> {
    let voxels: usize = size.iter().product();
    let mut restored = Vec::with_capacity(cubes.len());
    for batch in cubes.chunks(voxels * batch_size.max(1)) {
        let count = batch.len() / voxels;
        let input = Tensor::from_slice([count, size[0], size[1], size[2], 1], batch).map_err(work)?;
        restored.extend_from_slice(restore(cx, network, input, statistics, precision)?.as_slice());
        done(count);
    }
    Ok(restored)
}

/// Restores a whole volume `[X, Y, Z]` (z fastest) with intensities in [0, 1]. A volume smaller than
/// the window is continued by its outermost voxels.
///
/// # Errors
/// A window whose extents do not divide by 8, an overlap outside [0, 1); memory.
pub fn restore_volume(
    cx: &Context,
    network: &mut UNet3d,
    voxels: &[f32],
    size: [usize; 3],
    window: SlidingWindow,
    statistics: Statistics,
    precision: Precision,
    mut done: impl FnMut(usize, usize),
) -> Result<Vec<f32>> {
    if window.size.iter().any(|&extent| extent == 0 || extent % DIVISOR != 0) {
        return Err(Error::Usage(format!("window {:?}: every extent must divide by {DIVISOR}", window.size)));
    }
    if !(0.0..1.0).contains(&window.overlap) {
        return Err(Error::Usage(format!("overlap {} is not in [0, 1)", window.overlap)));
    }
    let starts: [Vec<usize>; 3] = std::array::from_fn(|a| starts(size[a], window.size[a], window.overlap));
    let profiles: [Vec<f32>; 3] = std::array::from_fn(|a| gaussian(window.size[a]));
    let total: usize = starts.iter().map(Vec::len).product();
    let mut sum = vec![0.0f32; voxels.len()];
    let mut weight = vec![0.0f32; voxels.len()];
    let mut cube = vec![0.0f32; window.size.iter().product()];
    let mut number = 0;
    for &x0 in &starts[0] {
        for &y0 in &starts[1] {
            for &z0 in &starts[2] {
                let origin = [x0, y0, z0];
                each(window.size, |position, local| {
                    let at: [usize; 3] = std::array::from_fn(|a| (origin[a] + local[a]).min(size[a] - 1));
                    cube[position] = voxels[(at[0] * size[1] + at[1]) * size[2] + at[2]];
                });
                let [w0, w1, w2] = window.size;
                let input = Tensor::from_slice([1, w0, w1, w2, 1], &cube).map_err(work)?;
                let restored = restore(cx, network, input, statistics, precision)?;
                let restored = restored.as_slice();
                each(window.size, |position, local| {
                    let at: [usize; 3] = std::array::from_fn(|a| origin[a] + local[a]);
                    if (0..3).all(|a| at[a] < size[a]) {
                        let index = (at[0] * size[1] + at[1]) * size[2] + at[2];
                        let w = profiles[0][local[0]] * profiles[1][local[1]] * profiles[2][local[2]];
                        sum[index] += w * restored[position];
                        weight[index] += w;
                    }
                });
                number += 1;
                done(number, total);
            }
        }
    }
    for (sum, weight) in sum.iter_mut().zip(&weight) {
        *sum /= weight;
    }
    Ok(sum)
}

/// Calls `f(position, [i, j, k])` for every voxel of a box in C order.
fn each(size: [usize; 3], mut f: impl FnMut(usize, [usize; 3])) {
    let mut position = 0;
    for i in 0..size[0] {
        for j in 0..size[1] {
            for k in 0..size[2] {
                f(position, [i, j, k]);
                position += 1;
            }
        }
    }
}

/// First voxels of the windows along one axis: evenly spread from end to end.
pub(crate) fn starts(extent: usize, window: usize, overlap: f64) -> Vec<usize> {
    if extent <= window {
        return vec![0];
    }
    let step = (window as f64 * (1.0 - overlap)).max(1.0);
    let span = (extent - window) as f64;
    let count = (span / step).ceil() as usize + 1;
    (0..count).map(|i| (span * i as f64 / (count - 1) as f64).round() as usize).collect()
}

pub(crate) fn gaussian(extent: usize) -> Vec<f32> {
    let (centre, sigma) = ((extent as f64 - 1.0) / 2.0, extent as f64 / 8.0);
    let value = |i: usize| (-0.5 * ((i as f64 - centre) / sigma).powi(2)).exp().max(1e-3) as f32;
    (0..extent).map(value).collect()
}

fn work(error: impl ToString) -> Error {
    Error::Work(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_model::{Initialiser, UNetConfig};

    #[test]
    fn windows_reach_both_ends_and_overlap_enough() {
        for extent in [5, 64, 65, 100, 200, 511] {
            let starts = starts(extent, 64, 0.5);
            assert_eq!(starts[0], 0);
            assert_eq!(starts.last().unwrap() + 64, extent.max(64));
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= 32), "{starts:?}");
        }
    }

    #[test]
    fn a_volume_of_one_window_is_restored_as_its_cube() {
        let cx = Context::new(2);
        let mut network = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
        network.initialise(Initialiser::Pytorch, 1).unwrap();
        let size = [16, 8, 8];
        let voxels: Vec<f32> = (0..1024).map(|i| (i % 37) as f32 / 37.0).collect();
        let window = SlidingWindow { size, overlap: 0.5 };
        let whole = restore_volume(
            &cx,
            &mut network,
            &voxels,
            size,
            window,
            Statistics::Running,
            Precision::F32,
            |_, _| (),
        )
        .unwrap();
        let cube =
            restore_cubes(&cx, &mut network, &voxels, size, 4, Statistics::Running, Precision::F32, |_| ())
                .unwrap();
        let worst = whole.iter().zip(&cube).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{worst}");
        // Any size comes back complete.
        let size = [19, 5, 30];
        let voxels = vec![0.5; 19 * 5 * 30];
        let window = SlidingWindow { size: [16, 8, 8], overlap: 0.25 };
        let whole = restore_volume(
            &cx,
            &mut network,
            &voxels,
            size,
            window,
            Statistics::Running,
            Precision::F32,
            |_, _| (),
        )
        .unwrap();
        assert!(whole.len() == voxels.len() && whole.iter().all(|v| v.is_finite()));
    }
}

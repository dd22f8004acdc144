//! Restored cubes and volumes.

use super::windows::{SlidingWindow, gaussian, starts};
use super::work;
use crate::training::restore;
use crate::{Precision, Result};
use genesis_kernels::Context;
use genesis_model::{Statistics, UNet3d};
use genesis_tensor::Tensor;

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
    window.check()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_model::{Initialiser, UNetConfig};

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

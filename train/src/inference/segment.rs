//! Class probabilities of a whole volume, plane by plane.
//!
//! Rows of windows are worked off in order of x. The weighted probabilities of one slab, as thick as a
//! window, are held; a plane that no later window reaches is normalised and handed on, so memory grows
//! with the area of the volume and not with its length. Since windows form a lattice, the sum of
//! weights at a voxel is a product of three sums along the axes and needs no volume.

use super::windows::{SlidingWindow, gaussian, starts};
use super::work;
use crate::preprocess::zeros;
use crate::{Error, Precision, Result};
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::cpu::math::exp;
use genesis_model::{Statistics, UNet3d};
use genesis_tensor::{DType, Tensor};

/// How a volume is segmented.
#[derive(Clone, Copy, Debug)]
pub struct SegmentSettings {
    /// Windows and their overlap.
    pub window: SlidingWindow,
    /// Windows in one pass of the network.
    pub batch_size: usize,
    /// Average the results of all eight mirror images of a window.
    pub flips: bool,
    /// The statistics of batch norm.
    pub statistics: Statistics,
    /// The number format of activations.
    pub precision: Precision,
}

/// Segments a volume whose channels are `[X, Y, Z]` (z fastest), prepared as in training. Calls
/// `emit(x, plane)` once for every x in order, with probabilities `[K, Y, Z]` for the K outputs of the
/// network: softmax, or for K = 1 the sigmoid. Beyond the faces of a volume smaller than the window lies
/// each channel's least intensity, as in training. `done(windows, total)` reports progress.
///
/// # Errors
/// A window the network cannot take, channels of another number or size, memory; the receiver's.
pub fn segment_volume(
    cx: &Context,
    network: &mut UNet3d,
    channels: &[impl AsRef<[f32]>],
    size: [usize; 3],
    settings: &SegmentSettings,
    mut done: impl FnMut(usize, usize),
    mut emit: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let SegmentSettings { window, batch_size, flips, .. } = *settings;
    window.check()?;
    let channels: Vec<&[f32]> = channels.iter().map(AsRef::as_ref).collect();
    let least = |channel: &&[f32]| channel.iter().copied().fold(f32::INFINITY, f32::min);
    let padding: Vec<f32> = channels.iter().map(least).collect();
    let wanted = network.config().channels;
    if channels.len() != wanted {
        return Err(Error::Work(format!("{} channels, but the network takes {wanted}", channels.len())));
    }
    if channels.iter().any(|channel| channel.len() != size.iter().product::<usize>()) {
        return Err(Error::Work(format!("a channel does not fill {size:?} voxels")));
    }
    let mut slab = Slab::new(size, window, network.config().classes)?;
    let starts: [Vec<usize>; 3] = std::array::from_fn(|a| starts(size[a], window.size[a], window.overlap));
    let total: usize = starts.iter().map(Vec::len).product();
    let row: Vec<[usize; 2]> =
        starts[1].iter().flat_map(|&y| starts[2].iter().map(move |&z| [y, z])).collect();
    for axis in 0..3 {
        for &start in &starts[axis] {
            for (local, weight) in slab.profiles[axis].iter().enumerate() {
                if let Some(sum) = slab.sums[axis].get_mut(start + local) {
                    *sum += weight;
                }
            }
        }
    }
    let mut number = 0;
    for (step, &x) in starts[0].iter().enumerate() {
        for batch in row.chunks(batch_size.max(1)) {
            for flip in 0..if flips { 8 } else { 1 } {
                let mirrored = std::array::from_fn(|axis| flip >> axis & 1 == 1);
                let input = windows(cx, &channels, &padding, size, window.size, x, batch, mirrored)?;
                let logits = forward(cx, network, input, settings)?;
                slab.add(cx, logits.as_slice(), x, batch, mirrored);
            }
            number += batch.len();
            done(number, total);
        }
        let end = starts[0].get(step + 1).copied().unwrap_or(size[0]);
        for x in x..end {
            emit(x, slab.finish(cx, x, if flips { 8.0 } else { 1.0 }))?;
            slab.clear(x);
        }
    }
    Ok(())
}

/// The label of every voxel of a plane `[K, Y, Z]`: the most probable class (the lowest of equal ones);
/// with one output, 1 from a probability of one half on.
pub fn decide(plane: &[f32], outputs: usize, labels: &mut [u8]) {
    if outputs == 1 {
        labels.iter_mut().zip(plane).for_each(|(label, &p)| *label = u8::from(p >= 0.5));
        return;
    }
    for (i, label) in labels.iter_mut().enumerate() {
        let mut best = f32::NEG_INFINITY;
        for (class, values) in plane.chunks_exact(plane.len() / outputs).enumerate() {
            if values[i] > best {
                (*label, best) = (class as u8, values[i]);
            }
        }
    }
}

/// A batch of windows `[N, D, H, W, C]`, mirrored along the given axes.
fn windows(
    cx: &Context,
    channels: &[&[f32]],
    padding: &[f32],
    size: [usize; 3],
    [w0, w1, w2]: [usize; 3],
    x: usize,
    batch: &[[usize; 2]],
    mirrored: [bool; 3],
) -> Result<Tensor> {
    let count = channels.len();
    let mut input = Tensor::zeros([batch.len(), w0, w1, w2, count]).map_err(work)?;
    let values = input.as_mut_slice().map_err(work)?;
    cx.pool.run_pieces(values, w1 * w2 * count, |index, plane| {
        let ([y, z], i) = (batch[index / w0], index % w0);
        let at = |start: usize, local: usize, axis: usize, extent: usize| {
            let local = if mirrored[axis] { extent - 1 - local } else { local };
            (start + local < size[axis]).then_some(start + local)
        };
        let x = at(x, i, 0, w0);
        for j in 0..w1 {
            let line = x.zip(at(y, j, 1, w1)).map(|(x, y)| (x * size[1] + y) * size[2]);
            for k in 0..w2 {
                let source = line.zip(at(z, k, 2, w2)).map(|(line, z)| line + z);
                for (c, channel) in channels.iter().enumerate() {
                    plane[(j * w2 + k) * count + c] = source.map_or(padding[c], |source| channel[source]);
                }
            }
        }
    });
    Ok(input)
}

/// Logits `[N, D, H, W, K]`, f32.
fn forward(cx: &Context, network: &mut UNet3d, input: Tensor, settings: &SegmentSettings) -> Result<Tensor> {
    let input = settings.precision.input(cx, input)?;
    let logits = network
        .forward(cx, &mut Tape::inference(), Var::constant(input), settings.statistics)
        .map_err(work)?
        .into_tensor();
    let logits = logits.to_host().map_err(work)?;
    if logits.dtype() == DType::F32 { Ok(logits) } else { logits.cast(DType::F32).map_err(work) }
}

/// Weighted sums of probabilities, as many planes as a window is thick; plane x lies at `x % thickness`.
struct Slab {
    values: Vec<f32>,
    size: [usize; 3],
    window: [usize; 3],
    outputs: usize,
    profiles: [Vec<f32>; 3],
    /// Sums of weights along each axis.
    sums: [Vec<f32>; 3],
}

impl Slab {
    fn new(size: [usize; 3], window: SlidingWindow, outputs: usize) -> Result<Self> {
        Ok(Self {
            values: zeros(window.size[0] * outputs * size[1] * size[2])?,
            size,
            window: window.size,
            outputs,
            profiles: window.size.map(gaussian),
            sums: size.map(|extent| vec![0.0; extent]),
        })
    }

    fn plane(&self) -> usize {
        self.outputs * self.size[1] * self.size[2]
    }

    /// Adds the probabilities of a batch of windows that start at `x`.
    fn add(&mut self, cx: &Context, logits: &[f32], x: usize, batch: &[[usize; 2]], mirrored: [bool; 3]) {
        let (plane, area) = (self.plane(), self.size[1] * self.size[2]);
        let Self { values, size, window: [w0, w1, w2], outputs, profiles, .. } = self;
        let (w0, w1, w2, outputs) = (*w0, *w1, *w2, *outputs);
        cx.pool.run_pieces(values, plane, |slot, plane| {
            let i = (slot + w0 - x % w0) % w0;
            if x + i >= size[0] {
                return;
            }
            let at = |local: usize, axis: usize, extent: usize| {
                if mirrored[axis] { extent - 1 - local } else { local }
            };
            let mut shares = vec![0.0f32; (outputs + 2) * w2];
            for (n, &[y, z]) in batch.iter().enumerate() {
                let count = w2.min(size[2] - z);
                for j in 0..w1.min(size[1] - y) {
                    let line = ((n * w0 + at(i, 0, w0)) * w1 + at(j, 1, w1)) * w2;
                    let (shares, scratch) = shares.split_at_mut(outputs * count);
                    for (class, shares) in shares.chunks_exact_mut(count).enumerate() {
                        for (k, share) in shares.iter_mut().enumerate() {
                            *share = logits[(line + at(k, 2, w2)) * outputs + class];
                        }
                    }
                    probabilities(shares, count, scratch);
                    let weight = profiles[0][i] * profiles[1][j];
                    for (class, shares) in shares.chunks_exact(count).enumerate() {
                        let target = &mut plane[class * area + (y + j) * size[2] + z..][..count];
                        for ((sum, share), profile) in target.iter_mut().zip(shares).zip(&profiles[2]) {
                            *sum += weight * profile * share;
                        }
                    }
                }
            }
        });
    }

    /// Divides plane `x` by its weights and returns it.
    fn finish(&mut self, cx: &Context, x: usize, images: f32) -> &[f32] {
        let (length, slot) = (self.plane(), x % self.window[0]);
        let Self { values, size, sums, .. } = self;
        let plane = &mut values[slot * length..][..length];
        cx.pool.run_pieces(plane, size[2], |row, line| {
            let weight = sums[0][x] * sums[1][row % size[1]] * images;
            line.iter_mut().zip(&sums[2]).for_each(|(value, sum)| *value /= weight * sum);
        });
        plane
    }

    fn clear(&mut self, x: usize) {
        let (length, slot) = (self.plane(), x % self.window[0]);
        self.values[slot * length..][..length].fill(0.0);
    }
}

/// Softmax of rows of `count` logits, one a class, in place; of a single row the sigmoid. `scratch` holds two rows.
/// Whole rows at once, so that all of it is vectorised.
fn probabilities(rows: &mut [f32], count: usize, scratch: &mut [f32]) {
    if rows.len() == count {
        rows.iter_mut().for_each(|value| *value = 1.0 / (1.0 + exp(-*value)));
        return;
    }
    let (highest, sum) = scratch.split_at_mut(count);
    let sum = &mut sum[..count];
    highest.fill(f32::NEG_INFINITY);
    sum.fill(0.0);
    for row in rows.chunks_exact(count) {
        highest
            .iter_mut()
            .zip(row)
            .for_each(|(high, &value)| *high = if value > *high { value } else { *high });
    }
    for row in rows.chunks_exact_mut(count) {
        for ((value, high), sum) in row.iter_mut().zip(&*highest).zip(&mut *sum) {
            *value = exp(*value - high);
            *sum += *value;
        }
    }
    for row in rows.chunks_exact_mut(count) {
        row.iter_mut().zip(&*sum).for_each(|(value, sum)| *value /= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_model::{Initialiser, UNetConfig};

    fn network(channels: usize, classes: usize) -> UNet3d {
        let config = UNetConfig { width: 2, channels, classes, ..UNetConfig::default() };
        let mut network = UNet3d::new(config).unwrap();
        network.initialise(Initialiser::Pytorch, 3).unwrap();
        network
    }

    fn settings(size: [usize; 3], batch_size: usize, flips: bool) -> SegmentSettings {
        let window = SlidingWindow { size, overlap: 0.5 };
        let (statistics, precision) = (Statistics::Running, Precision::F32);
        SegmentSettings { window, batch_size, flips, statistics, precision }
    }

    /// All planes as one array `[X, K, Y, Z]`.
    fn whole(
        network: &mut UNet3d,
        channels: &[Vec<f32>],
        size: [usize; 3],
        how: &SegmentSettings,
    ) -> Vec<f32> {
        let (mut planes, mut next) = (Vec::new(), 0);
        let emit = |x, plane: &[f32]| {
            assert_eq!(x, next);
            next += 1;
            planes.extend_from_slice(plane);
            Ok(())
        };
        segment_volume(&Context::new(2), network, channels, size, how, |_, _| (), emit).unwrap();
        assert_eq!(next, size[0]);
        planes
    }

    fn noise(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * step) % 101) as f32 / 101.0).collect()
    }

    #[test]
    fn one_window_is_the_softmax_of_the_network_and_batches_change_nothing() {
        let mut network = network(2, 3);
        let size = [16, 8, 8];
        let channels = [noise(1024, 37), noise(1024, 53)];
        let found = whole(&mut network, &channels, size, &settings(size, 1, false));
        let cx = Context::new(1);
        let input: Vec<f32> = (0..1024).flat_map(|i| [channels[0][i], channels[1][i]]).collect();
        let input = Var::constant(Tensor::from_slice([1, 16, 8, 8, 2], &input).unwrap());
        let logits = network.forward(&cx, &mut Tape::inference(), input, Statistics::Running).unwrap();
        let logits = logits.tensor().as_slice();
        for i in 0..1024 {
            let exponentials: Vec<f64> = (0..3).map(|k| f64::from(logits[3 * i + k]).exp()).collect();
            for k in 0..3 {
                let wanted = exponentials[k] / exponentials.iter().sum::<f64>();
                let value = found[(i / 64 * 3 + k) * 64 + i % 64];
                assert!((f64::from(value) - wanted).abs() < 1e-5, "{value} for {wanted}");
            }
        }
        let size = [37, 19, 21];
        let channels = [noise(37 * 19 * 21, 37), noise(37 * 19 * 21, 53)];
        let one = whole(&mut network, &channels, size, &settings([16, 8, 8], 1, false));
        let many = whole(&mut network, &channels, size, &settings([16, 8, 8], 5, false));
        assert!(one.iter().zip(&many).all(|(a, b)| (a - b).abs() < 1e-6));
        for plane in one.chunks(3 * 19 * 21) {
            for i in 0..19 * 21 {
                let sum: f32 = (0..3).map(|k| plane[k * 19 * 21 + i]).sum();
                assert!((sum - 1.0).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn one_output_agrees_with_the_window_of_restoration() {
        let mut network = network(1, 1);
        let size = [37, 19, 21];
        let voxels = noise(size.iter().product(), 37);
        let how = settings([16, 8, 8], 3, false);
        let found = whole(&mut network, std::slice::from_ref(&voxels), size, &how);
        let cx = Context::new(2);
        let (window, statistics, precision) = (how.window, Statistics::Running, Precision::F32);
        let wanted = super::super::restore_volume(
            &cx,
            &mut network,
            &voxels,
            size,
            window,
            statistics,
            precision,
            |_, _| (),
        )
        .unwrap();
        assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn beyond_a_small_volume_lies_its_least_intensity() {
        let mut network = network(1, 1);
        for size in [[9, 8, 5], [1, 1, 1]] {
            let voxels: Vec<f32> = noise(size.iter().product(), 37).iter().map(|v| v - 0.25).collect();
            let how = settings([16, 8, 8], 3, false);
            let found = whole(&mut network, std::slice::from_ref(&voxels), size, &how);
            let mut padded = vec![voxels.iter().copied().fold(f32::INFINITY, f32::min); 1024];
            for (place, &value) in voxels.iter().enumerate() {
                let (x, y, z) = (place / (size[1] * size[2]), place / size[2] % size[1], place % size[2]);
                padded[(x * 8 + y) * 8 + z] = value;
            }
            let wanted = whole(&mut network, &[padded], [16, 8, 8], &how);
            for (place, value) in found.iter().enumerate() {
                let (x, y, z) = (place / (size[1] * size[2]), place / size[2] % size[1], place % size[2]);
                assert!((value - wanted[(x * 8 + y) * 8 + z]).abs() < 1e-5, "{size:?}");
            }
        }
    }

    #[test]
    fn with_flips_a_mirrored_volume_gives_the_mirrored_result() {
        let mut network = network(1, 2);
        let size = [24, 8, 14];
        let voxels = noise(24 * 8 * 14, 41);
        let mirrored: Vec<f32> = voxels.chunks(14).flat_map(|row| row.iter().rev().copied()).collect();
        let how = settings([16, 8, 8], 2, true);
        let a = whole(&mut network, &[voxels], size, &how);
        let b = whole(&mut network, &[mirrored], size, &how);
        let differs = |a: &[f32], b: &[f32]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-4);
        let back: Vec<f32> = b.chunks(14).flat_map(|row| row.iter().rev().copied()).collect();
        assert!(!differs(&a, &back) && differs(&a, &b));
    }

    #[test]
    fn labels_are_the_most_probable_class() {
        let mut labels = [9; 3];
        decide(&[0.2, 0.4, 0.1, 0.5, 0.4, 0.1, 0.3, 0.2, 0.8], 3, &mut labels);
        assert_eq!(labels, [1, 0, 2]);
        decide(&[0.49, 0.5, 0.9], 1, &mut labels);
        assert_eq!(labels, [0, 1, 1]);
    }
}

//! Resampling whole arrays `[X, Y, Z]`: row by row along z, planes of x in parallel.

use super::axis::Axis;
use super::zeros;
use crate::Result;
use genesis_tensor::parallel::ThreadPool;

/// The axes between two sizes.
pub(super) fn axes(from: [usize; 3], to: [usize; 3]) -> [Axis; 3] {
    std::array::from_fn(|axis| Axis::new(from[axis], to[axis]))
}

/// One row along z of the result: rows of the source are blended, then the blend is resampled.
///
/// `row(x, y)` gives a row of the source; `blend` has its length.
pub(super) fn row<'a>(
    axes: &[Axis; 3],
    [x, y]: [usize; 2],
    source: impl Fn(usize, usize) -> &'a [f32],
    blend: &mut [f32],
    out: &mut [f32],
) {
    let ((first_x, x_taps), (first_y, y_taps)) = (axes[0].taps(x), axes[1].taps(y));
    if x_taps.len() * y_taps.len() == 1 {
        axes[2].line(source(first_x, first_y), out);
        return;
    }
    blend.fill(0.0);
    for (i, x_weight) in x_taps.iter().enumerate() {
        for (j, y_weight) in y_taps.iter().enumerate() {
            let weight = x_weight * y_weight;
            if weight != 0.0 {
                for (sum, value) in blend.iter_mut().zip(source(first_x + i, first_y + j)) {
                    *sum += weight * value;
                }
            }
        }
    }
    axes[2].line(blend, out);
}

/// Resamples intensities or probabilities.
///
/// # Errors
/// Memory.
pub(super) fn image(pool: &ThreadPool, source: &[f32], from: [usize; 3], to: [usize; 3]) -> Result<Vec<f32>> {
    let axes = axes(from, to);
    let mut out = zeros(to.iter().product())?;
    pool.run_pieces(&mut out, to[1] * to[2], |x, plane| {
        let mut blend = vec![0.0; from[2]];
        for (y, out) in plane.chunks_exact_mut(to[2]).enumerate() {
            let place = |x: usize, y: usize| &source[(x * from[1] + y) * from[2]..][..from[2]];
            row(&axes, [x, y], place, &mut blend, out);
        }
    });
    Ok(out)
}

/// Resamples a label map: each class's membership is resampled as an image, and the largest wins (the
/// lower label where two are equal).
///
/// # Errors
/// Memory.
pub(super) fn labels(pool: &ThreadPool, source: &[u8], from: [usize; 3], to: [usize; 3]) -> Result<Vec<u8>> {
    let axes = axes(from, to);
    let mut out = zeros(to.iter().product())?;
    pool.run_pieces(&mut out, to[1] * to[2], |x, plane| {
        let mut scratch = LabelRow {
            blend: vec![0.0; from[2]],
            share: vec![0.0; to[2]],
            best: vec![0.0; to[2]],
            rows: Vec::new(),
        };
        for (y, out) in plane.chunks_exact_mut(to[2]).enumerate() {
            let ((first_x, x_taps), (first_y, y_taps)) = (axes[0].taps(x), axes[1].taps(y));
            scratch.rows.clear();
            for (i, x_weight) in x_taps.iter().enumerate() {
                for (j, y_weight) in y_taps.iter().enumerate() {
                    let start = ((first_x + i) * from[1] + first_y + j) * from[2];
                    scratch.rows.push((x_weight * y_weight, &source[start..][..from[2]]));
                }
            }
            scratch.resample(&axes[2], out);
        }
    });
    Ok(out)
}

/// What one row of labels needs.
struct LabelRow<'a> {
    blend: Vec<f32>,
    share: Vec<f32>,
    best: Vec<f32>,
    rows: Vec<(f32, &'a [u8])>,
}

impl LabelRow<'_> {
    fn resample(&mut self, axis: &Axis, out: &mut [u8]) {
        let mut present = [false; 256];
        self.rows
            .iter()
            .for_each(|(_, row)| row.iter().for_each(|&label| present[usize::from(label)] = true));
        let mut classes = (0..=255u8).filter(|&label| present[usize::from(label)]);
        let Some(first) = classes.next() else { return };
        out.fill(first);
        let mut classes = classes.peekable();
        if classes.peek().is_none() {
            return;
        }
        self.best.fill(0.0);
        for class in std::iter::once(first).chain(classes) {
            self.blend.fill(0.0);
            for &(weight, row) in &self.rows {
                for (sum, &label) in self.blend.iter_mut().zip(row) {
                    *sum += if label == class { weight } else { 0.0 };
                }
            }
            axis.line(&self.blend, &mut self.share);
            for ((label, best), &share) in out.iter_mut().zip(&mut self.best).zip(&self.share) {
                // Rounding must not decide between equal shares.
                if share > *best + 1e-6 {
                    (*label, *best) = (class, share);
                }
            }
        }
    }
}

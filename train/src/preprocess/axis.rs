//! The weights with which voxels along one axis become voxels of another spacing.
//!
//! Both grids cover the same field of view: with `n` voxels before and `m` after, `r = n / m`, the
//! centre of new voxel `i` lies at `(i + 1/2) r - 1/2` in units of old voxels (the first centre moves
//! by `(r - 1) / 2`). Values between centres are interpolated linearly and constant beyond the
//! outermost centres.
//!
//! Where voxels become larger (r > 1), the interpolant is averaged over √(r² - 1) old voxels: an old
//! voxel is already a mean over 1, and variances add, so that a new one is a mean over r. For r = 2
//! that is nearly, and in the limit exactly, the plain average; for r = 1 it is nothing. Constants and
//! ramps stay what they are.

/// For every new voxel along an axis, the first old voxel and the weights from it on.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// `(first old voxel, first weight)` for every new voxel, and the end of the weights.
    places: Vec<(usize, usize)>,
    weights: Vec<f32>,
    identity: bool,
}

impl Axis {
    /// From `from` voxels to `to` over the same length.
    pub fn new(from: usize, to: usize) -> Self {
        let ratio = from as f64 / to as f64;
        let half = if ratio > 1.0 { (ratio * ratio - 1.0).sqrt() / 2.0 } else { 0.0 };
        let (mut places, mut weights) = (Vec::with_capacity(to + 1), Vec::new());
        for i in 0..to {
            let centre = (i as f64 + 0.5) * ratio - 0.5;
            let low = (centre - half - 1.0).floor() as isize + 1;
            let high = (centre + half + 1.0).ceil() as isize - 1;
            let clamp = |j: isize| j.clamp(0, from as isize - 1) as usize;
            let first = clamp(low);
            let mut taps = vec![0.0f64; clamp(high) - first + 1];
            for j in low..=high {
                let distance = j as f64 - centre;
                taps[clamp(j) - first] += if half < 1e-9 {
                    (1.0 - distance.abs()).max(0.0)
                } else {
                    (below(half - distance) - below(-half - distance)) / (2.0 * half)
                };
            }
            places.push((first, weights.len()));
            weights.extend(taps.iter().map(|&tap| tap as f32));
        }
        places.push((from, weights.len()));
        Self { places, weights, identity: from == to }
    }

    /// The first old voxel of new voxel `i`, and the weights from it on.
    pub fn taps(&self, i: usize) -> (usize, &[f32]) {
        let (first, start) = self.places[i];
        (first, &self.weights[start..self.places[i + 1].1])
    }

    /// The last old voxel that enters new voxel `i`.
    pub fn last(&self, i: usize) -> usize {
        let (first, taps) = self.taps(i);
        first + taps.len() - 1
    }

    /// Resamples one line of values.
    pub fn line(&self, from: &[f32], to: &mut [f32]) {
        if self.identity {
            to.copy_from_slice(from);
            return;
        }
        for (i, value) in to.iter_mut().enumerate() {
            let (first, taps) = self.taps(i);
            *value = taps.iter().zip(&from[first..]).map(|(weight, value)| weight * value).sum();
        }
    }
}

/// The integral of the hat function 1 - |t| on [-1, 1] from the left up to `t`.
fn below(t: f64) -> f64 {
    match t {
        ..=-1.0 => 0.0,
        1.0.. => 1.0,
        ..0.0 => (1.0 + t).powi(2) / 2.0,
        _ => 1.0 - (1.0 - t).powi(2) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_have_their_centre_where_the_voxel_is() {
        for (from, to) in [(1, 1), (1, 7), (7, 1), (10, 10), (10, 25), (25, 10), (512, 180), (99, 100)] {
            let axis = Axis::new(from, to);
            for i in 0..to {
                let (first, taps) = axis.taps(i);
                assert!(first + taps.len() <= from);
                let sum: f64 = taps.iter().map(|&w| f64::from(w)).sum();
                assert!((sum - 1.0).abs() < 1e-6, "{from} to {to}, {i}: {sum}");
                let ratio = from as f64 / to as f64;
                let centre = (i as f64 + 0.5) * ratio - 0.5;
                if centre - ratio > 1.0 && centre + ratio < from as f64 - 2.0 {
                    let mean: f64 =
                        taps.iter().enumerate().map(|(j, &w)| (first + j) as f64 * f64::from(w)).sum();
                    assert!((mean - centre).abs() < 1e-4, "{from} to {to}, {i}: {mean} for {centre}");
                }
            }
        }
        assert_eq!(Axis::new(5, 5).taps(3), (3, &[1.0f32][..]));
    }
}

//! Gaussian blur: one pass along each axis; voxels beyond a face are those of the face.

/// Kernels end at this many standard deviations.
const TRUNCATION: f64 = 4.0;

/// Blurs channels; holds the working memory.
#[derive(Clone, Debug, Default)]
pub(super) struct GaussianBlur {
    /// One half of the kernel, from its centre outwards.
    weights: Vec<f32>,
    /// The channel after the pass along x.
    blurred: Vec<f32>,
    /// One of its planes after the pass along y.
    plane: Vec<f32>,
    /// One of its lines with the faces repeated at both ends.
    line: Vec<f32>,
}

impl GaussianBlur {
    /// Blurs `channel`, `[x, y, z]` of `size`, by `sigma` voxels.
    pub(super) fn apply(&mut self, sigma: f64, size: [usize; 3], channel: &mut [f32]) {
        let Self { weights, blurred, plane, line } = self;
        // Below this the neighbours' weights vanish in single precision.
        if sigma < 0.1 {
            return;
        }
        let radius = (TRUNCATION * sigma).ceil() as usize;
        let weight = |step: usize| (-0.5 * (step as f64 / sigma).powi(2)).exp();
        let sum = 1.0 + 2.0 * (1..=radius).map(weight).sum::<f64>();
        weights.clear();
        weights.extend((0..=radius).map(|step| (weight(step) / sum) as f32));

        let [_, size_y, size_z] = size;
        blurred.resize(channel.len(), 0.0);
        plane.resize(size_y * size_z, 0.0);
        line.resize(size_z + 2 * radius, 0.0);
        across(weights, size_y * size_z, channel, blurred);
        for (from, to) in blurred.chunks_exact(size_y * size_z).zip(channel.chunks_exact_mut(size_y * size_z))
        {
            across(weights, size_z, from, plane);
            for (from, to) in plane.chunks_exact(size_z).zip(to.chunks_exact_mut(size_z)) {
                line[..radius].fill(from[0]);
                line[radius..radius + size_z].copy_from_slice(from);
                line[radius + size_z..].fill(from[size_z - 1]);
                blend(weights, to, |step| {
                    [&line[radius - step..][..size_z], &line[radius + step..][..size_z]]
                });
            }
        }
    }
}

/// Blurs across the rows of `from`, each of `width` values.
fn across(weights: &[f32], width: usize, from: &[f32], to: &mut [f32]) {
    let rows = from.len() / width;
    for (row, out) in to.chunks_exact_mut(width).enumerate() {
        blend(weights, out, |step| {
            let (before, after) = (row.saturating_sub(step), (row + step).min(rows - 1));
            [&from[before * width..][..width], &from[after * width..][..width]]
        });
    }
}

/// The weighted sum of a row and the pairs of rows at equal distance from it.
fn blend<'a>(weights: &[f32], out: &mut [f32], pair: impl Fn(usize) -> [&'a [f32]; 2]) {
    let [centre, _] = pair(0);
    for (out, &value) in out.iter_mut().zip(centre) {
        *out = weights[0] * value;
    }
    for (step, &weight) in weights.iter().enumerate().skip(1) {
        let [before, after] = pair(step);
        for ((out, &a), &b) in out.iter_mut().zip(before).zip(after) {
            *out += weight * (a + b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_a_gaussian_of_the_asked_width() {
        let size = [19, 21, 17];
        for sigma in [0.5, 1.0, 1.7] {
            let mut channel = vec![0.0f32; 19 * 21 * 17];
            channel[(9 * 21 + 10) * 17 + 8] = 1.0;
            GaussianBlur::default().apply(sigma, size, &mut channel);
            let weight = |d: i64| (-0.5 * (d as f64 / sigma).powi(2)).exp();
            let sum: f64 = (-20..=20).map(weight).sum();
            for (index, &value) in channel.iter().enumerate() {
                let place = [index / (21 * 17), index / 17 % 21, index % 17];
                let want: f64 =
                    [9, 10, 8].iter().zip(place).map(|(c, p)| weight(p as i64 - c) / sum).product();
                assert!((f64::from(value) - want).abs() < 1e-4, "{place:?}: {value}, {want}");
            }
        }
    }

    #[test]
    fn constants_stay_and_faces_repeat() {
        for size in [[5, 4, 3], [1, 1, 9], [1, 1, 1]] {
            let mut channel = vec![0.75f32; size.iter().product()];
            GaussianBlur::default().apply(1.0, size, &mut channel);
            assert!(channel.iter().all(|value| (value - 0.75).abs() < 1e-6), "{size:?}");
        }
        // scipy.ndimage.gaussian_filter1d([1, 0, 0, 2, 5], 1.0, mode="nearest").
        let mut channel = vec![1.0f32, 0.0, 0.0, 2.0, 5.0];
        GaussianBlur::default().apply(1.0, [1, 1, 5], &mut channel);
        for (value, want) in channel.iter().zip(SCIPY) {
            assert!((value - want).abs() < 1e-6, "{channel:?}");
        }
    }

    const SCIPY: [f32; 5] = [0.709_004_6, 0.431_338_98, 0.835_283_8, 2.305_094, 3.981_435_4];
}

//! In-plane resizing of a cut block: Gaussian anti-aliasing and linear interpolation, the definition of
//! scikit-image's `transform.resize` (order 1, mode "reflect", anti-aliasing when shrinking).

/// For every output place, the input places it is the weighted sum of.
type Weights = Vec<Vec<(usize, f32)>>;

/// The weights of smoothing and interpolating `from` samples to `to`.
fn weights(from: usize, to: usize) -> Weights {
    let factor = from as f64 / to as f64;
    let kernel = gaussian(((factor - 1.0) / 2.0).max(0.0));
    let radius = (kernel.len() / 2) as isize;
    let last = from as isize - 1;
    let mirror = |place: isize| -> usize {
        if last == 0 {
            return 0;
        }
        // Reflection about the centres of the first and last sample.
        let folded = place.rem_euclid(2 * last);
        folded.min(2 * last - folded) as usize
    };
    (0..to)
        .map(|i| {
            // Samples stand for intervals: the centre of output interval i, in input samples.
            let place = (i as f64 + 0.5) * factor - 0.5;
            let below = place.floor();
            let mut sums = std::collections::BTreeMap::new();
            for (sample, share) in
                [(below as isize, 1.0 - (place - below)), (below as isize + 1, place - below)]
            {
                if share > 0.0 {
                    for (k, weight) in kernel.iter().enumerate() {
                        // The filter runs over the mirrored signal, at the mirrored sample.
                        let centre = mirror(sample) as isize;
                        *sums.entry(mirror(centre + k as isize - radius)).or_insert(0.0) += share * weight;
                    }
                }
            }
            sums.into_iter().map(|(place, weight)| (place, weight as f32)).collect()
        })
        .collect()
}

/// A Gaussian cut at four standard deviations (SciPy's rule), of sum 1.
fn gaussian(sigma: f64) -> Vec<f64> {
    if sigma <= 0.0 {
        return vec![1.0];
    }
    let radius = (4.0 * sigma + 0.5) as isize;
    let values: Vec<f64> = (-radius..=radius).map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = values.iter().sum();
    values.into_iter().map(|value| value / sum).collect()
}

/// Resizes blocks of one in-plane size to another; the weights are computed once.
pub(super) struct Resizer {
    from: [usize; 2],
    to: [usize; 2],
    weights: [Weights; 2],
    between: Vec<f32>,
}

impl Resizer {
    /// From blocks `[from[0], from[1], depth]` to `[to[0], to[1], depth]`.
    pub fn new(from: [usize; 2], to: [usize; 2]) -> Self {
        let weights = [weights(from[0], to[0]), weights(from[1], to[1])];
        Self { from, to, weights, between: Vec::new() }
    }

    /// Resizes `block` into `out` (both z fastest, the same depth).
    pub fn resize(&mut self, block: &[f32], out: &mut [f32]) {
        let ([rows, columns], [new_rows, new_columns]) = (self.from, self.to);
        let depth = block.len() / (rows * columns);
        let line = columns * depth;
        self.between.clear();
        self.between.resize(new_rows * line, 0.0);
        for (target, weights) in self.between.chunks_mut(line).zip(&self.weights[0]) {
            add_lines(target, block, line, weights);
        }
        out.fill(0.0);
        for row in 0..new_rows {
            let source = &self.between[row * line..(row + 1) * line];
            for column in 0..new_columns {
                let start = (row * new_columns + column) * depth;
                add_lines(&mut out[start..start + depth], source, depth, &self.weights[1][column]);
            }
        }
    }
}

/// Adds the weighted lines of `source` to `target`.
fn add_lines(target: &mut [f32], source: &[f32], length: usize, weights: &[(usize, f32)]) {
    for &(place, weight) in weights {
        for (sum, value) in target.iter_mut().zip(&source[place * length..(place + 1) * length]) {
            *sum += weight * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded: `skimage.transform.resize(a, shape, preserve_range=True)` of scikit-image 0.26.0 for
    /// `a[x, y, z] = ((7 x + 13 y + 5 z) % 32) / 32`.
    #[test]
    fn it_resizes_as_scikit_image_does() {
        type Case = ([usize; 3], [f64; 4], f64);
        let cases: [Case; 3] = [
            ([96, 96, 4], [0.156543298, 0.515520273, 0.437688508, 0.531040505], 0.4843750000038586),
            ([128, 96, 3], [0.234521638, 0.590302175, 0.458544014, 0.466406028], 0.4843750021862183),
            ([48, 80, 3], [0.078125, 0.34375, 0.6015625, 0.609375], 0.4839274088541667),
        ];
        for ([nx, ny, nz], wanted, mean) in cases {
            let mut block = Vec::new();
            for x in 0..nx {
                for y in 0..ny {
                    block.extend((0..nz).map(|z| ((7 * x + 13 * y + 5 * z) % 32) as f32 / 32.0));
                }
            }
            let mut out = vec![f32::NAN; 64 * 64 * nz];
            Resizer::new([nx, ny], [64, 64]).resize(&block, &mut out);
            for ([x, y, z], wanted) in
                [[0, 0, 0], [1, 2, 0], [31, 17, 2], [63, 63, 2]].into_iter().zip(wanted)
            {
                let found = f64::from(out[(x * 64 + y) * nz + z]);
                assert!((found - wanted).abs() < 1e-6, "{nx}x{ny} at {x},{y},{z}: {found} {wanted}");
            }
            let found = out.iter().map(|&value| f64::from(value)).sum::<f64>() / out.len() as f64;
            assert!((found - mean).abs() < 1e-6, "{found} {mean}");
        }
    }

    #[test]
    fn the_same_size_is_left_as_it_is() {
        let block: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let mut out = vec![0.0; 24];
        Resizer::new([3, 4], [3, 4]).resize(&block, &mut out);
        assert_eq!(out, block);
        let mut single = vec![0.0; 8];
        Resizer::new([1, 1], [2, 2]).resize(&[3.0, 5.0], &mut single);
        assert_eq!(single, [3.0, 5.0, 3.0, 5.0, 3.0, 5.0, 3.0, 5.0]);
    }
}

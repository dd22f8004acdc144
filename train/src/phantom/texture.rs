//! Random fields: smooth tissue texture and the correlated noise of the scanner.

use super::geometry::{Grid, Point};
use genesis_tensor::random::{Purpose, Stream};

const SIDE: usize = 32;

/// A smooth random field with values about in [-1, 1], periodic every 32 lattice cells, addressed
/// in millimetres at any scale (value noise: a random lattice, smoothly interpolated).
#[derive(Clone, Debug)]
pub(super) struct Texture {
    lattice: Vec<f32>,
}

impl Texture {
    pub fn new(stream: &mut Stream) -> Self {
        let lattice = (0..SIDE * SIDE * SIDE).map(|_| stream.uniform() * 2.0 - 1.0).collect();
        Self { lattice }
    }

    /// The field at `p` with lattice cells of `cell` millimetres.
    #[inline]
    pub fn at(&self, p: Point, cell: f32) -> f32 {
        let inverse = 1.0 / cell;
        let mut low = [0usize; 3];
        let mut high = [0usize; 3];
        let mut t = [0f32; 3];
        for k in 0..3 {
            // The offset keeps the three mirror planes of the frame apart and the value positive.
            let u = p[k] * inverse + 4096.5;
            let whole = u as usize;
            let f = u - whole as f32;
            t[k] = f * f * (3.0 - 2.0 * f);
            low[k] = whole % SIDE;
            high[k] = (whole + 1) % SIDE;
        }
        let l = |x: usize, y: usize, z: usize| self.lattice[(x * SIDE + y) * SIDE + z];
        let along = |x: usize, y: usize| {
            let a = l(x, y, low[2]);
            a + (l(x, y, high[2]) - a) * t[2]
        };
        let side = |x: usize| {
            let a = along(x, low[1]);
            a + (along(x, high[1]) - a) * t[1]
        };
        let a = side(low[0]);
        a + (side(high[0]) - a) * t[0]
    }
}

/// Correlation length of the scanner's noise within a slice, in millimetres (standard deviation of
/// the Gaussian that shapes it).
const NOISE_CORRELATION: f32 = 0.62;
const REACH: usize = 2;

/// The scanner's noise: zero mean, unit variance, correlated within a slice, independent between
/// slices. Each x plane draws from a stream of its own, so any split of the volume sees the same
/// values.
pub(super) struct ScannerNoise<'a> {
    grid: &'a Grid,
    seed: u64,
    index: u64,
    kernel: [[f32; 2 * REACH + 1]; 2],
}

impl<'a> ScannerNoise<'a> {
    pub fn new(grid: &'a Grid, seed: u64, index: u64) -> Self {
        let kernel = [0, 1].map(|axis| {
            let sigma = NOISE_CORRELATION / grid.spacing[axis];
            let mut taps = [0f32; 2 * REACH + 1];
            for (i, tap) in taps.iter_mut().enumerate() {
                let t = (i as f32 - REACH as f32) / sigma;
                *tap = (-0.5 * t * t).exp();
            }
            let norm = taps.iter().map(|t| t * t).sum::<f32>().sqrt();
            taps.map(|t| t / norm)
        });
        Self { grid, seed, index, kernel }
    }

    /// White noise of plane `x` (may lie one reach outside the grid), smoothed along y.
    fn plane(&self, x: isize, white: &mut Vec<f32>, out: &mut [f32]) {
        let [_, ny, nz] = self.grid.size;
        let mut stream = Stream::new(self.seed, (x + 16) as u64, self.index, Purpose::Phantom);
        white.clear();
        // The sum of two uniform 16-bit halves: triangular, and normal to the eye once smoothed.
        let unit = 6f32.sqrt() / 65536.0;
        white.extend((0..(ny + 2 * REACH) * nz).map(|_| {
            let bits = stream.next_u32();
            (((bits & 0xffff) + (bits >> 16)) as f32 - 65535.0) * unit
        }));
        for y in 0..ny {
            let row = &mut out[y * nz..(y + 1) * nz];
            row.fill(0.0);
            for (tap, weight) in self.kernel[1].iter().enumerate() {
                let from = &white[(y + tap) * nz..(y + tap + 1) * nz];
                row.iter_mut().zip(from).for_each(|(o, w)| *o += weight * w);
            }
        }
    }

    /// The noise of planes `first..last`, `[last - first, ny, nz]`.
    pub fn planes(&self, first: usize, last: usize) -> Vec<f32> {
        let plane = self.grid.size[1] * self.grid.size[2];
        let mut result = vec![0f32; (last - first) * plane];
        let mut white = Vec::new();
        let mut smooth = vec![0f32; plane];
        let reach = REACH as isize;
        for source in first as isize - reach..last as isize + reach {
            self.plane(source, &mut white, &mut smooth);
            for (tap, &weight) in self.kernel[0].iter().enumerate() {
                let target = source + tap as isize - reach;
                if target >= first as isize && target < last as isize {
                    let at = (target as usize - first) * plane;
                    let out = &mut result[at..at + plane];
                    out.iter_mut().zip(&smooth).for_each(|(o, s)| *o += weight * s);
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanner_noise_has_unit_variance_and_the_stated_correlation() {
        let grid = Grid { size: [48, 64, 20], spacing: [0.7, 0.7, 2.5] };
        let noise = ScannerNoise::new(&grid, 3, 0);
        let all = noise.planes(0, 48);
        let n = all.len() as f64;
        let mean = all.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = all.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
        let correlation = |stride: usize| {
            all.iter().zip(&all[stride..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() / n
        };
        // A Gaussian of 0.62 mm folded with itself: exp(-(0.7 / 0.62)^2 / 4) = 0.73 one voxel on.
        assert!((correlation(20) - 0.73).abs() < 0.04, "{}", correlation(20));
        assert!(correlation(1).abs() < 0.04, "slices are independent: {}", correlation(1));
    }

    #[test]
    fn a_slab_of_noise_does_not_depend_on_the_split() {
        let grid = Grid { size: [12, 5, 4], spacing: [1.0, 1.0, 2.0] };
        let noise = ScannerNoise::new(&grid, 3, 1);
        let whole = noise.planes(0, 12);
        assert_eq!(&whole[5 * 20..9 * 20], &noise.planes(5, 9)[..]);
    }

    #[test]
    fn texture_is_bounded_and_continuous() {
        let texture = Texture::new(&mut Stream::new(1, 0, 0, Purpose::Other));
        let mut previous = texture.at([-200.0, 3.0, 7.0], 5.0);
        for i in 1..4000 {
            let value = texture.at([-200.0 + i as f32 * 0.1, 3.0, 7.0], 5.0);
            assert!(value.abs() <= 1.0 && (value - previous).abs() < 0.1);
            previous = value;
        }
    }
}

//! Elastic displacement: a coarse grid of random displacements and its interpolation by cubic
//! B-splines, line by line.

use genesis_tensor::random::Stream;

/// Standard deviation of a component of a cubic B-spline surface in three dimensions, on average
/// over positions, whose coefficients have the standard deviation 1: the integral of the squared
/// B-spline is 151/315 along each axis.
fn spline_deviation() -> f64 {
    (151.0f64 / 315.0).powf(1.5)
}

/// Random displacements at the points of a coarse grid over a patch.
#[derive(Clone, Debug, PartialEq)]
pub struct DisplacementGrid {
    /// Voxels between control points along each axis.
    separation: [f64; 3],
    /// Control points along each axis; the first lies one separation before the patch.
    counts: [usize; 3],
    /// B-spline coefficients `[x, y, component, z]` in voxels of the component's axis.
    coefficients: Vec<f32>,
}

impl DisplacementGrid {
    /// Draws the displacement of a patch of `size` voxels with the given `spacing` in millimetres.
    /// `separation`, of the control points, and `sigma`, the standard deviation of each component of
    /// a voxel's displacement, are in voxels of the axis with the smallest spacing. Control points
    /// are at least one voxel apart along every axis.
    pub fn draw(
        size: [usize; 3],
        spacing: [f64; 3],
        separation: f64,
        sigma: f64,
        stream: &mut Stream,
    ) -> Self {
        let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
        let separation = spacing.map(|length| (separation * finest / length).max(1.0));
        let counts = std::array::from_fn(|axis| {
            (size[axis].saturating_sub(1) as f64 / separation[axis]).floor() as usize + 4
        });
        let [_, _, count_z] = counts;
        let mut coefficients = vec![0.0; 3 * counts.iter().product::<usize>()];
        stream.fill_normal(&mut coefficients);
        for (row, values) in coefficients.chunks_exact_mut(count_z).enumerate() {
            let factor = (sigma / spline_deviation() * finest / spacing[row % 3]) as f32;
            values.iter_mut().for_each(|value| *value *= factor);
        }
        Self { separation, counts, coefficients }
    }

    /// The first of the four control points that a voxel depends on, and their weights.
    fn weights(&self, axis: usize, index: usize) -> (usize, [f32; 4]) {
        let place = index as f64 / self.separation[axis];
        let cell = (place.floor() as usize).min(self.counts[axis] - 4);
        let t = place - cell as f64;
        let s = 1.0 - t;
        let weights = [
            s * s * s / 6.0,
            2.0 / 3.0 - 0.5 * t * t * (1.0 + s),
            2.0 / 3.0 - 0.5 * s * s * (1.0 + t),
            t * t * t / 6.0,
        ];
        (cell, weights.map(|weight| weight as f32))
    }
}

/// A displacement grid expanded to the lines of a patch, one axis after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct DisplacementLines {
    depth: usize,
    /// `[control x, control y, component, z]`.
    expanded: Vec<f32>,
    /// `[control y, component, z]` of the plane entered last.
    plane: Vec<f32>,
    /// `[component, z]` of one line.
    line: Vec<f32>,
}

impl DisplacementLines {
    /// Expands along z for lines of `depth` voxels.
    pub(super) fn prepare(&mut self, grid: &DisplacementGrid, depth: usize) {
        let [count_x, count_y, count_z] = grid.counts;
        self.depth = depth;
        self.expanded.resize(count_x * count_y * 3 * depth, 0.0);
        self.plane.resize(count_y * 3 * depth, 0.0);
        self.line.resize(3 * depth, 0.0);
        let weights: Vec<_> = (0..depth).map(|z| grid.weights(2, z)).collect();
        let rows = grid.coefficients.chunks_exact(count_z);
        for (out, row) in self.expanded.chunks_exact_mut(depth).zip(rows) {
            for (value, (first, weights)) in out.iter_mut().zip(&weights) {
                *value = row[*first..][..4].iter().zip(weights).map(|(c, w)| c * w).sum();
            }
        }
    }

    /// Moves to the plane `x`.
    pub(super) fn enter_plane(&mut self, grid: &DisplacementGrid, x: usize) {
        let (first, weights) = grid.weights(0, x);
        blend(&self.expanded, first, weights, &mut self.plane);
    }

    /// The displacements along x, y and z of line `y` of that plane, in voxels.
    pub(super) fn line(&mut self, grid: &DisplacementGrid, y: usize) -> [&[f32]; 3] {
        let (first, weights) = grid.weights(1, y);
        blend(&self.plane, first, weights, &mut self.line);
        let (x, rest) = self.line.split_at(self.depth);
        let (y, z) = rest.split_at(self.depth);
        [x, y, z]
    }
}

/// The weighted sum of four consecutive blocks, each as long as `out`.
fn blend(blocks: &[f32], first: usize, weights: [f32; 4], out: &mut [f32]) {
    let length = out.len();
    let block = |index: usize| &blocks[(first + index) * length..][..length];
    let [a, b, c, d] = [block(0), block(1), block(2), block(3)];
    for i in 0..length {
        out[i] = weights[0] * a[i] + weights[1] * b[i] + weights[2] * c[i] + weights[3] * d[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_tensor::random::Purpose;

    /// All displacements of a patch, `[component][voxel]`.
    fn field(grid: &DisplacementGrid, size: [usize; 3]) -> [Vec<f64>; 3] {
        let mut lines = DisplacementLines::default();
        lines.prepare(grid, size[2]);
        let mut field = [const { Vec::new() }; 3];
        for x in 0..size[0] {
            lines.enter_plane(grid, x);
            for y in 0..size[1] {
                for (all, line) in field.iter_mut().zip(lines.line(grid, y)) {
                    all.extend(line.iter().map(|&value| f64::from(value)));
                }
            }
        }
        field
    }

    #[test]
    fn displacements_have_the_asked_deviation_in_millimetres_and_do_not_fold() {
        let (size, spacing) = ([40, 33, 12], [0.8, 0.8, 2.4]);
        let mut squares = [0.0; 3];
        let draws = 200;
        for sample in 0..draws {
            let mut stream = Stream::new(1, 0, sample, Purpose::Other);
            let field = field(&DisplacementGrid::draw(size, spacing, 8.0, 1.2, &mut stream), size);
            for axis in 0..3 {
                let values = &field[axis];
                squares[axis] += values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
            }
            // Neighbours along x keep their order where the displacement changes by less than 1.
            let plane = size[1] * size[2];
            let steps = field[0].iter().zip(&field[0][plane..]).map(|(a, b)| b - a);
            assert!(steps.fold(f64::INFINITY, f64::min) > -1.0, "sample {sample} folds");
        }
        for (square, want) in squares.iter().zip([1.2, 1.2, 0.4]) {
            // Some 30 independent places a patch and 200 patches: about 1 % standard error.
            let deviation = (square / draws as f64).sqrt();
            assert!((deviation / want - 1.0).abs() < 0.06, "{deviation}, {want}");
        }
    }

    #[test]
    fn lines_are_the_spline_of_the_definition() {
        let size = [9, 8, 11];
        let grid =
            DisplacementGrid::draw(size, [1.0; 3], 4.0, 1.0, &mut Stream::new(2, 0, 0, Purpose::Other));
        let bspline = |t: f64| match t.abs() {
            t if t < 1.0 => 2.0 / 3.0 - t * t + t * t * t / 2.0,
            t if t < 2.0 => (2.0 - t).powi(3) / 6.0,
            _ => 0.0,
        };
        let field = field(&grid, size);
        let [count_x, count_y, count_z] = grid.counts;
        for (x, y, z) in [(0, 0, 0), (8, 7, 10), (3, 4, 5), (4, 1, 8)] {
            for component in 0..3 {
                let mut want = 0.0;
                for (i, j, k) in (0..count_x * count_y * count_z)
                    .map(|n| (n / (count_y * count_z), n / count_z % count_y, n % count_z))
                {
                    let weight =
                        |place: usize, control: usize| bspline(place as f64 / 4.0 - (control as f64 - 1.0));
                    let coefficient = grid.coefficients[((i * count_y + j) * 3 + component) * count_z + k];
                    want += f64::from(coefficient) * weight(x, i) * weight(y, j) * weight(z, k);
                }
                let value = field[component][(x * size[1] + y) * size[2] + z];
                assert!((value - want).abs() < 1e-5, "{value}, {want}");
            }
        }
    }
}

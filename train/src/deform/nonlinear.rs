//! Non-linear intensity transformation: a random monotone Bézier curve on `[0, 1]`.
//!
//! The release samples the cubic Bézier curve through (0,0), (u1,u2), (u3,u4), (1,1) at 100 000
//! values of its parameter and interpolates linearly between the samples. Both coordinates grow
//! with the parameter u, so sorting both gives the increasing map x(u) -> y(u), and sorting x alone
//! gives x(u) -> y(1 - u), which decreases. We use the curve itself: a table of cubic pieces on a
//! uniform grid of x, whose values and slopes at the nodes are exact, and the exact inverse where
//! the curve is too steep for such a piece (x'(u) near 0).

use genesis_tensor::random::Stream;

/// Pieces of the table.
const PIECES: usize = 1024;
/// Room for the pieces and the end, a power of two.
const SLOTS: usize = 2 * PIECES;

/// A piece is used if it misses the curve by at most this much at a quarter and three quarters of
/// its parameter range. An error of the fourth order, w²(1 - w)², is at most 1.8 times larger in
/// between, one of the fifth order no larger.
const LARGEST_MISS: f64 = 2e-7;

/// Those two points say little about a piece over which x'(u) varies by more than this ratio.
const SMALLEST_SLOPE_RATIO: f64 = 0.5;

/// A cubic polynomial `c[0] + c[1] u + c[2] u² + c[3] u³`.
#[derive(Clone, Copy, Debug)]
struct Cubic([f64; 4]);

impl Cubic {
    /// The Bernstein polynomial with these control values.
    fn bezier([p0, p1, p2, p3]: [f64; 4]) -> Self {
        Self([p0, 3.0 * (p1 - p0), 3.0 * (p0 - 2.0 * p1 + p2), p3 - p0 + 3.0 * (p1 - p2)])
    }

    #[inline]
    fn at(self, u: f64) -> f64 {
        let [c0, c1, c2, c3] = self.0;
        c0 + u * (c1 + u * (c2 + u * c3))
    }

    #[inline]
    fn slope(self, u: f64) -> f64 {
        let [_, c1, c2, c3] = self.0;
        c1 + u * (2.0 * c2 + u * 3.0 * c3)
    }
}

/// The control points and direction of one map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve {
    x: Cubic,
    y: Cubic,
    increasing: bool,
}

impl Curve {
    /// The curve with inner control points (u1, u2) and (u3, u4), all in `[0, 1]`.
    fn new([u1, u2, u3, u4]: [f64; 4], increasing: bool) -> Self {
        let y = if increasing { [0.0, u2, u4, 1.0] } else { [1.0, u4, u2, 0.0] };
        Self { x: Cubic::bezier([0.0, u1, u3, 1.0]), y: Cubic::bezier(y), increasing }
    }

    /// A random curve that increases with the given probability.
    pub fn draw(increasing_probability: f64, stream: &mut Stream) -> Self {
        let points = [(); 4].map(|()| stream.uniform_f64());
        Self::new(points, stream.chance(increasing_probability))
    }

    /// The parameter u in `[low, high]` with x(u) = `x`: Newton's method from `guess`, kept inside the
    /// shrinking bracket by bisection.
    fn parameter(&self, x: f64, guess: f64, mut low: f64, mut high: f64) -> f64 {
        let mut u = guess.clamp(low, high);
        for _ in 0..64 {
            let excess = self.x.at(u) - x;
            if excess > 0.0 {
                high = u;
            } else {
                low = u;
            }
            let slope = self.x.slope(u);
            let next = u - excess / slope;
            if next >= low && next <= high {
                // What is left after the step is about step² x'' / 2x', and x'' is at most 12.
                let step = next - u;
                u = next;
                if 6.0 * step * step <= 1e-9 * slope {
                    break;
                }
            } else {
                u = 0.5 * (low + high);
            }
        }
        u
    }

    /// The values at x = 0 and x = 1.
    fn ends(&self) -> [f32; 2] {
        if self.increasing { [0.0, 1.0] } else { [1.0, 0.0] }
    }
}

/// A curve prepared for mapping many values.
#[derive(Clone, Debug)]
pub(super) struct IntensityMap {
    curve: Curve,
    /// Coefficients of each piece in the fraction of its width; not-a-number marks a piece that is
    /// evaluated exactly. One more, constant, piece stands for x = 1.
    pieces: Box<[[f32; 4]; SLOTS]>,
    /// The parameter at each node.
    parameters: Vec<f64>,
}

impl IntensityMap {
    /// The identity, until [`IntensityMap::prepare`] is called.
    pub fn new() -> Self {
        let third = 1.0 / 3.0;
        let curve = Curve::new([third, third, 2.0 * third, 2.0 * third], true);
        let mut map = Self { curve, pieces: Box::new([[0.0; 4]; SLOTS]), parameters: vec![0.0; PIECES + 1] };
        map.prepare(curve);
        map
    }

    /// Tabulates a curve.
    pub fn prepare(&mut self, curve: Curve) {
        self.curve = curve;
        let width = 1.0 / PIECES as f64;
        let Curve { x, y, .. } = curve;
        let (mut u, mut step) = (0.0, 0.0);
        let (mut value, mut x_slope, mut y_slope) = (y.at(0.0), x.slope(0.0), y.slope(0.0));
        for piece in 0..PIECES {
            let next = if piece + 1 == PIECES {
                1.0
            } else {
                curve.parameter((piece + 1) as f64 * width, u + step, u, 1.0)
            };
            step = next - u;
            let (next_value, next_x_slope, next_y_slope) = (y.at(next), x.slope(next), y.slope(next));
            // Hermite's cubic through both nodes with slopes dy/dx = y' / x'.
            let rise = next_value - value;
            let (left, right) = (width * y_slope / x_slope, width * next_y_slope / next_x_slope);
            let cubic = Cubic([value, left, 3.0 * rise - 2.0 * left - right, left + right - 2.0 * rise]);
            // x' is quadratic in u, so three values tell how much it varies.
            let middle = x.slope(u + 0.5 * step);
            let smallest = x_slope.min(middle).min(next_x_slope);
            let largest = x_slope.max(middle).max(next_x_slope);
            let misses = |share: f64| {
                let inside = u + share * step;
                let fraction = x.at(inside) * PIECES as f64 - piece as f64;
                (cubic.at(fraction) - y.at(inside)).abs()
            };
            let fits =
                smallest >= SMALLEST_SLOPE_RATIO * largest && misses(0.25).max(misses(0.75)) <= LARGEST_MISS;
            self.parameters[piece] = u;
            self.pieces[piece] = if fits { cubic.0.map(|c| c as f32) } else { [f32::NAN; 4] };
            (u, value, x_slope, y_slope) = (next, next_value, next_x_slope, next_y_slope);
        }
        self.parameters[PIECES] = 1.0;
        self.pieces[PIECES] = [curve.ends()[1], 0.0, 0.0, 0.0];
    }

    /// Maps values in place; those beyond `[0, 1]` map as its ends do, and not-a-number stays.
    #[inline]
    pub fn apply(&self, values: &mut [f32]) {
        // Groups of fixed length: place and fraction are computed for all at once.
        let (groups, rest) = values.as_chunks_mut::<8>();
        for group in groups {
            self.apply_group(group);
        }
        let (groups, rest) = rest.as_chunks_mut::<4>();
        for group in groups {
            self.apply_group(group);
        }
        for value in rest {
            self.apply_group(std::array::from_mut(value));
        }
    }

    #[inline(always)]
    fn apply_group<const N: usize>(&self, values: &mut [f32; N]) {
        let places = values.map(|value| value.clamp(0.0, 1.0) * PIECES as f32);
        // Rounds to a piece in the lowest bits of the number's representation. (A place on a node
        // may fall to the end of the piece before it. Not-a-number gives some piece.)
        let slots = places.map(|place| (place - 0.5 + 12_582_912.0).to_bits() % SLOTS as u32);
        let mut mapped = [0.0; N];
        for lane in 0..N {
            let [c0, c1, c2, c3] = self.pieces[slots[lane] as usize];
            let fraction = places[lane] - slots[lane] as i32 as f32;
            mapped[lane] = c0 + fraction * (c1 + fraction * (c2 + fraction * c3));
        }
        if mapped.iter().fold(false, |any, value| any | value.is_nan()) {
            for lane in 0..N {
                if mapped[lane].is_nan() {
                    mapped[lane] = self.exact(values[lane], slots[lane] as usize);
                }
            }
        }
        *values = mapped;
    }

    /// The value on a steep piece, from the curve itself.
    #[cold]
    #[inline(never)]
    fn exact(&self, value: f32, piece: usize) -> f32 {
        if value.is_nan() {
            return value;
        }
        let [at_zero, at_one] = self.curve.ends();
        if value <= 0.0 {
            return at_zero;
        }
        if value >= 1.0 {
            return at_one;
        }
        let (low, high) = (self.parameters[piece], self.parameters[piece + 1]);
        let u = self.curve.parameter(f64::from(value), 0.5 * (low + high), low, high);
        self.curve.y.at(u) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_tensor::random::Purpose;

    fn one(map: &IntensityMap, value: f32) -> f32 {
        let mut values = [value];
        map.apply(&mut values);
        values[0]
    }

    #[test]
    fn groups_map_as_single_values() {
        let mut map = IntensityMap::new();
        for (points, increasing) in curves().into_iter().step_by(5) {
            map.prepare(Curve::new(points, increasing));
            let mut values = values(&mut Stream::new(34, 0, 0, Purpose::Other));
            let want: Vec<f32> = values.iter().map(|&value| one(&map, value)).collect();
            map.apply(&mut values);
            assert_eq!(values, want);
        }
    }

    /// The release's rule: 100 000 samples of the curve, x sorted, y sorted or not, linear
    /// interpolation (`numpy.interp`), all in double precision.
    struct Sampled {
        x: Vec<f64>,
        y: Vec<f64>,
    }

    impl Sampled {
        fn new([u1, u2, u3, u4]: [f64; 4], increasing: bool) -> Self {
            let samples = 100_000;
            let coordinate = |a: f64, b: f64| -> Vec<f64> {
                (0..samples)
                    // The parameter runs so that the curve starts in (1, 1).
                    .map(|i| 1.0 - i as f64 / (samples - 1) as f64)
                    .map(|u| {
                        let v = 1.0 - u;
                        3.0 * u * v * v * a + 3.0 * u * u * v * b + u * u * u
                    })
                    .collect()
            };
            let (mut x, mut y) = (coordinate(u1, u3), coordinate(u2, u4));
            x.sort_by(f64::total_cmp);
            if increasing {
                y.sort_by(f64::total_cmp);
            }
            Self { x, y }
        }

        fn at(&self, value: f64) -> f64 {
            let above = self.x.partition_point(|&x| x <= value);
            if above == 0 {
                return self.y[0];
            }
            if above == self.x.len() {
                return self.y[above - 1];
            }
            let (x0, x1) = (self.x[above - 1], self.x[above]);
            self.y[above - 1] + (self.y[above] - self.y[above - 1]) / (x1 - x0) * (value - x0)
        }
    }

    /// Random curves, and those whose x(u) is flat at an end, in the middle, or nearly so.
    fn curves() -> Vec<([f64; 4], bool)> {
        let mut stream = Stream::new(31, 0, 0, Purpose::Other);
        let mut list = Vec::new();
        for u1 in [0.0, 1e-6, 1e-3, 0.01, 0.03, 0.1, 0.97, 0.999, 1.0] {
            for u3 in [0.0, 0.001, 0.03, 0.5, 0.9, 0.99, 0.9999, 1.0] {
                list.push(([u1, stream.uniform_f64(), u3, stream.uniform_f64()], stream.chance(0.5)));
                list.push(([u1, 1.0, u3, 0.0], true));
            }
        }
        for index in 0..150 {
            list.push(([(); 4].map(|()| stream.uniform_f64()), index % 2 == 0));
        }
        list
    }

    /// Values on the sixteen-bit grid of stored cubes, and others.
    fn values(stream: &mut Stream) -> Vec<f32> {
        let mut values: Vec<f32> = (0..=2_000).map(|v| v as f32 / 2_000.0).collect();
        values.extend((0..2_000).map(|_| stream.uniform()));
        values.extend([1e-4, 3e-5, 1e-6, 0.999_99, 0.4999, 0.5001, 0.499_999, 0.500_001]);
        values
    }

    #[test]
    fn maps_as_the_interpolation_of_100_000_samples() {
        let mut stream = Stream::new(32, 0, 0, Purpose::Other);
        let mut map = IntensityMap::new();
        let (mut largest, mut exact, mut total) = (0.0f64, 0, 0);
        for (points, increasing) in curves() {
            map.prepare(Curve::new(points, increasing));
            let sampled = Sampled::new(points, increasing);
            for value in values(&mut stream) {
                let difference = (f64::from(one(&map, value)) - sampled.at(f64::from(value))).abs();
                assert!(difference < 1e-6, "{value} on {points:?}: {difference:e}");
                largest = largest.max(difference);
            }
            exact += map.pieces.iter().filter(|piece| piece[0].is_nan()).count();
            total += PIECES;
        }
        eprintln!("largest difference {largest:e}; {exact} of {total} pieces steep");
    }

    #[test]
    fn maps_are_monotone_and_exact_at_the_ends() {
        let mut map = IntensityMap::new();
        for (points, increasing) in curves() {
            let curve = Curve::new(points, increasing);
            map.prepare(curve);
            let sign = if increasing { 1.0 } else { -1.0 };
            let mut last = one(&map, 0.0);
            for step in 1..=20_000 {
                let next = one(&map, step as f32 / 20_000.0);
                assert!((0.0..=1.0).contains(&next), "{next} on {points:?}");
                // Neighbouring values may differ by the rounding of single precision.
                assert!(sign * (next - last) > -1.3e-7, "{points:?} at {step}: {last} then {next}");
                last = next;
            }
            assert_eq!([one(&map, 0.0), one(&map, 1.0)], curve.ends(), "{points:?}");
            assert_eq!([one(&map, -0.5), one(&map, 1.5)], curve.ends());
            assert!(one(&map, f32::NAN).is_nan());
        }
    }

    #[test]
    fn the_map_before_any_curve_is_the_identity() {
        let map = IntensityMap::new();
        for value in values(&mut Stream::new(33, 0, 0, Purpose::Other)) {
            assert!((one(&map, value) - value).abs() < 1e-7);
        }
    }
}

//! Points, directions and soft edges shared by every part of the phantom.
//!
//! Coordinates are millimetres in the patient's frame: x grows to the patient's right, y to the
//! front (anterior), z to the head (superior); the origin is the centre of the field of view.

/// A point or direction in millimetres, `[right, anterior, superior]`.
pub(super) type Point = [f32; 3];

/// Width of the scanner's point-spread function in millimetres (soft reconstruction kernel).
const POINT_SPREAD: f32 = 0.9;

pub(super) fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(super) fn subtract(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn scale(a: Point, k: f32) -> Point {
    [a[0] * k, a[1] * k, a[2] * k]
}

pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: Point, b: Point) -> Point {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(super) fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

/// The unit vector along `a`, or the head direction for a vector of no length.
pub(super) fn unit(a: Point) -> Point {
    let l = length(a);
    if l > 1e-6 { scale(a, 1.0 / l) } else { [0.0, 0.0, 1.0] }
}

pub(super) fn mix(a: Point, b: Point, t: f32) -> Point {
    [lerp(a[0], b[0], t), lerp(a[1], b[1], t), lerp(a[2], b[2], t)]
}

pub(super) fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// 0 below `low`, 1 above `high`, a smooth cubic between.
pub(super) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A bell of height 1 around `centre`.
pub(super) fn bell(x: f32, centre: f32, width: f32) -> f32 {
    let t = (x - centre) / width;
    (-0.5 * t * t).exp()
}

/// Maximum of two distances with the corner rounded over `k` millimetres.
pub(super) fn smooth_maximum(a: f32, b: f32, k: f32) -> f32 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.max(b) + h * h * k * 0.25
}

/// Piecewise linear curve through `(x, y)` knots in ascending x, constant outside.
pub(super) fn curve(knots: &[(f32, f32)], x: f32) -> f32 {
    let mut previous = knots[0];
    for &knot in knots {
        if x <= knot.0 {
            let span = knot.0 - previous.0;
            return if span > 0.0 {
                // A cubic blend would flatten every knot; linear pieces are smoothed by the caller.
                lerp(previous.1, knot.1, ((x - previous.0) / span).clamp(0.0, 1.0))
            } else {
                knot.1
            };
        }
        previous = knot;
    }
    previous.1
}

/// Points of a Catmull-Rom spline through `knots`, about `step` millimetres apart, each with the
/// fractional knot index it lies at.
pub(super) fn spline(knots: &[Point], step: f32) -> Vec<(Point, f32)> {
    let last = knots.len() - 1;
    let mut points = vec![(knots[0], 0.0)];
    for i in 0..last {
        let (p0, p1) = (knots[i.saturating_sub(1)], knots[i]);
        let (p2, p3) = (knots[i + 1], knots[(i + 2).min(last)]);
        let pieces = (length(subtract(p2, p1)) / step).ceil().clamp(1.0, 200.0) as usize;
        for piece in 1..=pieces {
            let t = piece as f32 / pieces as f32;
            let point = std::array::from_fn(|k| {
                let (a, b, c, d) = (p0[k], p1[k], p2[k], p3[k]);
                let quadratic = 2.0 * a - 5.0 * b + 4.0 * c - d;
                let cubic = 3.0 * b - a - 3.0 * c + d;
                0.5 * (2.0 * b + (c - a) * t + quadratic * t * t + cubic * t * t * t)
            });
            points.push((point, i as f32 + t));
        }
    }
    points
}

/// The sampling grid of one phantom.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Voxels along right, anterior, superior.
    pub size: [usize; 3],
    /// Voxel edge lengths in millimetres.
    pub spacing: Point,
}

impl Grid {
    /// The coordinate of voxel `i` along `axis`.
    pub fn coordinate(&self, axis: usize, i: usize) -> f32 {
        (i as f32 - (self.size[axis] as f32 - 1.0) * 0.5) * self.spacing[axis]
    }

    /// Half-open voxel range whose centres lie within `[low, high]` along `axis`.
    pub fn range(&self, axis: usize, low: f32, high: f32) -> (usize, usize) {
        let centre = (self.size[axis] as f32 - 1.0) * 0.5;
        let first = (low / self.spacing[axis] + centre).ceil().max(0.0) as usize;
        let last = (high / self.spacing[axis] + centre).floor() + 1.0;
        (first, (last.max(0.0) as usize).min(self.size[axis]))
    }

    /// Half the field of view along `axis`.
    pub fn half_extent(&self, axis: usize) -> f32 {
        self.size[axis] as f32 * self.spacing[axis] * 0.5
    }

    /// Width over which an edge with unit normal `n` is smeared: the voxel's extent along the
    /// normal joined with the scanner's point spread (the partial volume effect).
    pub fn edge_width(&self, n: Point) -> f32 {
        let along: f32 = (0..3).map(|k| (n[k] * self.spacing[k]).powi(2)).sum();
        (along + POINT_SPREAD * POINT_SPREAD).sqrt()
    }

    /// Edge width of a surface that faces every direction alike.
    pub fn mean_edge_width(&self) -> f32 {
        self.edge_width([0.577, 0.577, 0.577])
    }
}

/// Fraction of a voxel inside a surface at signed distance `d` (negative inside), smeared over `w`.
#[inline]
pub(super) fn coverage(d: f32, w: f32) -> f32 {
    (0.5 - d / w).clamp(0.0, 1.0)
}

/// Fraction of a voxel of extent `w` inside a sheet or rod of half thickness `r` whose middle is
/// `d` away: a box folded with a box, so that structures thinner than a voxel fade, not grow.
#[inline]
pub(super) fn thin_coverage(d: f32, r: f32, w: f32) -> f32 {
    (((d + r) / w + 0.5).clamp(0.0, 1.0) - ((d - r) / w + 0.5).clamp(0.0, 1.0)).max(0.0)
}

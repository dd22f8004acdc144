//! Solid bodies with a signed distance: what organs, bones and vessels are built from.

use super::body::Body;
use super::geometry::{Point, add, cross, dot, length, mix, scale, smooth_maximum, subtract, unit};

/// A solid in millimetres.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A straight rod with rounded ends whose radius runs from `radii[0]` at `a` to `radii[1]` at `b`.
    Tube { a: Point, b: Point, radii: [f32; 2] },
    /// A flat rod: elliptical across, `thin` along `normal`, `broad` along the third direction.
    Band { a: Point, b: Point, normal: Point, thin: f32, broad: f32 },
    /// An ellipsoid with half axes `radii` along the unit vectors `axes`.
    Ellipsoid { centre: Point, axes: [Point; 3], radii: Point },
    /// An elliptical cylinder of half height `radii[2]` along `axes[2]`, its waist a little narrower.
    Cylinder { centre: Point, axes: [Point; 3], radii: Point },
    /// Several solids melted into one, their seams rounded over `seam` millimetres.
    Blend { parts: Vec<Shape>, seam: f32 },
}

/// Three orthogonal unit vectors, the first along `first`, the second near `second`.
pub(super) fn frame(first: Point, second: Point) -> [Point; 3] {
    let first = unit(first);
    let second = unit(subtract(second, scale(first, dot(first, second))));
    [first, second, cross(first, second)]
}

fn ellipsoid_distance(q: Point, r: Point) -> (f32, Point) {
    let scaled = [q[0] / r[0], q[1] / r[1], q[2] / r[2]];
    let gradient = [scaled[0] / r[0], scaled[1] / r[1], scaled[2] / r[2]];
    let (k0, k1) = (length(scaled), length(gradient));
    if k1 < 1e-6 {
        return (-r[0].min(r[1]).min(r[2]), [0.0, 0.0, 1.0]);
    }
    (k0 * (k0 - 1.0) / k1, scale(gradient, 1.0 / k1))
}

impl Shape {
    /// The solid seen in the field of view's frame.
    pub fn to_view(&self, body: &Body) -> Self {
        let point = |p: &Point| body.to_view(*p);
        let turn = |axes: &[Point; 3]| axes.map(|a| body.direction_to_view(a));
        match self {
            Self::Tube { a, b, radii } => Self::Tube { a: point(a), b: point(b), radii: *radii },
            Self::Band { a, b, normal, thin, broad } => Self::Band {
                a: point(a),
                b: point(b),
                normal: body.direction_to_view(*normal),
                thin: *thin,
                broad: *broad,
            },
            Self::Ellipsoid { centre, axes, radii } => {
                Self::Ellipsoid { centre: point(centre), axes: turn(axes), radii: *radii }
            }
            Self::Cylinder { centre, axes, radii } => {
                Self::Cylinder { centre: point(centre), axes: turn(axes), radii: *radii }
            }
            Self::Blend { parts, seam } => {
                Self::Blend { parts: parts.iter().map(|part| part.to_view(body)).collect(), seam: *seam }
            }
        }
    }

    /// Lowest and highest corner of a box that holds the solid.
    pub fn bounds(&self) -> [Point; 2] {
        let around = |a: &Point, b: &Point, r: f32| {
            [std::array::from_fn(|k| a[k].min(b[k]) - r), std::array::from_fn(|k| a[k].max(b[k]) + r)]
        };
        match self {
            Self::Tube { a, b, radii } => around(a, b, radii[0].max(radii[1])),
            Self::Band { a, b, thin, broad, .. } => around(a, b, thin.max(*broad)),
            Self::Ellipsoid { centre, axes, radii } | Self::Cylinder { centre, axes, radii } => {
                // Exact for the ellipsoid; the cylinder's corners reach up to the full sum.
                let reach: Point =
                    std::array::from_fn(|k| (0..3).map(|j| (axes[j][k] * radii[j]).abs()).sum());
                [subtract(*centre, reach), add(*centre, reach)]
            }
            Self::Blend { parts, seam } => {
                let mut bounds = [[f32::INFINITY; 3], [f32::NEG_INFINITY; 3]];
                for [low, high] in parts.iter().map(Self::bounds) {
                    for k in 0..3 {
                        bounds[0][k] = bounds[0][k].min(low[k] - 0.5 * seam);
                        bounds[1][k] = bounds[1][k].max(high[k] + 0.5 * seam);
                    }
                }
                bounds
            }
        }
    }

    /// Signed distance of `p` to the surface (negative inside) and the direction outwards.
    pub fn distance(&self, p: Point) -> (f32, Point) {
        match self {
            Self::Tube { a, b, radii } => {
                let axis = subtract(*b, *a);
                let t = (dot(subtract(p, *a), axis) / dot(axis, axis).max(1e-9)).clamp(0.0, 1.0);
                let away = subtract(p, mix(*a, *b, t));
                let d = length(away);
                let outwards = if d > 1e-4 { scale(away, 1.0 / d) } else { [1.0, 0.0, 0.0] };
                (d - (radii[0] + (radii[1] - radii[0]) * t), outwards)
            }
            Self::Band { a, b, normal, thin, broad } => {
                let axis = subtract(*b, *a);
                let t = (dot(subtract(p, *a), axis) / dot(axis, axis).max(1e-9)).clamp(0.0, 1.0);
                let away = subtract(p, mix(*a, *b, t));
                let across = dot(away, *normal);
                let rest = subtract(away, scale(*normal, across));
                let beside = length(rest);
                let (d, g) = ellipsoid_distance([across, beside, 0.0], [*thin, *broad, *broad]);
                (d, unit(add(scale(*normal, g[0]), scale(rest, g[1] / beside.max(1e-4)))))
            }
            Self::Ellipsoid { centre, axes, radii } => {
                let offset = subtract(p, *centre);
                let (d, g) = ellipsoid_distance(axes.map(|axis| dot(axis, offset)), *radii);
                let outwards = std::array::from_fn(|k| (0..3).map(|j| g[j] * axes[j][k]).sum());
                (d, outwards)
            }
            Self::Cylinder { centre, axes, radii } => {
                let offset = subtract(p, *centre);
                let q = axes.map(|axis| dot(axis, offset));
                let end = q[2].abs() - radii[2];
                let level = (q[2] / radii[2]).clamp(-1.0, 1.0);
                let waist = 1.0 - 0.09 * (1.0 - level * level);
                let (side, g) =
                    ellipsoid_distance([q[0], q[1], 0.0], [radii[0] * waist, radii[1] * waist, radii[2]]);
                let local = if end > side { [0.0, 0.0, q[2].signum()] } else { g };
                let outwards = std::array::from_fn(|k| (0..3).map(|j| local[j] * axes[j][k]).sum());
                (smooth_maximum(side, end, 3.0), outwards)
            }
            Self::Blend { parts, seam } => {
                let mut nearest = (f32::INFINITY, [0.0, 0.0, 1.0]);
                for (d, outwards) in parts.iter().map(|part| part.distance(p)) {
                    let melted = -smooth_maximum(-nearest.0, -d, *seam);
                    nearest = (melted, if d < nearest.0 { outwards } else { nearest.1 });
                }
                nearest
            }
        }
    }

    /// Moves the surface inwards by `d` millimetres (a marrow space within its bone).
    pub fn shrunk(&self, d: f32) -> Option<Self> {
        let less = |r: f32| r - d;
        let shrunk = match self {
            Self::Tube { a, b, radii } => Self::Tube { a: *a, b: *b, radii: radii.map(less) },
            Self::Band { a, b, normal, thin, broad } => {
                Self::Band { a: *a, b: *b, normal: *normal, thin: thin - d, broad: broad - d }
            }
            Self::Ellipsoid { centre, axes, radii } => {
                Self::Ellipsoid { centre: *centre, axes: *axes, radii: radii.map(less) }
            }
            Self::Cylinder { centre, axes, radii } => {
                Self::Cylinder { centre: *centre, axes: *axes, radii: radii.map(less) }
            }
            Self::Blend { parts, seam } => {
                Self::Blend { parts: parts.iter().filter_map(|part| part.shrunk(d)).collect(), seam: *seam }
            }
        };
        let least = match &shrunk {
            Self::Tube { radii, .. } => radii[0].min(radii[1]),
            Self::Band { thin, broad, .. } => thin.min(*broad),
            Self::Ellipsoid { radii, .. } | Self::Cylinder { radii, .. } => {
                radii[0].min(radii[1]).min(radii[2])
            }
            Self::Blend { parts, .. } => parts.len() as f32,
        };
        (least > 0.3).then_some(shrunk)
    }
}

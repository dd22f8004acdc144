//! The lungs: what bounds them (rib cage, diaphragm, mediastinum, apex) and their fissures.

use super::body::Body;
use super::contour::{LEVEL_COUNT, LEVEL_STEP, LEVELS, height, level, polar};
use super::geometry::{Point, bell, lerp, smooth_maximum, smoothstep};
use super::shape::Shape;

const DEPTHS: (f32, f32) = (-150.0, 130.0);
const DEPTH_STEP: f32 = 2.5;
const DEPTH_COUNT: usize = 113;

/// Side of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The patient's right, x > 0.
    Right,
    /// The patient's left, x < 0.
    Left,
}

impl Side {
    /// +1 on the right, -1 on the left.
    pub fn sign(self) -> f32 {
        match self {
            Self::Right => 1.0,
            Self::Left => -1.0,
        }
    }

    fn index(self) -> usize {
        usize::from(self == Self::Left)
    }
}

/// The lungs of one patient.
#[derive(Clone, Debug)]
pub(super) struct Lungs<'a> {
    body: &'a Body,
    /// Distance of each lung's inner surface from the midplane, `[side][depth][level]`.
    surface: [Vec<f32>; 2],
}

/// How the column at one `(x, y)` is bounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Height of the diaphragm.
    pub diaphragm: f32,
    /// Cosine of its slant.
    pub diaphragm_slant: f32,
    /// Height of the lung's apex surface.
    pub apex: f32,
    /// Cosine of its slant.
    pub apex_slant: f32,
}

fn smooth(table: &mut [f32], rounds: usize) {
    let mut next = table.to_vec();
    for _ in 0..rounds {
        for d in 0..DEPTH_COUNT {
            for l in 0..LEVEL_COUNT {
                let at = |d: usize, l: usize| table[d * LEVEL_COUNT + l];
                let (d0, d1) = (d.saturating_sub(1), (d + 1).min(DEPTH_COUNT - 1));
                let (l0, l1) = (l.saturating_sub(1), (l + 1).min(LEVEL_COUNT - 1));
                next[d * LEVEL_COUNT + l] =
                    0.5 * at(d, l) + 0.125 * (at(d0, l) + at(d1, l) + at(d, l0) + at(d, l1));
            }
        }
        table.copy_from_slice(&next);
    }
}

impl<'a> Lungs<'a> {
    /// The lungs around the given organs of the mediastinum.
    pub fn new(body: &'a Body, organs: &[Shape]) -> Self {
        let mut surface = [Side::Right, Side::Left].map(|side| {
            let mut table = vec![0f32; DEPTH_COUNT * LEVEL_COUNT];
            for (i, value) in table.iter_mut().enumerate() {
                let y = DEPTHS.0 + (i / LEVEL_COUNT) as f32 * DEPTH_STEP;
                *value = Self::midline(body, side, y, height(i % LEVEL_COUNT));
            }
            table
        });
        for organ in organs {
            for (side, table) in [Side::Right, Side::Left].into_iter().zip(&mut surface) {
                push_aside(table, organ, side);
            }
        }
        surface.iter_mut().for_each(|table| smooth(table, 5));
        Self { body, surface }
    }

    /// Half width of the mediastinum where no organ lies: the spine behind, a thin septum before.
    fn midline(body: &Body, side: Side, y: f32, z: f32) -> f32 {
        let [spine_x, spine_y] = body.spine(z);
        let [half_width, half_depth] = body.vertebra(z);
        let s = side.sign();
        let depth = y - spine_y;
        // Beside the vertebral body, then out over the transverse processes and rib necks.
        let body_part = (half_width + 3.5) * smoothstep(half_depth + 6.0, half_depth * 0.3, depth)
            + 13.0 * smoothstep(-half_depth + 4.0, -half_depth - 24.0, depth);
        let inlet = 26.0 * smoothstep(62.0, 112.0, z / body.scale[2]);
        let front = body.front(z);
        let fat =
            (4.0 + 0.6 * body.adiposity) * smoothstep(front - 50.0, front - 10.0, y) * bell(z, 0.0, 80.0);
        let septum = 4.0 + fat + 5.0 * bell(y, front, 8.0);
        (s * spine_x + body_part).max(septum).max(inlet)
    }

    /// Distance of the inner surface of a lung from the midplane at `(y, z)`.
    fn inner(&self, side: Side, y: f32, z: f32) -> f32 {
        let u = ((y - DEPTHS.0) / DEPTH_STEP).clamp(0.0, DEPTH_COUNT as f32 - 1.001);
        let (d, t) = (u as usize, u.fract());
        let (l, f) = level(z);
        let table = &self.surface[side.index()];
        let row = |d: usize| lerp(table[d * LEVEL_COUNT + l], table[d * LEVEL_COUNT + l + 1], f);
        lerp(row(d), row(d + 1), t)
    }

    /// Signed distance from a lung's inner (mediastinal) surface, positive inside the mediastinum.
    fn inner_distance(&self, side: Side, p: Point) -> f32 {
        let edge = self.inner(side, p[1], p[2]);
        let across = self.inner(side, p[1] + 2.0, p[2]) - self.inner(side, p[1] - 2.0, p[2]);
        let along = self.inner(side, p[1], p[2] + 2.0) - self.inner(side, p[1], p[2] - 2.0);
        let slant = 1.0 / (1.0 + (across * across + along * along) / 16.0).sqrt();
        (edge - side.sign() * p[0]) * slant
    }

    fn dome(&self, x: f32, y: f32) -> f32 {
        let k = self.body.scale;
        let (x, y) = (x / k[0], y / k[1]);
        let one = |side: f32, peak: f32| {
            let dx = side * x - 56.0;
            let dy = y - 8.0;
            let across = dx / if dx > 0.0 { 66.0 } else { 112.0 };
            let along = dy / if dy > 0.0 { 104.0 } else { 88.0 };
            let rise = across * across + along * along;
            peak - 56.0 * rise.powf(1.15)
        };
        let right = one(1.0, -58.0 + self.body.domes[0]);
        let left = one(-1.0, -71.0 + self.body.domes[1]);
        let wave = 1.5 * self.body.texture.at([x, y, 0.0], 45.0);
        (smooth_maximum(right, left, 14.0) + wave) * k[2]
    }

    fn apex(&self, x: f32, y: f32) -> f32 {
        let k = self.body.scale;
        let (x, y) = (x / k[0], y / k[1]);
        let across = (x.abs() - 38.0) / 42.0;
        let along = (y + 28.0) / if y > -28.0 { 62.0 } else { 46.0 };
        let fall = across * across + along * along;
        (119.0 - 26.0 * fall - 3.0 * fall * fall * 0.2) * k[2]
    }

    /// The bounds of the column at `(x, y)`.
    pub fn column(&self, x: f32, y: f32) -> Column {
        let slant = |surface: &dyn Fn(f32, f32) -> f32| {
            let across = (surface(x + 1.0, y) - surface(x - 1.0, y)) * 0.5;
            let along = (surface(x, y + 1.0) - surface(x, y - 1.0)) * 0.5;
            1.0 / (1.0 + across * across + along * along).sqrt()
        };
        Column {
            diaphragm: self.dome(x, y),
            diaphragm_slant: slant(&|x, y| self.dome(x, y)),
            apex: self.apex(x, y),
            apex_slant: slant(&|x, y| self.apex(x, y)),
        }
    }

    /// Signed distance of `p` to the lung of its side (negative inside), given the column's bounds
    /// and the distance to the rib cage.
    pub fn distance_in(&self, column: &Column, cage: f32, p: Point) -> f32 {
        let below = (column.diaphragm - p[2]) * column.diaphragm_slant;
        let above = (p[2] - column.apex) * column.apex_slant;
        let outer = smooth_maximum(smooth_maximum(cage, above, 9.0), below, 2.5);
        if outer > 6.0 {
            return outer;
        }
        let side = if p[0] >= 0.0 { Side::Right } else { Side::Left };
        smooth_maximum(outer, self.inner_distance(side, p), 4.0)
    }

    /// Signed distance of any point to the lung of its side.
    pub fn distance(&self, p: Point) -> f32 {
        let (radius, angle) = polar(p);
        let cage = (radius - self.body.cage.at(angle, p[2])) * self.body.cage_slant.at(angle, p[2]);
        self.distance_in(&self.column(p[0], p[1]), cage, p)
    }

    /// Signed distances to the oblique fissure (positive above and before it: the upper lobe) and
    /// to the minor fissure of the right lung (positive above).
    pub fn fissures(&self, p: Point) -> (f32, f32) {
        let k = self.body.scale;
        let (x, y, z) = (p[0] / k[0], p[1] / k[1], p[2] / k[2]);
        let bend = 7.0 * self.body.texture.at([x, y, z], 70.0);
        let oblique = 0.72 * (y + 12.0) + 0.69 * (z + 12.0) + bend + 0.0012 * (y * y + x * x) - 8.0;
        let minor = z - 6.0 + 0.12 * (y - 20.0) + bend + 0.002 * (x - 60.0) * (x - 60.0);
        (oblique, minor)
    }
}

/// Widens the mediastinum so that `organ` keeps a margin of fat to the lung.
fn push_aside(table: &mut [f32], organ: &Shape, side: Side) {
    const MARGIN: f32 = 2.5;
    let s = side.sign();
    let [low, high] = organ.bounds();
    let rows = |low: f32, high: f32, start: f32, step: f32, count: usize| {
        let first = ((low - MARGIN - start) / step).floor().max(0.0) as usize;
        let last = ((high + MARGIN - start) / step).ceil().max(0.0) as usize;
        first..(last + 1).min(count)
    };
    for d in rows(low[1], high[1], DEPTHS.0, DEPTH_STEP, DEPTH_COUNT) {
        let y = DEPTHS.0 + d as f32 * DEPTH_STEP;
        for l in rows(low[2], high[2], LEVELS.0, LEVEL_STEP, LEVEL_COUNT) {
            // March inwards from the outer side of the organ's box to its surface.
            let (mut x, end) = if s > 0.0 { (high[0] + MARGIN, low[0]) } else { (low[0] - MARGIN, high[0]) };
            while s * (x - end) > 0.0 {
                let gap = organ.distance([x, y, height(l)]).0 - MARGIN;
                if gap <= 0.1 {
                    let value = &mut table[d * LEVEL_COUNT + l];
                    *value = value.max(s * x);
                    break;
                }
                x -= s * gap.max(0.5);
            }
        }
    }
}

//! Tables of closed outlines around the body's long axis.

use super::geometry::{Point, lerp};

/// Lowest and highest level of every table, in millimetres; outlines stay constant beyond.
pub(super) const LEVELS: (f32, f32) = (-200.0, 200.0);
/// Distance between two levels of a table.
pub(super) const LEVEL_STEP: f32 = 2.5;
/// Number of levels of a table.
pub(super) const LEVEL_COUNT: usize = 161;
const ANGLES: usize = 240;

/// Where height `z` falls within a table: lower level and fraction towards the next.
pub(super) fn level(z: f32) -> (usize, f32) {
    let u = ((z - LEVELS.0) / LEVEL_STEP).clamp(0.0, LEVEL_COUNT as f32 - 1.001);
    (u as usize, u.fract())
}

/// The height of level `i`.
pub(super) fn height(i: usize) -> f32 {
    LEVELS.0 + i as f32 * LEVEL_STEP
}

/// A value over direction and height, such as the radius of a star-shaped outline around the z
/// axis; angles are counted from right (+x) to front (+y).
#[derive(Clone, Debug)]
pub(super) struct Contour {
    /// `[angle][level]`.
    values: Vec<f32>,
}

impl Contour {
    /// Tabulates `value(angle in radians, z)`.
    pub fn new(value: impl Fn(f32, f32) -> f32) -> Self {
        let values = (0..ANGLES * LEVEL_COUNT)
            .map(|i| {
                let angle = (i / LEVEL_COUNT) as f32 / ANGLES as f32 * std::f32::consts::TAU;
                value(angle, height(i % LEVEL_COUNT))
            })
            .collect();
        Self { values }
    }

    /// For the outline `self`: the cosine of the surface's slant against the radius, which turns
    /// a radial difference into a distance.
    pub fn slant(&self) -> Self {
        let mut values = vec![1.0; self.values.len()];
        let turn = 2.0 * std::f32::consts::TAU / ANGLES as f32;
        for a in 0..ANGLES {
            let at = |angle: usize, l: usize| self.values[(angle % ANGLES) * LEVEL_COUNT + l];
            for l in 0..LEVEL_COUNT {
                let around = (at(a + 1, l) - at(a + ANGLES - 1, l)) / (turn * at(a, l).max(1.0));
                let (below, above) = (l.saturating_sub(1), (l + 1).min(LEVEL_COUNT - 1));
                let along = (at(a, above) - at(a, below)) / ((above - below) as f32 * LEVEL_STEP);
                values[a * LEVEL_COUNT + l] = 1.0 / (1.0 + around * around + along * along).sqrt();
            }
        }
        Self { values }
    }

    /// The value in direction `angle` at height `z`.
    pub fn at(&self, angle: f32, z: f32) -> f32 {
        let (rows, t) = Self::rows(angle);
        let (l, f) = level(z);
        let value = |row: usize| lerp(self.values[row + l], self.values[row + l + 1], f);
        lerp(value(rows[0]), value(rows[1]), t)
    }

    /// The values in direction `angle` at every height of `levels`.
    pub fn column(&self, angle: f32, levels: &[(usize, f32)], out: &mut [f32]) {
        let (rows, t) = Self::rows(angle);
        for (value, &(l, f)) in out.iter_mut().zip(levels) {
            let a = lerp(self.values[rows[0] + l], self.values[rows[0] + l + 1], f);
            let b = lerp(self.values[rows[1] + l], self.values[rows[1] + l + 1], f);
            *value = lerp(a, b, t);
        }
    }

    fn rows(angle: f32) -> ([usize; 2], f32) {
        let u = (angle / std::f32::consts::TAU).rem_euclid(1.0) * ANGLES as f32;
        let row = u as usize % ANGLES;
        ([row * LEVEL_COUNT, (row + 1) % ANGLES * LEVEL_COUNT], u.fract())
    }
}

/// Radius and angle of a point around the z axis.
pub(super) fn polar(p: Point) -> (f32, f32) {
    ((p[0] * p[0] + p[1] * p[1]).sqrt(), p[1].atan2(p[0]))
}

/// Radius of a superellipse with half axes `a` (right and left) and `b` in direction `angle`.
pub(super) fn superellipse(a: f32, b: f32, power: f32, angle: f32) -> f32 {
    let (sine, cosine) = angle.sin_cos();
    ((cosine.abs() / a).powf(power) + (sine.abs() / b).powf(power)).powf(-1.0 / power)
}

//! The patient: what varies from one phantom to the next, and the outlines of the trunk.

use super::contour::{Contour, superellipse};
use super::geometry::{Point, bell, curve, lerp, smoothstep};
use super::texture::Texture;
use genesis_tensor::random::Stream;
use std::f32::consts::TAU;

/// Everything that is drawn once per phantom and shared by all its organs.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Size of this patient relative to the standard one, per axis.
    pub scale: Point,
    /// Rotation on the table around the long axis: cosine and sine.
    roll: (f32, f32),
    /// Displacement from the centre of the field of view in millimetres.
    offset: Point,
    /// Thickness scale of the fat under the skin in millimetres.
    pub adiposity: f32,
    /// HU that contrast medium adds to blood; 0 for a plain scan.
    pub contrast: f32,
    /// Mean HU of the lung tissue at mid height.
    pub lung_density: f32,
    /// Strength of emphysema, 0 none to 1 marked.
    pub emphysema: f32,
    /// Sideways bend of the spine: amplitude in millimetres and phase.
    bend: (f32, f32),
    /// Heights of the diaphragm's domes against the standard: right, left.
    pub domes: [f32; 2],
    /// Inner surface of the rib cage: radius.
    pub cage: Contour,
    /// Slant of the cage.
    pub cage_slant: Contour,
    /// The skin: radius.
    pub skin: Contour,
    /// Slant of the skin.
    pub skin_slant: Contour,
    /// Thickness of the fat under the skin in millimetres.
    pub fat: Contour,
    /// Thickness of the outer muscles (pectoral, back, side) in millimetres.
    pub muscle: Contour,
    /// Breast gland: share of the fat it takes, 0 to 1.
    pub gland: Contour,
    /// Field for tissue texture.
    pub texture: Texture,
}

/// Half width of the rib cage's inside against height.
const CAGE_WIDTH: &[(f32, f32)] = &[
    (-150.0, 112.0),
    (-110.0, 115.0),
    (-70.0, 117.0),
    (-30.0, 116.0),
    (0.0, 113.0),
    (30.0, 107.0),
    (60.0, 97.0),
    (85.0, 84.0),
    (105.0, 71.0),
    (125.0, 57.0),
    (150.0, 46.0),
];
/// Inner depth to the front against height.
const CAGE_FRONT: &[(f32, f32)] = &[
    (-150.0, 82.0),
    (-80.0, 87.0),
    (-30.0, 86.0),
    (0.0, 81.0),
    (40.0, 69.0),
    (75.0, 53.0),
    (100.0, 37.0),
    (125.0, 20.0),
    (150.0, 12.0),
];
/// Inner depth to the back against height.
const CAGE_BACK: &[(f32, f32)] =
    &[(-150.0, 74.0), (-80.0, 89.0), (-30.0, 96.0), (20.0, 97.0), (60.0, 91.0), (100.0, 78.0), (150.0, 58.0)];
const SKIN_WIDTH: &[(f32, f32)] = &[
    (-150.0, 146.0),
    (-80.0, 149.0),
    (-30.0, 152.0),
    (10.0, 156.0),
    (50.0, 163.0),
    (90.0, 168.0),
    (150.0, 166.0),
];
const SKIN_FRONT: &[(f32, f32)] = &[
    (-150.0, 100.0),
    (-60.0, 103.0),
    (-20.0, 104.0),
    (20.0, 100.0),
    (60.0, 86.0),
    (100.0, 66.0),
    (125.0, 52.0),
    (150.0, 42.0),
];
const SKIN_BACK: &[(f32, f32)] = &[
    (-150.0, 100.0),
    (-80.0, 112.0),
    (-30.0, 120.0),
    (20.0, 124.0),
    (60.0, 122.0),
    (100.0, 113.0),
    (150.0, 92.0),
];
const SPINE_DEPTH: &[(f32, f32)] = &[
    (-150.0, -38.0),
    (-80.0, -49.0),
    (-30.0, -56.0),
    (20.0, -57.0),
    (60.0, -52.0),
    (110.0, -38.0),
    (150.0, -28.0),
];

/// A knot curve with its corners rounded.
fn rounded(knots: &[(f32, f32)], z: f32) -> f32 {
    [-14.0, -7.0, 0.0, 7.0, 14.0].iter().map(|d| curve(knots, z + d)).sum::<f32>() / 5.0
}

/// Distance of two angles in degrees.
fn apart(a: f32, b: f32) -> f32 {
    ((a - b + 180.0).rem_euclid(360.0) - 180.0).abs()
}

impl Body {
    /// Draws a patient.
    pub fn new(stream: &mut Stream) -> Self {
        let mut between = |low: f32, high: f32| lerp(low, high, stream.uniform());
        let build = between(0.94, 1.035);
        let scale = [build * between(0.98, 1.02), build * between(0.95, 1.06), build * between(0.96, 1.04)];
        let roll = between(-0.05, 0.05).sin_cos();
        let offset = [between(-4.0, 4.0), between(-2.0, 10.0), between(-8.0, 8.0)];
        let adiposity = between(5.0, 15.0);
        let lung_density = between(-885.0, -845.0);
        let bend = (between(-4.0, 4.0), between(0.0, TAU));
        let domes = [between(-9.0, 9.0), between(-9.0, 9.0)];
        let breast = if between(0.0, 1.0) < 0.5 { between(14.0, 26.0) } else { 0.0 };
        let contrast = if between(0.0, 1.0) < 0.4 { between(70.0, 160.0) } else { 0.0 };
        let emphysema = if between(0.0, 1.0) < 0.25 { between(0.3, 1.0) } else { 0.0 };
        let wobble = [between(0.0, TAU), between(0.0, TAU), between(0.0, TAU)];
        let texture = Texture::new(stream);

        // A few slow waves make every outline slightly irregular.
        let irregular = |angle: f32, z: f32| {
            (2.0 * angle + wobble[0]).sin() * 1.5
                + (3.0 * angle + z * 0.02 + wobble[1]).sin() * 1.5
                + (5.0 * angle - z * 0.03 + wobble[2]).sin()
        };
        let cage = Contour::new(|angle, z| {
            let level = z / scale[2];
            let depth = if angle.sin() > 0.0 { CAGE_FRONT } else { CAGE_BACK };
            let power = lerp(2.35, 2.75, smoothstep(0.2, -0.6, angle.sin()));
            superellipse(
                rounded(CAGE_WIDTH, level) * scale[0],
                rounded(depth, level) * scale[1],
                power,
                angle,
            ) + 0.6 * irregular(angle, z)
        });
        let fat = Contour::new(|angle, z| {
            let degrees = angle.to_degrees();
            let front = bell(apart(degrees, 90.0), 45.0, 30.0) * smoothstep(60.0, 10.0, z);
            let middle = bell(apart(degrees, 90.0), 0.0, 16.0) + bell(apart(degrees, -90.0), 0.0, 20.0);
            let breasts = breast * bell(apart(degrees, 90.0), 42.0, 17.0) * bell(z, -22.0 * scale[2], 36.0);
            let side = bell(apart(degrees, 0.0).min(apart(degrees, 180.0)), 15.0, 30.0);
            let base = adiposity * (0.75 + 0.35 * side + 0.3 * front) * (1.0 - 0.45 * middle.min(1.0));
            (base + breasts + 0.35 * irregular(angle + 1.0, z)).max(3.0)
        });
        let gland = Contour::new(|angle, z| {
            let degrees = angle.to_degrees();
            let bulk = bell(apart(degrees, 90.0), 42.0, 13.0) * bell(z, -24.0 * scale[2], 26.0);
            if breast > 0.0 { bulk } else { 0.0 }
        });
        let muscle = Contour::new(|angle, z| {
            let degrees = angle.to_degrees();
            let from_front = apart(degrees, 90.0);
            let upper = smoothstep(-30.0, 60.0, z);
            let pectoral = 15.0 * bell(from_front, 48.0, 24.0) * smoothstep(-45.0, 35.0, z);
            let back = lerp(14.0, 60.0, upper) * bell(from_front, 132.0, 26.0);
            let spinal = 60.0 * bell(from_front, 180.0, 30.0);
            2.5 + pectoral + back + spinal
        });
        let skin = Contour::new(|angle, z| {
            let level = z / scale[2];
            let depth = if angle.sin() > 0.0 { SKIN_FRONT } else { SKIN_BACK };
            let outline = superellipse(
                rounded(SKIN_WIDTH, level) * scale[0],
                rounded(depth, level) * scale[1],
                2.35,
                angle,
            );
            let degrees = angle.to_degrees();
            // Furrows over the spine and between the breasts.
            let back = 5.0 * bell(apart(degrees, -90.0), 0.0, 7.0);
            let front = 4.0 * bell(apart(degrees, 90.0), 0.0, 10.0);
            let breasts = breast * bell(apart(degrees, 90.0), 42.0, 17.0) * bell(z, -22.0 * scale[2], 36.0);
            let least = cage.at(angle, z) + 14.0 + fat.at(angle, z);
            (outline + 0.8 * (adiposity - 10.0) + breasts + irregular(angle, z)).max(least) - back - front
        });
        let (cage_slant, skin_slant) = (cage.slant(), skin.slant());
        Self {
            scale,
            roll: (roll.1, roll.0),
            offset,
            adiposity,
            contrast,
            lung_density,
            emphysema,
            bend,
            domes,
            cage,
            cage_slant,
            skin,
            skin_slant,
            fat,
            muscle,
            gland,
            texture,
        }
    }

    /// A point of the standard patient in this patient.
    pub fn place(&self, x: f32, y: f32, z: f32) -> Point {
        [x * self.scale[0], y * self.scale[1], z * self.scale[2]]
    }

    /// From the field of view's frame to the patient's.
    pub fn to_patient(&self, p: Point) -> Point {
        let (cosine, sine) = self.roll;
        let (x, y) = (p[0] - self.offset[0], p[1] - self.offset[1]);
        [cosine * x + sine * y, cosine * y - sine * x, p[2] - self.offset[2]]
    }

    /// From the patient's frame to the field of view's.
    pub fn to_view(&self, p: Point) -> Point {
        let [x, y, z] = self.direction_to_view(p);
        [x + self.offset[0], y + self.offset[1], z + self.offset[2]]
    }

    /// A direction from the patient's frame to the field of view's.
    pub fn direction_to_view(&self, p: Point) -> Point {
        let (cosine, sine) = self.roll;
        [cosine * p[0] - sine * p[1], sine * p[0] + cosine * p[1], p[2]]
    }

    /// The middle of the spine at height `z`: centre of the vertebral bodies, `[x, y]`.
    pub fn spine(&self, z: f32) -> [f32; 2] {
        let level = z / self.scale[2];
        [self.bend.0 * (level / 70.0 + self.bend.1).sin(), rounded(SPINE_DEPTH, level) * self.scale[1]]
    }

    /// Half width and half depth of a vertebral body at height `z`.
    pub fn vertebra(&self, z: f32) -> [f32; 2] {
        let t = ((z / self.scale[2] + 150.0) / 300.0).clamp(0.0, 1.0);
        [lerp(21.0, 14.0, t) * self.scale[0], lerp(15.5, 10.0, t) * self.scale[1]]
    }

    /// Inner depth of the rib cage at its front at height `z`.
    pub fn front(&self, z: f32) -> f32 {
        rounded(CAGE_FRONT, z / self.scale[2]) * self.scale[1]
    }

    /// HU of blood.
    pub fn blood(&self) -> f32 {
        42.0 + self.contrast
    }
}

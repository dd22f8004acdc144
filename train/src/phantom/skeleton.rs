//! Spine, ribs with their cartilage, breastbone and collarbones.

use super::body::Body;
use super::geometry::{Point, length, lerp, mix, scale, smoothstep, spline, subtract, unit};
use super::label;
use super::organs::pipe;
use super::paint::{Over, Solid};
use super::shape::Shape;

const CORTEX: f32 = 640.0;
const MARROW: f32 = 190.0;
const CARTILAGE: f32 = 105.0;
/// Height of the first thoracic vertebra in the standard patient, and the mean distance of two.
const FIRST_THORACIC: f32 = 128.0;
const VERTEBRA_STEP: f32 = 22.6;

/// The skeleton in painting order.
pub(super) fn skeleton(body: &Body) -> Vec<Solid> {
    let mut bones = Bones::default();
    spine(body, &mut bones);
    for number in 1..=12 {
        for side in [-1.0, 1.0] {
            rib(body, number, side, &mut bones);
        }
    }
    breastbone(body, &mut bones);
    bones.finish()
}

#[derive(Default)]
struct Bones {
    soft: Vec<Solid>,
    cortex: Vec<Solid>,
    marrow: Vec<Solid>,
    after: Vec<Solid>,
}

impl Bones {
    /// A bone: a shell of compact bone `shell` millimetres thick around spongy bone.
    fn bone(&mut self, shape: Shape, shell: f32, marrow: f32) {
        if let Some(inner) = shape.shrunk(shell) {
            self.marrow.push(Solid::new(inner, marrow, None).grained(45.0, 2.6).over(Over::Bone));
        }
        self.cortex.push(Solid::new(shape, CORTEX, Some(label::BONE)).grained(110.0, 5.0));
    }

    fn finish(mut self) -> Vec<Solid> {
        // All shells before all marrow, so that joints of neighbouring pieces stay open inside.
        self.soft.append(&mut self.cortex);
        self.soft.append(&mut self.marrow);
        self.soft.append(&mut self.after);
        self.soft
    }
}

/// Height of vertebra `number` (T1 is 1) in the standard patient: thicker towards the loins.
fn vertebra_height(number: i32) -> f32 {
    let n = number as f32 - 1.0;
    FIRST_THORACIC - n * (VERTEBRA_STEP - 2.4) - 0.21 * n * n.abs()
}

fn spine(body: &Body, bones: &mut Bones) {
    let k = body.scale;
    let centre = |z: f32| -> Point {
        let [x, y] = body.spine(z);
        [x, y, z]
    };
    for number in -3..=16 {
        let z = vertebra_height(number) * k[2];
        let (above, below) = (vertebra_height(number - 1) * k[2], vertebra_height(number + 1) * k[2]);
        let middle = centre(z);
        let [half_width, half_depth] = body.vertebra(z);
        let half_height = (above - below) * 0.25;
        let up = unit(subtract(centre(z + 8.0), centre(z - 8.0)));
        let right = unit(subtract([1.0, 0.0, 0.0], scale(up, up[0])));
        let front = super::geometry::cross(up, right);
        let axes = [right, front, up];
        let at = |x: f32, y: f32, z: f32| -> Point {
            std::array::from_fn(|i| middle[i] + x * right[i] + y * front[i] + z * up[i])
        };
        let body_shape =
            Shape::Cylinder { centre: middle, axes, radii: [half_width, half_depth, half_height - 2.1] };
        bones.bone(body_shape, 1.1, MARROW);
        // The disc below.
        bones.soft.push(
            Solid::new(
                Shape::Cylinder {
                    centre: at(0.0, 0.0, -half_height),
                    axes,
                    radii: [half_width - 0.5, half_depth - 0.5, 3.0],
                },
                82.0,
                None,
            )
            .grained(10.0, 4.0),
        );
        let canal = -half_depth - 8.5;
        let width = lerp(10.5, 9.0, smoothstep(-100.0, 100.0, z));
        // The canal's cord in its fluid, with a rim of fat.
        for piece in [(9.0, -20.0), (7.2, 12.0), (4.4, 38.0)] {
            let tube = Shape::Tube {
                a: at(0.0, canal, half_height),
                b: at(0.0, canal, -half_height),
                radii: [piece.0; 2],
            };
            bones.soft.push(Solid::new(tube, piece.1, None));
        }
        for s in [-1.0f32, 1.0] {
            // Pedicle, joint, lamina, transverse process.
            let pedicle = at(s * (width + 1.5), -half_depth - 3.0, 2.0);
            let joint = at(s * (width + 4.5), canal - 4.0, -3.0);
            let lamina = at(s * 1.5, canal - 11.5, -8.0);
            let process = at(s * 32.0 * k[0], canal - 13.0, 3.0);
            let rod = |a: Point, b: Point, r: [f32; 2]| Shape::Tube { a, b, radii: r };
            bones.bone(
                rod(at(s * (half_width - 5.0), -half_depth * 0.55, 3.0), pedicle, [4.4, 4.2]),
                1.2,
                260.0,
            );
            bones.bone(rod(pedicle, joint, [4.2, 5.2]), 1.3, 280.0);
            bones.bone(
                rod(
                    at(s * (width + 4.5), canal - 4.0, 8.0),
                    at(s * (width + 4.0), canal - 5.0, -12.0),
                    [4.6, 4.6],
                ),
                1.4,
                300.0,
            );
            bones.bone(rod(joint, lamina, [3.6, 3.2]), 1.2, 260.0);
            if number <= 12 {
                bones.bone(rod(joint, process, [4.2, 4.6]), 1.2, 230.0);
            } else {
                bones.bone(rod(joint, at(s * 38.0, canal - 4.0, 0.0), [3.6, 2.8]), 1.2, 230.0);
            }
        }
        // Spinous process, steep in the middle of the chest.
        let steep = if (4..=9).contains(&number) { -24.0 } else { -12.0 };
        bones.bone(
            Shape::Band {
                a: at(0.0, canal - 11.0, -8.0),
                b: at(0.0, canal - 31.0, -8.0 + steep),
                normal: right,
                thin: 3.0,
                broad: 6.0,
            },
            1.1,
            230.0,
        );
    }
}

/// Where rib `number` stands at angle `alpha` from the back (0) over the side (90) to the front
/// (180 degrees) of the given side, `out` millimetres outside the rib cage's inner surface.
fn rib_point(body: &Body, number: usize, side: f32, alpha: f32, out: f32) -> Point {
    let drop = [34.0, 44.0, 54.0, 62.0, 68.0, 73.0, 76.0, 78.0, 76.0, 70.0, 58.0, 40.0][number - 1];
    let reach = ((alpha - 20.0) / 130.0).max(0.0);
    let start = vertebra_height(number as i32) * body.scale[2];
    let z = start - drop * body.scale[2] * reach.powf(1.05);
    let angle = (side * (alpha - 90.0)).to_radians() + if side > 0.0 { 0.0 } else { std::f32::consts::PI };
    let radius = body.cage.at(angle, z) + out;
    [radius * angle.cos(), radius * angle.sin(), z]
}

fn rib(body: &Body, number: usize, side: f32, bones: &mut Bones) {
    let k = body.scale;
    let z = vertebra_height(number as i32) * k[2];
    let [spine_x, spine_y] = body.spine(z);
    let [half_width, half_depth] = body.vertebra(z);
    let ends = [146.0, 150.0, 148.0, 145.0, 142.0, 139.0, 136.0, 130.0, 122.0, 112.0, 84.0, 60.0];
    let end = ends[number - 1];
    let out = 5.0;
    // Head at the vertebra, tubercle at the transverse process, then round the cage.
    let mut knots = vec![
        [spine_x + side * (half_width + 1.0), spine_y - half_depth * 0.5, z + 8.0],
        [spine_x + side * (half_width + 12.0), spine_y - half_depth - 12.0, z + 6.0],
    ];
    let mut alpha = 31.0;
    while alpha < end - 4.0 {
        knots.push(rib_point(body, number, side, alpha, out));
        alpha += 9.0;
    }
    knots.push(rib_point(body, number, side, end, out));
    let thin = if number == 1 { 3.2 } else { 3.6 };
    let broad = if (3..=10).contains(&number) { 6.8 } else { 5.6 };
    band(&knots, thin, broad, |shape| bones.bone(shape, 1.15, 170.0));
    if number > 10 {
        return;
    }
    // Cartilage: ribs 1 to 7 reach the breastbone, 8 to 10 join the arch of the one above.
    let from = knots[knots.len() - 1];
    let (to, by) = if number <= 7 {
        let goals = [82.0, 63.0, 44.0, 26.0, 8.0, -8.0, -22.0];
        let height = goals[number - 1] * k[2];
        let to = [side * 17.0 * k[0], body.front(height) + 5.0, height];
        let mut by = mix(from, to, 0.5);
        by[2] = lerp(from[2], to[2], if number < 4 { 0.5 } else { 0.12 });
        by[1] = by[1].max(body.front(by[2]) * 0.9);
        (to, by)
    } else {
        let number = number as f32;
        let height = lerp(-40.0, -96.0, (number - 8.0) / 2.0) * k[2];
        let x = side * lerp(40.0, 82.0, (number - 8.0) / 2.0) * k[0];
        let y = (body.front(height) + 4.0) * lerp(0.97, 0.84, (number - 8.0) / 2.0);
        let to = [x, y, height];
        (to, mix(from, to, 0.5))
    };
    band(&[from, by, to], 4.0, 6.6, |shape| {
        bones.soft.push(Solid::new(shape, CARTILAGE, None).grained(18.0, 5.0));
    });
}

/// Flat rods along a curve, their flat side towards the body's long axis.
fn band(knots: &[Point], thin: f32, broad: f32, mut put: impl FnMut(Shape)) {
    for pair in spline(knots, 6.0).windows(2) {
        let (a, b) = (pair[0].0, pair[1].0);
        let middle = mix(a, b, 0.5);
        let tangent = unit(subtract(b, a));
        let outwards = [middle[0], middle[1] + 10.0, 0.0];
        let along = super::geometry::dot(outwards, tangent);
        let across = subtract(outwards, scale(tangent, along));
        if length(across) > 1e-3 {
            put(Shape::Band { a, b, normal: unit(across), thin, broad });
        }
    }
}

fn breastbone(body: &Body, bones: &mut Bones) {
    let k = body.scale;
    let at = |x: f32, z: f32, out: f32| -> Point { [x * k[0], body.front(z * k[2]) + out, z * k[2]] };
    let mut flat = |a: Point, b: Point, thin: f32, broad: f32| {
        let along = unit(subtract(b, a));
        let normal = unit(subtract([0.0, 1.0, 0.0], scale(along, along[1])));
        bones.bone(Shape::Band { a, b, normal, thin, broad }, 1.1, 130.0);
    };
    // Manubrium, body in three pieces, xiphoid.
    flat(at(0.0, 84.0, 6.5), at(0.0, 68.0, 6.5), 6.2, 24.0);
    flat(at(0.0, 56.0, 6.5), at(0.0, 36.0, 6.0), 5.2, 15.0);
    flat(at(0.0, 34.0, 6.0), at(0.0, 6.0, 6.0), 5.0, 17.0);
    flat(at(0.0, 5.0, 6.0), at(0.0, -18.0, 6.0), 4.8, 18.0);
    flat(at(0.0, -26.0, 6.0), at(0.0, -44.0, 5.0), 3.4, 7.0);
    for s in [-1.0f32, 1.0] {
        let z = 92.0;
        let front = body.front(z * k[2]) + 8.0;
        let knots = [
            [s * 20.0 * k[0], front, z * k[2]],
            [s * 56.0 * k[0], front + 6.0, (z + 12.0) * k[2]],
            [s * 96.0 * k[0], front - 18.0, (z + 22.0) * k[2]],
            [s * 138.0 * k[0], front - 34.0, (z + 26.0) * k[2]],
        ];
        for shape in pipe(&knots, &[8.0, 5.8, 5.4, 6.0], 5.0) {
            bones.bone(shape, 1.6, 170.0);
        }
        // Shoulder blade: neck and socket; its flat part belongs to the muscle layer.
        let socket = body.place(s * 120.0, -36.0, 110.0);
        let neck = body.place(s * 106.0, -54.0, 100.0);
        bones.bone(Shape::Tube { a: neck, b: socket, radii: [7.0, 12.0] }, 1.6, 190.0);
        let ridge = [
            body.place(s * 72.0, -96.0, 96.0),
            body.place(s * 104.0, -88.0, 106.0),
            body.place(s * 140.0, -58.0, 118.0),
        ];
        for shape in pipe(&ridge, &[3.5, 4.5, 6.5], 5.0) {
            bones.bone(shape, 1.4, 200.0);
        }
        let humerus = body.place(s * 137.0, -22.0, 120.0);
        bones.bone(
            Shape::Ellipsoid {
                centre: humerus,
                axes: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
                radii: [18.0, 18.0, 20.0],
            },
            2.0,
            200.0,
        );
    }
}

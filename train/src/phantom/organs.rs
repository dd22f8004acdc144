//! Heart, great vessels, windpipe and gullet.

use super::body::Body;
use super::geometry::{Point, add, scale, spline};
use super::label;
use super::paint::{Over, Solid};
use super::shape::{Shape, frame};
use genesis_tensor::random::Stream;

/// Organs of the mediastinum, and where the lungs' own trees start.
pub(super) struct Organs {
    /// Heart and vessels, in painting order.
    pub solids: Vec<Solid>,
    /// Walls of gullet and windpipe.
    pub airways: Vec<Solid>,
    /// The air of the windpipe, painted after every wall.
    pub air: Vec<Solid>,
    /// The shapes that indent the lungs.
    pub bulges: Vec<Shape>,
    /// Entry of the pulmonary artery into the right and left lung.
    pub arteries: [Point; 2],
    /// Exit of the pulmonary veins.
    pub veins: [Point; 2],
    /// End of the main bronchi.
    pub bronchi: [Point; 2],
}

/// Tubes along a smooth curve through `knots` with a radius per knot.
pub(super) fn pipe(knots: &[Point], radii: &[f32], step: f32) -> Vec<Shape> {
    let radius = |u: f32| {
        let i = (u as usize).min(radii.len() - 1);
        let j = (i + 1).min(radii.len() - 1);
        radii[i] + (radii[j] - radii[i]) * (u - i as f32)
    };
    let points = spline(knots, step);
    points
        .windows(2)
        .map(|w| Shape::Tube { a: w[0].0, b: w[1].0, radii: [radius(w[0].1), radius(w[1].1)] })
        .collect()
}

impl Organs {
    /// Builds the organs of `body`.
    pub fn new(body: &Body, stream: &mut Stream) -> Self {
        let mut jitter = |amount: f32| (stream.uniform() * 2.0 - 1.0) * amount;
        let size = (body.scale[0] + body.scale[1]) * 0.5;
        let heart_size = size * (1.0 + jitter(0.06));
        let at = |x: f32, y: f32, z: f32| body.place(x, y, z);
        let blood = body.blood();
        let mut organs = Self {
            solids: Vec::new(),
            airways: Vec::new(),
            air: Vec::new(),
            bulges: Vec::new(),
            arteries: [at(36.0, -12.0, 10.0), at(-40.0, -20.0, 20.0)],
            veins: [at(36.0, -10.0, -8.0), at(-38.0, -14.0, -4.0)],
            bronchi: [at(30.0, -19.0, 16.0), at(-38.0, -20.0, 8.0)],
        };

        // The heart: fat, muscle, then the blood of its chambers.
        let apex_direction = [-0.70 + jitter(0.06), 0.48, -0.52 + jitter(0.08)];
        let axes = frame(apex_direction, [0.0, 0.3, 1.0]);
        let long = frame([0.0, 0.0, 1.0], [1.0, 0.0, 0.0]);
        let heart = |x: f32, y: f32, z: f32| at(x, y + 1.0, z);
        let ellipsoid = |centre: Point, axes: [Point; 3], radii: Point, grow: f32| Shape::Ellipsoid {
            centre,
            axes,
            radii: radii.map(|r| r * heart_size + grow),
        };
        let left_ventricle = (heart(-38.0, 14.0, -42.0), axes, [53.0, 34.0, 35.0]);
        let right_ventricle = (heart(-10.0, 42.0, -40.0), axes, [50.0, 33.0, 31.0]);
        let right_atrium = (heart(25.0, 18.0, -28.0), long, [36.0, 26.0, 29.0]);
        let left_atrium = (heart(-2.0, -10.0, -14.0), long, [22.0, 34.0, 20.0]);
        let outflow = (heart(-15.0, 38.0, -14.0), long, [26.0, 24.0, 20.0]);
        let chambers = [left_ventricle, right_ventricle, right_atrium, left_atrium, outflow];
        let whole = |grow: f32| Shape::Blend {
            parts: chambers.iter().map(|&(c, axes, r)| ellipsoid(c, axes, r, grow)).collect(),
            seam: 22.0,
        };
        organs.bulges.push(whole(2.0));
        let muscle = if body.contrast > 0.0 { 0.45 * body.contrast + 50.0 } else { 54.0 };
        organs.solids.push(Solid::new(whole(0.0), muscle, Some(label::HEART)).grained(5.0, 9.0));
        for (chamber, wall, tone) in [
            (right_atrium, 2.5, 4.0),
            (right_ventricle, 5.0, 3.0),
            (left_ventricle, 2.0, f32::NAN),
            (left_ventricle, 11.0, 0.0),
            (left_atrium, 3.0, 0.0),
            (outflow, 4.5, 3.0),
        ] {
            let (centre, axes, radii) = chamber;
            // The second layer of the left ventricle is its thick wall, in front of the right one.
            let hounsfield = if tone.is_nan() { muscle } else { blood - tone + 0.03 * body.contrast * tone };
            organs.solids.push(
                Solid::new(ellipsoid(centre, axes, radii, -wall), hounsfield, None)
                    .grained(5.0, 13.0)
                    .over(Over::Heart),
            );
        }
        // Fat in the grooves between the chambers.
        for (knots, radii) in [
            ([at(8.0, 40.0, -12.0), at(22.0, 44.0, -34.0), at(14.0, 36.0, -62.0)], [1.8, 2.2, 1.5]),
            ([at(-28.0, 44.0, -14.0), at(-46.0, 44.0, -38.0), at(-60.0, 36.0, -62.0)], [1.6, 2.0, 1.4]),
            ([at(-30.0, -6.0, -20.0), at(-18.0, -10.0, -36.0), at(8.0, -8.0, -42.0)], [1.6, 2.0, 1.5]),
        ] {
            for shape in pipe(&knots, &radii, 5.0) {
                organs.solids.push(Solid::new(shape, -45.0, None));
            }
        }
        organs.great_vessels(body, size, blood);
        organs.air_passages(body, size);
        organs
    }

    /// Adds a vessel; those of the mediastinum also push the lungs aside.
    fn vessel(&mut self, knots: &[Point], radii: &[f32], hounsfield: f32, bulge: bool) {
        for shape in pipe(knots, radii, 4.0) {
            if bulge {
                self.bulges.push(shape.clone());
            }
            self.solids.push(Solid::new(shape, hounsfield, Some(label::VESSEL)).grained(4.0, 12.0));
        }
    }

    fn great_vessels(&mut self, body: &Body, size: f32, blood: f32) {
        let at = |x: f32, y: f32, z: f32| body.place(x, y, z);
        // A point beside the vertebral bodies at height z of the standard patient.
        let beside = |x: f32, forward: f32, z: f32| -> Point {
            let height = z * body.scale[2];
            let [spine_x, spine_y] = body.spine(height);
            [spine_x + x * body.scale[0], spine_y + forward * body.scale[1], height]
        };
        let r = |list: &[f32]| list.iter().map(|v| v * size).collect::<Vec<f32>>();
        let aorta = [
            at(-4.0, 16.0, -16.0),
            at(10.0, 26.0, 8.0),
            at(13.0, 25.0, 34.0),
            at(6.0, 14.0, 58.0),
            at(-10.0, -6.0, 66.0),
            at(-22.0, -26.0, 60.0),
            beside(-25.0, 13.0, 40.0),
            beside(-25.0, 11.0, 10.0),
            beside(-23.0, 12.0, -40.0),
            beside(-16.0, 19.0, -85.0),
            beside(-8.0, 26.0, -120.0),
            beside(-5.0, 28.0, -160.0),
            beside(-5.0, 28.0, -200.0),
        ];
        let radii = r(&[14.0, 16.0, 15.5, 14.5, 13.5, 13.0, 12.5, 12.0, 11.5, 11.0, 10.5, 10.0, 10.0]);
        self.vessel(&aorta, &radii, blood, true);
        // Arteries of the arch to neck and arms.
        self.vessel(
            &[at(4.0, 10.0, 68.0), at(12.0, 4.0, 90.0), at(20.0, -2.0, 112.0), at(26.0, -4.0, 150.0)],
            &r(&[6.5, 6.0, 4.5, 4.0]),
            blood,
            true,
        );
        self.vessel(
            &[at(-8.0, -4.0, 76.0), at(-16.0, -6.0, 96.0), at(-22.0, -6.0, 150.0)],
            &r(&[4.5, 4.2, 3.8]),
            blood,
            true,
        );
        self.vessel(
            &[at(-17.0, -18.0, 72.0), at(-24.0, -24.0, 96.0), at(-40.0, -14.0, 122.0), at(-90.0, 2.0, 116.0)],
            &r(&[5.5, 5.0, 4.5, 4.0]),
            blood,
            false,
        );
        // Veins: brachiocephalic, superior and inferior vena cava, azygos.
        let cava = blood + 0.25 * body.contrast;
        self.vessel(
            &[at(27.0, 14.0, 72.0), at(28.0, 14.0, 40.0), at(28.0, 12.0, 12.0), at(25.0, 16.0, -20.0)],
            &r(&[9.0, 9.5, 9.5, 10.0]),
            cava,
            true,
        );
        self.vessel(
            &[at(27.0, 14.0, 72.0), at(31.0, 16.0, 92.0), at(42.0, 8.0, 118.0), at(90.0, 10.0, 112.0)],
            &r(&[8.0, 7.0, 6.0, 5.0]),
            cava,
            true,
        );
        self.vessel(
            &[at(25.0, 18.0, 70.0), at(2.0, 30.0, 80.0), at(-20.0, 22.0, 96.0), at(-44.0, 10.0, 116.0)],
            &r(&[7.5, 7.0, 6.5, 6.0]),
            cava,
            true,
        );
        self.vessel(
            &[at(24.0, 8.0, -50.0), at(24.0, 0.0, -80.0), at(22.0, -14.0, -110.0), at(18.0, -16.0, -200.0)],
            &r(&[11.0, 11.5, 11.0, 10.5]),
            blood - 4.0 - 0.4 * body.contrast,
            true,
        );
        self.vessel(
            &[
                beside(8.0, 17.0, -120.0),
                beside(7.0, 17.0, -20.0),
                beside(9.0, 18.0, 34.0),
                at(18.0, -16.0, 46.0),
                at(26.0, 8.0, 44.0),
            ],
            &r(&[2.5, 3.5, 4.2, 4.5, 4.5]),
            blood,
            false,
        );
        // The roots of the lungs: nodes and fat that bind vessels and bronchi together.
        for (x, y, z) in [(33.0, -15.0, 8.0), (-35.0, -18.0, 12.0)] {
            let root = Shape::Ellipsoid {
                centre: at(x, y, z),
                axes: frame([0.0, 0.0, 1.0], [1.0, 0.0, 0.0]),
                radii: [21.0, 11.0, 9.0],
            };
            self.bulges.push(root.clone());
            self.solids.push(Solid::new(root, 5.0, None).grained(55.0, 7.0));
        }
        // Pulmonary trunk and its branches; pulmonary veins into the left atrium.
        let [right, left] = self.arteries;
        self.vessel(
            &[at(-18.0, 40.0, -6.0), at(-22.0, 32.0, 12.0), at(-20.0, 12.0, 26.0), left],
            &r(&[14.0, 14.5, 13.0, 9.0]),
            blood,
            true,
        );
        self.vessel(
            &[at(-18.0, 16.0, 22.0), at(-2.0, 2.0, 20.0), at(18.0, -4.0, 17.0), right],
            &r(&[11.0, 11.0, 10.5, 8.5]),
            blood,
            true,
        );
        let [right, left] = self.veins;
        for (end, x) in [(right, 24.0), (left, -26.0)] {
            self.vessel(
                &[at(x * 0.7, -10.0, -12.0), at(x, -11.0, -10.0), end],
                &r(&[9.0, 7.5, 6.0]),
                blood,
                false,
            );
        }
        // Vessels and nodes on the chest's front wall and in the armpits.
        for s in [-1.0, 1.0] {
            self.vessel(
                &[at(s * 90.0, 4.0, 112.0), at(s * 122.0, 6.0, 92.0), at(s * 138.0, 2.0, 60.0)],
                &r(&[4.5, 4.0, 3.0]),
                blood,
                false,
            );
        }
    }

    fn air_passages(&mut self, body: &Body, size: f32) {
        let at = |x: f32, y: f32, z: f32| body.place(x, y, z);
        let before_spine = |x: f32, forward: f32, z: f32| -> Point {
            let height = z * body.scale[2];
            let [spine_x, spine_y] = body.spine(height);
            let [_, depth] = body.vertebra(height);
            [spine_x + x, spine_y + depth + forward, height]
        };
        let gullet = [
            before_spine(-3.0, 7.0, 160.0),
            before_spine(-5.0, 7.5, 110.0),
            before_spine(-5.0, 8.0, 60.0),
            before_spine(-2.0, 9.0, 20.0),
            before_spine(-6.0, 10.0, -30.0),
            before_spine(-12.0, 17.0, -75.0),
            at(-26.0, -4.0, -104.0),
        ];
        for shape in pipe(&gullet, &[6.0, 6.5, 6.5, 7.0, 7.5, 8.0, 8.0], 5.0) {
            self.bulges.push(shape.clone());
            self.airways.push(Solid::new(shape, 38.0, None).grained(6.0, 4.0));
        }
        for shape in pipe(&gullet[1..4], &[1.6, 2.2, 1.2], 5.0) {
            self.airways.push(Solid::new(shape, -500.0, None));
        }
        let carina = before_spine(2.0, 19.0, 38.0);
        let windpipe = [
            before_spine(0.0, 21.0, 170.0),
            before_spine(0.0, 21.0, 120.0),
            before_spine(3.0, 20.0, 75.0),
            carina,
        ];
        let radii = [9.0, 8.6, 8.6, 9.2].map(|r| r * size);
        let [right, left] = self.bronchi;
        let lower = |end: Point, t: f32| add(scale(carina, 1.0 - t), scale(end, t));
        let pipes = [
            (windpipe.to_vec(), radii.to_vec()),
            (vec![carina, lower(right, 0.55), right], vec![7.6, 6.6, 5.6]),
            (vec![carina, lower(left, 0.55), left], vec![7.2, 6.0, 5.0]),
        ];
        let mut air = Vec::new();
        for (knots, radii) in &pipes {
            for shape in pipe(knots, radii, 3.0) {
                self.bulges.push(shape.clone());
                air.push(Solid::new(shape, -985.0, Some(label::AIRWAY)));
            }
            let walls: Vec<f32> = radii.iter().map(|r| r + 1.2).collect();
            for shape in pipe(knots, &walls, 3.0) {
                self.airways.push(Solid::new(shape, 5.0, Some(label::BACKGROUND)));
            }
        }
        self.air = air;
    }
}

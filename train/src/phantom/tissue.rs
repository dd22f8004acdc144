//! The first layer of the picture: air, table, trunk wall, mediastinal fat, abdomen and lung tissue.

use super::body::Body;
use super::contour::{level, polar};
use super::geometry::{Grid, Point, bell, coverage, lerp, smoothstep, thin_coverage};
use super::label;
use super::lungs::{Column, Lungs};
use super::paint::Slab;
use super::shape::Shape;

const AIR: f32 = -1000.0;
const FAT: f32 = -102.0;
const MUSCLE: f32 = 54.0;

/// What fills the voxels before organs, bones and vessels are painted.
pub(super) struct Background<'a> {
    body: &'a Body,
    lungs: &'a Lungs<'a>,
    spleen: Shape,
    stomach: Shape,
    /// Height of the fluid's surface in the stomach (towards the front).
    fluid_level: f32,
    /// Where the table's top lies: the lowest y.
    table: f32,
    /// Voxel extent joined with the scanner's blur.
    width: f32,
}

struct Voxel {
    p: Point,
    /// Distance outside the rib cage's inner surface.
    cage: f32,
    /// Depth under the skin.
    depth: f32,
    fat: f32,
    muscle: f32,
    gland: f32,
    radius: f32,
    degrees_from_front: f32,
}

impl<'a> Background<'a> {
    /// The background of one patient on a grid.
    pub fn new(body: &'a Body, lungs: &'a Lungs<'a>, grid: &Grid) -> Self {
        let k = body.scale;
        let upright = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let spleen = Shape::Ellipsoid {
            centre: body.place(-86.0, -44.0, -116.0),
            axes: upright,
            radii: [30.0 * k[0], 42.0 * k[1], 46.0 * k[2]],
        };
        let stomach = Shape::Ellipsoid {
            centre: body.place(-54.0, 14.0, -120.0),
            axes: upright,
            radii: [40.0 * k[0], 44.0 * k[1], 42.0 * k[2]],
        };
        let back = (0..60)
            .map(|i| {
                let angle = (-135.0 + 1.5 * i as f32).to_radians();
                let height = body.skin.at(angle, 10.0).max(body.skin.at(angle, 40.0));
                body.to_view([height * angle.cos(), height * angle.sin(), 0.0])
            })
            .map(|p| p[1] - TABLE_CURVE * p[0] * p[0])
            .fold(f32::INFINITY, f32::min);
        Self {
            body,
            lungs,
            spleen,
            stomach,
            fluid_level: 26.0 * k[1],
            table: back - 3.0,
            width: grid.mean_edge_width(),
        }
    }

    /// Fills a slab: HU and the labels of lung and liver.
    pub fn fill(&self, slab: &mut Slab) {
        let grid = slab.grid;
        let [_, ny, nz] = grid.size;
        // Beyond any patient's length the trunk simply continues, which keeps textures finite.
        let heights: Vec<f32> = (0..nz)
            .map(|z| self.body.to_patient([0.0, 0.0, grid.coordinate(2, z)])[2].clamp(-600.0, 600.0))
            .collect();
        let levels: Vec<(usize, f32)> = heights.iter().map(|&z| level(z)).collect();
        let body = self.body;
        let contours = [
            &body.skin,
            &body.skin_slant,
            &body.cage,
            &body.cage_slant,
            &body.fat,
            &body.muscle,
            &body.gland,
        ];
        let mut rows: [Vec<f32>; 7] = std::array::from_fn(|_| vec![0.0; nz]);
        for x in slab.first..slab.last {
            for y in 0..ny {
                let view = [grid.coordinate(0, x), grid.coordinate(1, y), 0.0];
                let [px, py, _] = body.to_patient(view);
                let (radius, angle) = polar([px, py, 0.0]);
                let at = ((x - slab.first) * ny + y) * nz;
                let outside = self.outside(view);
                if radius > 240.0 {
                    slab.hounsfield[at..at + nz].fill(outside);
                    continue;
                }
                for (contour, row) in contours.iter().zip(&mut rows) {
                    contour.column(angle, &levels, row);
                }
                let column = self.lungs.column(px, py);
                let mut from_front = (angle.to_degrees() - 90.0).rem_euclid(360.0);
                if from_front > 180.0 {
                    from_front = 360.0 - from_front;
                }
                for z in 0..nz {
                    let depth = (rows[0][z] - radius) * rows[1][z];
                    if depth < -self.width {
                        slab.hounsfield[at + z] = outside;
                        continue;
                    }
                    let voxel = Voxel {
                        p: [px, py, heights[z]],
                        cage: (radius - rows[2][z]) * rows[3][z],
                        depth,
                        fat: rows[4][z],
                        muscle: rows[5][z],
                        gland: rows[6][z],
                        radius,
                        degrees_from_front: from_front,
                    };
                    let (hounsfield, label) = self.tissue(&voxel, &column);
                    slab.hounsfield[at + z] = lerp(outside, hounsfield, coverage(-depth, self.width));
                    slab.labels[at + z] = label;
                }
            }
        }
    }

    /// Air and the table.
    fn outside(&self, view: Point) -> f32 {
        let surface = self.table + TABLE_CURVE * view[0] * view[0];
        let below = surface - view[1];
        if below < -3.0 || view[0].abs() > 215.0 {
            return AIR;
        }
        let shell = thin_coverage(below - 1.5, 1.0, self.width)
            + thin_coverage(below - (30.0 + 0.0008 * view[0] * view[0]), 0.9, self.width);
        let foam = coverage(1.5 - below, self.width) * coverage(below - 30.0, self.width);
        AIR + 45.0 * foam + 780.0 * shell.min(1.0)
    }

    fn tissue(&self, voxel: &Voxel, column: &Column) -> (f32, u8) {
        if voxel.cage > self.width {
            return self.wall(voxel);
        }
        let p = voxel.p;
        let lung = coverage(self.lungs.distance_in(column, voxel.cage, p), self.width);
        if lung >= 1.0 {
            return (self.lung(p), label::LUNG);
        }
        let above = (p[2] - column.diaphragm) * column.diaphragm_slant;
        let (mut hounsfield, mut label) =
            if above < 0.0 { self.abdomen(voxel, -above) } else { (self.mediastinum(p), label::BACKGROUND) };
        let wall = coverage(-voxel.cage, self.width);
        if wall > 0.0 {
            hounsfield = lerp(hounsfield, self.wall(voxel).0, wall);
        }
        if lung > 0.0 {
            hounsfield = lerp(hounsfield, self.lung(p), lung);
            if lung >= 0.5 {
                label = label::LUNG;
            }
        }
        (hounsfield, label)
    }

    /// Fat with a few strands of connective tissue.
    fn fat(&self, p: Point) -> f32 {
        let strand = bell(self.body.texture.at(p, 11.0), 0.0, 0.025);
        FAT + 7.0 * self.body.texture.at(p, 7.0) + 26.0 * strand
    }

    fn muscle(&self, p: Point) -> f32 {
        // Fibres run along the trunk, with fat between their bundles.
        let fibre = self.body.texture.at([p[0], p[1], p[2] * 0.3], 5.5);
        MUSCLE + 7.0 * fibre - (22.0 + 3.0 * self.body.adiposity) * smoothstep(0.42, 0.85, fibre)
    }

    /// Skin, fat, muscles and shoulder blade around the rib cage.
    fn wall(&self, voxel: &Voxel) -> (f32, u8) {
        let p = voxel.p;
        let w = self.width;
        let texture = &self.body.texture;
        let mut hounsfield = self.fat(p);
        let under = voxel.depth - voxel.fat;
        if under < 0.0 && voxel.gland > 0.05 {
            let tissue = texture.at(p, 9.0) + 0.6 * texture.at(p, 4.0);
            let share =
                smoothstep(0.75, 0.15, tissue.abs() + 1.0 - voxel.gland) * smoothstep(2.0, 6.0, voxel.depth);
            hounsfield = lerp(hounsfield, 32.0, share);
        }
        if under > 0.0 {
            // The armpit: fat with nodes, vessels and slips of muscle.
            let slip = smoothstep(0.22, 0.34, texture.at([p[0], p[1], 0.5 * p[2]], 24.0)).max(smoothstep(
                0.45,
                0.6,
                texture.at(p, 8.0),
            ));
            hounsfield = lerp(hounsfield, 46.0, slip);
        }
        // The outer muscles under the fat, and those between and on the ribs.
        let outer = coverage(-under, w) * coverage(under - voxel.muscle, w);
        let on_ribs = 11.5 + 4.0 * bell(voxel.degrees_from_front, 95.0, 30.0);
        let inner = coverage(voxel.cage - on_ribs, w) * coverage(-under, w);
        let muscle = outer.max(inner);
        if muscle > 0.0 {
            let mut fill = self.muscle(p);
            // Fat planes where one muscle slides on another.
            let wave = 4.5 * texture.at(p, 34.0);
            let planes = thin_coverage(voxel.cage - on_ribs - 0.8 + 0.3 * wave, 0.7, w)
                + thin_coverage(voxel.cage - 25.0 - 2.0 * wave, 0.6, w)
                + thin_coverage(under - 0.5 * voxel.muscle.min(22.0) - 1.5 * wave, 0.5, w)
                    * smoothstep(6.0, 12.0, voxel.muscle);
            let open = smoothstep(-0.5, 0.1, texture.at(p, 19.0));
            fill = lerp(fill, FAT, (planes * open).min(1.0));
            hounsfield = lerp(hounsfield, fill, muscle);
        }
        // Thin fat between the pleura and the muscles of the ribs.
        hounsfield = lerp(hounsfield, FAT, 0.35 * thin_coverage(voxel.cage - 1.0, 0.8, w));
        hounsfield = lerp(hounsfield, 18.0, coverage(voxel.depth - 1.7, w));
        let blade = self.shoulder_blade(voxel);
        if blade > 0.0 {
            let bone = 520.0 + 90.0 * texture.at(p, 6.0);
            return (
                lerp(hounsfield, bone, blade),
                if blade >= 0.5 { label::BONE } else { label::BACKGROUND },
            );
        }
        (hounsfield, label::BACKGROUND)
    }

    /// The flat part of the shoulder blade: a thin curved plate in the muscles of the back.
    fn shoulder_blade(&self, voxel: &Voxel) -> f32 {
        let z = voxel.p[2] / self.body.scale[2];
        if !(-12.0..118.0).contains(&z) || voxel.degrees_from_front < 90.0 {
            return 0.0;
        }
        let rise = (z + 8.0) / 118.0;
        let medial = lerp(138.0, 150.0, rise);
        let lateral = lerp(131.0, 101.0, rise.max(0.0).powf(0.8));
        let middle = 0.5 * (medial + lateral);
        let half = 0.5 * (medial - lateral);
        let aside = (voxel.degrees_from_front - middle).abs() - half;
        let edge = aside * voxel.radius * std::f32::consts::PI / 180.0;
        let bow = 4.0 * (voxel.degrees_from_front - middle) / half.max(1.0);
        let depth = voxel.cage - 17.5 - bow * 0.6;
        // Thick along the outer border, a sheet elsewhere.
        let rim = 2.6 * bell(voxel.degrees_from_front, lateral + 2.0, 3.5);
        thin_coverage(depth, 1.3 + rim, self.width) * coverage(edge, self.width) * coverage(-8.0 - z, 4.0)
    }

    /// Fat between the organs of the chest, small nodes in it, and muscle beside the spine and in
    /// the neck.
    fn mediastinum(&self, p: Point) -> f32 {
        let texture = &self.body.texture;
        let [_, spine] = self.body.spine(p[2]);
        // Small nodes near the midline, and the strands that make this fat denser than the skin's.
        let node = smoothstep(0.50, 0.72, texture.at(p, 8.0))
            * bell(p[2], 20.0, 60.0)
            * smoothstep(50.0, 38.0, p[0].abs())
            * smoothstep(52.0, 36.0, p[1]);
        let strand = smoothstep(0.1, 0.7, texture.at(p, 6.0));
        let soft = lerp(self.fat(p) + 6.0 + 30.0 * strand, 38.0, node);
        let neck = smoothstep(78.0, 112.0, p[2] / self.body.scale[2])
            * smoothstep(0.0, -0.25, texture.at([p[0], p[1], 0.4 * p[2]], 15.0));
        let back = smoothstep(-6.0, -11.0, p[1] - spine);
        lerp(soft, self.muscle(p), neck.max(back))
    }

    /// Liver, spleen, stomach and fat, `depth` millimetres under the diaphragm.
    fn abdomen(&self, voxel: &Voxel, depth: f32) -> (f32, u8) {
        let p = voxel.p;
        let w = self.width;
        let k = self.body.scale;
        let texture = &self.body.texture;
        let [_, spine] = self.body.spine(p[2]);
        let inside = -voxel.cage;
        let mut hounsfield = lerp(self.fat(p), self.muscle(p), smoothstep(-4.0, -10.0, p[1] - spine));
        let mut label = label::BACKGROUND;
        // Organs keep clear of the abdominal wall and of the diaphragm.
        let clear = (3.0 - depth).max(3.5 - inside);
        let enhancement = self.body.contrast;
        let wobble = texture.at(p, 40.0);
        let stomach = (self.stomach.distance(p).0 + 24.0 * wobble).max(clear);
        if stomach < w {
            let air = coverage(self.fluid_level - p[1], w);
            let content = lerp(14.0 + 18.0 * texture.at(p, 6.0), -960.0, air);
            let wall = 42.0 + 0.35 * enhancement;
            let fill = lerp(content, wall, coverage(-4.0 - stomach, w));
            hounsfield = lerp(hounsfield, fill, coverage(stomach, w));
        }
        let spleen = (self.spleen.distance(p).0 - 12.0 * wobble).max(clear).max(2.0 - stomach);
        if spleen < w {
            let fill = 50.0 + 0.5 * enhancement + 4.0 * texture.at(p, 9.0);
            hounsfield = lerp(hounsfield, fill, coverage(spleen, w));
        }
        let edge = lerp(13.0, -54.0, smoothstep(-18.0, 24.0, p[1] / k[1])) * k[0];
        let beside_spine = (spine + 8.0 - p[1]).min(34.0 * k[0] - p[0]);
        // The left lobe thins out downwards, as the liver's edge runs obliquely.
        let left = 0.75 * (edge + 0.75 * depth - 9.0 * wobble - p[0]);
        let liver = clear.max(left).max(beside_spine).max(0.0 - (p[2] / k[2] + 160.0 + 0.5 * p[0]));
        if liver < w {
            let fill = 58.0 + 0.35 * enhancement + 5.0 * texture.at(p, 5.0) + 4.0 * texture.at(p, 17.0);
            let share = coverage(liver, w);
            hounsfield = lerp(hounsfield, fill, share);
            if share >= 0.5 {
                label = label::LIVER;
            }
        }
        // The diaphragm's muscle.
        (lerp(hounsfield, 46.0, coverage(depth - 2.6, w)), label)
    }

    /// Lung tissue: denser towards the back where the patient lies, mottled, with fissures.
    fn lung(&self, p: Point) -> f32 {
        let body = self.body;
        let texture = &body.texture;
        let fine = texture.at(p, 2.3);
        let mut hounsfield = body.lung_density - 0.42 * p[1]
            + 30.0 * fine
            + 15.0 * texture.at(p, 8.0)
            + 12.0 * texture.at(p, 37.0);
        if body.emphysema > 0.0 {
            hounsfield -= 75.0 * body.emphysema * smoothstep(0.30, 0.55, texture.at(p, 7.0) + 0.25 * fine);
        }
        let (oblique, minor) = self.lungs.fissures(p);
        let mut sheet = thin_coverage(oblique, 0.45, self.width);
        if p[0] > 0.0 && oblique > 0.0 {
            sheet = sheet.max(thin_coverage(minor, 0.4, self.width));
        }
        (hounsfield + 260.0 * sheet).max(-990.0)
    }
}

/// Curvature of the table's top.
const TABLE_CURVE: f32 = 0.0011;

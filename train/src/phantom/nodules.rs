//! Lung nodules: where they sit, their form, and how they are painted.

use super::body::Body;
use super::geometry::{Grid, Point, add, coverage, length, lerp, scale, smoothstep, subtract, unit};
use super::label;
use super::lungs::Lungs;
use super::paint::{Over, Slab, Solid};
use super::shape::Shape;
use genesis_tensor::random::Stream;

/// What a nodule is made of, in the terms of the Fleischner Society.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoduleKind {
    /// Soft tissue throughout, about 30 HU.
    Solid,
    /// Ground glass with a solid core.
    PartSolid,
    /// Hazy, about -600 HU; vessels stay visible in it.
    GroundGlass,
}

/// One nodule of a phantom.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Nodule {
    /// Centre as a fractional voxel index.
    pub voxel: [f64; 3],
    /// Centre in millimetres from the middle of the volume (right, anterior, superior).
    pub center: [f64; 3],
    /// Diameter in millimetres of the ball of equal volume.
    pub diameter: f64,
    /// Its tissue.
    pub kind: NoduleKind,
    /// Whether thin spikes radiate from its margin (they carry no label).
    pub spiculated: bool,
}

/// Smallest and largest diameter in millimetres.
const DIAMETERS: (f32, f32) = (4.0, 30.0);

/// A nodule with all that painting needs, in the view frame.
pub(super) struct Lesion {
    pub nodule: Nodule,
    centre: Point,
    radius: f32,
    lobulation: f32,
    /// Moves the texture so that no two nodules look alike.
    shift: Point,
    /// Radius factor that gives the lobulated form the volume of the ball.
    normalization: f32,
    hounsfield: f32,
    core: f32,
    pub spikes: Vec<Solid>,
}

/// Places up to `count` nodules in the lungs within the field of view, clear of the bones, heart and
/// other organs among `solids` (given in the view frame).
pub(super) fn place(
    body: &Body,
    lungs: &Lungs,
    grid: &Grid,
    solids: &[Solid],
    count: usize,
    stream: &mut Stream,
) -> Vec<Lesion> {
    let coarsest = grid.spacing.iter().fold(0.0f32, |a, &b| a.max(b));
    let smallest = DIAMETERS.0.max(2.0 * coarsest);
    if smallest > DIAMETERS.1 {
        // Voxels of 15 mm and more cannot show a nodule.
        return Vec::new();
    }
    let mut lesions: Vec<Lesion> = Vec::new();
    for _ in 0..count {
        // Small ones are far more common: logarithmically uniform.
        let diameter = smallest * (DIAMETERS.1 / smallest).powf(stream.uniform());
        let radius = diameter * 0.5;
        let on_pleura = stream.chance(0.3);
        for _ in 0..4000 {
            let centre: Point = std::array::from_fn(|k| {
                (stream.uniform() * 2.0 - 1.0) * (grid.half_extent(k) - radius * 1.3)
            });
            if (0..3).any(|k| centre[k].abs() + radius * 1.3 > grid.half_extent(k)) {
                continue;
            }
            let depth = -lungs.distance(body.to_patient(centre));
            let fits =
                if on_pleura { (0.80..0.98).contains(&(depth / radius)) } else { depth > radius + 2.0 };
            let apart = lesions
                .iter()
                .all(|other| length(subtract(other.centre, centre)) > (other.radius + radius) * 1.4 + 3.0);
            // The ribs' necks reach a little into the space between lung and spine.
            let free = |solid: &Solid| {
                let [low, high] = solid.shape.bounds();
                (0..3).any(|k| centre[k] < low[k] - radius || centre[k] > high[k] + radius)
                    || solid.shape.distance(centre).0 > 0.85 * radius
            };
            let solid_organ = |solid: &&Solid| matches!(solid.label, Some(label::BONE | label::HEART));
            if fits && apart && solids.iter().filter(solid_organ).all(free) {
                lesions.push(Lesion::new(body, grid, centre, radius, stream));
                break;
            }
        }
    }
    lesions
}

impl Lesion {
    fn new(body: &Body, grid: &Grid, centre: Point, radius: f32, stream: &mut Stream) -> Self {
        let draw = stream.uniform();
        let kind = if draw < 0.60 {
            NoduleKind::Solid
        } else if draw < 0.80 {
            NoduleKind::PartSolid
        } else {
            NoduleKind::GroundGlass
        };
        let spiculated = kind != NoduleKind::GroundGlass && radius > 4.0 && stream.chance(0.45);
        let hounsfield = match kind {
            NoduleKind::Solid => lerp(15.0, 60.0, stream.uniform()) + 0.15 * body.contrast,
            _ => lerp(-680.0, -500.0, stream.uniform()),
        };
        let nodule = Nodule {
            voxel: std::array::from_fn(|k| {
                f64::from(centre[k] / grid.spacing[k]) + (grid.size[k] as f64 - 1.0) * 0.5
            }),
            center: centre.map(f64::from),
            diameter: f64::from(radius * 2.0),
            kind,
            spiculated,
        };
        let mut lesion = Self {
            nodule,
            centre,
            radius,
            lobulation: lerp(0.08, 0.34, stream.uniform()),
            shift: std::array::from_fn(|_| stream.uniform() * 500.0),
            normalization: 1.0,
            hounsfield,
            core: lerp(0.35, 0.62, stream.uniform()),
            spikes: Vec::new(),
        };
        let samples = 600;
        let mean: f32 =
            (0..samples).map(|i| lesion.form(body, spiral(i, samples)).powi(3)).sum::<f32>() / samples as f32;
        lesion.normalization = mean.cbrt().recip();
        if spiculated {
            let spikes = stream.between(14, 28);
            for _ in 0..spikes {
                let direction =
                    unit([stream.normal() as f32, stream.normal() as f32, stream.normal() as f32]);
                let bend: Point = std::array::from_fn(|_| (stream.uniform() - 0.5) * 0.4);
                let reach = radius * lerp(1.3, 1.95, stream.uniform()) + 2.0;
                let tip = add(centre, scale(unit(add(direction, bend)), reach));
                let root = add(centre, scale(direction, radius * 0.7));
                let tube = Shape::Tube { a: root, b: tip, radii: [1.5, 0.35] };
                lesion.spikes.push(Solid::new(tube, -20.0, None).over(Over::Lung));
            }
        }
        lesion
    }

    /// Radius in direction `u` relative to the nodule's radius.
    fn form(&self, body: &Body, u: Point) -> f32 {
        let broad = body.texture.at(add(scale(u, 1.0), self.shift), 0.9);
        let fine = body.texture.at(add(scale(u, 1.0), self.shift), 0.45);
        self.normalization * (1.0 + self.lobulation * (broad + 0.8 * fine))
    }

    /// Paints the nodule; its spikes come before.
    pub fn paint(&self, body: &Body, slab: &mut Slab) {
        let reach = self.radius * 1.5 + 4.0;
        let grid = slab.grid;
        let bounds = [self.centre.map(|v| v - reach), self.centre.map(|v| v + reach)];
        slab.visit(bounds, |slab, at, p| {
            let offset = subtract(p, self.centre);
            let d = length(offset);
            let direction = unit(offset);
            let surface = self.radius * self.form(body, direction);
            let w = grid.edge_width(direction);
            let share = coverage(d - surface, w);
            if share <= 0.0 {
                return;
            }
            let now = slab.hounsfield[at];
            let grain = body.texture.at(add(p, self.shift), 2.4);
            let target = match self.nodule.kind {
                NoduleKind::Solid => self.hounsfield + 12.0 * grain,
                NoduleKind::GroundGlass | NoduleKind::PartSolid => {
                    // Haze fades towards the margin and lets denser structures show.
                    let haze = self.hounsfield + 55.0 * grain - 60.0 * smoothstep(0.5, 1.0, d / surface);
                    let mut target = now.max(haze);
                    if self.nodule.kind == NoduleKind::PartSolid {
                        let core = coverage(d - surface * self.core, w);
                        target = lerp(target, 20.0 + 12.0 * grain, core);
                    }
                    target
                }
            };
            slab.hounsfield[at] = lerp(now, target, share);
            if share >= 0.5 {
                slab.labels[at] = label::NODULE;
            }
        });
    }
}

/// Point `i` of `n` spread evenly over the unit sphere (golden spiral).
fn spiral(i: usize, n: usize) -> Point {
    let z = 1.0 - (2.0 * i as f32 + 1.0) / n as f32;
    let r = (1.0 - z * z).max(0.0).sqrt();
    let (sine, cosine) = (i as f32 * 2.399_963_2).sin_cos();
    [r * cosine, r * sine, z]
}

//! Painting solids onto a slab of the volume with soft edges.

use super::geometry::{Grid, Point, coverage, cross, thin_coverage};
use super::label;
use super::shape::Shape;
use super::texture::Texture;

/// Which voxels a solid may cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Every voxel.
    Everything,
    /// Lung, vessels, airways and soft tissue; heart, liver and bone stay in front.
    Lung,
    /// The inside of a vertebra, rib or other bone only.
    Bone,
    /// The liver and the vessels in it.
    Liver,
    /// The heart.
    Heart,
}

/// A solid and the tissue it is made of.
#[derive(Clone, Debug)]
pub(super) struct Solid {
    /// Its form.
    pub shape: Shape,
    /// Mean HU.
    pub hounsfield: f32,
    /// Amplitude of its texture in HU.
    pub grain: f32,
    /// Cell of its texture in millimetres.
    pub cell: f32,
    /// The label of voxels it covers by at least half; `None` leaves labels alone.
    pub label: Option<u8>,
    /// What it may cover.
    pub over: Over,
}

impl Solid {
    /// Homogeneous tissue.
    pub fn new(shape: Shape, hounsfield: f32, label: Option<u8>) -> Self {
        Self { shape, hounsfield, grain: 0.0, cell: 3.0, label, over: Over::Everything }
    }

    /// The same with texture.
    pub fn grained(self, grain: f32, cell: f32) -> Self {
        Self { grain, cell, ..self }
    }

    /// Lowest and highest corner of the box of voxel centres it may touch.
    pub fn painted(&self, grid: &Grid) -> [Point; 2] {
        let margin = 0.6 * grid.spacing.iter().fold(1.0f32, |a, &b| a.max(b));
        let [low, high] = self.shape.bounds();
        [low.map(|v| v - margin), high.map(|v| v + margin)]
    }

    /// The same, limited to some voxels.
    pub fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }
}

/// Consecutive x planes of a volume being painted.
pub(super) struct Slab<'a> {
    /// The whole grid.
    pub grid: &'a Grid,
    /// First plane.
    pub first: usize,
    /// One past the last plane.
    pub last: usize,
    /// HU, `[last - first, ny, nz]`.
    pub hounsfield: Vec<f32>,
    /// Labels of the same shape.
    pub labels: &'a mut [u8],
}

impl Slab<'_> {
    /// Calls `visit(position in the slab, point)` for every voxel centre in a box of the view frame.
    pub fn visit(&mut self, bounds: [Point; 2], mut visit: impl FnMut(&mut Self, usize, Point)) {
        let [_, ny, nz] = self.grid.size;
        let (x0, x1) = self.grid.range(0, bounds[0][0], bounds[1][0]);
        let (x0, x1) = (x0.max(self.first), x1.min(self.last));
        if x0 >= x1 {
            return;
        }
        let (y0, y1) = self.grid.range(1, bounds[0][1], bounds[1][1]);
        let (z0, z1) = self.grid.range(2, bounds[0][2], bounds[1][2]);
        for x in x0..x1 {
            let px = self.grid.coordinate(0, x);
            for y in y0..y1 {
                let py = self.grid.coordinate(1, y);
                let row = ((x - self.first) * ny + y) * nz;
                for z in z0..z1 {
                    visit(self, row + z, [px, py, self.grid.coordinate(2, z)]);
                }
            }
        }
    }

    fn may_cover(&self, at: usize, over: Over) -> bool {
        let now = self.labels[at];
        match over {
            Over::Everything => true,
            Over::Lung => now != label::HEART && now != label::LIVER && now != label::BONE,
            Over::Bone => now == label::BONE,
            Over::Heart => now == label::HEART,
            Over::Liver => now == label::LIVER || now == label::VESSEL,
        }
    }

    /// Paints one solid, given in the view frame.
    pub fn paint(&mut self, solid: &Solid, texture: &Texture) {
        let grid = self.grid;
        let bounds = solid.painted(grid);
        self.visit(bounds, |slab, at, p| {
            let (d, outwards) = solid.shape.distance(p);
            let w = grid.edge_width(outwards);
            let mut share = coverage(d, w);
            if let Shape::Tube { a, b, radii } = &solid.shape {
                let r = radii[0].max(radii[1]);
                if r < w {
                    // Thinner than a voxel: fade along both directions across the rod.
                    let axis = super::geometry::unit(super::geometry::subtract(*b, *a));
                    let beside = grid.edge_width(cross(axis, outwards));
                    share = thin_coverage(d + r, r, w) * (1.57 * r / beside).min(1.0);
                }
            }
            if share <= 0.0 || !slab.may_cover(at, solid.over) {
                return;
            }
            let mut target = solid.hounsfield;
            if solid.grain > 0.0 {
                target += solid.grain * texture.at(p, solid.cell);
            }
            slab.hounsfield[at] += (target - slab.hounsfield[at]) * share;
            if let (Some(label), true) = (solid.label, share >= 0.5) {
                slab.labels[at] = label;
            }
        });
    }
}

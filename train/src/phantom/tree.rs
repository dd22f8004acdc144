//! Branching trees that fill a volume.
//!
//! The growth rule is that of Tawhai, Pullan and Hunter, *Generation of an anatomically based
//! three-dimensional model of the conducting airways* (Annals of Biomedical Engineering, 2000): a
//! branch heads for the centre of the points it has to supply, stops part of the way, and hands
//! each half of the points to a daughter branch. Radii follow Murray's law (*The physiological
//! principle of minimum work*, 1926): the cube of a parent's radius is the sum of its daughters'
//! cubes, so a branch that supplies n equal tips is n^(1/3) times as wide as a tip.

use super::geometry::{Point, add, cross, dot, length, lerp, mix, scale, subtract, unit};
use genesis_tensor::random::Stream;

/// One branch of a tree: a curved tube given as a few straight pieces.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// Points along the branch, two or more.
    pub path: Vec<Point>,
    /// Radius at the start and end in millimetres.
    pub radii: [f32; 2],
    /// Number of branchings between the root and this branch.
    pub generation: usize,
}

/// How a tree grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    /// Radius of a tip in millimetres.
    pub tip: f32,
    /// Widest radius, which keeps the first branches below the size of their trunk.
    pub widest: f32,
    /// Share of the way to the centre of the points that a branch runs.
    pub advance: f32,
}

/// Grows a tree from `root`, heading along `direction`, to every point of `tips`.
pub(super) fn grow(
    root: Point,
    direction: Point,
    tips: Vec<Point>,
    growth: Growth,
    stream: &mut Stream,
) -> Vec<Branch> {
    let mut branches = Vec::with_capacity(2 * tips.len());
    let start = growth.radius(tips.len());
    let mut open = vec![(root, unit(direction), tips, start, 0usize)];
    while let Some((from, heading, mut tips, start, generation)) = open.pop() {
        let count = tips.len();
        if count == 0 {
            continue;
        }
        let centre = scale(tips.iter().fold([0.0; 3], |sum, p| add(sum, *p)), 1.0 / count as f32);
        let span = subtract(centre, from);
        let advance = if count == 1 { 1.0 } else { growth.advance * lerp(0.85, 1.15, stream.uniform()) };
        let run = length(span) * advance;
        let to = add(from, scale(span, advance));
        let end = growth.radius(count);
        if run > 0.5 {
            // Leave along the parent's heading, then bend towards the target.
            let bend = lerp(0.15, 0.30, stream.uniform()) * run;
            let wander: Point = std::array::from_fn(|_| (stream.uniform() - 0.5) * 0.12 * run);
            let control = add(mix(add(from, scale(heading, bend)), mix(from, to, 0.5), 0.4), wander);
            let pieces = (run / 3.0).ceil().clamp(2.0, 6.0) as usize;
            let path = (0..=pieces)
                .map(|i| {
                    let t = i as f32 / pieces as f32;
                    mix(mix(from, control, t), mix(control, to, t), t)
                })
                .collect::<Vec<_>>();
            branches.push(Branch { path, radii: [start.min(end * 1.15), end], generation });
        }
        if count == 1 {
            continue;
        }
        let heading = unit(if run > 0.5 { subtract(to, mix(from, to, 0.4)) } else { heading });
        // Split across the direction in which the points spread most, seen along the branch.
        let normal = widest_direction(&tips, centre, heading);
        tips.sort_by(|a, b| dot(*a, normal).total_cmp(&dot(*b, normal)));
        let cut = (count as f32 * lerp(0.22, 0.78, stream.uniform())).round().clamp(1.0, count as f32 - 1.0);
        let rest = tips.split_off(cut as usize);
        open.push((to, heading, tips, end, generation + 1));
        open.push((to, heading, rest, end, generation + 1));
    }
    branches
}

impl Growth {
    fn radius(&self, tips: usize) -> f32 {
        (self.tip * (tips as f32).cbrt()).min(self.widest)
    }
}

/// The direction of largest spread of `points` among those across `heading`.
fn widest_direction(points: &[Point], centre: Point, heading: Point) -> Point {
    let aside = if heading[2].abs() < 0.8 { [0.0, 0.0, 1.0] } else { [1.0, 0.0, 0.0] };
    let u = unit(cross(heading, aside));
    let v = cross(heading, u);
    let (mut uu, mut uv, mut vv) = (0.0f32, 0.0f32, 0.0f32);
    for p in points {
        let offset = subtract(*p, centre);
        let (a, b) = (dot(offset, u), dot(offset, v));
        uu += a * a;
        uv += a * b;
        vv += b * b;
    }
    let angle = 0.5 * (2.0 * uv).atan2(uu - vv);
    add(scale(u, angle.cos()), scale(v, angle.sin()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_tensor::random::Purpose;

    #[test]
    fn a_tree_reaches_every_tip_and_obeys_murrays_law() {
        let mut stream = Stream::new(5, 0, 0, Purpose::Other);
        let tips: Vec<Point> = (0..300).map(|_| std::array::from_fn(|_| stream.uniform() * 100.0)).collect();
        let growth = Growth { tip: 0.5, widest: 100.0, advance: 0.4 };
        let branches = grow([50.0, 50.0, -20.0], [0.0, 0.0, 1.0], tips.clone(), growth, &mut stream);
        for tip in &tips {
            let nearest = branches
                .iter()
                .map(|b| length(subtract(b.path[b.path.len() - 1], *tip)))
                .fold(f32::INFINITY, f32::min);
            // Only a branch shorter than half a millimetre is left out.
            assert!(nearest < 0.51, "tip {tip:?} is {nearest} mm from the tree");
        }
        let root = branches.iter().find(|b| b.generation == 0).expect("a root");
        assert!((root.radii[1].powi(3) - 300.0 * 0.125).abs() < 0.5);
        assert!(branches.iter().all(|b| b.radii[1] <= b.radii[0] + 1e-6));
    }
}

//! Arteries, veins and bronchi of the lungs.

use super::body::Body;
use super::geometry::{Point, add, cross, length, mix, scale, subtract, unit};
use super::label;
use super::lungs::{Lungs, Side};
use super::organs::Organs;
use super::paint::{Over, Solid};
use super::shape::Shape;
use super::tree::{Branch, Growth, grow};
use genesis_tensor::random::Stream;

/// Tips per lung of the arterial and the venous tree.
const TIPS: [usize; 2] = [4200, 3400];

/// Vessels and bronchi in painting order: vessels, airway walls, air.
pub(super) fn trees(body: &Body, lungs: &Lungs, organs: &Organs, stream: &mut Stream) -> Vec<Solid> {
    let mut vessels = Vec::new();
    let (mut walls, mut air) = (Vec::new(), Vec::new());
    for side in [Side::Right, Side::Left] {
        let i = usize::from(side == Side::Left);
        let arteries = lobes(lungs, side, TIPS[0], organs.arteries[i], 0.275, stream);
        let veins = lobes(lungs, side, TIPS[1], organs.veins[i], 0.28, stream);
        for branch in arteries.iter().chain(&veins) {
            // A branch that cuts through another organ on its way is left out of the picture.
            let middle = branch.path[branch.path.len() / 2];
            let near = length(subtract(middle, organs.arteries[i])) < 34.0;
            if near || lungs.distance(middle) < 4.0 {
                vessels.extend(
                    tubes(branch)
                        .map(|shape| Solid::new(shape, body.blood(), Some(label::VESSEL)).over(Over::Lung)),
                );
            }
        }
        bronchi(&arteries, organs.bronchi[i], &mut walls, &mut air);
    }
    vessels.append(&mut walls);
    vessels.append(&mut air);
    vessels
}

fn tubes(branch: &Branch) -> impl Iterator<Item = Shape> + '_ {
    let pieces = (branch.path.len() - 1) as f32;
    branch.path.windows(2).enumerate().map(move |(i, w)| {
        let radius = |i: f32| branch.radii[0] + (branch.radii[1] - branch.radii[0]) * i / pieces;
        Shape::Tube { a: w[0], b: w[1], radii: [radius(i as f32), radius(i as f32 + 1.0)] }
    })
}

/// One tree per lobe from a common root.
fn lobes(lungs: &Lungs, side: Side, count: usize, root: Point, tip: f32, stream: &mut Stream) -> Vec<Branch> {
    let mut groups: [Vec<Point>; 3] = Default::default();
    let half = [125.0, 110.0, 150.0];
    let mut found = 0;
    // Dense enough that nine in ten draws may miss; the cap only guards an odd anatomy.
    for _ in 0..count * 30 {
        if found == count {
            break;
        }
        let p = [
            side.sign() * stream.uniform() * half[0],
            (stream.uniform() * 2.0 - 1.0) * half[1],
            (stream.uniform() * 2.0 - 1.0) * half[2],
        ];
        if lungs.distance(p) > -2.5 {
            continue;
        }
        let (oblique, minor) = lungs.fissures(p);
        if oblique.abs() < 2.5 {
            continue;
        }
        let lobe = match (oblique > 0.0, side == Side::Right && minor < 0.0) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        groups[lobe].push(p);
        found += 1;
    }
    let growth = Growth { tip, widest: 7.0, advance: 0.38 };
    let outward = [side.sign(), 0.0, 0.0];
    let directions = [
        unit(add(outward, [0.0, -0.5, -1.2])),
        unit(add(outward, [0.0, 0.3, 1.2])),
        unit(add(outward, [0.0, 1.0, -0.2])),
    ];
    let mut branches = Vec::new();
    for (tips, direction) in groups.into_iter().zip(directions) {
        branches.extend(grow(root, direction, tips, growth, stream));
    }
    branches
}

/// Bronchi run beside the arteries, about as wide, and are seen for the first few generations.
fn bronchi(arteries: &[Branch], root: Point, walls: &mut Vec<Solid>, air: &mut Vec<Solid>) {
    for branch in arteries.iter().filter(|b| b.radii[1] > 1.2 && b.generation < 6) {
        let along = unit(subtract(branch.path[branch.path.len() - 1], branch.path[0]));
        // One fixed side, so that neighbouring branches stay connected.
        let beside = unit(cross(along, cross([0.35, -0.85, 0.4], along)));
        let shift = |p: Point, r: f32| add(p, scale(beside, -(1.85 * r + 0.6)));
        let last = branch.path.len() - 1;
        let mut path: Vec<Point> = Vec::with_capacity(last + 1);
        for (i, &p) in branch.path.iter().enumerate() {
            let r = branch.radii[0] + (branch.radii[1] - branch.radii[0]) * i as f32 / last as f32;
            let moved = shift(p, r);
            path.push(if branch.generation == 0 {
                mix(root, moved, (i as f32 / last as f32).powf(0.7))
            } else {
                moved
            });
        }
        let lumen = branch.radii.map(|r| if branch.generation == 0 { 0.66 * r } else { 0.72 * r });
        let wall = branch.radii.map(|r| 0.35 + 0.11 * r);
        let radius = |i: usize, radii: [f32; 2]| radii[0] + (radii[1] - radii[0]) * i as f32 / last as f32;
        for (i, w) in path.windows(2).enumerate() {
            let inner = [radius(i, lumen), radius(i + 1, lumen)];
            let outer = [inner[0] + radius(i, wall), inner[1] + radius(i + 1, wall)];
            let tube = |radii| Shape::Tube { a: w[0], b: w[1], radii };
            walls.push(Solid::new(tube(outer), -160.0, None).over(Over::Lung));
            air.push(Solid::new(tube(inner), -975.0, Some(label::AIRWAY)).over(Over::Lung));
        }
    }
}

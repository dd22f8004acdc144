//! Inner and outer cut-out ("painting"): part of the cube is hidden under noise or a constant.

use genesis_tensor::random::Stream;

use super::block::Block;
use super::recipe::{Fill, Painting, at_least};
use super::voxel_set::VoxelSet;
use crate::error::{Error, Result};

/// Distance of the windows from the cube's faces.
const BORDER: usize = 3;

/// What is hidden in one cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Nothing,
    /// The windows.
    Inner,
    /// All but the windows.
    Outer,
}

/// The drawn cut-out of one cube.
#[derive(Clone, Debug)]
pub(super) struct Cutout {
    /// Which side of the windows is hidden.
    pub kind: Kind,
    /// The windows, which may overlap.
    pub windows: Vec<Block>,
    /// The hidden voxels.
    pub hidden: VoxelSet,
}

/// The shortest and longest side of the holes of an inner cut-out: a sixth to a third of the cube.
fn inner_sides(size: [usize; 3]) -> [[usize; 3]; 2] {
    [size.map(|extent| extent / 6), size.map(|extent| extent / 3)]
}

/// The shortest and longest side of the windows that an outer cut-out leaves: the cube less four to
/// three sevenths of it.
fn outer_sides(size: [usize; 3]) -> [[usize; 3]; 2] {
    [size.map(|extent| extent - 4 * extent / 7), size.map(|extent| extent - 3 * extent / 7)]
}

/// Whether the cut-outs that the rule may draw fit into a cube of this size.
pub(super) fn check(rule: &Painting, some_hole: bool, size: [usize; 3]) -> Result<()> {
    if rule.probability == 0.0 {
        return Ok(());
    }
    if rule.windows == 0 {
        return Err(Error::Usage("deformation: painting.windows must be at least 1".into()));
    }
    if let Some(share) = rule.largest_masked_share {
        // Below that, the windows of an outer cut-out would hardly ever cover enough.
        if !(0.1..=1.0).contains(&share) {
            return Err(Error::Usage(format!(
                "deformation: painting.largest_masked_share = {share} is not in [0.1, 1]"
            )));
        }
        if share < 1.0 && rule.windows < 2 && rule.inner_probability < 1.0 {
            return Err(Error::Usage(
                "deformation: painting.largest_masked_share needs painting.windows of at least 2".into(),
            ));
        }
    }
    if rule.inner_probability > 0.0 || some_hole {
        // A hole of a third must leave the border on both sides, and a sixth be a voxel.
        at_least("an inner cut-out", size, 9)?;
    }
    if rule.inner_probability < 1.0 {
        // 3 * extent / 7 >= 2 * BORDER, or with the limit, windows of at least one voxel.
        let smallest = if rule.largest_masked_share.is_some() { 2 } else { 14 };
        at_least("an outer cut-out", size, smallest)?;
    }
    Ok(())
}

impl Cutout {
    /// No cut-out, with memory for a cube of that many voxels.
    pub fn new(voxels: usize) -> Self {
        Self { kind: Kind::Nothing, windows: Vec::new(), hidden: VoxelSet::new(voxels) }
    }

    /// Draws what to hide; `some_hole` makes the first hole of an inner cut-out certain.
    pub fn draw(&mut self, rule: &Painting, some_hole: bool, size: [usize; 3], stream: &mut Stream) {
        self.windows.clear();
        self.hidden.clear();
        self.kind = if !stream.chance(rule.probability) {
            Kind::Nothing
        } else if stream.chance(rule.inner_probability) {
            Kind::Inner
        } else {
            Kind::Outer
        };
        match self.kind {
            Kind::Nothing => {}
            Kind::Inner => self.draw_inner(rule, some_hole, size, stream),
            Kind::Outer => self.draw_outer(rule, size, stream),
        }
    }

    /// Up to `windows` holes; one that would exceed the limit ends the draw.
    fn draw_inner(&mut self, rule: &Painting, some_hole: bool, size: [usize; 3], stream: &mut Stream) {
        let [shortest, longest] = inner_sides(size);
        while self.windows.len() < rule.windows {
            let certain = some_hole && self.windows.is_empty();
            if !certain && !stream.chance(rule.continue_probability) {
                break;
            }
            let hole = Block::draw(size, shortest, longest, BORDER, stream);
            if rule.largest_masked_share.is_some() {
                let new: usize = hole.rows(size).map(|row| self.hidden.missing(row)).sum();
                if self.hidden.count() + new > most_hidden(rule, size) {
                    break;
                }
            }
            hole.rows(size).for_each(|row| self.hidden.add_range(row));
            self.windows.push(hole);
        }
    }

    /// One to `windows` windows that stay; with a limit, drawn again until they cover enough.
    fn draw_outer(&mut self, rule: &Painting, size: [usize; 3], stream: &mut Stream) {
        let limited = rule.largest_masked_share.is_some();
        let ([shortest, longest], border) =
            if limited { ([size.map(|extent| extent / 2), size], 0) } else { (outer_sides(size), BORDER) };
        loop {
            self.windows.clear();
            self.hidden.clear();
            while self.windows.len() < rule.windows
                && (self.windows.is_empty() || stream.chance(rule.continue_probability))
            {
                let window = Block::draw(size, shortest, longest, border, stream);
                window.rows(size).for_each(|row| self.hidden.add_range(row));
                self.windows.push(window);
            }
            self.hidden.invert();
            if !limited || self.hidden.count() <= most_hidden(rule, size) {
                return;
            }
        }
    }

    /// Overwrites the hidden voxels of `cube`.
    pub fn apply(&self, fill: Fill, size: [usize; 3], cube: &mut [f32], stream: &mut Stream) {
        match (fill, self.kind) {
            (Fill::Noise, _) => self.hidden.for_each_run(|run| stream.fill_uniform(&mut cube[run])),
            (Fill::Constant, Kind::Outer) => {
                let value = stream.uniform();
                self.hidden.for_each_run(|run| cube[run].fill(value));
            }
            (Fill::Constant, _) => {
                for hole in &self.windows {
                    let value = stream.uniform();
                    hole.rows(size).for_each(|row| cube[row].fill(value));
                }
            }
        }
    }
}

/// The most voxels that the rule may hide.
fn most_hidden(rule: &Painting, size: [usize; 3]) -> usize {
    let voxels = size.iter().product::<usize>();
    rule.largest_masked_share.map_or(voxels, |share| (share * voxels as f64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deform::recipe::Recipe;
    use genesis_tensor::random::Purpose;

    const SIZE: [usize; 3] = [64, 64, 32];
    const VOXELS: usize = 64 * 64 * 32;

    fn rule(recipe: Recipe, inner: bool) -> Painting {
        Painting { probability: 1.0, inner_probability: f64::from(u8::from(inner)), ..recipe.painting }
    }

    #[test]
    fn windows_have_the_released_geometry() {
        let mut stream = Stream::new(1, 0, 0, Purpose::Other);
        let mut cutout = Cutout::new(VOXELS);
        for (inner, sides, counts) in [
            (true, [10..=21, 10..=21, 5..=10], [0.05, 0.0475, 0.045125, 0.04286875, 0.040725, 0.773781]),
            (false, [28..=37, 28..=37, 14..=19], [0.0, 0.05, 0.0475, 0.045125, 0.04286875, 0.814506]),
        ] {
            let rule = rule(Recipe::genesis(), inner);
            let mut seen = [[usize::MAX, 0]; 3];
            let mut corners = [[usize::MAX, 0]; 3];
            let mut number = [0.0; 6];
            let draws = 4_000;
            for _ in 0..draws {
                cutout.draw(&rule, false, SIZE, &mut stream);
                assert_eq!(cutout.kind, if inner { Kind::Inner } else { Kind::Outer });
                number[cutout.windows.len()] += 1.0 / f64::from(draws);
                for window in &cutout.windows {
                    for axis in 0..3 {
                        let (side, corner) = (window.size[axis], window.corner[axis]);
                        assert!(corner >= 3 && corner + side + 3 <= SIZE[axis], "{window:?}");
                        seen[axis] = [seen[axis][0].min(side), seen[axis][1].max(side)];
                        corners[axis] = [corners[axis][0].min(corner), corners[axis][1].max(corner)];
                    }
                }
            }
            for axis in 0..3 {
                assert_eq!(seen[axis], [*sides[axis].start(), *sides[axis].end()]);
                assert_eq!(corners[axis], [3, SIZE[axis] - sides[axis].start() - 3]);
            }
            for (share, want) in number.iter().zip(counts) {
                assert!(
                    (share - want).abs() < 4.5 * (want * (1.0 - want) / 4e3f64).sqrt() + 1e-9,
                    "{number:?}"
                );
            }
        }
    }

    #[test]
    fn hidden_voxels_are_the_windows_or_all_else_and_nothing_else_is_painted() {
        let mut stream = Stream::new(2, 0, 0, Purpose::Other);
        let mut cutout = Cutout::new(VOXELS);
        for fill in [Fill::Noise, Fill::Constant] {
            for inner in [true, false] {
                let rule = rule(Recipe::genesis(), inner);
                for _ in 0..20 {
                    cutout.draw(&rule, true, SIZE, &mut stream);
                    let mut cube = vec![-1.0f32; VOXELS];
                    cutout.apply(fill, SIZE, &mut cube, &mut stream);
                    let mut inside = vec![false; VOXELS];
                    cutout.windows.iter().flat_map(|w| w.rows(SIZE)).flatten().for_each(|v| inside[v] = true);
                    for (value, inside) in cube.iter().zip(&inside) {
                        assert_eq!(*value != -1.0, *inside == inner);
                        assert!(*value == -1.0 || (0.0..1.0).contains(value));
                    }
                    let mut values: Vec<f32> = cube.iter().copied().filter(|&v| v != -1.0).collect();
                    let painted = values.len();
                    values.sort_by(f32::total_cmp);
                    values.dedup();
                    match fill {
                        Fill::Constant => assert!(values.len() <= cutout.windows.len()),
                        // Two of n numbers on a grid of 2^24 rarely agree.
                        Fill::Noise => assert!(values.len() * 100 > painted * 99),
                    }
                }
            }
        }
    }

    #[test]
    fn the_paper_masks_at_most_a_quarter() {
        let mut stream = Stream::new(3, 0, 0, Purpose::Other);
        let mut cutout = Cutout::new(VOXELS);
        for inner in [true, false] {
            let rule = rule(Recipe::paper(), inner);
            let mut share = 0.0;
            for _ in 0..500 {
                cutout.draw(&rule, false, SIZE, &mut stream);
                assert!(cutout.hidden.count() * 4 <= VOXELS);
                assert!(cutout.windows.len() <= 10);
                share += cutout.hidden.count() as f64 / VOXELS as f64 / 500.0;
            }
            assert!((0.05..0.25).contains(&share), "{share}");
        }
    }

    #[test]
    fn the_smallest_allowed_cubes_can_be_painted() {
        let mut stream = Stream::new(4, 0, 0, Purpose::Other);
        for recipe in [Recipe::genesis(), Recipe::paper()] {
            for inner in [true, false] {
                let rule = rule(recipe.clone(), inner);
                let smallest = (1..100).find(|&e| check(&rule, false, [e, 64, 32]).is_ok()).unwrap();
                for extent in smallest..smallest + 10 {
                    let size = [extent; 3];
                    let mut cutout = Cutout::new(extent.pow(3));
                    for _ in 0..200 {
                        cutout.draw(&rule, true, size, &mut stream);
                        assert!(!cutout.windows.is_empty());
                    }
                }
            }
        }
    }
}

//! Flips of the original, which give the target.

use genesis_tensor::random::Stream;

use super::recipe::{Axis, Flip};

/// Draws along which of `[rows, cols, deps]` the cube is flipped. (Two flips along one axis cancel;
/// one along the channel axis does nothing.)
pub(super) fn draw(rule: &Flip, stream: &mut Stream) -> [bool; 3] {
    let mut flipped = [false; 3];
    for _ in 0..rule.rounds {
        if !stream.chance(rule.probability) {
            break;
        }
        let axis = match rule.axes[stream.below(rule.axes.len() as u32) as usize] {
            Axis::Channel => continue,
            Axis::Rows => 0,
            Axis::Cols => 1,
            Axis::Deps => 2,
        };
        flipped[axis] = !flipped[axis];
    }
    flipped
}

/// Writes the flipped `original` to `target`, both `[rows, cols, deps]` in C order.
pub(super) fn apply(flipped: [bool; 3], size: [usize; 3], original: &[f32], target: &mut [f32]) {
    let [rows, cols, deps] = size;
    let mirrored = |flip: bool, index: usize, extent: usize| if flip { extent - 1 - index } else { index };
    for (line, out) in target.chunks_exact_mut(deps).enumerate() {
        let x = mirrored(flipped[0], line / cols, rows);
        let y = mirrored(flipped[1], line % cols, cols);
        let start = (x * cols + y) * deps;
        let source = &original[start..start + deps];
        if flipped[2] {
            for (value, &from) in out.iter_mut().zip(source.iter().rev()) {
                *value = from;
            }
        } else {
            out.copy_from_slice(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deform::recipe::Recipe;
    use genesis_tensor::random::Purpose;

    #[test]
    fn flips_follow_the_index_rule() {
        let size = [2, 3, 4];
        let original: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let mut target = vec![0.0; 24];
        for choice in 0..8 {
            let flipped = [choice & 1 != 0, choice & 2 != 0, choice & 4 != 0];
            apply(flipped, size, &original, &mut target);
            for (x, y, z) in (0..24).map(|i| (i / 12, i / 4 % 3, i % 4)) {
                let fx = if flipped[0] { 1 - x } else { x };
                let fy = if flipped[1] { 2 - y } else { y };
                let fz = if flipped[2] { 3 - z } else { z };
                assert_eq!(target[(x * 3 + y) * 4 + z], original[(fx * 3 + fy) * 4 + fz]);
            }
        }
    }

    #[test]
    fn the_release_leaves_depth_alone_and_flips_27_percent() {
        let mut stream = Stream::new(1, 0, 0, Purpose::Other);
        let draws = 100_000;
        let (original, genesis) = (Recipe::original(), Recipe::genesis());
        let mut changed = 0;
        let mut deep = 0;
        for _ in 0..draws {
            let flipped = draw(&original.flip, &mut stream);
            assert!(!flipped[2]);
            changed += u32::from(flipped != [false; 3]);
            deep += u32::from(draw(&genesis.flip, &mut stream)[2]);
        }
        // P(no net change) by enumeration of the draws = 0.6 + 0.24/3 + 0.096·3/9 + 0.064·7/27
        // = 0.7286; four standard errors.
        let share = f64::from(changed) / f64::from(draws);
        assert!((share - 0.2714).abs() < 4.0 * 0.0014, "{share}");
        // P(odd number of depth flips) = 0.24/3 + 0.096·4/9 + 0.064·13/27 = 0.1535.
        let share = f64::from(deep) / f64::from(draws);
        assert!((share - 0.1535).abs() < 4.0 * 0.00115, "{share}");
    }
}

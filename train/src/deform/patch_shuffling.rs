//! Patch shuffling baseline (Chen et al., *Self-supervised learning for medical image analysis using
//! image context restoration*, 2019): pairs of disjoint patches change places.

use genesis_tensor::random::Stream;

use super::block::Block;

/// The smallest extent of which a quarter is a voxel.
pub(super) const SMALLEST_EXTENT: usize = 4;

/// Two disjoint patches of one size, each side uniform in a quarter to half of the cube's, all
/// disjoint pairs of places alike.
fn draw_pair(size: [usize; 3], stream: &mut Stream) -> [Block; 2] {
    let sides = size.map(|extent| stream.between(extent.div_ceil(4), extent / 2));
    let mut draw = || Block::draw(size, sides, sides, 0, stream);
    // Ends: with sides of at most half, two places at opposite faces are always disjoint.
    loop {
        let pair = [draw(), draw()];
        if pair[0].disjoint(pair[1]) {
            return pair;
        }
    }
}

/// Exchanges `swaps` random pairs of patches in place.
pub(super) fn apply(swaps: usize, size: [usize; 3], cube: &mut [f32], stream: &mut Stream) {
    for _ in 0..swaps {
        let [first, second] = draw_pair(size, stream);
        for (a, b) in first.rows(size).zip(second.rows(size)) {
            // Rows of disjoint patches never overlap, but either may come first.
            let (low, high) = if a.start < b.start { (a, b) } else { (b, a) };
            let (head, tail) = cube.split_at_mut(high.start);
            head[low].swap_with_slice(&mut tail[..high.end - high.start]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_tensor::random::Purpose;

    #[test]
    fn patches_are_disjoint_and_a_quarter_to_half_of_the_cube() {
        let mut stream = Stream::new(1, 0, 0, Purpose::Other);
        let mut sides = [[usize::MAX, 0]; 3];
        for _ in 0..3_000 {
            let [a, b] = draw_pair([64, 64, 32], &mut stream);
            assert!(a.disjoint(b) && a.size == b.size);
            for axis in 0..3 {
                assert!(a.corner[axis] + a.size[axis] <= [64, 64, 32][axis]);
                sides[axis] = [sides[axis][0].min(a.size[axis]), sides[axis][1].max(a.size[axis])];
            }
        }
        assert_eq!(sides, [[16, 32], [16, 32], [8, 16]]);
        for extent in SMALLEST_EXTENT..20 {
            draw_pair([extent; 3], &mut stream);
        }
    }

    #[test]
    fn swaps_move_patches_and_lose_no_voxel() {
        let size = [20, 16, 12];
        let source: Vec<f32> = (0..20 * 16 * 12).map(|v| v as f32).collect();
        let mut cube = source.clone();
        let mut stream = Stream::new(2, 0, 0, Purpose::Other);
        let [a, b] = draw_pair(size, &mut stream.clone());
        apply(1, size, &mut cube, &mut stream);
        let mut want = source.clone();
        for (p, q) in a.rows(size).flatten().zip(b.rows(size).flatten()) {
            want.swap(p, q);
        }
        assert_eq!(cube, want);
        apply(10, size, &mut cube, &mut stream);
        assert_ne!(cube, source);
        cube.sort_by(f32::total_cmp);
        assert_eq!(cube, source);
    }
}

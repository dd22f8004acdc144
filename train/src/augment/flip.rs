//! Patches whose voxels are voxels of the volume: copied, and flipped along any axis.

use genesis_tensor::random::Stream;

use super::recipe::Flip;

/// Draws along which axes the patch is flipped.
pub(super) fn draw(rule: &Flip, stream: &mut Stream) -> [bool; 3] {
    rule.probability.map(|probability| stream.chance(probability))
}

/// Copies the patch whose first voxel is `corner` from a volume of `extents` voxels and flips it;
/// voxels beyond the volume become `padding`. `patch` is `[x, y, z]` of `size`, in C order.
pub(super) fn copy<T: Copy>(
    volume: &[T],
    extents: [usize; 3],
    corner: [i64; 3],
    size: [usize; 3],
    flips: [bool; 3],
    padding: T,
    patch: &mut [T],
) {
    // The voxel of the volume, along one axis, that the patch's `index` shows.
    let shown = |axis: usize, index: usize| {
        let index = if flips[axis] { size[axis] - 1 - index } else { index };
        let voxel = usize::try_from(corner[axis].saturating_add(index as i64)).ok()?;
        (voxel < extents[axis]).then_some(voxel)
    };
    let [_, size_y, size_z] = size;
    // Along z, before the flip: `before` voxels of padding, then `within`, a part of the volume.
    let before = usize::try_from(corner[2].saturating_neg()).unwrap_or(0).min(size_z);
    let first = usize::try_from(corner[2]).unwrap_or(0).min(extents[2]);
    let within = first..(first + size_z - before).min(extents[2]);
    for (index, line) in patch.chunks_exact_mut(size_z).enumerate() {
        line.fill(padding);
        let (Some(x), Some(y)) = (shown(0, index / size_y), shown(1, index % size_y)) else { continue };
        let source = &volume[(x * extents[1] + y) * extents[2]..][within.clone()];
        line[before..before + source.len()].copy_from_slice(source);
        if flips[2] {
            line.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_tensor::random::Purpose;

    #[test]
    fn every_voxel_follows_the_index_rule() {
        let (extents, size) = ([3, 4, 5], [4, 2, 6]);
        let volume: Vec<u16> = (1..=60).collect();
        let corners =
            [[0, 0, 0], [-2, 1, -1], [1, 3, 2], [2, -1, -9], [0, 0, 5], [i64::MIN, 0, 0], [0, 0, i64::MIN]];
        for (corner, choice) in corners.into_iter().flat_map(|corner| (0..8).map(move |c| (corner, c))) {
            let flips = [choice & 1 != 0, choice & 2 != 0, choice & 4 != 0];
            let mut patch = vec![7; 48];
            copy(&volume, extents, corner, size, flips, 0, &mut patch);
            for (index, &value) in patch.iter().enumerate() {
                let place = [index / 12, index / 6 % 2, index % 6];
                let voxel: [i128; 3] = std::array::from_fn(|a| {
                    let along = if flips[a] { size[a] - 1 - place[a] } else { place[a] };
                    i128::from(corner[a]) + along as i128
                });
                let inside = (0..3).all(|a| (0..extents[a] as i128).contains(&voxel[a]));
                let want = if inside { 1 + (voxel[0] * 4 + voxel[1]) * 5 + voxel[2] } else { 0 };
                assert_eq!(i128::from(value), want, "{corner:?} {flips:?} {place:?}");
            }
        }
    }

    #[test]
    fn each_axis_has_its_own_probability() {
        let rule = Flip { probability: [0.0, 0.5, 1.0] };
        let mut stream = Stream::new(1, 0, 0, Purpose::Other);
        let drawn: Vec<[bool; 3]> = (0..10_000).map(|_| draw(&rule, &mut stream)).collect();
        let count = |axis: usize| drawn.iter().filter(|flips| flips[axis]).count();
        // 5 000 expected, standard deviation 50.
        assert_eq!([count(0), count(2)], [0, 10_000]);
        assert!((4_750..5_250).contains(&count(1)), "{}", count(1));
    }
}

//! Local pixel shuffling: the voxels of many small blocks change places within their block.
//!
//! The release shuffles block after block, each taken from the unshuffled cube, and later blocks
//! overwrite earlier ones. We draw the blocks from the last to the first and note which voxels are
//! settled: only those that survive are drawn at all. The distribution is the same: the survivors
//! of a block's random permutation are a random ordered subset of the block's values, which is what
//! the first steps of a Fisher-Yates shuffle give. For the same reason voxels that a cut-out will
//! mask may be declared settled before the first block.

use genesis_tensor::random::Stream;

use super::block::Block;
use super::voxel_set::VoxelSet;

/// The smallest extent of a cube in which blocks of a tenth of it exist.
pub(super) const SMALLEST_EXTENT: usize = 10;

/// Working memory for one size of cube.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    /// 0, 1, 2, … up to the largest block's voxel count.
    identity: Vec<u32>,
    /// The part of a block's permutation that has been drawn.
    permutation: Vec<u32>,
    /// The values of one block, for shuffling in place.
    values: Vec<f32>,
}

impl Buffers {
    /// Memory for the blocks of cubes of this size.
    pub fn new(size: [usize; 3]) -> Self {
        let largest = size.map(|extent| extent / 10).iter().product::<usize>();
        Self {
            identity: (0..largest as u32).collect(),
            permutation: vec![0; largest],
            values: Vec::with_capacity(largest),
        }
    }
}

/// A random block: sides uniform in `[1, extent / 10]`, corner uniform over all places.
#[inline]
fn draw_block(size: [u32; 3], stream: &mut Stream) -> ([usize; 3], [usize; 3]) {
    let sides = stream.below_each(size.map(|extent| extent / 10)).map(|side| side + 1);
    let corner = stream.below_each([0, 1, 2].map(|axis| size[axis] - sides[axis] + 1));
    (corner.map(|c| c as usize), sides.map(|s| s as usize))
}

/// Shuffles `source` into `output`, which must hold a copy of `source`; voxels in `settled` are left
/// as they are, and every voxel drawn is added to it.
pub(super) fn overwrite(
    blocks: usize,
    size: [usize; 3],
    source: &[f32],
    output: &mut [f32],
    settled: &mut VoxelSet,
    buffers: &mut Buffers,
    stream: &mut Stream,
) {
    let [_, cols, deps] = size;
    let extents = size.map(|extent| extent as u32);
    for _ in 0..blocks {
        let (corner, sides) = draw_block(extents, stream);
        let first = (corner[0] * cols + corner[1]) * deps + corner[2];
        let count = sides.iter().product::<usize>();
        let [_, side_y, side_z] = sides.map(|side| side as u32);
        let (by_y, by_z) = (reciprocal(side_y), reciprocal(side_z));
        let permutation = &mut buffers.permutation[..count];
        let mut drawn = 0;
        for x in 0..sides[0] {
            for y in 0..sides[1] {
                let row = first + (x * cols + y) * deps;
                for piece in (0..sides[2]).step_by(64) {
                    let start = row + piece;
                    let mut free = settled.add(start, (sides[2] - piece).min(64));
                    while free != 0 {
                        if drawn == 0 {
                            permutation.copy_from_slice(&buffers.identity[..count]);
                        }
                        let chosen = drawn + stream.below((count - drawn) as u32) as usize;
                        let value = permutation[chosen];
                        permutation[chosen] = permutation[drawn];
                        drawn += 1;
                        let column = divide(value, by_z);
                        let plane = divide(column, by_y);
                        let (from_z, from_y) = (value - column * side_z, column - plane * side_y);
                        let from = first + (plane as usize * cols + from_y as usize) * deps + from_z as usize;
                        output[start + free.trailing_zeros() as usize] = source[from];
                        free &= free - 1;
                    }
                }
            }
        }
    }
}

/// `ceil(2^44 / divisor)`, with which [`divide`] is exact: numerator and divisor are below 2^20
/// (a block holds at most a thousandth of 2^29 voxels), so the error numerator · divisor / 2^44
/// stays below 1 / divisor.
#[inline]
fn reciprocal(divisor: u32) -> u64 {
    (1u64 << 44).div_ceil(u64::from(divisor))
}

/// The integer quotient, as a multiplication: much faster than a division.
#[inline]
fn divide(numerator: u32, reciprocal: u64) -> u32 {
    ((u64::from(numerator) * reciprocal) >> 44) as u32
}

/// Shuffles block after block of `cube` in place: no value is lost, the cube's histogram stays.
pub(super) fn in_place(
    blocks: usize,
    size: [usize; 3],
    cube: &mut [f32],
    buffers: &mut Buffers,
    stream: &mut Stream,
) {
    let extents = size.map(|extent| extent as u32);
    for _ in 0..blocks {
        let (corner, sides) = draw_block(extents, stream);
        let block = Block { corner, size: sides };
        let values = &mut buffers.values;
        values.clear();
        for row in block.rows(size) {
            values.extend_from_slice(&cube[row]);
        }
        stream.shuffle(values);
        for (row, shuffled) in block.rows(size).zip(values.chunks_exact(sides[2])) {
            cube[row].copy_from_slice(shuffled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_tensor::random::Purpose;

    /// The release's rule word for word: every block from the source, later ones on top.
    fn naive(blocks: usize, size: [usize; 3], source: &[f32], stream: &mut Stream) -> Vec<f32> {
        let mut output = source.to_vec();
        for _ in 0..blocks {
            let sides = size.map(|extent| stream.between(1, extent / 10));
            let corner = [0, 1, 2].map(|axis| stream.between(0, size[axis] - sides[axis]));
            let rows = || Block { corner, size: sides }.rows(size).flatten();
            let mut values: Vec<f32> = rows().map(|voxel| source[voxel]).collect();
            stream.shuffle(&mut values);
            rows().zip(values).for_each(|(voxel, value)| output[voxel] = value);
        }
        output
    }

    fn fast(blocks: usize, size: [usize; 3], source: &[f32], stream: &mut Stream) -> Vec<f32> {
        let mut output = source.to_vec();
        let mut settled = VoxelSet::new(source.len());
        overwrite(blocks, size, source, &mut output, &mut settled, &mut Buffers::new(size), stream);
        output
    }

    /// How often each voxel's value comes from each shift, and how many values a cube keeps: mean
    /// and standard error of those that tell one shuffle from another.
    fn summary(
        shuffle: fn(usize, [usize; 3], &[f32], &mut Stream) -> Vec<f32>,
        size: [usize; 3],
        blocks: usize,
    ) -> Vec<(f64, f64)> {
        let voxels = size.iter().product::<usize>();
        let source: Vec<f32> = (0..voxels).map(|v| v as f32).collect();
        let mut stream = Stream::new(21, 0, blocks as u64, Purpose::Other);
        let draws = 300;
        let mut samples = vec![Vec::new(); 6];
        for _ in 0..draws {
            let output = shuffle(blocks, size, &source, &mut stream);
            let mut shift = [0.0; 3];
            let (mut moved, mut edge) = (0.0, 0.0);
            let mut kept = vec![false; voxels];
            for (to, &value) in output.iter().enumerate() {
                let from = value as usize;
                kept[from] = true;
                moved += f64::from(u8::from(from != to));
                edge += f64::from(u8::from(from != to && to % size[2] == 0));
                let position = |v: usize| [v / (size[1] * size[2]), v / size[2] % size[1], v % size[2]];
                for axis in 0..3 {
                    shift[axis] += (position(from)[axis] as f64 - position(to)[axis] as f64).powi(2);
                }
            }
            let kept = kept.iter().filter(|&&k| k).count() as f64;
            for (list, value) in samples.iter_mut().zip([shift[0], shift[1], shift[2], moved, edge, kept]) {
                list.push(value);
            }
        }
        samples
            .iter()
            .map(|list| {
                let mean = list.iter().sum::<f64>() / f64::from(draws);
                let variance = list.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(draws - 1);
                (mean, (variance / f64::from(draws)).sqrt())
            })
            .collect()
    }

    #[test]
    fn reverse_order_has_the_distribution_of_the_naive_order() {
        for (size, blocks) in [([30, 40, 20], 1_500), ([20, 10, 32], 40)] {
            for (a, b) in summary(naive, size, blocks).into_iter().zip(summary(fast, size, blocks)) {
                let error = a.1.hypot(b.1);
                assert!((a.0 - b.0).abs() <= 4.0 * error, "{a:?} against {b:?} at {size:?}");
            }
        }
    }

    #[test]
    fn values_come_from_the_neighbourhood_and_settled_voxels_stay() {
        let size = [64, 64, 32];
        let source: Vec<f32> = (0..64 * 64 * 32).map(|v| v as f32).collect();
        let mut output = source.clone();
        let mut settled = VoxelSet::new(source.len());
        settled.add_range(5_000..90_000);
        let mut stream = Stream::new(2, 0, 0, Purpose::Other);
        overwrite(10_000, size, &source, &mut output, &mut settled, &mut Buffers::new(size), &mut stream);
        let mut moved = 0;
        for (to, &value) in output.iter().enumerate() {
            let from = value as usize;
            let apart =
                |divisor: usize, extent: usize| (from / divisor % extent).abs_diff(to / divisor % extent);
            assert!(apart(2_048, 64) <= 5 && apart(32, 64) <= 5 && apart(1, 32) <= 2, "{from} to {to}");
            moved += usize::from(from != to);
            assert!(!(5_000..90_000).contains(&to) || from == to);
        }
        assert!((30_000..41_072).contains(&moved), "{moved}");
    }

    #[test]
    fn one_block_is_a_permutation_of_uniform_places() {
        // A single block in a 10x20x30 cube is 1 x (1..2) x (1..3): all its voxels must be a
        // permutation, and over many draws each voxel of a 1x2x3 block must go everywhere alike.
        let size = [10, 20, 30];
        let source: Vec<f32> = (0..6_000).map(|v| v as f32).collect();
        let mut stream = Stream::new(4, 0, 0, Purpose::Other);
        let mut destinations = [[0u32; 6]; 6];
        for _ in 0..30_000 {
            let mut peek = stream.clone();
            let (corner, sides) = draw_block(size.map(|e| e as u32), &mut peek);
            let output = fast(1, size, &source, &mut stream);
            let block = Block { corner, size: sides };
            let inside: Vec<usize> = block.rows(size).flatten().collect();
            let mut sorted: Vec<usize> = inside.iter().map(|&voxel| output[voxel] as usize).collect();
            if sides == [1, 2, 3] {
                for (to, from) in sorted.iter().enumerate() {
                    destinations[inside.iter().position(|v| v == from).unwrap()][to] += 1;
                }
            }
            sorted.sort_unstable();
            assert_eq!(sorted, inside);
        }
        let total: u32 = destinations[0].iter().sum();
        assert!((4_700..5_300).contains(&total), "{total} of 5 000 expected");
        let expected = f64::from(total) / 6.0;
        let chi: f64 =
            destinations.iter().flatten().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        // 25 degrees of freedom.
        assert!(chi < 60.0, "chi-square {chi}: {destinations:?}");
    }

    #[test]
    fn shuffling_in_place_keeps_the_histogram() {
        let size = [64, 20, 32];
        let source: Vec<f32> = (0..64 * 20 * 32).map(|v| v as f32).collect();
        let mut cube = source.clone();
        in_place(1_000, size, &mut cube, &mut Buffers::new(size), &mut Stream::new(2, 0, 0, Purpose::Other));
        assert_ne!(cube, source);
        cube.sort_by(f32::total_cmp);
        assert_eq!(cube, source);
    }

    #[test]
    fn division_by_multiplication_is_exact() {
        for divisor in (1..400).chain([9_973, 65_536, 524_287, 536_870]) {
            for numerator in (0..2_000).chain([65_535, 65_536, 300_000, 536_869, 536_870]) {
                assert_eq!(divide(numerator, reciprocal(divisor)), numerator / divisor);
            }
            let last = 536_870 / divisor * divisor;
            assert_eq!(divide(last - 1, reciprocal(divisor)), (last - 1) / divisor);
        }
    }
}

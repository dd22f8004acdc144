//! Local pixel shuffling: the voxels of many small blocks change places within their block.
//!
//! The release shuffles block after block, each taken from the unshuffled cube, and later blocks
//! overwrite earlier ones. We draw the blocks from the last to the first and note which voxels are
//! settled: only those that survive are drawn at all. The distribution is the same: the survivors
//! of a block's random permutation are a random ordered subset of the block's values, which is what
//! the first steps of a Fisher-Yates shuffle give. For the same reason voxels that a cut-out will
//! mask are declared settled before the first block.

use genesis_tensor::random::Stream;

use super::block::Block;
use super::voxel_set::VoxelSet;

/// The smallest extent of a cube in which blocks of a tenth of it exist.
pub(super) const SMALLEST_EXTENT: usize = 10;

/// Tables of offsets beyond this many entries are not kept (cubes of about 100 voxels a side).
const LARGEST_TABLE: usize = 1 << 18;

/// Working memory for one size of cube.
#[derive(Clone, Debug)]
pub(super) struct Buffers {
    size: [u32; 3],
    /// The offsets of every size of block, one list after another; empty if they would be too many.
    table: Vec<u32>,
    /// Where each list starts, by the sides less 1 in C order.
    starts: Vec<usize>,
    /// The offsets of one block, where there is no table.
    offsets: Vec<u32>,
    /// The voxels of one block that are still to be drawn.
    free: Vec<u32>,
    /// 0, 1, 2, … up to the largest block's voxel count.
    identity: Vec<u32>,
    /// The part of a block's permutation that has been drawn.
    permutation: Vec<u32>,
    /// For each voxel 1 if its value is settled, else 0.
    settled: Vec<u8>,
    /// The values of one block, for shuffling in place.
    values: Vec<f32>,
}

impl Buffers {
    /// Memory for the blocks of cubes of this size.
    pub fn new(size: [usize; 3]) -> Self {
        let longest = size.map(|extent| extent / 10);
        let largest = longest.iter().product::<usize>();
        let mut buffers = Self {
            size: size.map(|extent| extent as u32),
            table: Vec::new(),
            starts: Vec::new(),
            offsets: Vec::with_capacity(largest),
            free: vec![0; largest],
            identity: (0..largest as u32).collect(),
            permutation: vec![0; largest],
            settled: vec![0; size.iter().product()],
            values: Vec::with_capacity(largest),
        };
        let entries: usize = longest.map(|side| side * (side + 1) / 2).iter().product();
        if entries <= LARGEST_TABLE {
            for index in 0..largest {
                let (x, rest) = (index / (longest[1] * longest[2]), index % (longest[1] * longest[2]));
                buffers.starts.push(buffers.table.len());
                let sides = [x + 1, rest / longest[2] + 1, rest % longest[2] + 1];
                write_offsets(size, sides, &mut buffers.table);
            }
        }
        buffers
    }
}

/// Appends the distances of a block's voxels from its first one, in C order.
fn write_offsets(size: [usize; 3], sides: [usize; 3], offsets: &mut Vec<u32>) {
    for row in (Block { corner: [0; 3], size: sides }).rows(size) {
        offsets.extend(row.map(|offset| offset as u32));
    }
}

/// A random block: sides uniform in `[1, extent / 10]`, corner uniform over all places.
#[inline]
fn draw_block(size: [u32; 3], stream: &mut Stream) -> ([usize; 3], [usize; 3]) {
    let sides = stream.below_each(size.map(|extent| extent / 10)).map(|side| side + 1);
    let corner = stream.below_each([0, 1, 2].map(|axis| size[axis] - sides[axis] + 1));
    (corner.map(|c| c as usize), sides.map(|s| s as usize))
}

/// Settles the voxels at these offsets, lists those that were not settled before in `free`, and
/// returns how many they are. Without branches, which would be unpredictable: every voxel is written
/// to the list, and the list grows if the voxel was free.
#[inline(never)]
fn settle(settled: &mut [u8], offsets: &[u32], free: &mut [u32]) -> usize {
    let mut wanted = 0;
    for &offset in offsets {
        free[wanted] = offset;
        let state = &mut settled[offset as usize];
        wanted += usize::from(*state ^ 1);
        *state = 1;
    }
    wanted
}

/// Shuffles `source` into `output`, which must hold a copy of `source`; voxels in `hidden` are left
/// as they are, since they will not be seen.
pub(super) fn overwrite(
    blocks: usize,
    source: &[f32],
    output: &mut [f32],
    hidden: &VoxelSet,
    buffers: &mut Buffers,
    stream: &mut Stream,
) {
    let Buffers { size, table, starts, offsets, free, identity, permutation, settled, .. } = buffers;
    let [_, cols, deps] = size.map(|extent| extent as usize);
    let longest = size.map(|extent| extent as usize / 10);
    settled.fill(0);
    hidden.for_each_run(|run| settled[run].fill(1));
    for _ in 0..blocks {
        let (corner, sides) = draw_block(*size, stream);
        let first = (corner[0] * cols + corner[1]) * deps + corner[2];
        let count = sides.iter().product::<usize>();
        let offsets = if starts.is_empty() {
            offsets.clear();
            write_offsets(size.map(|extent| extent as usize), sides, offsets);
            &offsets[..]
        } else {
            let start = starts[((sides[0] - 1) * longest[1] + sides[1] - 1) * longest[2] + sides[2] - 1];
            &table[start..start + count]
        };
        let span = first..first + offsets[count - 1] as usize + 1;
        let wanted = settle(&mut settled[span], offsets, free);
        if wanted == 0 {
            continue;
        }
        let permutation = &mut permutation[..count];
        permutation.copy_from_slice(&identity[..count]);
        let mut take = |drawn: usize, skipped: u32| {
            let chosen = drawn + skipped as usize;
            let value = permutation[chosen];
            permutation[chosen] = permutation[drawn];
            output[first + free[drawn] as usize] = source[first + offsets[value as usize] as usize];
        };
        let mut drawn = 0;
        while drawn + 1 < wanted {
            let left = (count - drawn) as u32;
            let [one, two] = stream.below_each([left, left - 1]);
            take(drawn, one);
            take(drawn + 1, two);
            drawn += 2;
        }
        if drawn < wanted {
            take(drawn, stream.below((count - drawn) as u32));
        }
    }
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
        let hidden = VoxelSet::new(source.len());
        overwrite(blocks, source, &mut output, &hidden, &mut Buffers::new(size), stream);
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
    fn values_come_from_the_neighbourhood_and_hidden_voxels_stay() {
        let size = [64, 64, 32];
        let source: Vec<f32> = (0..64 * 64 * 32).map(|v| v as f32).collect();
        let mut output = source.clone();
        let mut hidden = VoxelSet::new(source.len());
        hidden.add_range(5_000..90_000);
        let mut stream = Stream::new(2, 0, 0, Purpose::Other);
        overwrite(10_000, &source, &mut output, &hidden, &mut Buffers::new(size), &mut stream);
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
}

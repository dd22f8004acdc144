//! A set of voxels of a cube, one bit each.

use std::ops::Range;

/// Voxels by their C-order position.
#[derive(Clone, Debug, Default)]
pub(super) struct VoxelSet {
    words: Vec<u64>,
    voxels: usize,
}

/// The lowest `count` (at most 64) bits.
fn low_bits(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

impl VoxelSet {
    /// The empty set of a cube of that many voxels.
    pub fn new(voxels: usize) -> Self {
        Self { words: vec![0; voxels.div_ceil(64)], voxels }
    }

    /// Removes every voxel.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Adds a range of voxels.
    pub fn add_range(&mut self, range: Range<usize>) {
        let mut start = range.start;
        while start < range.end {
            let shift = start % 64;
            let count = (64 - shift).min(range.end - start);
            self.words[start / 64] |= low_bits(count) << shift;
            start += count;
        }
    }

    /// Whether a voxel is in the set.
    pub fn contains(&self, voxel: usize) -> bool {
        self.words[voxel / 64] >> (voxel % 64) & 1 == 1
    }

    /// How many voxels of a range are not in the set.
    pub fn missing(&self, range: Range<usize>) -> usize {
        range.filter(|&voxel| !self.contains(voxel)).count()
    }

    /// The number of voxels in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Replaces the set by its complement.
    pub fn invert(&mut self) {
        for (index, word) in self.words.iter_mut().enumerate() {
            *word = !*word & low_bits(self.voxels - index * 64);
        }
    }

    /// Calls `visit` with runs of consecutive voxels that together are the set, in order.
    #[inline]
    pub fn for_each_run(&self, visit: impl FnMut(Range<usize>)) {
        runs(self.words.iter().copied(), visit);
    }

    /// The same for the voxels that are not in the set.
    #[inline]
    pub fn for_each_run_outside(&self, visit: impl FnMut(Range<usize>)) {
        let voxels = self.voxels;
        let outside =
            self.words.iter().enumerate().map(|(index, word)| !word & low_bits(voxels - index * 64));
        runs(outside, visit);
    }
}

/// Calls `visit` with the runs of ones in consecutive words.
#[inline]
fn runs(words: impl Iterator<Item = u64>, mut visit: impl FnMut(Range<usize>)) {
    for (index, word) in words.enumerate() {
        let mut rest = word;
        while rest != 0 {
            let start = rest.trailing_zeros() as usize;
            let length = (rest >> start).trailing_ones() as usize;
            visit(index * 64 + start..index * 64 + start + length);
            rest &= !(low_bits(length) << start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_a_set_of_positions() {
        use genesis_tensor::random::{Purpose, Stream};
        let mut stream = Stream::new(3, 0, 0, Purpose::Other);
        for voxels in [1, 63, 64, 65, 200, 256] {
            let mut set = VoxelSet::new(voxels);
            let mut plain = vec![false; voxels];
            for _ in 0..30 {
                let start = stream.between(0, voxels - 1);
                let count = stream.between(1, voxels - start);
                let new = plain[start..start + count].iter().filter(|member| !**member).count();
                assert_eq!(set.missing(start..start + count), new);
                set.add_range(start..start + count);
                plain[start..start + count].fill(true);
                assert!((0..voxels).all(|voxel| set.contains(voxel) == plain[voxel]));
                let mut inverse = set.clone();
                inverse.invert();
                for (set, member) in [(&set, true), (&inverse, false)] {
                    let mut visited = Vec::new();
                    set.for_each_run(|run| visited.extend(run));
                    let want: Vec<usize> = (0..voxels).filter(|&voxel| plain[voxel] == member).collect();
                    assert_eq!(visited, want);
                    assert_eq!(set.count(), want.len());
                    let mut outside = Vec::new();
                    set.for_each_run_outside(|run| outside.extend(run));
                    let want: Vec<usize> = (0..voxels).filter(|&voxel| plain[voxel] != member).collect();
                    assert_eq!(outside, want);
                }
            }
        }
    }
}

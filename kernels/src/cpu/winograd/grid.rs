//! Where tiles lie in the input and in the output.

use super::cube::MOST;

/// An activation that is read: `[batch, extents…, channels]`.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, E> {
    pub values: &'a [E],
    pub channels: usize,
}

/// The extents of a convolution of 3³ taps and stride 1, and its tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub batch: usize,
    pub input: [usize; 3],
    pub output: [usize; 3],
    /// Padding before the first voxel; negative where voxels are cut off.
    pub low: [isize; 3],
    /// Extents of a tile of the output.
    pub tile: [usize; 3],
}

impl Grid {
    /// Tiles along each axis.
    fn counts(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.output[axis].div_ceil(self.tile[axis]))
    }

    /// Tiles of the whole batch.
    pub fn tiles(&self) -> usize {
        self.batch * self.counts().iter().product::<usize>()
    }

    /// The sample and the first output voxel of a tile.
    #[inline(always)]
    fn origin(&self, tile: usize) -> (usize, [usize; 3]) {
        let [d, h, w] = self.counts();
        let (rest, z) = (tile / w, tile % w);
        let (rest, y) = (rest / h, rest % h);
        let place = [rest % d, y, z];
        (rest / d, std::array::from_fn(|axis| place[axis] * self.tile[axis]))
    }

    /// Points to the N0·N² input voxels of a tile, from channel `first` on, or to `zeros`.
    #[inline(always)]
    pub fn voxels<E, const N0: usize, const N: usize>(
        &self,
        tile: usize,
        source: &Source<E>,
        first: usize,
        zeros: &[E],
        voxels: &mut [*const E; MOST],
    ) {
        let (sample, origin) = self.origin(tile);
        let start: [isize; 3] = std::array::from_fn(|axis| origin[axis] as isize - self.low[axis]);
        let inside = |axis: usize, i: usize| {
            let at = start[axis] + i as isize;
            (at >= 0 && at < self.input[axis] as isize).then_some(at as usize)
        };
        let mut index = 0;
        for i0 in 0..N0 {
            for i1 in 0..N {
                let row = inside(0, i0)
                    .zip(inside(1, i1))
                    .map(|(d, h)| ((sample * self.input[0] + d) * self.input[1] + h) * self.input[2]);
                for i2 in 0..N {
                    voxels[index] = match row.zip(inside(2, i2)) {
                        Some((row, w)) => source.values[(row + w) * source.channels + first..].as_ptr(),
                        None => zeros.as_ptr(),
                    };
                    index += 1;
                }
            }
        }
    }

    /// Points to the M0·M² output voxels of a tile, from channel `first` on, or to `zeros` where there is
    /// none.
    #[inline(always)]
    pub fn output_voxels<E, const M0: usize, const M: usize>(
        &self,
        tile: usize,
        source: &Source<E>,
        first: usize,
        zeros: &[E],
        voxels: &mut [*const E; MOST],
    ) {
        let (start, valid) = self.output_tile::<M0, M>(tile);
        for index in 0..M0 * M * M {
            let at = [index / (M * M), index / M % M, index % M];
            let exists = (0..3).all(|axis| at[axis] < valid[axis]);
            let [d, h, w] = self.output_pitch(source.channels);
            voxels[index] = if exists {
                source.values[start * source.channels + at[0] * d + at[1] * h + at[2] * w + first..].as_ptr()
            } else {
                zeros.as_ptr()
            };
        }
    }

    /// The voxels from one output voxel to the next along each axis, times `channels`.
    pub fn output_pitch(&self, channels: usize) -> [usize; 3] {
        [self.output[1] * self.output[2] * channels, self.output[2] * channels, channels]
    }

    /// The first output voxel of a tile of M0×M×M, and how many of its voxels exist along each axis.
    #[inline(always)]
    pub fn output_tile<const M0: usize, const M: usize>(&self, tile: usize) -> (usize, [usize; 3]) {
        let (sample, origin) = self.origin(tile);
        let valid = std::array::from_fn(|axis| [M0, M, M][axis].min(self.output[axis] - origin[axis]));
        let row = (sample * self.output[0] + origin[0]) * self.output[1] + origin[1];
        (row * self.output[2] + origin[2], valid)
    }
}

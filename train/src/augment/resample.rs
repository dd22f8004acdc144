//! The places of one line of a patch in its volume, and what the volume holds there.

/// Marks a place whose eight neighbours are not all voxels of the volume.
const AT_A_FACE: usize = usize::MAX;

/// Places of the voxels of one line along z.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Lowest of the eight voxels around each place.
    cell: Vec<[i64; 3]>,
    /// Its index in the volume, or [`AT_A_FACE`].
    index: Vec<usize>,
    /// The place within the cell, in `[0, 1]`.
    fraction: Vec<[f32; 3]>,
}

/// The largest integer not above `value`. (`f32::floor` is a call on the oldest x86-64.)
#[inline(always)]
fn floor(value: f32) -> i32 {
    let truncated = value as i32;
    truncated - i32::from((truncated as f32) > value)
}

/// Linear interpolation.
#[inline(always)]
fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}

impl Line {
    /// Places `count` voxels from `start` on, `step` apart, each displaced; all relative to the voxel
    /// `origin` of a volume of `extents` voxels.
    pub(super) fn locate(
        &mut self,
        start: [f32; 3],
        step: [f32; 3],
        count: usize,
        displaced: Option<[&[f32]; 3]>,
        origin: [i64; 3],
        extents: [usize; 3],
    ) {
        self.cell.resize(count, [0; 3]);
        self.index.resize(count, 0);
        self.fraction.resize(count, [0.0; 3]);
        let places = self.cell.iter_mut().zip(&mut self.index).zip(&mut self.fraction).enumerate();
        for (z, ((cell, index), fraction)) in places {
            let mut inside = true;
            for axis in 0..3 {
                let shift = displaced.map_or(0.0, |lines| lines[axis][z]);
                let place = start[axis] + z as f32 * step[axis] + shift;
                let below = floor(place);
                fraction[axis] = place - below as f32;
                cell[axis] = origin[axis] + i64::from(below);
                inside &= (cell[axis] as u64) < (extents[axis] as u64).saturating_sub(1);
            }
            *index = if inside { flat(cell.map(|c| c as usize), extents) } else { AT_A_FACE };
        }
    }

    /// Linear interpolation between the eight voxels around each place; those beyond the faces have
    /// the value `padding`.
    pub(super) fn interpolate(&self, volume: &[f32], extents: [usize; 3], padding: f32, out: &mut [f32]) {
        let (next_y, next_x) = (extents[2], extents[1] * extents[2]);
        let places = self.index.iter().zip(&self.fraction).zip(&self.cell);
        for (out, ((&index, &[x, y, z]), &cell)) in out.iter_mut().zip(places) {
            // Two neighbours along z.
            let pair = |dx: usize, dy: usize| {
                if index == AT_A_FACE {
                    let along = |dz| at(volume, extents, cell, [dx, dy, dz]).unwrap_or(padding);
                    return mix(along(0), along(1), z);
                }
                let first = index + dx * next_x + dy * next_y;
                let [a, b] = *volume[first..].first_chunk().unwrap_or(&[padding; 2]);
                mix(a, b, z)
            };
            *out = mix(mix(pair(0, 0), pair(0, 1), y), mix(pair(1, 0), pair(1, 1), y), x);
        }
    }

    /// The label of the voxel nearest to each place, `padding` beyond the faces.
    pub(super) fn nearest<L: Copy>(&self, volume: &[L], extents: [usize; 3], padding: L, out: &mut [L]) {
        for (out, (&cell, fraction)) in out.iter_mut().zip(self.cell.iter().zip(&self.fraction)) {
            let nearer = fraction.map(|share| usize::from(share >= 0.5));
            *out = at(volume, extents, cell, nearer).unwrap_or(padding);
        }
    }
}

/// Index of a voxel in C order.
#[inline(always)]
fn flat([x, y, z]: [usize; 3], extents: [usize; 3]) -> usize {
    (x * extents[1] + y) * extents[2] + z
}

/// The value of the voxel `offset` after `cell`, if there is one.
#[inline(always)]
fn at<T: Copy>(volume: &[T], extents: [usize; 3], cell: [i64; 3], offset: [usize; 3]) -> Option<T> {
    let mut voxel = [0; 3];
    for axis in 0..3 {
        voxel[axis] = usize::try_from(cell[axis] + offset[axis] as i64).ok()?;
        if voxel[axis] >= extents[axis] {
            return None;
        }
    }
    volume.get(flat(voxel, extents)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_is_that_of_the_standard_library() {
        for value in [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, -1.0001, 7.99, -7.99, 1e6, -1e6] {
            assert_eq!(floor(value), value.floor() as i32, "{value}");
        }
    }

    #[test]
    fn a_linear_volume_is_interpolated_exactly_and_fades_to_the_padding() {
        let extents = [4, 5, 6];
        let volume: Vec<f32> = (0..120)
            .map(|i| 1.0 + 2.0 * (i / 30) as f32 - (i / 6 % 5) as f32 + 0.5 * (i % 6) as f32)
            .collect();
        let mut line = Line::default();
        let mut out = [0.0; 5];
        line.locate([0.25, -0.5, -2.0], [0.125, 0.25, 0.5], 5, None, [1, 2, 3], extents);
        line.interpolate(&volume, extents, 0.0, &mut out);
        for (i, value) in out.into_iter().enumerate() {
            let t = i as f32;
            let [x, y, z] = [1.25 + 0.125 * t, 1.5 + 0.25 * t, 1.0 + 0.5 * t];
            assert_eq!(value, 1.0 + 2.0 * x - y + 0.5 * z);
        }
        // From the last voxel along z outwards.
        line.locate([0.0, 0.0, 0.0], [0.0, 0.0, 0.25], 5, None, [0, 0, 5], extents);
        line.interpolate(&volume, extents, 7.5, &mut out);
        assert_eq!(out, [3.5, 4.5, 5.5, 6.5, 7.5]);
        let mut labels = [0u8; 5];
        line.nearest(&[3; 120], extents, 9, &mut labels);
        assert_eq!(labels, [3, 3, 9, 9, 9]);
    }
}

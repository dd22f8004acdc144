//! Which coordinates the taps read along one axis, and where a packed window keeps them.
//!
//! Tap by tap an output position `i` reads the coordinate `i · stride + shift`. A [`Window`] holds the
//! coordinates that a range of positions reads, ordered so that consecutive positions read consecutive
//! places at every tap: strides and dilations are gone, and padding is a place filled with zeros.

use crate::cpu::convolution::Geometry;
use std::ops::Range;

/// One axis of a convolution that is computed position by position.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// Coordinates that can be read: `0..extent`.
    pub extent: usize,
    /// Coordinates from what one position reads to what the next one reads.
    pub stride: usize,
    /// Output positions with their taps; each output voxel belongs to one line.
    pub lines: Vec<Line>,
}

/// Output voxels `first + step · i` for `i < count`, which share their taps.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub first: usize,
    pub step: usize,
    pub count: usize,
    pub taps: Vec<Tap>,
}

/// A tap along one axis: its position in the kernel, and `shift` as above.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub position: usize,
    pub shift: i64,
}

impl Axis {
    /// The axes when `result` is computed from `image`.
    pub fn reading_image(geometry: &Geometry) -> [Self; 3] {
        std::array::from_fn(|axis| {
            let taps = (0..geometry.kernel[axis]).map(|position| Tap {
                position,
                shift: (position * geometry.dilation[axis]) as i64 - geometry.low[axis] as i64,
            });
            let line = Line { first: 0, step: 1, count: geometry.result[axis], taps: taps.collect() };
            Self::new(geometry.image[axis], geometry.stride[axis], vec![line])
        })
    }

    /// The axes when `image` is computed from `result`: one line for each residue modulo the stride,
    /// with those taps for which `image = result · stride + position · dilation - low` can be solved.
    pub fn reading_result(geometry: &Geometry) -> [Self; 3] {
        std::array::from_fn(|axis| {
            let (extent, stride) = (geometry.image[axis], geometry.stride[axis]);
            let lines = (0..stride.min(extent)).map(|first| {
                let taps = (0..geometry.kernel[axis]).filter_map(|position| {
                    let from = (geometry.low[axis] + first) as i64;
                    let shift = from - (position * geometry.dilation[axis]) as i64;
                    (shift % stride as i64 == 0).then_some(Tap { position, shift: shift / stride as i64 })
                });
                Line { first, step: stride, count: (extent - first).div_ceil(stride), taps: taps.collect() }
            });
            Self::new(geometry.result[axis], 1, lines.collect())
        })
    }

    /// Leaves out taps that read nothing but padding.
    fn new(extent: usize, stride: usize, mut lines: Vec<Line>) -> Self {
        for line in &mut lines {
            let reads = |tap: &Tap, i: usize| (i * stride) as i64 + tap.shift;
            let count = line.count;
            line.taps.retain(|tap| (0..count).any(|i| (0..extent as i64).contains(&reads(tap, i))));
        }
        Self { extent, stride, lines }
    }

    /// Positions of the longest line.
    pub fn count(&self) -> usize {
        self.lines.iter().map(|line| line.count).max().unwrap_or(0)
    }

    /// True if every output voxel reads the voxel at its own place and no other.
    pub fn is_identity(&self) -> bool {
        let [line] = &self.lines[..] else { return false };
        let own = matches!(line.taps[..], [Tap { position: 0, shift: 0 }]);
        own && self.stride == 1 && line.step == 1 && line.count == self.extent
    }

    /// Places that a long range of positions reads, for each position.
    pub fn density(&self) -> usize {
        self.shared(0..1).sections().max(1)
    }

    fn shifts(&self) -> impl Iterator<Item = i64> {
        self.lines.iter().flat_map(|line| &line.taps).map(|tap| tap.shift)
    }

    /// The window of `positions` in which taps share what they read.
    pub fn shared(&self, positions: Range<usize>) -> Window {
        let stride = self.stride as i64;
        let low = self.shifts().map(|shift| shift.div_euclid(stride)).min().unwrap_or(0);
        let high = self.shifts().map(|shift| shift.div_euclid(stride)).max().unwrap_or(0);
        let mut bases: Vec<i64> =
            self.shifts().map(|shift| low * stride + shift.rem_euclid(stride)).collect();
        bases.sort_unstable();
        bases.dedup();
        let length = positions.len() + (high - low) as usize;
        Window { start: positions.start, extent: self.extent, stride: self.stride, bases, length }
    }

    /// The window of `positions` in which every tap has a section of its own, exactly as long as the
    /// positions.
    pub fn separate(&self, positions: Range<usize>) -> Window {
        let mut bases: Vec<i64> = self.shifts().collect();
        bases.sort_unstable();
        bases.dedup();
        let (start, length) = (positions.start, positions.len());
        Window { start, extent: self.extent, stride: self.stride, bases, length }
    }
}

/// What a range of positions reads: sections of consecutive places.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    start: usize,
    extent: usize,
    stride: usize,
    /// What place 0 of each section would hold for position 0.
    bases: Vec<i64>,
    /// Places of a section.
    pub length: usize,
}

impl Window {
    /// Number of sections.
    pub fn sections(&self) -> usize {
        self.bases.len()
    }

    /// Number of places.
    pub fn places(&self) -> usize {
        self.bases.len() * self.length
    }

    /// The coordinate kept at a place, or `None` for padding.
    pub fn coordinate(&self, place: usize) -> Option<usize> {
        let (section, offset) = (place / self.length, place % self.length);
        let coordinate = ((self.start + offset) * self.stride) as i64 + self.bases[section];
        usize::try_from(coordinate).ok().filter(|&coordinate| coordinate < self.extent)
    }

    /// The section and the offset in it of what the first position of the window reads at a tap.
    pub fn find(&self, tap: Tap) -> (usize, usize) {
        let stride = self.stride as i64;
        let place = |base: &i64| {
            let behind = tap.shift - base;
            (behind >= 0 && behind % stride == 0 && behind / stride < self.length as i64)
                .then_some((behind / stride) as usize)
        };
        // Sections of a separate window are one place apart; the nearest one is the tap's own.
        self.bases
            .iter()
            .enumerate()
            .filter_map(|(section, base)| Some((section, place(base)?)))
            .min_by_key(|&(_, offset)| offset)
            .expect("the window was made for this axis")
    }

    /// The places of a section that hold voxels: consecutive ones, with `stride` between coordinates.
    pub fn inside(&self, section: usize) -> Range<usize> {
        let first = (0..self.length).find(|&o| self.coordinate(section * self.length + o).is_some());
        let Some(first) = first else { return 0..0 };
        let outside = (first..self.length).find(|&o| self.coordinate(section * self.length + o).is_none());
        first..outside.unwrap_or(self.length)
    }

    /// Coordinates from one place to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_hold_what_the_taps_read() {
        for (stride, dilation, low, kernel) in
            [(1, 1, 1, 3), (2, 1, 1, 3), (2, 3, 2, 4), (3, 2, 0, 2), (1, 1, 0, 1), (2, 2, 4, 3)]
        {
            let (image, result) = (11, 9usize.min((11 + 2 * low - (kernel - 1) * dilation - 1) / stride + 1));
            let geometry = Geometry {
                batch: 1,
                image: [image; 3],
                result: [result; 3],
                kernel: [kernel; 3],
                stride: [stride; 3],
                low: [low; 3],
                dilation: [dilation; 3],
            };
            for axes in [Axis::reading_image(&geometry), Axis::reading_result(&geometry)] {
                let [axis, ..] = axes;
                for positions in [0..axis.count(), 1..axis.count(), 1..2] {
                    for window in [axis.shared(positions.clone()), axis.separate(positions.clone())] {
                        for tap in axis.lines.iter().flat_map(|line| &line.taps) {
                            let (section, offset) = window.find(*tap);
                            for i in positions.clone() {
                                let reads = (i * axis.stride) as i64 + tap.shift;
                                let wanted =
                                    (0..axis.extent as i64).contains(&reads).then_some(reads as usize);
                                let place = section * window.length + offset + i - positions.start;
                                assert_eq!(window.coordinate(place), wanted);
                            }
                        }
                        for section in 0..window.sections() {
                            let inside = window.inside(section);
                            for offset in 0..window.length {
                                let voxel = window.coordinate(section * window.length + offset);
                                assert_eq!(voxel.is_some(), inside.contains(&offset));
                            }
                        }
                    }
                }
            }
        }
    }
}

//! Copies the voxels that a block of outputs reads, with their padding, into a buffer in cache.

use super::axis::{Axis, Tap, Window};
use super::values::{Element, Values};
use crate::Isa;
use crate::cpu;
use half::bf16;

/// Channels of one source that are read together.
#[derive(Clone, Copy)]
pub(super) struct Channels<'a> {
    pub values: Values<'a>,
    /// Channels of a voxel of the source.
    pub all: usize,
    /// The first of those read.
    pub first: usize,
    /// How many are read.
    pub count: usize,
}

/// Places of packed voxels: `[section of w][place of d][place of h][offset in w]`.
pub(super) struct Layout {
    pub windows: [Window; 3],
    /// Sample of the batch.
    pub sample: usize,
    /// Extents of the source.
    pub extents: [usize; 3],
}

impl Layout {
    pub fn new(axes: &[Axis; 3], windows: [Window; 3], sample: usize) -> Self {
        Self { windows, sample, extents: std::array::from_fn(|axis| axes[axis].extent) }
    }

    /// Voxels from one row of `h` to the next, and from one plane of `d` to the next.
    pub fn row(&self) -> usize {
        self.windows[2].length
    }

    pub fn plane(&self) -> usize {
        self.windows[1].places() * self.row()
    }

    fn section(&self) -> usize {
        self.windows[0].places() * self.plane()
    }

    /// Number of places.
    pub fn places(&self) -> usize {
        self.windows[2].sections() * self.section()
    }

    /// The place that the first output position reads at the taps of the three axes.
    pub fn place(&self, taps: [Tap; 3]) -> usize {
        let [d, h] = [0, 1].map(|axis| {
            let (section, offset) = self.windows[axis].find(taps[axis]);
            section * self.windows[axis].length + offset
        });
        let (section, offset) = self.windows[2].find(taps[2]);
        section * self.section() + d * self.plane() + h * self.row() + offset
    }

    /// The first voxel of the source's row at a place of d and one of h, if it is not padding.
    pub fn source_row(&self, d: usize, h: usize) -> Option<usize> {
        let (d, h) = (self.windows[0].coordinate(d)?, self.windows[1].coordinate(h)?);
        Some(((self.sample * self.extents[0] + d) * self.extents[1] + h) * self.extents[2])
    }

    /// Packs as `[place][pitch]`, zero where there is no voxel and beyond the channels.
    pub fn pack<T: Packed>(&self, isa: Isa, channels: Channels, pitch: usize, to: &mut [T]) {
        match channels.values {
            Values::F32(values) => self.pack_from(isa, values, channels, pitch, to, T::copy_f32),
            Values::Bf16(values) => self.pack_from(isa, values, channels, pitch, to, T::copy_bf16),
        }
    }

    fn pack_from<S: Element, T: Packed>(
        &self,
        isa: Isa,
        values: &[S],
        channels: Channels,
        pitch: usize,
        to: &mut [T],
        copy: fn(Isa, Voxels<S, T>),
    ) {
        let [depths, heights, columns] = &self.windows;
        let length = columns.length;
        let inside: Vec<_> = (0..columns.sections()).map(|section| columns.inside(section)).collect();
        for (section, inside) in inside.iter().enumerate() {
            for d in 0..depths.places() {
                for h in 0..heights.places() {
                    let at = section * self.section() + d * self.plane() + h * self.row();
                    let to = &mut to[at * pitch..][..length * pitch];
                    let Some(row) = self.source_row(d, h).filter(|_| !inside.is_empty()) else {
                        to.fill(T::zeroed());
                        continue;
                    };
                    to[..inside.start * pitch].fill(T::zeroed());
                    to[inside.end * pitch..].fill(T::zeroed());
                    let first = columns.coordinate(section * length + inside.start).expect("inside");
                    let from = &values[(row + first) * channels.all + channels.first..];
                    let step = columns.stride() * channels.all;
                    let to = &mut to[inside.start * pitch..inside.end * pitch];
                    copy(isa, Voxels { from, step, count: channels.count, to, pitch });
                }
            }
        }
    }
}

/// A row of voxels to copy: `count` values each from `step` apart, zeros up to `pitch`.
pub(super) struct Voxels<'a, S, T> {
    from: &'a [S],
    step: usize,
    count: usize,
    to: &'a mut [T],
    pitch: usize,
}

impl<S: Element, T: Element> cpu::Kernel for Voxels<'_, S, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (voxel, to) in self.to.chunks_exact_mut(self.pitch).enumerate() {
            let (to, rest) = to.split_at_mut(self.count);
            for (to, from) in to.iter_mut().zip(&self.from[voxel * self.step..][..self.count]) {
                *to = T::nearest(from.widen());
            }
            rest.fill(T::zeroed());
        }
    }
}

impl<T: Element> Voxels<'_, T, T> {
    /// Without conversion; one copy where the voxels are whole on both sides.
    fn copy(self) {
        if self.step == self.count && self.pitch == self.count {
            self.to.copy_from_slice(&self.from[..self.to.len()]);
            return;
        }
        for (voxel, to) in self.to.chunks_exact_mut(self.pitch).enumerate() {
            to[..self.count].copy_from_slice(&self.from[voxel * self.step..][..self.count]);
            to[self.count..].fill(T::zeroed());
        }
    }
}

/// An element of a packed operand and how voxels of either format are brought into it.
pub(super) trait Packed: Element {
    /// Values that are in this format already.
    fn direct(values: Values<'_>) -> Option<&[Self]>;
    fn copy_f32(isa: Isa, voxels: Voxels<f32, Self>);
    fn copy_bf16(isa: Isa, voxels: Voxels<bf16, Self>);
}

impl Packed for f32 {
    fn direct(values: Values<'_>) -> Option<&[Self]> {
        if let Values::F32(values) = values { Some(values) } else { None }
    }
    fn copy_f32(_: Isa, voxels: Voxels<f32, Self>) {
        voxels.copy();
    }
    fn copy_bf16(isa: Isa, voxels: Voxels<bf16, Self>) {
        isa.launch(voxels);
    }
}

impl Packed for bf16 {
    fn direct(values: Values<'_>) -> Option<&[Self]> {
        if let Values::Bf16(values) = values { Some(values) } else { None }
    }
    fn copy_f32(isa: Isa, voxels: Voxels<f32, Self>) {
        isa.launch(voxels);
    }
    fn copy_bf16(_: Isa, voxels: Voxels<bf16, Self>) {
        voxels.copy();
    }
}

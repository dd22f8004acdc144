//! Work per channel on channels-last data, whatever the number of channels.
//!
//! In `[.., C]` the channel of element i is i mod C. Several voxels side by side make one *row* of
//! `width` elements, a multiple of both C and the vector length; lane j of every row belongs to channel
//! j mod C. So a loop over rows uses full vectors for C = 1 or 17 just as for C = 64, sums are kept
//! per lane, and only at the end of a piece are the lanes of a channel added up, in f64. [`walk`] goes
//! down a block of lanes, several rows at a time, so that sums and coefficients stay in registers.

use crate::Context;
use crate::cpu::Kernel;
use crate::cpu::element::Element;

/// Elements in one step of the inner loops: four AVX-512 registers.
pub const BLOCK: usize = 64;
/// Rows that [`walk`] goes down before it turns to the next block of lanes: few enough that the lines it
/// jumps over are still in the first cache when their turn comes.
const GROUP: usize = 16;
/// Beyond this a row is one voxel: there are enough channels to fill vectors.
const LONGEST_ROW: usize = 2_048;
/// Elements of a piece, about: 128 KiB.
const PIECE: usize = 1 << 15;

/// How `[.., C]` is cut into rows and pieces. It depends on C alone, never on threads.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    /// C.
    pub channels: usize,
    /// Elements of one row: a multiple of C.
    pub width: usize,
    /// Elements of one piece: a multiple of `width`.
    pub piece: usize,
}

impl Lanes {
    /// Rows and pieces for `channels` channels (at least one).
    pub fn new(channels: usize) -> Self {
        let channels = channels.max(1);
        let power_of_two = 1 << channels.trailing_zeros().min(BLOCK.trailing_zeros());
        let multiple = channels * (BLOCK / power_of_two);
        let width = if multiple > LONGEST_ROW { channels } else { multiple };
        Self { channels, width, piece: width * PIECE.div_ceil(width) }
    }

    /// A value per channel, repeated over a row.
    pub fn tile(&self, value: impl Fn(usize) -> f32) -> Vec<f32> {
        let one: Vec<f32> = (0..self.channels).map(value).collect();
        one.iter().copied().cycle().take(self.width).collect()
    }

    /// Adds the lanes of each channel, in order, to `sums`.
    pub fn fold(&self, lanes: &[f32], sums: &mut [f64]) {
        for voxel in lanes.chunks_exact(self.channels) {
            for (sum, &lane) in sums.iter_mut().zip(voxel) {
                *sum += f64::from(lane);
            }
        }
    }

    /// The elements of piece `index` of `x`.
    pub fn slice<'a, E>(&self, x: &'a [E], index: usize) -> &'a [E] {
        &x[index * self.piece..x.len().min((index + 1) * self.piece)]
    }
}

/// What is done to the elements of `B` neighbouring lanes. Every method must be `#[inline(always)]`.
pub trait Lanewise {
    /// What is kept in registers while going down the rows: coefficients, sums.
    type State<const B: usize>;
    /// The state of the lanes from `lane` on.
    fn load<const B: usize>(&self, lane: usize) -> Self::State<B>;
    /// Handles elements `at .. at + B`, which lie in those lanes.
    fn step<const B: usize>(&mut self, state: &mut Self::State<B>, at: usize);
    /// Takes the state back: sums are kept.
    fn store<const B: usize>(&mut self, _lane: usize, _state: Self::State<B>) {}
}

/// Does `body` to each of `elements` elements once, in rows of `width` lanes, the last row perhaps short.
#[inline(always)]
pub fn walk<L: Lanewise>(elements: usize, width: usize, mut body: L) {
    let mut start = 0;
    while start < elements {
        let end = elements.min(start + GROUP * width);
        let mut lane = 0;
        while lane + BLOCK <= width {
            let mut at = start + lane;
            let mut state = body.load::<BLOCK>(lane);
            while at + BLOCK <= end {
                body.step(&mut state, at);
                at += width;
            }
            body.store(lane, state);
            // A row that ends within this block.
            for i in 0..end.saturating_sub(at) {
                let mut state = body.load::<1>(lane + i);
                body.step(&mut state, at + i);
                body.store(lane + i, state);
            }
            lane += BLOCK;
        }
        for lane in lane..width {
            let mut state = body.load::<1>(lane);
            for at in (start + lane..end).step_by(width) {
                body.step(&mut state, at);
            }
            body.store(lane, state);
        }
        start = end;
    }
}

/// `B` values from position `at` on.
#[inline(always)]
pub fn block<T: Copy, const B: usize>(values: &[T], at: usize) -> &[T; B] {
    values[at..at + B].first_chunk().expect("the slice has this length")
}

/// The same, to write.
#[inline(always)]
pub fn block_mut<T: Copy, const B: usize>(values: &mut [T], at: usize) -> &mut [T; B] {
    values[at..at + B].first_chunk_mut().expect("the slice has this length")
}

/// Adds the rows of `x` up, lane by lane, into `sums`, whose length is the width of a row.
pub struct AddRows<'a, E> {
    /// Rows, the last one perhaps short.
    pub x: &'a [E],
    /// One sum per lane.
    pub sums: &'a mut [f32],
}

impl<E: Element> Kernel for AddRows<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        walk(self.x.len(), self.sums.len(), self);
    }
}

impl<E: Element> Lanewise for AddRows<'_, E> {
    type State<const B: usize> = [f32; B];

    #[inline(always)]
    fn load<const B: usize>(&self, lane: usize) -> [f32; B] {
        *block(self.sums, lane)
    }

    #[inline(always)]
    fn step<const B: usize>(&mut self, sums: &mut [f32; B], at: usize) {
        let x: &[E; B] = block(self.x, at);
        for i in 0..B {
            sums[i] += x[i].widen();
        }
    }

    #[inline(always)]
    fn store<const B: usize>(&mut self, lane: usize, sums: [f32; B]) {
        *block_mut(self.sums, lane) = sums;
    }
}

/// Sums of `x`, laid out `[.., C]`, per channel: f32 lanes within a piece, f64 beyond.
pub fn channel_sums<E: Element>(cx: &Context, x: &[E], channels: usize) -> Vec<f64> {
    let lanes = Lanes::new(channels);
    let mut partial = vec![0.0f64; x.len().div_ceil(lanes.piece) * channels];
    cx.pool.run_pieces(&mut partial, channels, |index, partial| {
        let mut sums = vec![0.0; lanes.width];
        cx.isa.launch(AddRows { x: lanes.slice(x, index), sums: &mut sums });
        lanes.fold(&sums, partial);
    });
    let mut total = vec![0.0; channels];
    for piece in partial.chunks_exact(channels.max(1)) {
        for (total, sum) in total.iter_mut().zip(piece) {
            *total += sum;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_whole_voxels_and_whole_blocks() {
        for channels in 1..700 {
            let lanes = Lanes::new(channels);
            assert_eq!(lanes.width % channels, 0);
            assert_eq!(lanes.piece % lanes.width, 0);
            assert!(lanes.width.is_multiple_of(BLOCK) || lanes.width == channels, "{lanes:?}");
            assert!(lanes.piece >= PIECE && lanes.piece < PIECE + lanes.width);
        }
        assert_eq!(Lanes::new(1).width, 64);
        assert_eq!(Lanes::new(17).width, 1_088);
        assert_eq!(Lanes::new(512).width, 512);
    }

    #[test]
    fn channel_sums_are_per_channel_over_piece_borders() {
        let cx = Context::new(2);
        for channels in [1, 3, 17, 64, 100, 2_051] {
            let voxels = 70_000 / channels + 3;
            let x: Vec<f32> = (0..voxels * channels).map(|i| (i % channels + 1) as f32).collect();
            let sums = channel_sums(&cx, &x, channels);
            let wanted: Vec<f64> = (0..channels).map(|c| ((c + 1) * voxels) as f64).collect();
            assert_eq!(sums, wanted);
        }
        assert_eq!(channel_sums::<f32>(&cx, &[], 2), [0.0, 0.0]);
    }
}

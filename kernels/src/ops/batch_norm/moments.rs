//! Mean and sum of squared deviations per channel in one pass over memory.
//!
//! Sums of squares lose their digits when the mean is large beside σ, so each piece first takes the
//! mean s of its leading eighth and sums x - s and (x - s)². That s cannot be far off: with a share
//! q of the piece's values in it, (s - μ)² ≤ σ²·(1 - q)/q, for any data; so the subtraction
//! Σ(x - s)² - m(s - μ)² costs at most a factor 1/q = 8 in precision. Pieces are then joined in f64
//! (Chan, Golub and LeVeque, 1983).

use crate::Context;
use crate::cpu::Kernel;
use crate::cpu::element::Element;
use crate::cpu::lanes::{AddRows, Lanes, Lanewise, block, block_mut, walk};

/// Adds up x - shift and its square, lane by lane.
struct AddDeviations<'a, E> {
    x: &'a [E],
    shift: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl<E: Element> Kernel for AddDeviations<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        walk(self.x.len(), self.shift.len(), self);
    }
}

impl<E: Element> Lanewise for AddDeviations<'_, E> {
    /// Shift and both sums.
    type State<const B: usize> = [[f32; B]; 3];

    #[inline(always)]
    fn load<const B: usize>(&self, lane: usize) -> [[f32; B]; 3] {
        [*block(self.shift, lane), *block(self.first, lane), *block(self.second, lane)]
    }

    #[inline(always)]
    fn step<const B: usize>(&mut self, [shift, first, second]: &mut [[f32; B]; 3], at: usize) {
        let x: &[E; B] = block(self.x, at);
        for i in 0..B {
            let deviation = x[i].widen() - shift[i];
            first[i] += deviation;
            second[i] += deviation * deviation;
        }
    }

    #[inline(always)]
    fn store<const B: usize>(&mut self, lane: usize, [_, first, second]: [[f32; B]; 3]) {
        *block_mut(self.first, lane) = first;
        *block_mut(self.second, lane) = second;
    }
}

/// Mean and sum of squared deviations of one piece, per channel.
fn piece<E: Element>(cx: &Context, lanes: &Lanes, x: &[E], mean: &mut [f64], squares: &mut [f64]) {
    let channels = lanes.channels;
    let voxels = x.len() / channels;
    let head = voxels.div_ceil(8);
    let mut first = vec![0.0; lanes.width];
    cx.isa.launch(AddRows { x: &x[..head * channels], sums: &mut first });
    lanes.fold(&first, mean);
    let shift = lanes.tile(|c| (mean[c] / head as f64) as f32);

    first.fill(0.0);
    let mut second = vec![0.0; lanes.width];
    cx.isa.launch(AddDeviations { x, shift: &shift, first: &mut first, second: &mut second });
    mean.fill(0.0);
    lanes.fold(&first, mean);
    lanes.fold(&second, squares);
    for c in 0..channels {
        let sum = mean[c];
        squares[c] -= sum * sum / voxels as f64;
        mean[c] = f64::from(shift[c]) + sum / voxels as f64;
    }
}

/// Per channel, the mean and the sum of squared deviations from it.
pub struct Moments {
    pub mean: Vec<f64>,
    pub squares: Vec<f64>,
}

impl Moments {
    /// Of `x`, laid out `[.., C]`.
    pub fn of<E: Element>(cx: &Context, x: &[E], channels: usize) -> Self {
        let lanes = Lanes::new(channels);
        let mut partial = vec![0.0f64; x.len().div_ceil(lanes.piece) * 2 * channels];
        cx.pool.run_pieces(&mut partial, 2 * channels, |index, partial| {
            let (mean, squares) = partial.split_at_mut(channels);
            piece(cx, &lanes, lanes.slice(x, index), mean, squares);
        });
        let pieces = x.len().div_ceil(lanes.piece);
        let counts: Vec<usize> = (0..pieces).map(|i| lanes.slice(x, i).len() / channels).collect();
        Self::join(&counts, &partial, channels)
    }

    /// Of disjoint pieces together: `counts[i]` values per channel have the means `pieces[i][0]` and the
    /// sums of squared deviations from them `pieces[i][1]`, where `pieces` is laid out `[.., 2, C]`.
    pub fn join(counts: &[usize], pieces: &[f64], channels: usize) -> Self {
        let total = counts.iter().sum::<usize>() as f64;
        let mut joined = Self { mean: vec![0.0; channels], squares: vec![0.0; channels] };
        let pieces = || counts.iter().map(|&n| n as f64).zip(pieces.chunks_exact(2 * channels.max(1)));
        for (count, piece) in pieces() {
            for c in 0..channels {
                joined.mean[c] += count / total * piece[c];
            }
        }
        for (count, piece) in pieces() {
            for c in 0..channels {
                let offset = piece[c] - joined.mean[c];
                joined.squares[c] += piece[channels + c] + count * offset * offset;
            }
        }
        joined
    }
}

//! Results that come plane by plane along x, brought to the oriented grid of the input as they come.

use super::Grid;
use super::axis::Axis;
use super::resample::{axes, row};
use crate::Result;
use genesis_tensor::parallel::ThreadPool;
use std::collections::VecDeque;

/// Takes planes `[K, Y, Z]` of the working grid in order of x and gives planes of the
/// [oriented input](Grid::oriented_size), holding no more than the few that one result needs. Linear, so
/// probabilities stay probabilities, and a label decided here is decided on the input's grid.
#[derive(Debug)]
pub struct PlaneStream {
    axes: [Axis; 3],
    from: [usize; 3],
    to: [usize; 3],
    classes: usize,
    /// The planes from `first` on.
    kept: VecDeque<Vec<f32>>,
    first: usize,
    next: usize,
    out: Vec<f32>,
}

impl PlaneStream {
    /// A stream of planes with `classes` channels.
    pub fn new(grid: &Grid, classes: usize) -> Self {
        let (from, to) = (grid.size(), grid.oriented_size());
        let out = vec![0.0; classes * to[1] * to[2]];
        Self { axes: axes(from, to), from, to, classes, kept: VecDeque::new(), first: 0, next: 0, out }
    }

    /// Takes the next plane `[K, Y, Z]` and calls `emit(x, plane)` for every plane `[K, Y, Z]` of the
    /// input that can be made now.
    ///
    /// # Errors
    /// The receiver's.
    pub fn push(
        &mut self,
        pool: &ThreadPool,
        plane: &[f32],
        mut emit: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let Self { axes, from, to, classes, kept, first, next, out } = self;
        debug_assert_eq!(plane.len(), *classes * from[1] * from[2]);
        kept.push_back(plane.to_vec());
        while *next < to[0] && axes[0].last(*next) < *first + kept.len() {
            let needed = axes[0].taps(*next).0;
            while *first < needed {
                kept.pop_front();
                *first += 1;
            }
            let (kept, first, x, height) = (&*kept, *first, *next, to[1]);
            // Rows of one class and a stretch of y; each piece is independent of the others.
            pool.run_pieces(out, to[2] * 16, |piece, rows| {
                let mut blend = vec![0.0; from[2]];
                for (number, out) in rows.chunks_exact_mut(to[2]).enumerate() {
                    let (class, y) = ((piece * 16 + number) / height, (piece * 16 + number) % height);
                    let place =
                        |x: usize, y: usize| &kept[x - first][(class * from[1] + y) * from[2]..][..from[2]];
                    row(axes, [x, y], place, &mut blend, out);
                }
            });
            emit(x, out)?;
            *next += 1;
        }
        Ok(())
    }
}

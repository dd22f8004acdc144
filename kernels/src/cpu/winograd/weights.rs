//! The weights in the transformed domain: `G g` along each axis, packed for the products.
//!
//! Layout, in words: `[point][block of outputs][input channel, or pair of them][lanes of the block]`,
//! a point every `plane` words. Channels and lanes that do not exist are 0.

use super::cube::{self, Load, MOST, PairPlanes, Planes};
use super::scheme::Scheme;
use super::{Chunk, LINE, Panels};
use crate::cpu::VectorKernel;
use crate::cpu::convolution::Weights;
use crate::cpu::element::Store;
use crate::cpu::vector::Vector;
use crate::{Context, Result};
use genesis_tensor::parallel::SendPointer;
use genesis_tensor::{DType, Tensor};
use std::marker::PhantomData;

const TAPS: usize = 27;

/// The weights of one convolution, transformed.
pub(super) struct Transformed {
    pub words: Tensor,
    pub plane: usize,
}

/// Transforms `weights`; `flip` mirrors the taps, for the gradient of the input.
pub(super) fn transform<
    D: Scheme<M0, N0>,
    S: Scheme<M, N>,
    const M0: usize,
    const N0: usize,
    const M: usize,
    const N: usize,
    const PAIRS: bool,
>(
    cx: &Context,
    weights: Weights,
    flip: bool,
    panels: &Panels,
) -> Result<Transformed> {
    let plane = panels.blocks * panels.depth * panels.width + super::STAGGER;
    let mut words = Tensor::unspecified([N0 * N * N * plane], DType::F32)?;
    let slice = words.as_mut_slice()?;
    let store = Store::of(cx.isa, slice);
    let out = SendPointer(slice.as_mut_ptr());
    cx.pool.run(panels.blocks * panels.chunks.len(), |task| {
        let (block, chunk) = (task / panels.chunks.len(), &panels.chunks[task % panels.chunks.len()]);
        cx.isa.launch_vector(Piece::<D, S, M0, N0, M, N, PAIRS> {
            weights,
            flip,
            panels,
            chunk,
            block,
            out: out.get(),
            plane,
            store,
            scheme: PhantomData,
        });
    });
    Ok(Transformed { words, plane })
}

/// One block of outputs by one chunk of input channels.
struct Piece<'a, D, S, const M0: usize, const N0: usize, const M: usize, const N: usize, const PAIRS: bool> {
    weights: Weights<'a>,
    flip: bool,
    panels: &'a Panels,
    chunk: &'a Chunk,
    block: usize,
    out: *mut f32,
    plane: usize,
    store: Store,
    scheme: PhantomData<(D, S)>,
}

/// 27 taps of a vector of outputs, the lanes from `lane` on.
struct Taps<'a> {
    lanes: &'a [[f32; LINE]; TAPS],
    lane: usize,
    flip: bool,
}

/// Turns the taps of `count` outputs, `step` apart in `from`, into a row of outputs for each tap.
#[inline(always)]
fn turn(from: &[f32], step: usize, count: usize, lanes: &mut [[f32; LINE]; TAPS]) {
    let output = |lane: usize| &from[lane * step..lane * step + TAPS];
    #[cfg(target_arch = "x86_64")]
    let whole = count / 4 * 4;
    #[cfg(not(target_arch = "x86_64"))]
    let whole = 0;
    #[cfg(target_arch = "x86_64")]
    for lane in (0..whole).step_by(4) {
        let rows = [0, 1, 2, 3].map(|i| output(lane + i).as_ptr());
        // The last four taps overlap those before them: 27 is no multiple of 4.
        for tap in [0, 4, 8, 12, 16, 20, TAPS - 4] {
            // SAFETY: four taps from `tap` on lie inside each row, four lanes from `lane` on inside `lanes`;
            // SSE is part of x86-64.
            unsafe {
                use std::arch::x86_64::*;
                let [mut a, mut b, mut c, mut d] = rows.map(|row| _mm_loadu_ps(row.add(tap)));
                _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
                for (i, turned) in [a, b, c, d].into_iter().enumerate() {
                    _mm_storeu_ps(lanes[tap + i][lane..lane + 4].as_mut_ptr(), turned);
                }
            }
        }
    }
    for lane in whole..count {
        for (row, &weight) in lanes.iter_mut().zip(output(lane)) {
            row[lane] = weight;
        }
    }
}

impl<V: Vector> Load<V> for Taps<'_> {
    #[inline(always)]
    unsafe fn load(&self, index: usize) -> V {
        let tap = if self.flip { TAPS - 1 - index } else { index };
        // SAFETY: `lane` and the vector's lanes lie within a row.
        unsafe { V::load(self.lanes.get_unchecked(tap).as_ptr().add(self.lane)) }
    }
}

impl<
    D: Scheme<M0, N0>,
    S: Scheme<M, N>,
    const M0: usize,
    const N0: usize,
    const M: usize,
    const N: usize,
    const PAIRS: bool,
> VectorKernel for Piece<'_, D, S, M0, N0, M, N, PAIRS>
{
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { weights, panels, chunk, .. } = self;
        let mut lanes = [[0.0f32; LINE]; TAPS];
        let mut held = [0.0f32; MOST * LINE];
        // Whole lines, point after point: half a line at a time each would be fetched from memory twice.
        let mut lines = [0.0f32; MOST * LINE];
        let together = panels.width.min(LINE);
        for lane in (0..panels.width).step_by(together) {
            let first = self.block * panels.width + lane;
            let count = panels.outputs.saturating_sub(first).min(together);
            for channel in 0..chunk.padded {
                // A panel may have vectors that lie wholly beyond the outputs.
                if channel < chunk.count && count > 0 {
                    let from =
                        first * weights.output_stride + (chunk.of_all + channel) * weights.input_stride;
                    turn(&weights.values[from..], weights.output_stride, count, &mut lanes);
                }
                if channel >= chunk.count || count < together {
                    let kept = if channel < chunk.count { count } else { 0 };
                    lanes.iter_mut().for_each(|row| row[kept..].fill(0.0));
                }
                for vector in (0..together).step_by(V::LANES) {
                    let taps = Taps { lanes: &lanes, lane: vector, flip: self.flip };
                    // SAFETY: `lines` has a line for every point, `held` a vector for every point and vector
                    // of a line.
                    unsafe {
                        let mut to = Planes { at: lines.as_mut_ptr().add(vector), plane: LINE };
                        if PAIRS {
                            let held = held.as_mut_ptr().add(vector * MOST);
                            let mut to = PairPlanes { to, held, second: channel % 2 == 1 };
                            cube::apply::<V, D::Weight, S::Weight, 3, N0, 3, N>(&taps, &mut to);
                        } else {
                            cube::apply::<V, D::Weight, S::Weight, 3, N0, 3, N>(&taps, &mut to);
                        }
                    }
                }
                if PAIRS && channel % 2 == 0 {
                    continue;
                }
                let row = self.block * panels.depth + chunk.word + if PAIRS { channel / 2 } else { channel };
                for (point, line) in lines.as_chunks::<LINE>().0.iter().enumerate().take(N0 * N * N) {
                    // SAFETY: `out` has a plane of all blocks and chunks for each point, and the row of this
                    // (block, chunk, channel) is written by this piece alone.
                    unsafe {
                        let to = self.out.add(point * self.plane + row * panels.width + lane);
                        if together == LINE {
                            self.store.block(&mut *to.cast::<[f32; LINE]>(), *line);
                        } else {
                            to.copy_from_nonoverlapping(line.as_ptr(), together);
                        }
                    }
                }
            }
        }
        self.store.finish();
    }
}

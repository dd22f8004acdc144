//! Times on a card, by its own clock, and its ceilings: multiply-adds in registers (`peak.cu`), and a copy.

use super::CudaCard;
use super::event::Event;
use super::pool::Scratch;
use crate::Result;
use crate::cuda::{Address, Launch};
use bytemuck::{Pod, Zeroable};
use cudarc::driver::result::DriverError;
use genesis_tensor::{Card, Error};

/// Threads of a block of `peak.cu`.
const THREADS: u64 = 256;
/// Multiply-adds an iteration: of a thread in f32, of a warp on tensor cores.
const F32_PRODUCTS: u64 = 16;
const BF16_PRODUCTS: u64 = 8 * 16 * 8 * 16;
const TF32_PRODUCTS: u64 = 8 * 16 * 8 * 8;
/// Times measured, of which the best counts: other programs only take away.
const RUNS: usize = 5;
/// Bytes of the copy: far more than any cache holds.
const COPY_BYTES: usize = 256 << 20;

/// Byte for byte the parameter of `peak.cu`'s loops.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(in crate::cuda) struct PeakArguments {
    pub sink: Address,
    pub iterations: i32,
    pub factor: f32,
}

impl CudaCard {
    /// Seconds between the start and the end of what `work` queues, by the card's clock; waits for it.
    ///
    /// # Errors
    /// `work`'s; a kernel that failed.
    pub fn time<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        self.enter()?;
        drop(self.unrecorded_turn("timing")?);
        let fail = |error: DriverError| -> Error { self.failed("timing", error) };
        let (start, end) = (Event::timed().map_err(fail)?, Event::timed().map_err(fail)?);
        // SAFETY: events and stream are of this card's context, which is current.
        unsafe { start.record(self.stream) }.map_err(fail)?;
        let made = work()?;
        self.enter()?;
        // SAFETY: as above.
        unsafe { end.record(self.stream) }.map_err(fail)?;
        self.synchronize()?;
        let milliseconds = end.milliseconds_since(&start).map_err(fail)?;
        Ok((made, f64::from(milliseconds) / 1e3))
    }

    /// f32 multiply-adds in registers, GFLOP/s.
    ///
    /// # Errors
    /// A card that failed.
    pub fn f32_gflops(&self) -> Result<f64> {
        self.peak("peak_f32", THREADS * F32_PRODUCTS)
    }

    /// bf16 multiply-adds of tensor cores from registers, sums in f32, GFLOP/s.
    ///
    /// # Errors
    /// A card that failed.
    pub fn bf16_gflops(&self) -> Result<f64> {
        self.peak("peak_bf16", THREADS / 32 * BF16_PRODUCTS)
    }

    /// tf32 multiply-adds of tensor cores from registers, sums in f32, GFLOP/s.
    ///
    /// # Errors
    /// A card that failed.
    pub fn tf32_gflops(&self) -> Result<f64> {
        self.peak("peak_tf32", THREADS / 32 * TF32_PRODUCTS)
    }

    /// `products`: of a block, an iteration.
    fn peak(&self, kernel: &str, products: u64) -> Result<f64> {
        // Sixteen warps a multiprocessor, with work enough in each for every latency.
        let blocks = 2 * self.found().multiprocessors.max(1) as u64;
        let sink = Scratch::new(self, 4)?;
        let run = |iterations: i32| -> Result<f64> {
            let arguments = PeakArguments { sink: sink.address, iterations, factor: 0.5 };
            let launch = Launch::new(kernel, [blocks as usize, 1, 1], &arguments)?;
            Ok(self.time(|| self.run(&[launch]))?.1.max(1e-9))
        };
        // So many that a run takes about ten milliseconds, whatever the card.
        const FEW: i32 = 4;
        let once = run(FEW)?.min(run(FEW)?);
        let iterations = ((0.01 / once * f64::from(FEW)) as i32).clamp(FEW, 1 << 16);
        let mut best = f64::INFINITY;
        for _ in 0..RUNS {
            best = best.min(run(iterations)?);
        }
        Ok((2 * blocks * products * iterations as u64) as f64 / best / 1e9)
    }

    /// A copy within the card's memory, read plus written, GB/s.
    ///
    /// # Errors
    /// A card that failed, or with less than 512 MiB to spare.
    pub fn copy_gigabytes_per_second(&self) -> Result<f64> {
        let (from, to) = (Scratch::new(self, COPY_BYTES)?, Scratch::new(self, COPY_BYTES)?);
        let mut best = f64::INFINITY;
        for _ in 0..=RUNS {
            let copy = || Ok(self.copy(from.address, to.address, COPY_BYTES)?);
            best = best.min(self.time(copy)?.1.max(1e-9));
        }
        Ok(2.0 * COPY_BYTES as f64 / best / 1e9)
    }
}

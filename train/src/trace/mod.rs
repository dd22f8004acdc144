//! Where the time of a training step goes: every operation with its speed, as a file for
//! <https://ui.perfetto.dev> (or `chrome://tracing`) and as lines on standard error.
//!
//! `--trace FILE.json` writes the file for the first steps of a run (`--trace-steps`), with the
//! forward and backward pass of every operation, what was recomputed, optimiser, waiting for the
//! loader, validation (its first batch operation by operation), checkpoints, and a curve of the bytes
//! in use. The environment variable `GENESIS_TRACE=1` prints the operations of every step.
//!
//! Both compare with two ceilings measured when the run starts: f32 multiply-adds in registers (bf16
//! convolutions can be faster than that), and a copy of memory. An operation that needs `flops` and `bytes` cannot take less than the larger of
//! `flops / peak` and `bytes / bandwidth`; its share is that time over its own.

mod event;
mod file;
mod line;

use crate::bench::ceilings::Ceilings;
use crate::{Precision, Result, progress};
use event::{Event, Speed};
use file::TraceFile;
use genesis_autograd::{Executed, Place};
use genesis_kernels::Context;
use genesis_tensor::DType;
use std::path::PathBuf;
use std::time::Instant;

/// Steps a file holds unless told otherwise: some megabytes.
pub const DEFAULT_STEPS: u64 = 10;

/// What is to be traced.
#[derive(Clone, Debug, Default)]
pub struct TraceRequest {
    /// The file to write.
    pub file: Option<PathBuf>,
    /// Steps the file holds.
    pub steps: u64,
    /// Lines on standard error.
    pub lines: bool,
}

impl TraceRequest {
    /// What flags and the environment variable `GENESIS_TRACE` ask for.
    pub fn new(file: Option<PathBuf>, steps: u64) -> Self {
        let lines = std::env::var_os("GENESIS_TRACE").is_some_and(|value| !value.is_empty() && value != "0");
        Self { file, steps, lines }
    }
}

/// The machine's measured ceilings.
#[derive(Clone, Copy, Debug)]
struct Ceiling {
    f32_flops_per_second: f64,
    /// None without instructions on bf16.
    bf16_flops_per_second: Option<f64>,
    bytes_per_second: f64,
}

impl Ceiling {
    /// The ceiling of arithmetic on activations of a format.
    fn flops_per_second(&self, format: DType) -> f64 {
        match format {
            DType::F32 => self.f32_flops_per_second,
            DType::Bf16 => self.bf16_flops_per_second.unwrap_or(self.f32_flops_per_second),
        }
    }
}

/// A trace being written; does nothing if nothing was asked for.
#[derive(Debug, Default)]
pub struct Trace {
    file: Option<TraceFile>,
    lines: bool,
    steps_left: u64,
    origin: Option<Instant>,
    ceiling: Option<Ceiling>,
    /// Names of the parameters' layers.
    layers: Vec<String>,
}

impl Trace {
    /// Starts a trace; measures the ceilings, which takes a second.
    ///
    /// # Errors
    /// A file that cannot be written; a card that failed.
    pub fn start(request: &TraceRequest, cx: &Context, places: &[Place]) -> Result<Self> {
        if request.file.is_none() && !request.lines {
            return Ok(Self::default());
        }
        let file = request.file.as_deref().map(TraceFile::create).transpose()?;
        let measured = Ceilings::all(cx)?;
        let f32 = if cx.tf32() { Precision::Tf32 } else { Precision::F32 };
        let ceiling = Ceiling {
            f32_flops_per_second: 1e9 * measured.gflops(f32),
            bf16_flops_per_second: measured.bf16_gflops.map(|gflops| 1e9 * gflops),
            bytes_per_second: 1e9 * measured.copy_gigabytes_per_second.unwrap_or(f64::INFINITY),
        };
        tracing::info!(
            "trace: shares are of {:.0} GFLOP/s ({f32} multiply-adds), {:.0} (bf16) and {:.1} GB/s (copy), measured now",
            ceiling.flops_per_second(DType::F32) / 1e9,
            ceiling.flops_per_second(DType::Bf16) / 1e9,
            ceiling.bytes_per_second / 1e9
        );
        let layer = |place: &Place| match place.name.rsplit_once('.') {
            Some((layer, _)) => layer.to_string(),
            None => place.name.clone(),
        };
        Ok(Self {
            file,
            lines: request.lines,
            steps_left: request.steps,
            origin: Some(Instant::now()),
            ceiling: Some(ceiling),
            layers: places.iter().map(layer).collect(),
        })
    }

    /// True while somebody wants to hear of operations.
    pub fn is_on(&self) -> bool {
        self.lines || self.file.is_some()
    }

    /// Operations that ran.
    pub fn operations(&mut self, operations: &[Executed]) {
        let Some(ceiling) = self.ceiling else { return };
        for executed in operations {
            let speed = Speed::new(executed, ceiling);
            let layer = executed.parameter.and_then(|id| self.layers.get(id.0)).map(String::as_str);
            if self.lines {
                progress::note(&line::line(executed, &speed, layer));
            }
            if let (Some(file), Some(origin)) = (&mut self.file, self.origin) {
                file.push(&Event::operation(executed, &speed, layer, origin));
                file.push(&Event::live(executed, origin));
            }
        }
    }

    /// Something that began at `start` and ends now.
    pub fn span(&mut self, name: &'static str, start: Instant) {
        if let (Some(file), Some(origin)) = (&mut self.file, self.origin) {
            file.push(&Event::span(name, start, origin));
        }
    }

    /// A training step and all that followed it is done: the file is brought up to date and, after the
    /// last step wanted, left alone.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn step_done(&mut self) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.flush()?;
        self.steps_left = self.steps_left.saturating_sub(1);
        if self.steps_left == 0 {
            tracing::info!("{}: the trace is complete", file.path().display());
            self.file = None;
        }
        Ok(())
    }
}

//! `genesis devices`: processor features in use, GPUs found, measured peaks.

use super::Common;
use crate::Result;
use clap::Args;
use genesis_kernels::Isa;
use genesis_kernels::cpu::peak;
use genesis_kernels::cuda::device::{Found, cards};
use serde::Serialize;

/// Shows what this machine offers and what Genesis makes of it
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  genesis devices\n  genesis devices --json\n  GENESIS_ISA=avx2 genesis devices"
)]
pub struct DevicesArgs {}

#[derive(Serialize)]
struct Report {
    processor: String,
    threads: usize,
    instruction_sets: Vec<String>,
    in_use: String,
    f32_gflops: f64,
    memory_copy_gigabytes_per_second: f64,
    memory_bytes: Option<u64>,
    /// CUDA cards, and why there are none.
    gpus: Vec<Gpu>,
    cuda: String,
}

/// A CUDA card.
#[derive(Serialize)]
struct Gpu {
    number: usize,
    name: String,
    capability: String,
    multiprocessors: i32,
    memory_bytes: usize,
    supported: bool,
}

impl From<Found> for Gpu {
    fn from(found: Found) -> Self {
        let supported = found.is_supported();
        let Found { number, name, capability: [major, minor], memory_bytes, multiprocessors } = found;
        Self {
            number,
            name,
            capability: format!("{major}.{minor}"),
            multiprocessors,
            memory_bytes,
            supported,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// An unknown `GENESIS_ISA`.
pub fn run(_args: &DevicesArgs, common: &Common) -> Result<()> {
    let cx = common.processor()?;
    let available: Vec<String> =
        Isa::ALL.iter().filter(|isa| isa.is_available()).map(ToString::to_string).collect();
    let found = cards();
    let report = Report {
        processor: proc_value("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
        threads: cx.pool.threads(),
        instruction_sets: available,
        in_use: cx.isa.to_string(),
        f32_gflops: peak::f32_gflops(&cx),
        memory_copy_gigabytes_per_second: peak::copy_gigabytes_per_second(&cx),
        memory_bytes: proc_value("/proc/meminfo", "MemTotal")
            .and_then(|value| value.trim_end_matches(" kB").trim().parse::<u64>().ok())
            .map(|kibibytes| kibibytes * 1024),
        cuda: match &found {
            Ok(cards) if cards.is_empty() => "the CUDA driver finds no card".into(),
            Ok(cards) => format!("{} card(s)", cards.len()),
            Err(error) => error.to_string(),
        },
        gpus: found.unwrap_or_default().into_iter().map(Gpu::from).collect(),
    };
    if common.json {
        return super::print_json(&report);
    }
    println!("processor        {}, {} thread(s)", report.processor, report.threads);
    println!("instruction sets {} (in use: {})", report.instruction_sets.join(", "), report.in_use);
    println!("f32 peak         {:.0} GFLOP/s, measured", report.f32_gflops);
    println!("memory copy      {:.1} GB/s read + write, measured", report.memory_copy_gigabytes_per_second);
    if let Some(bytes) = report.memory_bytes {
        println!("memory           {:.1} GiB", bytes as f64 / (1u64 << 30) as f64);
    }
    println!("CUDA             {}", report.cuda);
    for gpu in &report.gpus {
        let verdict = if gpu.supported { "usable" } else { "too old for the kernels" };
        println!(
            "cuda:{}           {}, compute capability {}, {} multiprocessors, {:.1} GiB: {verdict}",
            gpu.number,
            gpu.name,
            gpu.capability,
            gpu.multiprocessors,
            gpu.memory_bytes as f64 / (1u64 << 30) as f64
        );
    }
    Ok(())
}

/// The value after `key :` in one of Linux's text files.
fn proc_value(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

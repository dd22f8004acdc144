//! `genesis bench`: operations, or whole steps of the network, beside the machine's measured ceilings.

mod kernels;
mod step;
mod text;

use super::Common;
use crate::Result;
use crate::bench::scale::parse_shape;
use crate::bench::step::Work;
use clap::{Args, Subcommand};

/// Times every operation on the network's layers beside this machine's measured ceilings
///
/// With `step` or `forward`: whole training steps or forward passes, layer by layer. GENESIS_ISA
/// restricts the instruction set. What every column means: docs/benchmarks.md.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  genesis bench
  genesis bench conv3d --layer up_tr64 --runs 9
  genesis bench --roofline roofline.svg
  genesis bench batch_norm max_pool3d --threads 1 --json
  GENESIS_ISA=avx2 genesis bench conv3d --shape 1x32x32x32
  genesis bench step --shape 2x64x64x32 --width 32
  genesis bench forward --shape 6x64x64x32 --precision bf16 --json")]
pub struct BenchArgs {
    #[command(subcommand)]
    whole: Option<Whole>,
    #[command(flatten)]
    kernels: kernels::KernelArgs,
}

#[derive(Subcommand, Debug)]
enum Whole {
    /// Whole training steps: forward, loss, backward, SGD update
    #[command(after_help = "Examples:
  genesis bench step
  genesis bench step --shape 6x64x64x32 --runs 9 --json")]
    Step(step::StepArgs),
    /// Forward passes alone, with running statistics
    #[command(after_help = "Examples:
  genesis bench forward
  genesis bench forward --shape 1x128x128x64 --runs 3")]
    Forward(step::StepArgs),
}

/// What both kinds of bench take.
#[derive(Args, Debug)]
struct ScaleArgs {
    /// Batch and extents of the network's input, N x D x H x W
    #[arg(long, default_value = "2x64x64x32", value_name = "NxDxHxW", value_parser = parse_shape)]
    shape: [usize; 4],
    /// Channels of the network's first convolution
    #[arg(long, default_value_t = 32, value_name = "N")]
    width: usize,
    /// Times each thing is timed, after once to warm up; the median counts
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = parse_runs)]
    runs: usize,
}

/// Runs the command.
///
/// # Errors
/// Wrong flags; an unknown operation; memory; a number format that no operation asked for takes.
pub fn run(args: &BenchArgs, common: &Common) -> Result<()> {
    match &args.whole {
        None => kernels::run(&args.kernels, common),
        Some(Whole::Step(args)) => step::run(Work::Step, args, common),
        Some(Whole::Forward(args)) => step::run(Work::Forward, args, common),
    }
}

fn parse_runs(text: &str) -> std::result::Result<usize, String> {
    text.parse()
        .ok()
        .filter(|runs| (1..=100_000).contains(runs))
        .ok_or_else(|| "a whole number from 1".into())
}

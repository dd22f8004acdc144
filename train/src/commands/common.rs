//! Flags every command takes, and what commands share.

use crate::{Error, Result};
use clap::Args;
use genesis_kernels::{Context, Isa};
use serde::Serialize;

/// Flags every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Compute threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<usize>,
    /// Where to compute
    #[arg(long, global = true, default_value = "auto", value_name = "auto|cpu|cuda:N")]
    pub device: String,
    /// Number format of activations and gradients
    #[arg(long, global = true, default_value = "f32", value_name = "f32|bf16")]
    pub precision: String,
    /// Seed of every random stream [default: 1]
    #[arg(long, global = true, value_name = "N")]
    seed: Option<u64>,
    /// Print errors only
    #[arg(long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print details, and where an error came from
    #[arg(long, global = true)]
    pub verbose: bool,
    /// Print one JSON object on standard output instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

impl Common {
    /// The number of compute threads: `--threads`, or every core.
    pub fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
    }

    /// The seed: `--seed`, or 1.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// True if the user named a seed.
    pub fn seed_given(&self) -> bool {
        self.seed.is_some()
    }

    /// The instruction set: the machine's best, or the one in `GENESIS_ISA`.
    ///
    /// # Errors
    /// A `GENESIS_ISA` that is unknown or that this machine lacks.
    pub fn isa(&self) -> Result<Isa> {
        match std::env::var("GENESIS_ISA") {
            Ok(name) => name.parse().map_err(|error| Error::Usage(format!("GENESIS_ISA: {error}"))),
            Err(_) => Ok(Isa::detect()),
        }
    }

    /// Threads and instruction set to compute with.
    ///
    /// # Errors
    /// As [`Common::isa`].
    pub fn context(&self) -> Result<Context> {
        Ok(Context::with_isa(self.thread_count(), self.isa()?))
    }

    /// Refuses devices this build does not have.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name, [`Error::Work`] for a GPU.
    pub fn check_device(&self) -> Result<()> {
        match self.device.as_str() {
            "auto" | "cpu" => Ok(()),
            name if name.strip_prefix("cuda:").is_some_and(|number| number.parse::<u32>().is_ok()) => {
                Err(Error::Work(format!("--device {name}: this build has no CUDA backend; use --device cpu")))
            }
            name => Err(Error::Usage(format!("--device {name}: use auto, cpu or cuda:N"))),
        }
    }

    /// Refuses precisions this build cannot compute in.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name, [`Error::Work`] for bf16.
    pub fn check_precision(&self) -> Result<()> {
        match self.precision.as_str() {
            "f32" => Ok(()),
            "bf16" => Err(Error::Work("--precision bf16: kernels of this build compute in f32 only".into())),
            name => Err(Error::Usage(format!("--precision {name}: use f32 or bf16"))),
        }
    }
}

fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=1024).contains(&count) => Ok(count),
        _ => Err("a whole number from 1 to 1024".into()),
    }
}

/// Parses extents such as `64x64x32`.
///
/// # Errors
/// Anything but three positive whole numbers.
pub fn parse_size(text: &str) -> Result<[usize; 3], String> {
    numbers(text, 'x')
        .filter(|size| size.iter().all(|&extent| extent > 0))
        .ok_or_else(|| "three positive whole numbers, such as 64x64x32".to_string())
}

/// Parses a triple such as `100,100,30`.
///
/// # Errors
/// Anything but three whole numbers.
pub fn parse_triple(text: &str) -> Result<[usize; 3], String> {
    numbers(text, ',').ok_or_else(|| "three whole numbers, such as 100,100,30".to_string())
}

fn numbers(text: &str, separator: char) -> Option<[usize; 3]> {
    let parts: Option<Vec<usize>> = text.split(separator).map(|part| part.trim().parse().ok()).collect();
    parts?.try_into().ok()
}

/// Parses an intensity window such as `-1000,1000`.
///
/// # Errors
/// Anything but two finite numbers, the lower first.
pub fn parse_window(text: &str) -> Result<(f32, f32), String> {
    let parts: Vec<Option<f32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match parts[..] {
        [Some(low), Some(high)] if low < high && low.is_finite() && high.is_finite() => Ok((low, high)),
        _ => Err("two numbers, the lower first, such as -1000,1000".into()),
    }
}

/// Prints one JSON object on standard output.
///
/// # Errors
/// A value JSON cannot hold.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Error::Work(error.to_string()))?;
    println!("{text}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_triples() {
        assert_eq!(parse_size("64x64x32"), Ok([64, 64, 32]));
        assert_eq!(parse_triple("100, 100,30"), Ok([100, 100, 30]));
        assert!(
            parse_size("64x64").is_err() && parse_size("64x0x32").is_err() && parse_triple("a,b,c").is_err()
        );
    }
}

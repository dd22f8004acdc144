//! Flags every command takes, and what commands share.

use crate::trace::{DEFAULT_STEPS, TraceRequest};
use crate::{Error, Precision, Result};
use clap::Args;
use genesis_kernels::cuda::CudaCard;
use genesis_kernels::cuda::device::cards;
use genesis_kernels::{Context, Hardware, Isa};
use genesis_model::error::does_something;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// Flags every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Compute threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<usize>,
    /// Where to compute
    #[arg(long, global = true, default_value = "auto", value_name = "auto|cpu|cuda:N")]
    pub device: String,
    /// Number format of activations and gradients; tf32, for CUDA cards: f32, multiplied on tensor cores; checkpoints
    /// are f32 [default: f32]
    #[arg(long, global = true, value_name = "f32|bf16|tf32")]
    precision: Option<Precision>,
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

/// What `--device` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A card if there is one, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// A card by its number.
    Cuda(usize),
}

/// The first card that the kernels run on. One that cannot be opened is told of, and the processor serves.
fn first_card() -> Option<Arc<CudaCard>> {
    let number = cards().ok()?.into_iter().find(|card| card.is_supported() && !card.is_emulated())?.number;
    CudaCard::open(number)
        .inspect_err(|error| tracing::warn!("cuda:{number} cannot be used, the processor computes: {error}"))
        .ok()
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

    /// Threads and what computes: `--device`, `--precision`.
    ///
    /// # Errors
    /// As [`Common::hardware`]; tf32 without a card.
    pub fn context(&self) -> Result<Context> {
        let mut cx = self.hardware()?.context(self.thread_count());
        self.precision().choose(&mut cx)?;
        Ok(cx)
    }

    /// What computes: the processor, or the card that `--device` names. `auto` takes the first card the kernels run
    /// on, where there is one.
    ///
    /// # Errors
    /// As [`Common::isa`]; a card that is not there or cannot be used; an unknown name.
    pub fn hardware(&self) -> Result<Hardware> {
        let isa = self.isa()?;
        let card = match self.device_number()? {
            DeviceChoice::Cpu => None,
            DeviceChoice::Cuda(number) => Some(CudaCard::open(number).map_err(|error| {
                Error::Work(format!("--device cuda:{number}: {error}; use --device cpu"))
            })?),
            DeviceChoice::Auto => first_card(),
        };
        if let Some(card) = &card {
            tracing::info!("computing on cuda:{} ({})", card.found().number, card.found().name);
        }
        Ok(Hardware { isa, card })
    }

    /// What `--device` names.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name.
    pub fn device_number(&self) -> Result<DeviceChoice> {
        match self.device.as_str() {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            name => match name.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(number)) => Ok(DeviceChoice::Cuda(number)),
                _ => Err(Error::Usage(format!("--device {name}: use auto, cpu or cuda:N"))),
            },
        }
    }

    /// The processor's threads and instruction set, for commands that measure it.
    ///
    /// # Errors
    /// As [`Common::isa`]; a card named with `--device`.
    pub fn processor(&self) -> Result<Context> {
        if let DeviceChoice::Cuda(number) = self.device_number()? {
            return Err(Error::Work(format!("--device cuda:{number}: this command measures the processor")));
        }
        Ok(Context::with_isa(self.thread_count(), self.isa()?))
    }

    /// The number format: `--precision`, or f32.
    pub fn precision(&self) -> Precision {
        self.precision.unwrap_or_default()
    }

    /// The number format if the user named one.
    pub fn precision_given(&self) -> Option<Precision> {
        self.precision
    }
}

/// Flags of commands that train, for [`crate::trace`].
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Write every operation's time to a file for ui.perfetto.dev (GENESIS_TRACE=1 prints them)
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Steps the trace holds
    #[arg(long, default_value_t = DEFAULT_STEPS, value_name = "N", requires = "trace",
          value_parser = clap::value_parser!(u64).range(1..))]
    trace_steps: u64,
}

impl TraceArgs {
    /// What flags and environment ask for.
    pub fn request(&self) -> TraceRequest {
        TraceRequest::new(self.trace.clone(), self.trace_steps)
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
    extents(text).ok_or_else(|| "three positive whole numbers, such as 64x64x32".to_string())
}

/// Parses in-plane extents such as `96x96`.
///
/// # Errors
/// Anything but two positive whole numbers.
pub fn parse_plane(text: &str) -> Result<[usize; 2], String> {
    extents(text).ok_or_else(|| "two positive whole numbers, such as 96x96".to_string())
}

/// Parses a triple such as `100,100,30`.
///
/// # Errors
/// Anything but three whole numbers.
pub fn parse_triple(text: &str) -> Result<[usize; 3], String> {
    list(text, ',').ok_or_else(|| "three whole numbers, such as 100,100,30".to_string())
}

/// Parses an intensity window such as `-1000,1000`.
///
/// # Errors
/// Anything but two finite numbers, the lower first.
pub fn parse_window(text: &str) -> Result<[f64; 2], String> {
    list(text, ',')
        .filter(|[low, high]: &[f64; 2]| low < high && low.is_finite() && high.is_finite())
        .ok_or_else(|| "two numbers, the lower first, such as -1000,1000".to_string())
}

/// Parses distances of voxels such as `0.7,0.7,2.5`, in millimetres.
///
/// # Errors
/// Anything but three positive numbers.
pub fn parse_spacing(text: &str) -> Result<[f64; 3], String> {
    list(text, ',')
        .filter(|spacing: &[f64; 3]| spacing.iter().all(|s| s.is_finite() && *s > 0.0))
        .ok_or_else(|| "three positive lengths in millimetres, such as 0.7,0.7,2.5".to_string())
}

fn extents<const N: usize>(text: &str) -> Option<[usize; N]> {
    list(&text.to_lowercase(), 'x').filter(|extents: &[usize; N]| !extents.contains(&0))
}

fn list<T: std::str::FromStr, const N: usize>(text: &str, separator: char) -> Option<[T; N]> {
    let values: Option<Vec<T>> = text.split(separator).map(|part| part.trim().parse().ok()).collect();
    values?.try_into().ok()
}

/// JSON whose strings do nothing to a terminal either: serde_json escapes the controls of ASCII alone.
fn visible(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // All such characters lie below 2^16.
        if does_something(c) { text.push_str(&format!("\\u{:04x}", u32::from(c))) } else { text.push(c) }
    }
    text
}

/// Prints one JSON object on standard output.
///
/// # Errors
/// A value JSON cannot hold.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Error::Work(error.to_string()))?;
    println!("{}", visible(&text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_does_nothing_to_a_terminal_and_means_the_same() {
        let hostile = "a\n\u{1b}[31m\u{7f}\u{9b}\u{202e}ä";
        let text = visible(&serde_json::to_string(hostile).unwrap());
        assert!(!text.chars().any(does_something), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hostile);
    }

    #[test]
    fn sizes_triples_windows_and_spacings_are_read_or_refused() {
        assert_eq!(parse_size("512x512x120"), Ok([512, 512, 120]));
        assert_eq!(parse_size("64X64X32"), Ok([64, 64, 32]));
        for bad in ["512x512", "1x2x3x4", "0x5x5", "-1x5x5", "axbxc", "", "1.5x2x2", "64,64,32"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_plane("96x128"), Ok([96, 128]));
        assert_eq!(parse_triple("100, 0,30"), Ok([100, 0, 30]));
        assert!(parse_triple("a,b,c").is_err() && parse_triple("1,2").is_err());
        assert_eq!(parse_window("-1000,1000.5"), Ok([-1000.0, 1000.5]));
        for bad in ["1000", "5,1", "0,inf", "nan,1"] {
            assert!(parse_window(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_spacing("0.7, 0.7,2.5"), Ok([0.7, 0.7, 2.5]));
        for bad in ["1,1", "0,1,1", "nan,1,1", "inf,1,1", "-1,1,1", "1,1,1,1"] {
            assert!(parse_spacing(bad).is_err(), "{bad}");
        }
    }
}

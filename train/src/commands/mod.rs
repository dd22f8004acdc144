//! The commands of the `genesis` program, one file each.

pub mod cubes;

use clap::Args;

/// Flags every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Compute threads [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Where to compute
    #[arg(long, global = true, default_value = "auto", value_name = "auto|cpu|cuda:N")]
    pub device: String,
    /// Number format of activations and gradients
    #[arg(long, global = true, default_value = "f32", value_name = "f32|bf16")]
    pub precision: String,
    /// Seed of every random stream
    #[arg(long, global = true, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Print errors only
    #[arg(long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print details and the full chain of an error
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
}

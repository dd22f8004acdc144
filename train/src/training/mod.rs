//! Pre-training: configuration, loading, the step, the run directory.

mod checkpoint;
mod config;
mod data;
mod journal;
mod loader;
mod plan;
mod run_directory;
mod session;
mod source;
mod trainer;

pub use checkpoint::load_network;
pub use config::{Data, OptimizerConfig, Preset, RunConfig, Sampling, ScheduleConfig, Validation};
pub use journal::mean_squared_error;
pub use loader::{Batch, Loader, Order};
pub use plan::{Plan, Sample};
pub use run_directory::{RunDirectory, Summary};
pub use session::{Execution, pretrain};
pub use source::{CubeFiles, CubeSource, times};
pub use trainer::{StepReport, Trainer, ValidationReport, restore};

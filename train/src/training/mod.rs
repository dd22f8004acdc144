//! Pre-training: configuration, loading, the step, the run directory.

pub(crate) mod ahead;
pub(crate) mod checkpoint;
mod config;
pub(crate) mod config_file;
mod data;
pub(crate) mod journal;
mod loader;
mod memory_plan;
mod on_nan;
mod plan;
pub(crate) mod prefetch;
mod run_directory;
mod session;
mod source;
mod step_graph;
mod trainer;
mod updater;

pub use ahead::{Ahead, ReadyBatch, StepBatch};
pub use checkpoint::load_network;
pub use config::{Data, OptimizerConfig, Preset, RunConfig, Sampling, ScheduleConfig, Validation};
pub use journal::mean_squared_error;
pub use loader::{Batch, Loader, Order};
pub use memory_plan::{BatchShapes, MemoryPlan};
pub use on_nan::{KeptBatch, NanGuard, NotFinite, OnNan};
pub use plan::{Plan, Sample};
pub use run_directory::{RunDirectory, Summary};
pub(crate) use session::thread_count;
pub use session::{Execution, pretrain};
pub use source::{CubeFiles, CubeSource, times};
pub use step_graph::GraphCounts;
pub use trainer::{StepReport, StepSettings, Trainer, ValidationReport, restore};
pub use updater::{Updater, schedule};

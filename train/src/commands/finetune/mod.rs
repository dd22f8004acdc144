//! `genesis finetune`: from pre-trained weights to a target task.

mod classify;
mod segment;
mod training_args;

use super::Common;
use crate::Result;
use clap::{Args, Subcommand};

/// Fine-tunes pre-trained weights, or trains from scratch, for a target task
#[derive(Args, Debug)]
pub struct FinetuneArgs {
    #[command(subcommand)]
    task: TaskCommand,
}

#[derive(Subcommand, Debug)]
// One value per process: its size does not matter.
#[allow(clippy::large_enum_variant)]
enum TaskCommand {
    Segment(segment::SegmentArgs),
    Classify(classify::ClassifyArgs),
}

/// Runs the command.
///
/// # Errors
/// Wrong usage, bad data, a run directory that cannot be written, a training that fails.
pub fn run(args: &FinetuneArgs, common: &Common) -> Result<()> {
    match &args.task {
        TaskCommand::Segment(args) => segment::run(args, common),
        TaskCommand::Classify(args) => classify::run(args, common),
    }
}

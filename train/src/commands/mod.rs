//! The commands of the `genesis` program, one file each.

pub mod bench;
mod common;
pub mod completions;
pub mod convert;
pub mod cubes;
pub mod deform;
pub mod demo;
pub mod devices;
pub mod evaluate;
pub mod finetune;
pub mod inspect;
pub mod phantom;
pub mod predict;
pub mod pretrain;
pub mod restore;
pub mod selftest;

pub use common::{
    Common, DeviceChoice, TraceArgs, parse_plane, parse_size, parse_spacing, parse_triple, parse_window,
    print_json,
};

use crate::Result;
use clap::{Parser, Subcommand};

/// Self-supervised pre-training for 3D medical images, on hand-written kernels
///
/// Genesis cuts cubes from unlabelled CT or MRI volumes, deforms them, and trains a 3D U-Net to
/// restore them (Models Genesis, Zhou et al., Medical Image Analysis 2021). The weights then start a
/// target task with fewer labels.
#[derive(Parser, Debug)]
#[command(name = "genesis", version, after_help = "Start with: genesis demo --out demo")]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
// One value per process: its size does not matter.
#[allow(clippy::large_enum_variant)]
enum Command {
    Demo(demo::DemoArgs),
    Phantom(phantom::PhantomArgs),
    Cubes(cubes::CubesArgs),
    Deform(deform::DeformArgs),
    Pretrain(pretrain::PretrainArgs),
    Finetune(finetune::FinetuneArgs),
    Evaluate(evaluate::EvaluateArgs),
    Restore(restore::RestoreArgs),
    Predict(predict::PredictArgs),
    Convert(convert::ConvertArgs),
    Inspect(inspect::InspectArgs),
    Selftest(selftest::SelftestArgs),
    Bench(bench::BenchArgs),
    Devices(devices::DevicesArgs),
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// The flags every command takes.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// Runs the command.
    ///
    /// # Errors
    /// The command's own.
    pub fn run(&self) -> Result<()> {
        let common = &self.common;
        common.device_number()?;
        match &self.command {
            Command::Demo(args) => demo::run(args, common),
            Command::Phantom(args) => phantom::run(args, common),
            Command::Cubes(args) => cubes::run(args, common),
            Command::Deform(args) => deform::run(args, common),
            Command::Pretrain(args) => pretrain::run(args, common),
            Command::Finetune(args) => finetune::run(args, common),
            Command::Evaluate(args) => evaluate::run(args, common),
            Command::Restore(args) => restore::run(args, common),
            Command::Predict(args) => predict::run(args, common),
            Command::Convert(args) => convert::run(args, common),
            Command::Inspect(args) => inspect::run(args, common),
            Command::Selftest(args) => selftest::run(args, common),
            Command::Bench(args) => bench::run(args, common),
            Command::Devices(args) => devices::run(args, common),
            Command::Completions(args) => completions::run(args, common),
        }
    }
}

//! `genesis demo`: the whole story on embedded data.

use super::Common;
use crate::demo::transfer::TransferSettings;
use crate::demo::{Demo, Outcome};
use crate::{Error, Result};
use clap::Args;
use std::path::PathBuf;

/// The whole story in minutes: phantoms, cubes, pre-training, restored cubes, fine-tuning, report
///
/// Makes synthetic chest CTs (or takes yours), cuts cubes, pre-trains a small 3D U-Net to restore
/// deformed cubes, restores cubes of a scan it has never seen, fine-tunes nodule segmentation on further
/// phantoms from scratch and from the pre-trained weights at equal budget, and writes report.html.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis demo
  genesis demo --out my-demo --volumes scans/ --border 10,10,4
  genesis demo --finetune-steps 0            # pre-training alone")]
pub struct DemoArgs {
    /// Directory to write
    #[arg(long, default_value = "demo", value_name = "DIR")]
    out: PathBuf,
    /// Volumes to use instead of phantoms; three at least
    #[arg(long, value_name = "DIR")]
    volumes: Option<PathBuf>,
    /// Voxels left out at each side of --volumes
    #[arg(long, default_value = "8,8,4", value_name = "X,Y,Z", value_parser = super::parse_triple)]
    border: [usize; 3],
    /// Pre-training steps
    #[arg(long, default_value_t = Demo::STEPS, value_name = "N")]
    steps: u64,
    /// Steps of each fine-tuning; 0 leaves the comparison out
    #[arg(long, default_value_t = TransferSettings::STEPS, value_name = "N")]
    finetune_steps: u64,
    /// Fine-tunings from each start at each number of labels
    #[arg(long, default_value_t = TransferSettings::SEEDS, value_name = "N")]
    finetune_seeds: u64,
    /// Channels of the first convolution
    #[arg(long, default_value_t = Demo::WIDTH, value_name = "N")]
    width: usize,
    #[command(flatten)]
    trace: super::TraceArgs,
}

/// Runs the command.
///
/// # Errors
/// A directory that is not empty or cannot be written; too few volumes; whatever training meets.
pub fn run(args: &DemoArgs, common: &Common) -> Result<()> {
    if args.steps == 0 || args.width == 0 || args.finetune_seeds == 0 {
        return Err(Error::Usage("--steps, --width and --finetune-seeds must be at least 1".into()));
    }
    let transfer = (args.finetune_steps > 0).then(|| TransferSettings {
        steps: args.finetune_steps,
        seeds: args.finetune_seeds,
        ..TransferSettings::default()
    });
    let hardware = common.hardware()?;
    common.precision().check(&hardware)?;
    let demo = Demo {
        out: args.out.clone(),
        volumes: args.volumes.clone(),
        border: args.border,
        steps: args.steps,
        width: args.width,
        seed: common.seed(),
        threads: common.thread_count(),
        hardware,
        precision: common.precision(),
        transfer,
        trace: args.trace.request(),
        quiet: common.quiet,
    };
    let outcome: Outcome = demo.run()?;
    if common.json {
        return super::print_json(&outcome);
    }
    println!(
        "held-out cubes: MSE {:.5} deformed, {:.5} restored ({:.2} x), after {} steps in {:.0} s",
        outcome.identity_mse,
        outcome.restored_mse,
        outcome.restored_mse / outcome.identity_mse,
        outcome.steps,
        outcome.seconds
    );
    if let Some(transfer) = &outcome.transfer {
        println!("nodule Dice, from scratch and pre-trained, {} seed(s):", transfer.seeds);
        for share in &transfer.shares {
            let (scratch, pretrained) = (share.scratch.dice.text(), share.pretrained.dice.text());
            println!("  {scratch} and {pretrained}; {}", share.verdict());
        }
    }
    println!("{}", outcome.report.display());
    Ok(())
}

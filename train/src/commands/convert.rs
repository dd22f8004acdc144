//! `genesis convert`: checkpoints and volumes into other formats.

use super::Common;
use crate::volume::{self, ReadOptions};
use crate::{Error, Result};
use clap::Args;
use genesis_model::checkpoint;
use std::path::PathBuf;

/// Converts a checkpoint (.safetensors, .pt) or a volume (.nii.gz, .mha, .nrrd, …)
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis convert Genesis_Chest_CT.pt genesis.safetensors
  genesis convert runs/a/checkpoints/best.safetensors best.pt
  genesis convert scan.mhd scan.nii.gz
  genesis convert film.nii.gz third.nrrd --frame 2
  genesis convert study/series3/ scan.nii.gz")]
pub struct ConvertArgs {
    /// File to read; of a DICOM series its folder, or any of its files
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// File to write; its extension says the format
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Which volume of a file of several (4D) to read, counted from 0
    #[arg(long, value_name = "N")]
    frame: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be read, an unknown extension, an output that cannot be written.
pub fn run(args: &ConvertArgs, common: &Common) -> Result<()> {
    if !args.input.exists() {
        return Err(Error::file(&args.input, "does not exist"));
    }
    volume::refuse_to_replace(&args.input, &args.output)?;
    if volume::is_volume(&args.input) {
        volume::convert(&args.input, &args.output, &ReadOptions::frame(args.frame))?;
    } else if args.frame.is_some() {
        return Err(Error::Usage("--frame is for volumes".into()));
    } else {
        for entry in checkpoint::convert(&args.input, &args.output)? {
            tracing::warn!("{}: {entry} was not carried over", args.input.display());
        }
    }
    if common.json {
        return super::print_json(&serde_json::json!({ "in": args.input, "out": args.output }));
    }
    println!("{}", args.output.display());
    Ok(())
}

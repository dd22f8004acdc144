//! `genesis inspect`: what a checkpoint or a volume holds, on one screen.

use super::Common;
use crate::provenance::{PROVENANCE_KEY, Provenance};
use crate::volume::{self, ReadOptions};
use crate::{Error, Result};
use clap::Args;
use comfy_table::{Table, presets};
use genesis_model::checkpoint;
use genesis_model::error::{printable, shown};
use std::path::PathBuf;

/// Shows what a checkpoint or a volume holds
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis inspect runs/a/checkpoints/best.safetensors
  genesis inspect Genesis_Chest_CT.pt --tensors
  genesis inspect scan.nii.gz --json
  genesis inspect film.nrrd --frame 3
  genesis inspect study/series3/")]
pub struct InspectArgs {
    /// A checkpoint (.safetensors, .pt) or a volume (.nii, .nii.gz, .mhd, .mha, .nrrd, .nhdr, .npy, a DICOM folder or file)
    #[arg(value_name = "FILE|DIR")]
    file: PathBuf,
    /// Which volume of a file of several (4D) to read, counted from 0
    #[arg(long, value_name = "N")]
    frame: Option<usize>,
    /// List every tensor of a checkpoint
    #[arg(long)]
    tensors: bool,
}

/// Runs the command.
///
/// # Errors
/// A file that is neither, or damaged.
pub fn run(args: &InspectArgs, common: &Common) -> Result<()> {
    if !args.file.exists() {
        return Err(Error::file(&args.file, "does not exist"));
    }
    if volume::is_volume(&args.file) {
        let description = volume::describe(&args.file, &ReadOptions::frame(args.frame))?;
        if common.json {
            return super::print_json(&description);
        }
        println!("{description}");
        return Ok(());
    }
    if args.frame.is_some() {
        return Err(Error::Usage("--frame is for volumes".into()));
    }
    let description = checkpoint::describe(&args.file)?;
    if common.json {
        return super::print_json(&description);
    }
    println!("{}", shown(&args.file));
    println!(
        "{}, {} bytes, checksum {:?}",
        description.format, description.file_bytes, description.integrity
    );
    println!(
        "{} tensors, {} trainable values, {:.1} MB",
        description.tensor_count,
        description.parameters,
        description.tensor_bytes as f64 / 1e6
    );
    if let Some(optimizer) = &description.optimizer {
        let slots: Vec<&str> = optimizer.slots.iter().map(String::as_str).collect();
        println!("optimizer state: {} of {} parameters", printable(&slots.join(", ")), optimizer.parameters);
    }
    for (key, value) in description.metadata.iter().filter(|(key, _)| *key != PROVENANCE_KEY) {
        println!("{}: {}", printable(key), printable(value));
    }
    match Provenance::from_metadata(&description.metadata) {
        Some(provenance) => provenance.lines().iter().for_each(|line| println!("{}", printable(line))),
        None => {
            description
                .metadata
                .get(PROVENANCE_KEY)
                .iter()
                .for_each(|raw| println!("{PROVENANCE_KEY}: {}", printable(raw)));
        }
    }
    for entry in &description.ignored {
        println!("not read: {}", printable(entry));
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["tensor", "type", "shape"]);
    let shown = if args.tensors { description.tensors.len() } else { 12 };
    for tensor in description.tensors.iter().take(shown) {
        table.add_row([
            printable(&tensor.name),
            format!("{:?}", tensor.dtype),
            format!("{:?}", tensor.shape),
        ]);
    }
    println!("{table}");
    if description.tensors.len() > shown {
        println!("… and {} more (--tensors lists all)", description.tensors.len() - shown);
    }
    Ok(())
}

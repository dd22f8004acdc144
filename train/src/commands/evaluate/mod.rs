//! `genesis evaluate`: how good a fine-tuned network, or predictions made elsewhere, are.

mod segment;

use super::Common;
use crate::evaluate::Part;
use crate::{Error, Result};
use clap::Args;
use std::path::PathBuf;

/// Scores a fine-tuned network, or predictions made elsewhere, against references
#[derive(Args, Debug)]
#[command(
    after_help = "Every case is scored on the grid of its scan. Written are metrics.json (mean ± s.d. and median of \
every metric), cases.csv (one line a case and class), dice.png, and overlay-best.png, -median.png and -worst.png.

Examples:
  genesis evaluate --weights runs/liver/checkpoints/best.safetensors --data liver/ --out scores
  genesis evaluate --weights best.safetensors --data hippocampus/ --splits splits.json --out scores --flips
  genesis evaluate --predictions nnunet-out/ --data Task03_Liver --labels liver,tumour --out scores --tolerance 2
  genesis evaluate --weights best.safetensors --data other-clinic/ --labels 6 --largest-component --out scores

Data: the folders of genesis finetune segment. Hausdorff-95 pools both directions, as MedPy's; the surface Dice is
MONAI's; empty prediction and empty reference score 1, distances to something empty are undefined and counted."
)]
pub struct EvaluateArgs {
    /// Fine-tuned weights (.safetensors)
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "predictions",
        conflicts_with = "predictions"
    )]
    weights: Option<PathBuf>,
    /// Folder of label maps made elsewhere, named like the cases; their values are the data set's
    #[arg(long, value_name = "DIR")]
    predictions: Option<PathBuf>,
    /// The predictions hold class numbers 0, 1, 2, … as genesis predict --class-numbers writes them
    #[arg(long, requires = "predictions")]
    class_numbers: bool,
    /// Folder of scans with label maps
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// JSON with the names of the cases: {"train": […], "val": […], "test": […]}
    #[arg(long, value_name = "FILE.json")]
    splits: Option<PathBuf>,
    /// The split in a file of several, such as hippocampus, or 0 for nnU-Net's first fold
    #[arg(long, value_name = "KEY", requires = "splits")]
    splits_key: Option<String>,
    /// The cases that are scored [default: test with --splits, otherwise all]
    #[arg(long, value_enum)]
    split: Option<Part>,
    /// Foreground classes in the data set's values or names, merged by +, named by =
    /// [default: those of the weights, or every label]
    #[arg(long, visible_alias = "classes", value_delimiter = ',', value_name = "LABEL[+LABEL…][=NAME],…")]
    labels: Vec<String>,
    /// Channels of the scans that are used, by number or name [default: those of the weights, or all]
    #[arg(long, value_delimiter = ',', value_name = "CHANNEL,…")]
    channels: Vec<String>,
    /// Tolerance of the surface Dice in millimetres
    #[arg(long, default_value_t = 1.0, value_name = "MM", allow_negative_numbers = true)]
    tolerance: f64,
    /// Overlap of neighbouring windows
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    overlap: f64,
    /// Average the results of all eight mirror images: eight times the time
    #[arg(long, conflicts_with = "predictions")]
    flips: bool,
    /// Keep only the largest component of each class but the background
    #[arg(long, conflicts_with = "predictions")]
    largest_component: bool,
    /// Windows in one pass of the network; more take more memory
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
}

/// Runs the command.
///
/// # Errors
/// Wrong usage; weights, data or a folder that cannot be used; a case that cannot be scored, after all others.
pub fn run(args: &EvaluateArgs, common: &Common) -> Result<()> {
    if !(0.0..1.0).contains(&args.overlap) {
        return Err(Error::Usage(format!("--overlap {}: it must be at least 0 and below 1", args.overlap)));
    }
    segment::run(args, common)
}

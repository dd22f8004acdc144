//! `genesis evaluate`: how good a fine-tuned network, or predictions made elsewhere, are.

mod classify;
mod segment;

use super::Common;
use crate::evaluate::classification::Aggregate;
use crate::{Error, Result};
use clap::Args;
use std::path::{Path, PathBuf};

/// Scores a fine-tuned network, or predictions made elsewhere, against references
#[derive(Args, Debug)]
#[command(
    after_help = "Segmentation, --data a folder: metrics.json (mean ± s.d. and median of every metric), cases.csv (one line \
a case and class), dice.png, and overlay-best.png, -median.png and -worst.png. Every case is scored on the grid of its scan.

  genesis evaluate --weights runs/liver/checkpoints/best.safetensors --data liver/ --out scores
  genesis evaluate --weights best.safetensors --data hippocampus/ --splits splits.json --out scores --flips
  genesis evaluate --predictions nnunet-out/ --data Task03_Liver --labels liver,tumour --out scores --tolerance 2
  genesis evaluate --weights best.safetensors --data other-clinic/ --labels 6 --largest-component --out scores

Data: the folders of genesis finetune segment. Hausdorff-95 pools both directions, as MedPy's; the surface Dice is
MONAI's; empty prediction and empty reference score 1, distances to something empty are undefined and counted.

Classification, --data or --predictions a CSV table: metrics.json (AUC with its 95 % interval, average precision,
sensitivity at given specificities, Brier score, …), cases.csv (one line a candidate), roc.png, precision-recall.png,
confusion.png, and with --froc froc.png.

  genesis evaluate --weights runs/ncc/checkpoints/best.safetensors --data candidates.csv --volumes LUNA16/ --split subset7-9 \
--froc --out scores
  genesis evaluate --weights best.safetensors --data crops.csv --score-by group --aggregate mean --out scores
  genesis evaluate --predictions probabilities.csv --data candidates.csv --out scores

Tables: columns path,label[,split][,group][,scan][,annotation][,x,y,z] (LPS millimetres), or LUNA16's
candidates.csv with --volumes. Predictions add a column probability (of the second of two classes) or a column
probability_CLASS for each; they may carry the labels themselves."
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
    /// Predictions made elsewhere: a folder of label maps, named like the cases and with the data set's values;
    /// or a CSV table of probabilities
    #[arg(long, value_name = "DIR|FILE.csv")]
    predictions: Option<PathBuf>,
    /// The predictions hold class numbers 0, 1, 2, … as genesis predict --class-numbers writes them
    #[arg(long, requires = "predictions")]
    class_numbers: bool,
    /// Folder of scans with label maps, or CSV table of candidates with labels
    #[arg(long, value_name = "DIR|FILE.csv")]
    data: Option<PathBuf>,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// JSON with the names of the cases: {"train": […], "val": […], "test": […]}
    #[arg(long, value_name = "FILE.json")]
    splits: Option<PathBuf>,
    /// The split in a file of several, such as hippocampus, or 0 for nnU-Net's first fold
    #[arg(long, value_name = "KEY", requires = "splits")]
    splits_key: Option<String>,
    /// The cases that are scored: test, val, train or all; in a table any split, such as subset7-9
    /// [default: test where there are splits, otherwise all]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    split: Vec<String>,
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
    #[command(flatten)]
    table: TableArgs,
}

/// Flags for tables of candidates.
#[derive(Args, Debug)]
#[command(next_help_heading = "Classification")]
pub struct TableArgs {
    /// Folder searched for LUNA16's scans, or that paths of the table are relative to [default: the table's]
    #[arg(long, value_name = "DIR", requires = "data")]
    volumes: Option<PathBuf>,
    /// Leave out candidates whose volume is missing
    #[arg(long, requires = "data")]
    skip_missing: bool,
    /// Make one score of the rows of a group, such as several crops of one candidate
    #[arg(long, value_name = "group", value_parser = ["group"])]
    score_by: Option<String>,
    /// How [default: mean]
    #[arg(long, value_enum, requires = "score_by")]
    aggregate: Option<Aggregate>,
    /// Free-response ROC: sensitivity at 1/8 to 8 false positives a scan; the scan is the table's scan or group
    #[arg(long)]
    froc: bool,
    /// True findings for the FROC, those without a candidate included [default: those of the table]
    #[arg(long, value_name = "N", requires = "froc", value_parser = clap::value_parser!(u32).range(1..))]
    findings: Option<u32>,
    /// The true findings with their places, as LUNA16's annotations.csv; a candidate within the radius is a hit
    #[arg(long, value_name = "FILE.csv", requires = "froc", conflicts_with = "findings")]
    annotations: Option<PathBuf>,
    /// Findings that need not be found, as LUNA16's annotations_excluded.csv
    #[arg(long, value_name = "FILE.csv", requires = "annotations")]
    annotations_excluded: Option<PathBuf>,
    /// Scans for the FROC, those without a candidate included [default: those of the table]
    #[arg(long, value_name = "N", requires = "froc", value_parser = clap::value_parser!(u32).range(1..))]
    scans: Option<u32>,
    /// A candidate is called positive from this probability on, with two classes
    #[arg(long, default_value_t = 0.5, value_name = "P", allow_negative_numbers = true)]
    threshold: f64,
    /// Specificities at which the sensitivity is given
    #[arg(
        long,
        default_value = "0.9",
        value_delimiter = ',',
        value_name = "S,…",
        allow_negative_numbers = true
    )]
    specificity: Vec<f64>,
    /// Bootstrap resamples of the AUC's interval
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    resamples: u32,
}

/// True for the name of a table.
fn is_table(path: Option<&Path>) -> bool {
    path.and_then(Path::extension).is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

/// Runs the command.
///
/// # Errors
/// Wrong usage; weights, data or a folder that cannot be used; a case that cannot be scored, after all others.
pub fn run(args: &EvaluateArgs, common: &Common) -> Result<()> {
    if !(0.0..1.0).contains(&args.overlap) {
        return Err(Error::Usage(format!("--overlap {}: it must be at least 0 and below 1", args.overlap)));
    }
    if is_table(args.data.as_deref()) || is_table(args.predictions.as_deref()) {
        classify::run(args, common)
    } else {
        segment::run(args, common)
    }
}

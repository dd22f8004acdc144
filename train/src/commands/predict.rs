//! `genesis predict`: labels for whole scans, one file or a folder.

use super::Common;
use crate::inference::{Connectivity, Prediction, PredictionSettings, Segmenter, split_extension};
use crate::progress::{Progress, note};
use crate::volume::{is_volume_name, list_volumes};
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Segments whole scans with a fine-tuned network
#[derive(Args, Debug)]
#[command(
    after_help = "Labels are written in the input's format, on its grid, under its header; classes are named \
by the checkpoint. Scans with several channels are one 4D NIfTI file, or files name_0000, name_0001, … of which \
any one may be given.

Examples:
  genesis predict --weights runs/liver/checkpoints/best.safetensors --input scan.nii.gz --out labels.nii.gz
  genesis predict --weights best.safetensors --input scans/ --out labels/ --flips --precision bf16
  genesis predict --weights best.safetensors --input ct.mhd --out ct-liver.mhd --largest-component
  genesis predict --weights best.safetensors --input brain_0000.nii.gz --out brain.nii.gz --probabilities p.nii.gz"
)]
pub struct PredictArgs {
    /// Fine-tuned weights of a segmentation (.safetensors)
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// A volume, or a folder of volumes
    #[arg(long, value_name = "FILE|DIR")]
    input: PathBuf,
    /// The label file; for a folder, a folder that gets files of the same names
    #[arg(long, value_name = "FILE|DIR")]
    out: PathBuf,
    /// Overlap of neighbouring windows
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    overlap: f64,
    /// Average the results of all eight mirror images: eight times the time
    #[arg(long)]
    flips: bool,
    /// Write each class's probabilities too: NAME_0000, NAME_0001, … in float32
    #[arg(long, value_name = "FILE|DIR")]
    probabilities: Option<PathBuf>,
    /// Keep only the largest component of each class but the background
    #[arg(long)]
    largest_component: bool,
    /// Voxels a component is connected by: 6 share a face, 26 a face, an edge or a corner
    #[arg(long, default_value = "26", value_name = "6|26", value_parser = ["6", "26"])]
    connectivity: String,
    /// Windows in one pass of the network; more take more memory
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
}

#[derive(Serialize)]
struct Report<'a> {
    classes: &'a [String],
    predictions: Vec<Prediction>,
    failed: Vec<Failure>,
    seconds: f64,
    peak_memory_bytes: Option<usize>,
}

#[derive(Serialize)]
struct Failure {
    input: PathBuf,
    error: String,
}

/// One scan: its files, and what it becomes.
struct Scan {
    inputs: Vec<PathBuf>,
    out: PathBuf,
    probabilities: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Weights that are no segmentation's; a scan that cannot be predicted (of a folder, after all others).
pub fn run(args: &PredictArgs, common: &Common) -> Result<()> {
    if !(0.0..1.0).contains(&args.overlap) {
        return Err(Error::Usage(format!("--overlap {}: it must be at least 0 and below 1", args.overlap)));
    }
    let cx = common.context()?;
    let mut segmenter = Segmenter::load(&args.weights)?;
    let folder = args.input.is_dir();
    let scans = if folder {
        scans(args, segmenter.task.channels)?
    } else {
        vec![scan(args, segmenter.task.channels)?]
    };
    let connectivity = if args.connectivity == "6" { Connectivity::Faces } else { Connectivity::Corners };
    let settings = PredictionSettings {
        overlap: args.overlap,
        batch_size: args.batch_size.into(),
        flips: args.flips,
        largest_component: args.largest_component.then_some(connectivity),
        precision: common.precision(),
    };
    let start = std::time::Instant::now();
    let (mut predictions, mut failed) = (Vec::new(), Vec::new());
    for scan in &scans {
        let title = scan.out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (mut progress, mut before) = (None, 0);
        let outcome = create_folders(scan).and_then(|()| {
            segmenter.predict(
                &cx,
                &scan.inputs,
                &scan.out,
                scan.probabilities.as_deref(),
                &settings,
                |done, total| {
                    let bar =
                        progress.get_or_insert_with(|| Progress::new(&title, total as u64, common.quiet));
                    bar.advance((done - before) as u64);
                    before = done;
                },
            )
        });
        if let Some(progress) = &progress {
            progress.finish();
        }
        match outcome {
            Ok(prediction) => {
                if !common.json {
                    print(&prediction, &segmenter.task.classes);
                }
                predictions.push(prediction);
            }
            Err(error) if folder => {
                note(&format!("error: {error}"));
                failed.push(Failure { input: scan.inputs[0].clone(), error: error.to_string() });
            }
            Err(error) => return Err(error),
        }
    }
    let (count, all) = (failed.len(), scans.len());
    if common.json {
        super::print_json(&Report {
            classes: &segmenter.task.classes,
            predictions,
            failed,
            seconds: start.elapsed().as_secs_f64(),
            peak_memory_bytes: genesis_tensor::memory::peak_resident_bytes(),
        })?;
    }
    if count > 0 {
        return Err(Error::Work(format!("{count} of {all} scans could not be predicted")));
    }
    Ok(())
}

fn print(prediction: &Prediction, classes: &[String]) {
    let [x, y, z] = prediction.size;
    let counts: Vec<String> = classes
        .iter()
        .zip(&prediction.voxels)
        .skip(1)
        .map(|(class, count)| format!("{class} {count}"))
        .collect();
    println!(
        "{}: {x}x{y}x{z} voxels, {} ({:.1} s)",
        prediction.out.display(),
        counts.join(", "),
        prediction.seconds
    );
}

fn create_folders(scan: &Scan) -> Result<()> {
    for path in [Some(&scan.out), scan.probabilities.as_ref()].into_iter().flatten() {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
    }
    Ok(())
}

/// The scan a single file names.
fn scan(args: &PredictArgs, channels: usize) -> Result<Scan> {
    if args.out.is_dir() {
        return Err(Error::Usage(format!("--out {} is a folder, but --input is a file", args.out.display())));
    }
    if !is_volume_name(&args.out) {
        return Err(Error::Usage(format!("--out {}: the name is of no volume format", args.out.display())));
    }
    let mut inputs = vec![args.input.clone()];
    if let Some((stem, _, extension)) = channel_name(&args.input).filter(|_| channels > 1) {
        inputs = (0..channels)
            .map(|channel| args.input.with_file_name(format!("{stem}_{channel:04}{extension}")))
            .collect();
    }
    if same(&args.input, &args.out) {
        return Err(Error::Usage(format!("--out {} would replace the input", args.out.display())));
    }
    Ok(Scan { inputs, out: args.out.clone(), probabilities: args.probabilities.clone() })
}

/// The scans of a folder; files of several channels belong together by name.
fn scans(args: &PredictArgs, channels: usize) -> Result<Vec<Scan>> {
    if args.out.is_file() || same(&args.input, &args.out) {
        let out = args.out.display();
        return Err(Error::Usage(format!("--out {out}: for a folder of scans, another folder is needed")));
    }
    let mut scans = BTreeMap::<PathBuf, Vec<PathBuf>>::new();
    for path in list_volumes(&args.input)? {
        let relative = path.strip_prefix(&args.input).unwrap_or(&path);
        let target = match channel_name(relative).filter(|_| channels > 1) {
            Some((stem, _, extension)) => relative.with_file_name(format!("{stem}{extension}")),
            None => relative.to_path_buf(),
        };
        scans.entry(target).or_default().push(path);
    }
    if scans.is_empty() {
        return Err(Error::file(&args.input, "holds no volume (.nii, .nii.gz, .hdr with .img, .mha, .mhd)"));
    }
    let scan = |(mut target, inputs): (PathBuf, Vec<PathBuf>)| {
        // The pair is read, but written as one file.
        if target.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("hdr")) {
            target.set_extension("nii");
        }
        let probabilities = args.probabilities.as_ref().map(|folder| folder.join(&target));
        Scan { inputs, out: args.out.join(target), probabilities }
    };
    Ok(scans.into_iter().map(scan).collect())
}

/// `case_0001.nii.gz` as stem, channel and extension.
fn channel_name(path: &Path) -> Option<(String, usize, String)> {
    let name = path.file_name()?.to_str()?;
    let (stem, extension) = split_extension(name);
    let (stem, digits) = stem.rsplit_once('_')?;
    let channel = digits.parse().ok().filter(|_| digits.len() == 4)?;
    Some((stem.to_owned(), channel, extension.to_owned()))
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

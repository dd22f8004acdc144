//! `genesis predict`: labels for whole scans, one file or a folder; with a classifier, a table of
//! probabilities.

mod classify;
mod scans;

use super::Common;
use crate::inference::{
    Classifier, Connectivity, Prediction, PredictionFiles, PredictionSettings, Segmenter,
};
use crate::progress::{Progress, note};
use crate::task::{Task, TaskDescription};
use crate::{Error, Result};
use clap::Args;
use genesis_model::checkpoint::read_checkpoint;
use genesis_model::error::{printable, shown};
use scans::Scan;
use serde::Serialize;
use std::path::PathBuf;

/// Segments whole scans, or classifies cubes, with a fine-tuned network
#[derive(Args, Debug)]
#[command(
    after_help = "Labels are written in the input's format, on its grid, under its header, with the values of the \
data set the network was trained on (of merged labels the first: 1 for 1+2+4=whole). Scans with several channels \
are one 4D file, or files name_0000, name_0001, … or name_flair, name_t1, … (BraTS), of which any one may \
be given; the channels the network was trained on are taken. A DICOM series is named by its folder or any of its \
files; its labels are NIfTI, in a folder of results under the name of the series' folder (or of its first file, where a \
folder holds several) and .nii.gz.

A classifier takes a table (path[,group][,x,y,z], or LUNA16's candidates with --volumes), a volume or a folder, of \
which it sees the middle, and writes a table: path, group, x, y, z, probability_CLASS for each class, predicted.

Examples:
  genesis predict --weights runs/liver/checkpoints/best.safetensors --input scan.nii.gz --out labels.nii.gz
  genesis predict --weights best.safetensors --input scan.nii.gz --out labels/          # labels/scan.nii.gz
  genesis predict --weights best.safetensors --input scans/ --out labels/ --flips --precision bf16
  genesis predict --weights best.safetensors --input study/series3/ --out series3-liver.nii.gz
  genesis predict --weights best.safetensors --input ct.mhd --out ct-liver.mhd --largest-component
  genesis predict --weights best.safetensors --input brain_0000.nii.gz --out brain.nii.gz --probabilities p.nii.gz
  genesis predict --weights best.safetensors --input scans/ --out labels/ --class-numbers
  genesis predict --weights best.safetensors --input film.nrrd --frame 3 --out labels.nrrd
  genesis predict --weights runs/nodules/checkpoints/best.safetensors --input candidates.csv --out nodules.csv --flips"
)]
pub struct PredictArgs {
    /// Fine-tuned weights of a segmentation or a classification (.safetensors)
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// A volume (of DICOM a series' folder or file), or a folder of volumes; for a classifier also a table
    #[arg(long, value_name = "FILE|DIR")]
    input: PathBuf,
    /// The label file, or a folder that gets files of the same names; of a classifier FILE.csv
    #[arg(long, value_name = "FILE|DIR")]
    out: PathBuf,
    /// Folder the volumes of a table lie below [default: the table's]
    #[arg(long, value_name = "DIR")]
    volumes: Option<PathBuf>,
    /// Leave out rows of a table whose volume is missing
    #[arg(long)]
    skip_missing: bool,
    /// Label by the numbers of the classes, 0, 1, 2, …, instead of the data set's values
    #[arg(long)]
    class_numbers: bool,
    /// Which volume of a file of several (4D) to take alone, counted from 0 [default: all, as channels]
    #[arg(long, value_name = "N")]
    frame: Option<usize>,
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
    /// The value of each class in the label files.
    values: &'a [u8],
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

/// Runs the command.
///
/// # Errors
/// Weights of no target task; a scan that cannot be predicted (of a folder, after all others).
pub fn run(args: &PredictArgs, common: &Common) -> Result<()> {
    if !(0.0..1.0).contains(&args.overlap) {
        return Err(Error::Usage(format!("--overlap {}: it must be at least 0 and below 1", args.overlap)));
    }
    std::fs::metadata(&args.input).map_err(Error::io("read", &args.input))?;
    let state = read_checkpoint(&args.weights)?.state;
    let task = TaskDescription::from_metadata(&state.metadata);
    if task
        .map_err(|error| Error::file(&args.weights, error))?
        .is_some_and(|task| task.task == Task::Classify)
    {
        return classify::run(args, Classifier::from_state(&args.weights, &state)?, common);
    }
    let mut segmenter = Segmenter::from_state(&args.weights, &state)?;
    drop(state);
    if args.volumes.is_some() || args.skip_missing {
        return Err(Error::Usage("--volumes and --skip-missing are for the tables of classifiers".into()));
    }
    let cx = common.context()?;
    let folder = args.input.is_dir() && !scans::is_series(args);
    let task = &segmenter.task;
    let scans = if folder { scans::in_folder(args, task)? } else { vec![scans::of_file(args, task)?] };
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
                &scan.files,
                PredictionFiles {
                    labels: &scan.out,
                    probabilities: scan.probabilities.as_deref(),
                    class_numbers: args.class_numbers,
                },
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
                failed.push(Failure { input: scan.first().to_path_buf(), error: error.to_string() });
            }
            Err(error) => return Err(error),
        }
    }
    let (count, all) = (failed.len(), scans.len());
    if common.json {
        super::print_json(&Report {
            classes: &segmenter.task.classes,
            values: &segmenter.task.written_values(args.class_numbers),
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
        shown(&prediction.out),
        printable(&counts.join(", ")),
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

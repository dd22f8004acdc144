//! The evaluation of a segmentation, from the request to the written results.

use super::case::CaseScores;
use super::labeller::{LabelSource, Labeller};
use super::overlay::{View, centre_of_mass, overlay};
use super::selection::{Part, SplitFile, select};
use super::strip::dice_chart;
use super::summary::{Failure, SegmentationReport, Settings, mean_of_classes, per_class, ranked, two_class};
use super::table::csv;
use crate::evaluation::Grid;
use crate::finetune::{CaseFiles, CaseReader, Classes, Dataset, label_classes};
use crate::inference::PredictionSettings;
use crate::progress::{Progress, note};
use crate::report::file::write_atomically;
use crate::volume::Volume;
use crate::{Error, Result, preprocess};
use genesis_kernels::Context;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The pictures of the best, the median and the worst case.
const OVERLAYS: [&str; 3] = ["overlay-best.png", "overlay-median.png", "overlay-worst.png"];
/// The chart of every case's Dice.
const CHART: &str = "dice.png";

/// What is evaluated, and how.
#[derive(Clone, Debug)]
pub struct SegmentationEvaluation {
    /// Folder of scans with label maps, in any of the layouts of fine-tuning.
    pub data: PathBuf,
    /// Where predicted labels come from.
    pub source: LabelSource,
    /// The file of splits.
    pub splits: Option<SplitFile>,
    /// The part that is scored.
    pub part: Part,
    /// The foreground classes as in fine-tuning; empty: the network's, or every label.
    pub labels: Vec<String>,
    /// The channels used, by number or name; empty: the network's, or all.
    pub channels: Vec<String>,
    /// How the network is run.
    pub prediction: PredictionSettings,
    /// The tolerance of the surface Dice, mm.
    pub tolerance_mm: f64,
    /// No progress on standard error.
    pub quiet: bool,
}

/// Scores every case and writes `metrics.json`, `cases.csv`, `dice.png` and the overlays to `out`. A case that
/// cannot be scored prints an error line and is listed in the report; the others go on.
///
/// # Errors
/// Data, weights or a selection that cannot be used at all; a folder that cannot be written.
pub fn evaluate_segmentation(
    cx: &Context,
    request: &SegmentationEvaluation,
    out: &Path,
) -> Result<SegmentationReport> {
    let started = Instant::now();
    let tolerance_mm = request.tolerance_mm;
    if !(tolerance_mm >= 0.0 && tolerance_mm.is_finite()) {
        return Err(Error::Usage(format!("--tolerance {tolerance_mm}: it must not be negative")));
    }
    let dataset = Dataset::open(&request.data)?;
    let (selected, mut failed) = select(&dataset, request.splits.as_ref(), request.part)?;
    let (labeller, classes) = Labeller::open(&request.source, &dataset, &request.labels, &selected)?;
    let channels = dataset.channel_numbers(&request.channels)?;
    // Before hours of work.
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let trained_on = match &labeller {
        Labeller::Network { trained_on, .. } => {
            selected.iter().filter(|case| trained_on.contains(&case.name)).count()
        }
        Labeller::Files { .. } => 0,
    };
    if trained_on > 0 && request.part != Part::Train {
        tracing::warn!(
            "{trained_on} of {} cases have names the weights were trained on: their scores say little about new \
             scans (choose by --splits)",
            selected.len()
        );
    }
    for failure in &failed {
        note(&format!("error: {}", failure.error));
    }
    let preprocessing = preprocess::Preprocessing::default();
    let reader = CaseReader { classes: classes.clone(), preprocessing, channels };
    let names = dataset.channels;
    let mut scorer = Scorer { cx, labeller, reader, names, request, window: None };
    scorer.window = scorer.labeller.window();
    let (mut cases, mut pictures) = (Vec::new(), Vec::new());
    let progress = Progress::new("cases", selected.len() as u64, request.quiet);
    for files in &selected {
        progress.message(files.name.clone());
        match scorer.score(files, &progress) {
            Ok((scores, picture)) => {
                cases.push(scores);
                pictures.push(picture);
            }
            Err(error) => {
                note(&format!("error: {error}"));
                failed.push(Failure { case: files.name.clone(), error: error.to_string() });
            }
        }
        progress.advance(1);
    }
    progress.finish();
    write_pictures(out, &cases, &pictures, &classes)?;
    let names = &classes.names()[1..];
    write_atomically(&out.join("cases.csv"), &csv(&cases, names, &failed)?)?;
    let ranked = ranked(&cases);
    let named = |place: usize| ranked.map(|ranked| cases[ranked[place]].name.clone());
    let network = matches!(request.source, LabelSource::Weights(_));
    let (weights, predictions) = match &request.source {
        LabelSource::Weights(path) => (Some(path.clone()), None),
        LabelSource::Predictions { folder, .. } => (None, Some(folder.clone())),
    };
    let report = SegmentationReport {
        task: "segment",
        status: if failed.is_empty() { "complete" } else { "incomplete" },
        data: request.data.clone(),
        weights,
        predictions,
        splits: request.splits.clone(),
        split: request.part,
        cases: cases.len(),
        trained_on,
        classes: per_class(&cases, names),
        mean_of_classes: mean_of_classes(&cases),
        iou_two_class_mean: two_class(&cases),
        best_case: named(0),
        median_case: named(1),
        worst_case: named(2),
        failed,
        settings: Settings {
            prediction: network.then_some(request.prediction),
            surface_dice_tolerance_mm: tolerance_mm,
        },
        seconds: started.elapsed().as_secs_f64(),
        peak_memory_bytes: genesis_tensor::memory::peak_resident_bytes(),
    };
    let json = serde_json::to_string_pretty(&report).map_err(|error| Error::Work(error.to_string()))?;
    write_atomically(&out.join("metrics.json"), format!("{json}\n").as_bytes())?;
    Ok(report)
}

/// What scoring a case needs.
struct Scorer<'a> {
    cx: &'a Context,
    labeller: Labeller,
    reader: CaseReader,
    /// The names of the data set's channels, as far as it has any.
    names: Vec<String>,
    request: &'a SegmentationEvaluation,
    window: Option<(f32, f32)>,
}

impl Scorer<'_> {
    /// The channels of a scan that the user chose, or else those the network was trained on.
    fn images(&self, files: &CaseFiles) -> Result<Vec<Volume>> {
        let volumes = self.reader.images(files)?;
        if !self.reader.channels.is_empty() {
            return Ok(volumes);
        }
        self.labeller.choose(volumes, &self.names).map_err(|error| match error {
            Error::Work(cause) => Error::file(files.image(), cause),
            other => other,
        })
    }

    /// The scores of a case, and its picture as PNG.
    fn score(&mut self, files: &CaseFiles, progress: &Progress) -> Result<(CaseScores, Vec<u8>)> {
        let about = |error: Error| match error {
            Error::Work(cause) => Error::file(files.image(), cause),
            other => other,
        };
        let volumes = self.images(files)?;
        let scan = &volumes[0];
        let lattice = preprocess::Grid::new(scan, &self.reader.preprocessing).map_err(about)?;
        let reference = label_classes(&files.label, &self.reader.classes, &lattice)?;
        let grid = Grid::of(scan).map_err(about)?;
        // The planes are cut now, so that the scan need not be kept while the network runs.
        let mut shown = centre_of_mass(&reference, scan.size).map(|centre| View::cut(scan, centre));
        let tell = |done, all| progress.message(format!("{}: window {done} of {all}", files.name));
        let labels = self
            .labeller
            .label(self.cx, files, volumes, &reference, &self.request.prediction, tell)
            .map_err(about)?;
        if shown.is_none() {
            // An empty reference: where the network sees something, or the middle.
            let size = grid.size();
            let centre = centre_of_mass(&labels.predicted, size).unwrap_or(size.map(|extent| extent / 2));
            shown = self.images(files)?.first().map(|scan| View::cut(scan, centre));
        }
        let foreground = self.reader.classes.foreground.len();
        let tolerance = self.request.tolerance_mm;
        let scores = CaseScores::new(&files.name, &labels, &reference, &grid, foreground, tolerance)?;
        let view = shown.ok_or_else(|| Error::file(files.image(), "holds no volume"))?;
        let caption = caption(&scores, &self.reader.classes);
        let picture = overlay(&view, &caption, &labels.predicted, &reference, self.window)?;
        Ok((scores, picture.to_png()?))
    }
}

/// The case's name with the Dice of its classes.
fn caption(scores: &CaseScores, classes: &Classes) -> String {
    /// More classes than this would not fit beside the pictures.
    const MOST: usize = 12;
    let mut text = scores.name.clone();
    if let Some(mean) = scores.mean(&super::METRICS[0]) {
        text.push_str(&format!("\nDice {mean:.3}"));
    }
    if classes.foreground.len() > 1 {
        for (class, scores) in classes.foreground.iter().zip(&scores.classes).take(MOST) {
            text.push_str(&format!("\n{} {:.3}", class.name, scores.dice));
        }
    }
    text
}

/// The overlays and the chart; those of an earlier evaluation do not stay.
fn write_pictures(out: &Path, cases: &[CaseScores], pictures: &[Vec<u8>], classes: &Classes) -> Result<()> {
    for name in OVERLAYS.iter().chain([&CHART]) {
        let path = out.join(name);
        if path.is_file() {
            std::fs::remove_file(&path).map_err(Error::io("replace", &path))?;
        }
    }
    let Some(ranked) = ranked(cases) else { return Ok(()) };
    for (name, case) in OVERLAYS.iter().zip(ranked) {
        write_atomically(&out.join(name), &pictures[case])?;
    }
    dice_chart(cases, &classes.names()[1..]).picture()?.write_png(&out.join(CHART))
}

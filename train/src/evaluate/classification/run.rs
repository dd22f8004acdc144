//! The evaluation of a classifier, from the request to the written results.

use super::aggregate::Aggregate;
use super::froc::{FrocSettings, froc};
use super::report::{ClassificationReport, ClassificationScores, Settings};
use super::scored::Scored;
use super::{plots, predictions};
use crate::candidates::{CandidateTable, TableSource, results_csv};
use crate::evaluation::classification::ClassificationOptions;
use crate::inference::{Classifier, ClassifySettings, classify_table};
use crate::progress::Progress;
use crate::report::file::write_atomically;
use crate::{Error, Result};
use genesis_kernels::Context;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The split that is scored unless others are named.
const TEST: &str = "test";
/// Stands for every row.
const ALL: &str = "all";

/// Where probabilities come from.
#[derive(Clone, Debug)]
pub enum ProbabilitySource {
    /// A fine-tuned classifier, run on the table's cubes.
    Weights {
        /// Its checkpoint.
        file: PathBuf,
        /// How it is run.
        settings: ClassifySettings,
    },
    /// A table with a column `probability`, or `probability_<class>` for each class.
    Predictions(PathBuf),
}

/// What is evaluated, and how.
#[derive(Clone, Debug)]
pub struct ClassificationEvaluation {
    /// Where probabilities come from.
    pub source: ProbabilitySource,
    /// The table of labelled candidates; a table of predictions may have the labels itself.
    pub data: Option<TableSource>,
    /// The splits that are scored (see [`CandidateTable::rows_of_splits`]), or `all`; empty: `test` where the
    /// table has it, or else every row.
    pub splits: Vec<String>,
    /// How the rows of a group become one score; `None`: every row counts.
    pub aggregate: Option<Aggregate>,
    /// Whether there is a FROC, and what the table does not know for it.
    pub froc: Option<FrocSettings>,
    /// Threshold, specificities and intervals.
    pub options: ClassificationOptions,
    /// No progress on standard error.
    pub quiet: bool,
}

/// Scores a table of candidates and writes `metrics.json`, `cases.csv`, `roc.png`, `precision-recall.png`,
/// `confusion.png` and, on request, `froc.png` to `out`.
///
/// # Errors
/// A table, weights or volumes that cannot be used; candidates without label; a folder that cannot be written.
pub fn evaluate_classification(
    cx: &Context,
    request: &ClassificationEvaluation,
    out: &Path,
) -> Result<ClassificationReport> {
    let started = Instant::now();
    check(&request.options)?;
    let (scored, splits) = scores(cx, request)?;
    let rows = scored.table.rows.len();
    let scored = match request.aggregate {
        Some(aggregate) => aggregate.apply(&scored)?,
        None => scored,
    };
    let (scores, brier) = ClassificationScores::of(&scored, &request.options)?;
    let labels = scored.table.labels()?;
    let curve = request.froc.as_ref().map(|settings| froc(&scored, settings)).transpose()?;
    let (curve, froc) = curve.map_or((None, None), |(curve, report)| (Some(curve), Some(report)));
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    plots::write(out, &scored, &labels, scores.confusion(), curve.as_ref())?;
    let decisions = scored.decisions(request.options.threshold);
    let values = scored.rows().map(|(_, values)| values);
    let cases = results_csv(
        &scored.table,
        vec![("name", Box::new(|row| row.name.clone())), ("path", Box::new(|row| row.volume.to_string()))],
        values,
        &decisions,
    )?;
    write_atomically(&out.join("cases.csv"), &cases)?;
    let of_class = |class: usize| labels.iter().filter(|&&label| label == class).count();
    let names = scored.table.classes.iter().enumerate();
    let (weights, predictions) = match &request.source {
        ProbabilitySource::Weights { file, .. } => (Some(file.clone()), None),
        ProbabilitySource::Predictions(file) => (None, Some(file.clone())),
    };
    let report = ClassificationReport {
        task: "classify",
        status: "complete",
        data: request.data.as_ref().map(|source| source.file.clone()),
        weights,
        predictions,
        splits,
        rows,
        score_by_group: request.aggregate,
        cases: labels.len(),
        classes: scored.table.classes.clone(),
        cases_of_class: names.map(|(class, name)| (name.clone(), of_class(class))).collect(),
        scores,
        brier,
        froc,
        settings: Settings {
            threshold: request.options.threshold,
            specificities: request.options.specificities.clone(),
            resamples: request.options.bootstrap.resamples,
            seed: request.options.bootstrap.seed,
            froc: request.froc.clone(),
        },
        seconds: started.elapsed().as_secs_f64(),
        peak_memory_bytes: genesis_tensor::memory::peak_resident_bytes(),
    };
    let json = serde_json::to_string_pretty(&report).map_err(|error| Error::Work(error.to_string()))?;
    write_atomically(&out.join("metrics.json"), format!("{json}\n").as_bytes())?;
    Ok(report)
}

fn check(options: &ClassificationOptions) -> Result<()> {
    if !(0.0..=1.0).contains(&options.threshold) {
        return Err(Error::Usage(format!("--threshold {}: it must lie in 0 to 1", options.threshold)));
    }
    match options.specificities.iter().find(|specificity| !(0.0..=1.0).contains(*specificity)) {
        Some(wrong) => Err(Error::Usage(format!("--specificity {wrong}: it must lie in 0 to 1"))),
        None => Ok(()),
    }
}

/// The candidates that are asked for with their probabilities, and the splits they are of.
fn scores(cx: &Context, request: &ClassificationEvaluation) -> Result<(Scored, Vec<String>)> {
    match &request.source {
        ProbabilitySource::Weights { file, settings } => {
            let data = request.data.as_ref();
            let data = data.ok_or_else(|| Error::Usage("give --data, the table of candidates".into()))?;
            let mut classifier = Classifier::load(file)?;
            let table = CandidateTable::read(data, Some(&classifier.task.classes))?;
            let (rows, splits) = chosen(&table, &request.splits)?;
            let table = table.select(&rows);
            let progress = Progress::new("candidates", rows.len() as u64, request.quiet);
            let mut before = 0;
            let probabilities = classify_table(cx, &mut classifier, &table, settings, |done, _| {
                progress.advance((done - before) as u64);
                before = done;
            })?;
            progress.finish();
            Ok((Scored::new(table, &probabilities)?, splits))
        }
        ProbabilitySource::Predictions(file) => {
            let (predictions, named) = predictions::read(file)?;
            let Some(data) = &request.data else {
                let (rows, splits) = chosen(&predictions.table, &request.splits)?;
                return Ok((predictions.select(&rows), splits));
            };
            // Classes by name where the predictions have names; a single column says yes or no.
            let classes = named.then_some(&predictions.table.classes[..]);
            // Only LUNA16's subsets are read off the volumes.
            let search = data.volumes.is_some();
            let table = CandidateTable::read_with(data, classes, search, &mut |_| Ok(()))?;
            let (rows, splits) = chosen(&table, &request.splits)?;
            Ok((predictions::join(table.select(&rows), &predictions)?, splits))
        }
    }
}

/// The rows of the splits, labelled, and the splits' names.
fn chosen(table: &CandidateTable, splits: &[String]) -> Result<(Vec<usize>, Vec<String>)> {
    let splits = match splits {
        [] if table.splits().contains(&TEST) => vec![TEST.to_string()],
        [] => return labelled(table, (0..table.rows.len()).collect(), Vec::new()),
        [all] if all == ALL && !table.splits().contains(&ALL) => {
            return labelled(table, (0..table.rows.len()).collect(), Vec::new());
        }
        given => given.to_vec(),
    };
    labelled(table, table.rows_of_splits(&splits)?, splits)
}

fn labelled(
    table: &CandidateTable,
    rows: Vec<usize>,
    splits: Vec<String>,
) -> Result<(Vec<usize>, Vec<String>)> {
    // Before hours of work.
    table.select(&rows).labels()?;
    Ok((rows, splits))
}

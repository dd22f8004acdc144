//! The evaluation of a segmentation.

use super::EvaluateArgs;
use crate::commands::{Common, print_json};
use crate::evaluate::{
    LabelSource, Part, SegmentationEvaluation, SegmentationReport, SplitFile, Spread, evaluate_segmentation,
};
use crate::inference::{Connectivity, PredictionSettings};
use crate::{Error, Result};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeMap;

/// Columns of the table: heading, metric, decimals.
const COLUMNS: [(&str, &str, usize); 7] = [
    ("Dice", "dice", 3),
    ("IoU", "iou", 3),
    ("sensitivity", "sensitivity", 3),
    ("precision", "precision", 3),
    ("Hausdorff-95 (mm)", "hausdorff_95_mm", 2),
    ("surface distance (mm)", "average_surface_distance_mm", 2),
    ("surface Dice", "surface_dice", 3),
];

/// Runs the command.
///
/// # Errors
/// As [`super::run`].
pub(super) fn run(args: &EvaluateArgs, common: &Common) -> Result<()> {
    let source = match (&args.weights, &args.predictions) {
        (Some(weights), _) => LabelSource::Weights(weights.clone()),
        (None, Some(folder)) => {
            LabelSource::Predictions { folder: folder.clone(), class_numbers: args.class_numbers }
        }
        (None, None) => return Err(Error::Usage("give --weights or --predictions".into())),
    };
    let data = args.data.clone().ok_or_else(|| Error::Usage("give --data, the folder of scans".into()))?;
    let splits = args.splits.clone().map(|file| SplitFile { file, key: args.splits_key.clone() });
    let part = match &args.split[..] {
        [] if splits.is_some() => Part::Test,
        [] => Part::All,
        [name] => <Part as ValueEnum>::from_str(name, true)
            .map_err(|_| Error::Usage(format!("--split {name}: use test, val, train or all")))?,
        _ => return Err(Error::Usage("--split: a segmentation is scored on one split".into())),
    };
    let request = SegmentationEvaluation {
        data,
        source,
        splits,
        part,
        labels: args.labels.clone(),
        channels: args.channels.clone(),
        prediction: PredictionSettings {
            overlap: args.overlap,
            batch_size: args.batch_size.into(),
            flips: args.flips,
            largest_component: args.largest_component.then_some(Connectivity::default()),
            precision: common.precision(),
        },
        tolerance_mm: args.tolerance,
        quiet: common.quiet,
    };
    let report = evaluate_segmentation(&common.context()?, &request, &args.out)?;
    if common.json {
        print_json(&report)?;
    } else {
        print(&report, args);
    }
    let (failed, all) = (report.failed.len(), report.failed.len() + report.cases);
    if failed > 0 {
        return Err(Error::Work(format!("{failed} of {all} cases could not be scored")));
    }
    Ok(())
}

fn print(report: &SegmentationReport, args: &EvaluateArgs) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(presets::NOTHING.row_separator));
    table.set_header(std::iter::once("class").chain(COLUMNS.map(|(heading, ..)| heading)));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let row = |name: &str, metrics: &BTreeMap<&'static str, Spread>| {
        let cell = |(_, metric, decimals): (&str, &str, usize)| {
            metrics.get(metric).map_or("-".to_string(), |spread| cell(spread, decimals))
        };
        std::iter::once(name.to_string()).chain(COLUMNS.map(cell)).collect::<Vec<_>>()
    };
    for class in &report.classes {
        table.add_row(row(&class.class, &class.metrics));
    }
    if report.classes.len() > 1 {
        table.add_row(row("mean of classes", &report.mean_of_classes));
    }
    println!(
        "{} cases, mean ± s.d. (median), over the cases with a value (their number if not all)",
        report.cases
    );
    println!("{table}");
    if let Some(iou) = &report.iou_two_class_mean {
        let pooled = iou.pooled.map_or("undefined".into(), |value| format!("{value:.3}"));
        println!("the original's \"IoU\" (background and foreground, ten thresholds): {pooled}");
    }
    if let (Some(best), Some(median), Some(worst)) =
        (&report.best_case, &report.median_case, &report.worst_case)
    {
        println!("best case {best}, median {median}, worst {worst}");
    }
    println!("{} ({:.1} s)", args.out.join("metrics.json").display(), report.seconds);
}

/// `0.853 ± 0.021 (0.861)`, and where values are missing ` n=7`.
fn cell(spread: &Spread, decimals: usize) -> String {
    let mut text = spread.text(decimals);
    if let (Some(median), true) = (spread.median, spread.defined > 1) {
        text.push_str(&format!(" ({median:.decimals$})"));
    }
    if spread.undefined > 0 && spread.defined > 0 {
        text.push_str(&format!(" n={}", spread.defined));
    }
    text
}

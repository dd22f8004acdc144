//! The evaluation of a classifier.

use super::EvaluateArgs;
use crate::candidates::TableSource;
use crate::commands::{Common, print_json};
use crate::evaluate::classification::{
    Aggregate, ClassificationEvaluation, ClassificationReport, ClassificationScores, FrocSettings,
    ProbabilitySource, evaluate_classification,
};
use crate::evaluation::bootstrap::Bootstrap;
use crate::evaluation::classification::{ClassScores, ClassificationOptions};
use crate::inference::ClassifySettings;
use crate::{Error, Result};
use comfy_table::{CellAlignment, Table, presets};

/// Runs the command.
///
/// # Errors
/// As [`super::run`].
pub(super) fn run(args: &EvaluateArgs, common: &Common) -> Result<()> {
    let flags = &args.table;
    for (given, name) in [
        (args.splits.is_some(), "--splits"),
        (!args.labels.is_empty(), "--labels"),
        (args.largest_component, "--largest-component"),
        (args.class_numbers, "--class-numbers"),
    ] {
        if given {
            return Err(Error::Usage(format!("{name} is for segmentations; a table of candidates is given")));
        }
    }
    let source = match (&args.weights, &args.predictions) {
        (Some(file), _) => ProbabilitySource::Weights {
            file: file.clone(),
            settings: ClassifySettings {
                batch_size: args.batch_size.into(),
                flips: args.flips,
                precision: common.precision(),
            },
        },
        (None, Some(file)) => ProbabilitySource::Predictions(file.clone()),
        (None, None) => return Err(Error::Usage("give --weights or --predictions".into())),
    };
    let data = args.data.clone().map(|file| TableSource {
        file,
        volumes: flags.volumes.clone(),
        skip_missing: flags.skip_missing,
    });
    let number = |given: Option<u32>| given.map(|number| number as usize);
    let request = ClassificationEvaluation {
        source,
        data,
        splits: args.split.clone(),
        aggregate: flags.score_by.as_ref().map(|_| flags.aggregate.unwrap_or(Aggregate::Mean)),
        froc: flags.froc.then(|| FrocSettings {
            findings: number(flags.findings),
            scans: number(flags.scans),
            annotations: flags.annotations.clone(),
            excluded: flags.annotations_excluded.clone(),
        }),
        options: ClassificationOptions {
            threshold: flags.threshold,
            specificities: flags.specificity.clone(),
            bootstrap: Bootstrap { resamples: flags.resamples, seed: common.seed(), ..Bootstrap::default() },
        },
        quiet: common.quiet,
    };
    let report = evaluate_classification(&common.context()?, &request, &args.out)?;
    if common.json {
        return print_json(&report);
    }
    print(&report);
    println!("{} ({:.1} s)", args.out.join("metrics.json").display(), report.seconds);
    Ok(())
}

fn print(report: &ClassificationReport) {
    let counts: Vec<String> =
        report.cases_of_class.iter().map(|(class, count)| format!("{count} {class}")).collect();
    let merged =
        if report.cases == report.rows { String::new() } else { format!(" of {} rows", report.rows) };
    println!("{} candidates{merged}: {}", report.cases, counts.join(", "));
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(presets::NOTHING.row_separator));
    let value = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.3}"));
    let columns = |scores: &ClassScores| {
        let auc = match (scores.auc, scores.auc_interval) {
            (Some(auc), Some(interval)) => format!("{auc:.3} ({:.3} to {:.3})", interval.low, interval.high),
            (auc, _) => value(auc),
        };
        let others =
            [scores.average_precision, scores.sensitivity, scores.specificity, scores.precision, scores.f1];
        let points =
            scores.sensitivity_at_specificity.iter().map(|point| format!("{:.3}", point.sensitivity));
        std::iter::once(auc).chain(others.map(value)).chain(points).collect::<Vec<_>>()
    };
    let headings =
        ["class", "AUC (95 %)", "average precision", "sensitivity", "specificity", "precision", "F1"];
    let at = report.settings.specificities.iter().map(|wanted| format!("sensitivity at {wanted}"));
    table.set_header(headings.map(String::from).into_iter().chain(at));
    let mut accuracy = None;
    match &report.scores {
        ClassificationScores::Binary(binary) => {
            table.add_row(std::iter::once(report.classes[1].clone()).chain(columns(&binary.scores)));
            accuracy = binary.scores.accuracy;
        }
        ClassificationScores::Multi { scores, macro_scores } => {
            for (name, class) in report.classes.iter().zip(&scores.classes) {
                table.add_row(std::iter::once(name.clone()).chain(columns(class)));
            }
            let mean = [
                macro_scores.auc,
                macro_scores.average_precision,
                macro_scores.sensitivity,
                macro_scores.specificity,
                macro_scores.precision,
                macro_scores.f1,
            ];
            table.add_row(std::iter::once("mean of classes".to_string()).chain(mean.map(value)));
            accuracy = scores.accuracy.or(accuracy);
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!("accuracy {}, Brier score {}", value(accuracy), value(report.brier));
    if let Some(froc) = &report.froc {
        let rates: Vec<String> =
            froc.scores.sensitivities.iter().map(|sensitivity| format!("{sensitivity:.3}")).collect();
        println!(
            "FROC, {} findings in {} scans: sensitivity at 1/8, 1/4, 1/2, 1, 2, 4, 8 false positives a scan {}; mean {:.3}",
            froc.findings,
            froc.scans,
            rates.join(", "),
            froc.scores.cpm
        );
    }
}

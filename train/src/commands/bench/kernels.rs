//! `genesis bench [NAME…]`: operation by operation.

use super::{ScaleArgs, text};
use crate::bench::ceilings::Ceilings;
use crate::bench::row::{Limit, Row, direction_name};
use crate::bench::scale::Scale;
use crate::bench::timed::Timed;
use crate::bench::workloads;
use crate::commands::{Common, print_json};
use crate::progress::Progress;
use crate::report::chart::SeriesColour;
use crate::report::roofline::{Group, Point, Roofline};
use crate::{Error, Precision, Result};
use clap::Args;
use genesis_kernels::OPS;
use genesis_kernels::op::Direction;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct KernelArgs {
    /// Operations to time [default: all]
    #[arg(value_name = "NAME")]
    operations: Vec<String>,
    /// Only layers whose name holds this
    #[arg(long, value_name = "PART")]
    layer: Option<String>,
    #[command(flatten)]
    scale: ScaleArgs,
    /// Draws a roofline, as .svg or .png
    #[arg(long, value_name = "FILE.svg")]
    roofline: Option<PathBuf>,
}

/// Everything measured in one call.
#[derive(Serialize)]
pub(super) struct Report {
    pub isa: String,
    pub threads: usize,
    pub precision: Precision,
    pub shape: String,
    pub width: usize,
    pub ceilings: Ceilings,
    pub results: Vec<Row>,
    pub totals: Vec<Total>,
    pub skipped: Vec<Skipped>,
}

/// One direction of one operation over all its layers.
#[derive(Serialize)]
pub(super) struct Total {
    pub operation: &'static str,
    pub direction: &'static str,
    pub seconds: f64,
    pub gflops: f64,
    pub gigabytes_per_second: f64,
    /// Of the arithmetic ceiling.
    pub share_of_peak: f64,
}

/// What could not be timed, and why.
#[derive(Serialize)]
pub(super) struct Skipped {
    pub operation: &'static str,
    pub layer: String,
    pub reason: String,
}

/// Runs the command.
pub(super) fn run(args: &KernelArgs, common: &Common) -> Result<()> {
    let scale = Scale::new(args.scale.shape, args.scale.width)?;
    for name in &args.operations {
        if !OPS.iter().any(|entry| entry.name == name) {
            let known: Vec<&str> = OPS.iter().map(|entry| entry.name).collect();
            return Err(Error::Usage(format!(
                "unknown operation '{name}' ({}; or step, forward)",
                known.join(", ")
            )));
        }
    }
    if let Some(path) = &args.roofline {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("svg" | "png")) {
            let given = path.display();
            return Err(Error::Usage(format!("--roofline {given}: wanted a name that ends in .svg or .png")));
        }
    }
    let wanted = |timed: &dyn Timed| {
        (args.operations.is_empty() || args.operations.iter().any(|name| name == timed.operation()))
            && args.layer.as_ref().is_none_or(|part| timed.layer().contains(part))
    };
    let mut list = workloads::all(&scale)?;
    list.retain(|timed| wanted(timed.as_ref()));
    if list.is_empty() {
        let part = args.layer.as_deref().unwrap_or_default();
        return Err(Error::Usage(format!("no layer of the operations asked for has '{part}' in its name")));
    }
    let report = measure(&list, &scale, args.scale.runs, common)?;
    if let Some(path) = &args.roofline {
        roofline(&report).write(path)?;
    }
    if common.json { print_json(&report) } else { text::kernels(&report) }
}

fn measure(list: &[Box<dyn Timed>], scale: &Scale, runs: usize, common: &Common) -> Result<Report> {
    let (cx, precision) = (common.context()?, common.precision());
    let progress = Progress::new("bench", list.len() as u64, common.quiet);
    let before = Ceilings::all(&cx)?;
    let (mut measured, mut skipped) = (Vec::new(), Vec::new());
    for timed in list {
        progress.message(format!("{} {}", timed.operation(), timed.layer()));
        match timed.time(&cx, precision, runs) {
            Ok(times) => measured.extend(times.into_iter().map(|time| (timed, time))),
            Err(error) => skipped.push(Skipped {
                operation: timed.operation(),
                layer: timed.layer().to_string(),
                reason: error.to_string(),
            }),
        }
        progress.advance(1);
    }
    progress.finish();
    if let (true, Some(first)) = (measured.is_empty(), skipped.first()) {
        return Err(Error::Work(first.reason.clone()));
    }
    let ceilings = before.better(Ceilings::all(&cx)?);
    let results: Vec<Row> = measured
        .into_iter()
        .map(|(timed, time)| Row::new(timed.operation(), timed.layer(), time, &ceilings))
        .collect();
    Ok(Report {
        isa: cx.hardware().to_string(),
        threads: cx.pool.threads(),
        precision,
        shape: scale.shape(),
        width: scale.width,
        totals: totals(&results, &ceilings),
        ceilings,
        results,
        skipped,
    })
}

/// Sums over the layers of the operations whose layers are all in the network: the convolutions.
fn totals(results: &[Row], ceilings: &Ceilings) -> Vec<Total> {
    let mut totals = Vec::new();
    for operation in ["conv3d", "conv_transpose3d"] {
        for direction in [Direction::Forward, Direction::InputGradient, Direction::WeightGradient] {
            let direction = direction_name(direction);
            let rows: Vec<&Row> = results
                .iter()
                .filter(|row| row.operation == operation && row.direction == direction)
                .collect();
            let Some(first) = rows.first() else { continue };
            let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
            let rate = |amount: u64| amount as f64 / seconds / 1e9;
            let gflops = rate(rows.iter().map(|row| row.flops).sum());
            totals.push(Total {
                operation: first.operation,
                direction,
                seconds,
                gflops,
                gigabytes_per_second: rate(rows.iter().map(|row| row.bytes).sum()),
                share_of_peak: gflops / ceilings.gflops(first.products),
            });
        }
    }
    totals
}

/// The measurements as a picture; what computes nothing (concat) has no place on it.
fn roofline(report: &Report) -> Roofline {
    let directions = [
        (Direction::Forward, SeriesColour::Blue),
        (Direction::InputGradient, SeriesColour::Orange),
        (Direction::WeightGradient, SeriesColour::Green),
        (Direction::Backward, SeriesColour::Slate),
    ];
    let series: Vec<(String, SeriesColour)> =
        directions.map(|(direction, colour)| (direction_name(direction).to_string(), colour)).into();
    let mut groups: Vec<Group> = Vec::new();
    for row in report.results.iter().filter(|row| row.flops > 0) {
        // Short, since the convolutions lie close together: `up64.0` for `up_tr64.ops.0`. The layers of
        // other operations differ in size alone, and share a label.
        let short = row.layer.replace("_tr", "").replace(".ops", "").replace("up_conv", "up");
        let label = match (row.operation, row.layer.contains("_tr")) {
            ("conv3d" | "conv_transpose3d", _) => short,
            (operation, true) => operation.to_string(),
            (operation, false) => format!("{operation} {}", row.layer),
        };
        let place = series.iter().position(|(name, _)| name == row.direction).unwrap_or(0);
        let point = Point { intensity: row.intensity, gflops: row.gflops, series: place };
        match groups.iter_mut().find(|group| group.label == label && group.layer == row.layer) {
            Some(group) => {
                group.points.push(point);
                group.seconds += row.seconds;
            }
            None => {
                let (layer, points) = (row.layer.clone(), vec![point]);
                groups.push(Group { label, layer, points, seconds: row.seconds });
            }
        }
    }
    let Report { ceilings, precision, isa, threads, shape, width, .. } = report;
    let mut roofs = vec![(format!("f32 {:.0} GFLOP/s", ceilings.f32_gflops), ceilings.f32_gflops)];
    let own = match precision {
        Precision::F32 => None,
        Precision::Bf16 => ceilings.bf16_gflops,
        Precision::Tf32 => ceilings.tf32_gflops,
    };
    if let Some(peak) = own {
        roofs.push((format!("{precision} {peak:.0} GFLOP/s"), peak));
    }
    let bound = |limit| report.results.iter().filter(|row| row.limit == limit).count();
    Roofline {
        title: format!(
            "{precision}, {isa}, {threads} thread(s), {shape}, width {width}; {} limited by memory, {} by arithmetic; \
             convolutions count as direct ones",
            bound(Limit::Memory),
            bound(Limit::Compute)
        ),
        gigabytes_per_second: ceilings.copy_gigabytes_per_second.unwrap_or(1.0),
        ceilings: roofs,
        series,
        groups,
    }
}

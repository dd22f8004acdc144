//! The tables that people read.

use super::kernels::Report;
use crate::Result;
use crate::bench::row::Limit;
use crate::bench::step::{self, Work};
use comfy_table::{CellAlignment, Table, presets};

const EFFECTIVE: &str = "GFLOP/s of convolutions count the direct algorithm's arithmetic, so that every path is \
                         comparable: one that needs less, such as Winograd, may exceed 100 %.";

fn table<const N: usize>(header: [&str; N], words: usize) -> Table {
    let mut table = Table::new();
    // Lines around the whole and below the header, none between rows.
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(presets::NOTHING.row_separator));
    table.set_header(header);
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn milliseconds(seconds: f64) -> String {
    let value = seconds * 1e3;
    if value < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") }
}

fn rate(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// Every operation in every direction, then totals, ceilings and what was left out.
pub(super) fn kernels(report: &Report) -> Result<()> {
    let header = [
        "operation",
        "layer",
        "direction",
        "path",
        "limit",
        "shapes",
        "ms",
        "GFLOP/s",
        "GB/s",
        "FLOP/B",
        "share",
    ];
    let mut rows = table(header, 6);
    let mut above = ("", "");
    for row in &report.results {
        let again = above == (row.operation, row.layer.as_str());
        let once = |text: &str| if again { String::new() } else { text.to_string() };
        rows.add_row([
            if above.0 == row.operation { String::new() } else { row.operation.to_string() },
            once(&row.layer),
            row.direction.to_string(),
            row.path.unwrap_or("-").to_string(),
            row.limit.name().to_string(),
            once(&row.shapes),
            milliseconds(row.seconds),
            rate(row.gflops),
            rate(row.gigabytes_per_second),
            rate(row.intensity),
            percent(row.share),
        ]);
        above = (row.operation, &row.layer);
    }
    println!("{rows}");
    if report.totals.len() > 1 {
        let mut totals = table(["all layers of", "direction", "ms", "GFLOP/s", "of peak"], 2);
        for total in &report.totals {
            totals.add_row([
                total.operation.to_string(),
                total.direction.to_string(),
                milliseconds(total.seconds),
                rate(total.gflops),
                percent(total.share_of_peak),
            ]);
        }
        println!("{totals}");
    }
    let Report { isa, threads, precision, shape, width, ceilings, .. } = report;
    println!("{precision}, {isa}, {threads} thread(s), {shape}, width {width}; medians");
    println!("ceilings measured in this run: {}", ceilings.line());
    println!(
        "share: of the arithmetic ceiling where compute limits, of the copy's bandwidth where memory does"
    );
    if report.results.iter().any(|row| row.limit == Limit::Memory && row.share > 1.0) {
        println!(
            "more than 100 % of the copy: written in place, or in cache, where nothing is read to be overwritten"
        );
    }
    if report.results.iter().any(|row| row.operation.starts_with("conv")) {
        println!("{EFFECTIVE}");
    }
    for skipped in &report.skipped {
        println!("not timed: {} {}: {}", skipped.operation, skipped.layer, skipped.reason);
    }
    Ok(())
}

/// Every layer of one run, then totals.
pub(super) fn step(report: &step::Report) -> Result<()> {
    let header = ["layer", "operation", "direction", "output", "ms", "of run", "GFLOP/s", "of peak", "GB/s"];
    let mut rows = table(header, 4);
    for layer in &report.layers {
        rows.add_row([
            layer.layer.clone(),
            layer.operation.to_string(),
            layer.direction.to_string(),
            layer.output.clone(),
            milliseconds(layer.seconds),
            format!("{:.1} %", 100.0 * layer.seconds / report.seconds_per_step),
            rate(layer.gflops),
            layer.share_of_peak.map_or("-".into(), percent),
            rate(layer.gigabytes_per_second),
        ]);
    }
    println!("{rows}");
    let unit = if report.work == Work::Step { "step" } else { "forward pass" };
    println!(
        "{}, {}, {} thread(s), {}, width {}: {:.3} s a {unit} (median of {}), {:.2} cubes/s",
        report.precision,
        report.isa,
        report.threads,
        report.shape,
        report.width,
        report.seconds_per_step,
        report.runs.len(),
        report.samples_per_second
    );
    println!(
        "{:.1} GFLOP/s, {} of the peak; inside convolutions {:.3} s, other operations {:.3} s, outside \
         convolutions {:.1} % of the time",
        report.gflops,
        percent(report.share_of_peak),
        report.convolution_seconds,
        report.other_operations_seconds,
        100.0 * report.outside_convolutions_share
    );
    let resident =
        report.peak_rss_bytes.map_or(String::new(), |b| format!(", of the process {:.3} GB", b as f64 / 1e9));
    println!("peak memory: of tensors {:.3} GB{resident}", report.peak_memory_bytes as f64 / 1e9);
    println!("ceilings measured in this run: {}", report.ceilings.line());
    match report.cuda_graph {
        Some(true) => {
            println!("a step was one CUDA graph, as in training; its layers were timed one by one without")
        }
        Some(false) => println!("a step's kernels were launched one by one, not as a CUDA graph"),
        None => {}
    }
    println!("{EFFECTIVE}");
    Ok(())
}

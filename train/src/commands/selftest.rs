//! `genesis selftest`: every operation's cases, in the shipped binary, on this machine.

use super::{Common, DeviceChoice};
use crate::{Error, Result};
use clap::Args;
use comfy_table::{Table, presets};
use genesis_kernels::case::{Outcome, Runnable};
use genesis_kernels::op::Entry;
use genesis_kernels::{Context, Hardware, Isa, OPS};
use genesis_tensor::memory;
use serde::Serialize;

/// Runs every operation's cases against its f64 reference on this machine
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis selftest
  genesis selftest conv3d batch_norm
  genesis selftest --device cuda:0
  genesis selftest --json")]
pub struct SelftestArgs {
    /// Operations to test [default: all]
    #[arg(value_name = "OP")]
    operations: Vec<String>,
    /// List every case, not one line per operation
    #[arg(long)]
    cases: bool,
}

#[derive(Serialize)]
struct Row {
    operation: &'static str,
    case: String,
    mode: String,
    error: f64,
    tolerance: f64,
    passed: bool,
    detail: String,
}

#[derive(Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    results: Vec<Row>,
}

/// Runs the command.
///
/// # Errors
/// An unknown operation; any case that misses its tolerance.
pub fn run(args: &SelftestArgs, common: &Common) -> Result<()> {
    let entries: Vec<&Entry> = match args.operations.is_empty() {
        true => OPS.iter().collect(),
        false => args.operations.iter().map(|name| find(name)).collect::<Result<_>>()?,
    };
    // A value the kernel left unwritten must not pass by luck.
    memory::set_poison(true);
    // The processor unless a card is named: `auto` tests what every machine has.
    let hardware = match common.device_number()? {
        DeviceChoice::Cuda(_) => common.hardware()?,
        _ => Hardware { isa: common.isa()?, card: None },
    };
    let contexts: Vec<Context> = match hardware.card {
        Some(_) => vec![hardware.context(2)],
        None => {
            let usable = |isa: &Isa| *isa <= hardware.isa && isa.is_available();
            Isa::ALL.into_iter().filter(usable).map(|isa| Context::with_isa(2, isa)).collect()
        }
    };
    let mut results = Vec::new();
    for entry in &entries {
        for case in (entry.cases)() {
            results.extend(test(entry, case.as_ref(), &contexts));
        }
    }
    let failed = results.iter().filter(|row| !row.passed).count();
    let report = Report { passed: results.len() - failed, failed, results };
    if common.json {
        super::print_json(&report)?;
    } else {
        print(&report, &entries, args.cases);
    }
    match failed {
        0 => Ok(()),
        _ => Err(Error::Work(format!("{failed} of {} checks failed", report.results.len()))),
    }
}

fn find(name: &str) -> Result<&'static Entry> {
    OPS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<&str> = OPS.iter().map(|entry| entry.name).collect();
        Error::Usage(format!("unknown operation '{name}' ({})", known.join(", ")))
    })
}

fn test(entry: &Entry, case: &dyn Runnable, contexts: &[Context]) -> Vec<Row> {
    let row = |mode: String, outcome: genesis_kernels::Result<Outcome>| {
        let outcome = outcome.unwrap_or_else(|error| Outcome {
            error: f64::INFINITY,
            tolerance: 0.0,
            detail: error.to_string(),
        });
        Row {
            operation: entry.name,
            case: case.label().to_string(),
            mode,
            error: outcome.error,
            tolerance: outcome.tolerance,
            passed: outcome.passed(),
            detail: outcome.detail,
        }
    };
    let mut rows = Vec::new();
    if !case.forward_only() {
        rows.push(row("gradient".into(), case.gradient()));
    }
    for cx in contexts {
        let hardware = cx.hardware();
        let name = if hardware.card.is_some() { cx.device().to_string() } else { cx.isa.to_string() };
        rows.push(row(format!("parity {name}"), case.parity(cx)));
        rows.push(row(format!("determinism {name}"), case.determinism(cx, &hardware.context(5))));
    }
    rows
}

fn print(report: &Report, entries: &[&Entry], every_case: bool) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let shown = |row: &&Row| every_case || !row.passed;
    if report.results.iter().any(|row| shown(&row)) {
        table.set_header(["operation", "case", "check", "error", "allowed", ""]);
        for row in report.results.iter().filter(shown) {
            table.add_row([
                row.operation.to_string(),
                row.case.clone(),
                row.mode.clone(),
                format!("{:.2e}", row.error),
                format!("{:.0e}", row.tolerance),
                if row.passed { "ok".to_string() } else { format!("FAILED: {}", row.detail) },
            ]);
        }
        println!("{table}");
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["operation", "what it computes", "checks", "largest error", ""]);
    for entry in entries {
        let rows: Vec<&Row> = report.results.iter().filter(|row| row.operation == entry.name).collect();
        let failed = rows.iter().filter(|row| !row.passed).count();
        let parity = rows.iter().filter(|row| row.mode.starts_with("parity"));
        let worst = parity.map(|row| row.error).fold(0.0, f64::max);
        let verdict = if failed == 0 { "ok".to_string() } else { format!("{failed} FAILED") };
        table.add_row([
            entry.name.to_string(),
            entry.summary.to_string(),
            rows.len().to_string(),
            format!("{worst:.2e}"),
            verdict,
        ]);
    }
    println!("{table}");
    println!("{} passed, {} failed", report.passed, report.failed);
}

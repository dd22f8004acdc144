//! `genesis selftest`: every operation's cases, in the shipped binary, on this machine. On a card also what no tensor
//! reaches: f16 and tf32 on tensor cores, and loops of no operation; in the end every kernel must have run.

use super::{Common, DeviceChoice};
use crate::{Error, Result};
use clap::Args;
use comfy_table::{Table, presets};
use genesis_kernels::case::{Outcome, Runnable};
use genesis_kernels::cuda::cases::{
    Buffers, Convolution, LOOPS, Machine, Part, directly, on_hopper, on_tensor_cores, outcome,
};
use genesis_kernels::cuda::{CudaCard, Format, KERNELS, Target};
use genesis_kernels::op::{Entry, Operation};
use genesis_kernels::ops::conv_transpose3d::ConvTranspose3d;
use genesis_kernels::ops::conv3d::Conv3d;
use genesis_kernels::{Context, Hardware, Isa, OPS};
use genesis_tensor::memory;
use serde::Serialize;
use std::sync::Arc;

/// What [`LOOPS`] are called here: on cards alone, beside the operations.
const ELEMENTWISE: &str = "elementwise";

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
    /// Kernels of the card that were launched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernels: Vec<&'static str>,
    /// Kernels that should have been: all were tested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreached: Vec<&'static str>,
}

/// Runs the command.
///
/// # Errors
/// An unknown operation; any case that misses its tolerance.
pub fn run(args: &SelftestArgs, common: &Common) -> Result<()> {
    // A value the kernel left unwritten must not pass by luck.
    memory::set_poison(true);
    // The processor unless a card is named: `auto` tests what every machine has.
    let on_card = matches!(common.device_number()?, DeviceChoice::Cuda(_));
    let all = args.operations.is_empty();
    for name in &args.operations {
        check_name(name, on_card)?;
    }
    let wanted = |name: &str| all || args.operations.iter().any(|operation| operation == name);
    let entries: Vec<&Entry> = OPS.iter().filter(|entry| wanted(entry.name)).collect();
    let mut summaries: Vec<(&str, &str)> = entries.iter().map(|entry| (entry.name, entry.summary)).collect();
    let hardware = match on_card {
        true => common.hardware()?,
        false => Hardware { isa: common.isa()?, card: None },
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
    let (mut kernels, mut unreached) = (Vec::new(), Vec::new());
    if let Some(card) = &hardware.card {
        results.extend(test_formats(card, wanted));
        if wanted(ELEMENTWISE) {
            results.extend(test_loops(card));
            summaries.push((ELEMENTWISE, "loops of no operation: casts, fills, slices, norms, ceilings"));
        }
        kernels = card.kernels();
        if all {
            let wanted = KERNELS.iter().filter(|kernel| card.found().is_hopper() || !kernel.is_hopper());
            unreached = wanted.map(|kernel| kernel.name).filter(|name| !kernels.contains(name)).collect();
        }
    }
    let failed = results.iter().filter(|row| !row.passed).count();
    let report = Report { passed: results.len() - failed, failed, results, kernels, unreached };
    if common.json {
        super::print_json(&report)?;
    } else {
        print(&report, &summaries, args.cases);
    }
    match (failed, report.unreached.len()) {
        (0, 0) => Ok(()),
        (0, missing) => {
            let names = report.unreached.join(", ");
            Err(Error::Work(format!("{missing} of {} kernels were never launched: {names}", KERNELS.len())))
        }
        _ => Err(Error::Work(format!("{failed} of {} checks failed", report.results.len()))),
    }
}

fn check_name(name: &str, on_card: bool) -> Result<()> {
    let mut known: Vec<&str> = OPS.iter().map(|entry| entry.name).collect();
    if on_card {
        known.push(ELEMENTWISE);
    }
    match known.contains(&name) {
        true => Ok(()),
        false => Err(Error::Usage(format!("unknown operation '{name}' ({})", known.join(", ")))),
    }
}

/// f16 and tf32 on tensor cores, which no tensor asks for, every convolution of any shape, and, on a card that has
/// them, the kernels for compute capability 9.0 alone, whether tensors are to use them or not.
fn test_formats(card: &Arc<CudaCard>, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let mut groups = Vec::new();
    let mut add = |target, [plain, transposed]: [Vec<Convolution>; 2]| {
        groups.extend([(target, Conv3d::NAME, plain), (target, ConvTranspose3d::NAME, transposed)]);
    };
    for format in [Format::F16, Format::Tf32] {
        add(Target::Sm80, on_tensor_cores(format));
    }
    if card.target() == Target::Sm90a {
        // Tensors' bf16 uses the others.
        add(Target::Sm80, on_tensor_cores(Format::Bf16));
    }
    if card.found().is_hopper() {
        for format in [Format::Bf16, Format::F16] {
            add(Target::Sm90a, on_hopper(format));
        }
    }
    for format in [Format::F32, Format::Bf16] {
        add(Target::Sm80, [directly(format), Vec::new()]);
    }
    let mut rows = Vec::new();
    for (target, operation, cases) in groups.iter().filter(|(_, operation, _)| wanted(operation)) {
        for case in cases {
            let label = match target {
                Target::Sm80 => case.label(),
                Target::Sm90a => format!("{} sm_90a", case.label()),
            };
            let run = |machine: &mut dyn Machine| Convolution::run(case, machine);
            rows.extend(test_buffers(card, *target, operation, &label, run));
        }
    }
    rows
}

fn test_loops(card: &Arc<CudaCard>) -> Vec<Row> {
    LOOPS
        .iter()
        .flat_map(|check| test_buffers(card, Target::Sm80, ELEMENTWISE, check.name, check.run))
        .collect()
}

/// A check in plain buffers, twice: against its reference, and bit for bit against itself.
fn test_buffers(
    card: &Arc<CudaCard>,
    target: Target,
    operation: &'static str,
    case: &str,
    run: impl Fn(&mut dyn Machine) -> genesis_kernels::Result<Vec<Part>>,
) -> Vec<Row> {
    let device = format!("cuda:{}", card.found().number);
    let [first, second] = [(); 2].map(|()| run(&mut Buffers::new(card, target)));
    let same = match (&first, &second) {
        (Ok(first), Ok(second)) => first.iter().zip(second).all(|(one, other)| {
            one.found.values.iter().zip(&other.found.values).all(|(a, b)| a.to_bits() == b.to_bits())
        }),
        _ => false,
    };
    let error = if same { 0.0 } else { f64::INFINITY };
    let again = second.map(|_| Outcome { error, tolerance: 0.0, detail: "two runs".into() });
    vec![
        row(operation, case, format!("parity {device}"), first.map(|parts| outcome(&parts))),
        row(operation, case, format!("determinism {device}"), again),
    ]
}

fn row(operation: &'static str, case: &str, mode: String, outcome: genesis_kernels::Result<Outcome>) -> Row {
    let outcome = outcome.unwrap_or_else(|error| Outcome {
        error: f64::INFINITY,
        tolerance: 0.0,
        detail: error.to_string(),
    });
    Row {
        operation,
        case: case.to_string(),
        mode,
        error: outcome.error,
        tolerance: outcome.tolerance,
        passed: outcome.passed(),
        detail: outcome.detail,
    }
}

fn test(entry: &Entry, case: &dyn Runnable, contexts: &[Context]) -> Vec<Row> {
    let row = |mode: String, outcome: genesis_kernels::Result<Outcome>| {
        row(entry.name, case.label(), mode, outcome)
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

fn print(report: &Report, summaries: &[(&str, &str)], every_case: bool) {
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
    for &(name, summary) in summaries {
        let rows: Vec<&Row> = report.results.iter().filter(|row| row.operation == name).collect();
        let failed = rows.iter().filter(|row| !row.passed).count();
        let parity = rows.iter().filter(|row| row.mode.starts_with("parity"));
        let worst = parity.map(|row| row.error).fold(0.0, f64::max);
        let verdict = if failed == 0 { "ok".to_string() } else { format!("{failed} FAILED") };
        table.add_row([
            name.to_string(),
            summary.to_string(),
            rows.len().to_string(),
            format!("{worst:.2e}"),
            verdict,
        ]);
    }
    println!("{table}");
    println!("{} passed, {} failed", report.passed, report.failed);
    if !report.kernels.is_empty() {
        println!("{} of {} kernels launched", report.kernels.len(), KERNELS.len());
    }
}

//! `cargo run --release -p genesis-fuzz -- [--seconds N] [--seed N] [TARGET…]`: a campaign against each parser.

use std::process::ExitCode;
use std::time::Duration;

use genesis_fuzz::allocation::Counting;
use genesis_fuzz::campaign::{Limit, Report, run};
use genesis_fuzz::{TARGETS, Target, target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "usage: fuzz [--seconds N] [--seed N] [TARGET…]";

fn main() -> ExitCode {
    match campaign(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("error: {cause}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn campaign(mut arguments: impl Iterator<Item = String>) -> Result<bool, String> {
    let (mut seconds, mut seed, mut targets): (u64, u64, Vec<&'static Target>) = (60, 1, Vec::new());
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().and_then(|text| text.parse().ok());
            value.ok_or_else(|| format!("{argument} needs a number"))
        };
        match argument.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            name => targets.push(target(name).ok_or_else(|| {
                let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                format!("no target {name}, only {}", known.join(", "))
            })?),
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    let artifacts = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    // A panic is a finding, reported with its file below.
    std::panic::set_hook(Box::new(|_| {}));
    println!("| parser | executions | accepted | outcomes | largest request | peak | over need | slowest |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut whole = true;
    for target in targets {
        let report = run(target, seed, Limit::Time(Duration::from_secs(seconds)), &artifacts)?;
        print(target, &report);
        whole &= report.failures.is_empty();
        report.failures.iter().for_each(|failure| println!("FAILED {}: {failure}", target.name));
    }
    Ok(whole)
}

fn print(target: &Target, report: &Report) {
    let kib = |bytes: u64| format!("{} KiB", bytes.div_ceil(1024));
    println!(
        "| {} | {} | {} | {} | {} | {} | {:.2} | {:.0} ms |",
        target.name,
        report.executions,
        report.accepted,
        report.outcomes,
        kib(report.largest),
        kib(report.peak),
        report.ratio,
        report.slowest.as_secs_f64() * 1e3,
    );
}

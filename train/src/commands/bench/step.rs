//! `genesis bench step` and `genesis bench forward`.

use super::{ScaleArgs, text};
use crate::bench::ceilings::Ceilings;
use crate::bench::scale::Scale;
use crate::bench::step::{Plan, Rig, Work};
use crate::commands::{Common, print_json};
use crate::progress::Progress;
use crate::{Error, Result};
use clap::Args;
use std::io::{BufRead, Write};

#[derive(Args, Debug)]
pub(super) struct StepArgs {
    #[command(flatten)]
    scale: ScaleArgs,
    /// Make one run for each line on standard input and answer with its seconds, so that two programs
    /// can take turns; the report follows the end of the input
    #[arg(long, conflicts_with = "runs")]
    on_request: bool,
}

/// Runs the command.
pub(super) fn run(work: Work, args: &StepArgs, common: &Common) -> Result<()> {
    let scale = Scale::new(args.scale.shape, args.scale.width)?;
    let cx = common.context()?;
    let before = Ceilings::arithmetic(&cx)?;
    let plan = Plan { scale, precision: common.precision(), work, seed: common.seed() };
    let mut rig = Rig::new(cx, plan)?;
    rig.warm_up()?;
    let mut samples = Vec::new();
    if args.on_request {
        let answer = |line: &str| -> Result<()> {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Error::Work(error.to_string()))
        };
        answer("ready")?;
        for line in std::io::stdin().lock().lines() {
            line.map_err(|error| Error::Work(format!("cannot read standard input: {error}")))?;
            let sample = rig.run()?;
            answer(&sample.seconds.to_string())?;
            samples.push(sample);
        }
    } else {
        let progress = Progress::new(work.name(), args.scale.runs as u64, common.quiet);
        for _ in 0..args.scale.runs {
            samples.push(rig.run()?);
            progress.advance(1);
        }
        progress.finish();
    }
    let ceilings = before.better(Ceilings::arithmetic(rig.cx())?);
    let report = rig.report(&ceilings, &samples)?;
    if common.json { print_json(&report) } else { text::step(&report) }
}

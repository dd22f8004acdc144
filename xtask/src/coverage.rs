//! `cargo xtask coverage [SECONDS]`: what of each reader the campaign of `fuzz/` reaches, into `docs/trust.md`.
//!
//! The campaign is built with LLVM's counters (stable Rust: `-C instrument-coverage`); `llvm-profdata` and `llvm-cov` come
//! with `rustup component add llvm-tools`.

use crate::Result;
use crate::trust::{renew_section, stamp};
use std::path::{Path, PathBuf};
use std::process::Command;

const HEAD: &str = "| parser | its files | seconds | regions reached | lines reached | date | commit |\n\
                    | --- | --- | ---: | ---: | ---: | --- | --- |";

/// Each parser's own files. Shared ones (decompression, tables of text) stand with the parser that uses most of them.
const READERS: [(&str, &[&str]); 14] = [
    (
        "nifti",
        &["train/src/volume/nifti/header.rs", "train/src/volume/nifti/read.rs", "train/src/volume/input.rs"],
    ),
    (
        "metaimage",
        &[
            "train/src/volume/metaimage/header.rs",
            "train/src/volume/metaimage/read.rs",
            "train/src/volume/detached.rs",
        ],
    ),
    (
        "nrrd",
        &[
            "train/src/volume/nrrd/data.rs",
            "train/src/volume/nrrd/geometry.rs",
            "train/src/volume/nrrd/header.rs",
            "train/src/volume/nrrd/read.rs",
            "train/src/volume/nrrd/text.rs",
        ],
    ),
    ("dicom", &["train/src/volume/dicom/"]),
    (
        "npy",
        &[
            "train/src/volume/npy/array.rs",
            "train/src/volume/npy/cube_file.rs",
            "train/src/volume/npy/header.rs",
        ],
    ),
    ("safetensors", &["model/src/checkpoint/read_safetensors.rs", "model/src/checkpoint/checksum.rs"]),
    (
        "pt",
        &[
            "model/src/checkpoint/read_pt.rs",
            "model/src/checkpoint/pickle_order.rs",
            "model/src/checkpoint/pickle_size.rs",
        ],
    ),
    ("config", &["train/src/training/config.rs", "train/src/training/config_file.rs"]),
    (
        "finetune_config",
        &[
            "train/src/finetune/settings.rs",
            "train/src/finetune/segment/config.rs",
            "train/src/finetune/classify/config.rs",
        ],
    ),
    (
        "candidates",
        &["train/src/candidates/read.rs", "train/src/candidates/sheet.rs", "train/src/candidates/table.rs"],
    ),
    ("annotations", &["train/src/evaluate/classification/froc.rs"]),
    ("predictions", &["train/src/evaluate/classification/predictions.rs"]),
    ("dataset", &["train/src/finetune/segment/layout/"]),
    ("splits", &["train/src/finetune/split.rs"]),
];

/// Runs every parser's campaign for so many seconds and renews the table.
///
/// # Errors
/// No LLVM tools; a campaign that finds something; a file of [`READERS`] that is not there.
pub fn run(seconds: u64) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in the workspace")?;
    for file in READERS.iter().flat_map(|(_, files)| *files) {
        if !root.join(file).exists() {
            return Err(format!("{file}: is not there"));
        }
    }
    let tools = tools()?;
    let target = root.join("target/coverage");
    let mut build = Command::new("cargo");
    build.current_dir(root).args(["build", "--locked", "-p", "genesis-fuzz", "--bins", "--target-dir"]);
    // Build scripts and macros are instrumented too; what they write is of no use.
    build.env("LLVM_PROFILE_FILE", target.join("build-%p-%m.profraw"));
    run_tool(build.arg(&target).env("RUSTFLAGS", "-C instrument-coverage"))?;
    let program = target.join("debug/fuzz");
    let mut rows = Vec::new();
    for (parser, files) in READERS {
        let (raw, profile) =
            (target.join(format!("{parser}.profraw")), target.join(format!("{parser}.profdata")));
        let mut campaign = Command::new(&program);
        campaign.args(["--seconds", &seconds.to_string(), parser]).env("LLVM_PROFILE_FILE", &raw);
        print!("{}", run_tool(&mut campaign)?);
        run_tool(Command::new(tools.join("llvm-profdata")).args(["merge", "-o"]).arg(&profile).arg(&raw))?;
        let mut report = Command::new(tools.join("llvm-cov"));
        report.arg("report").arg(&program).arg("-instr-profile").arg(&profile);
        let report = run_tool(report.args(files.iter().map(|file| root.join(file))))?;
        let (regions, lines) =
            totals(&report).ok_or_else(|| format!("llvm-cov told no total for {parser}"))?;
        let names: Vec<String> = files.iter().map(|file| format!("`{file}`")).collect();
        rows.push(format!(
            "| {parser} | {} | {seconds} | {regions} | {lines} | {} |",
            names.join(", "),
            stamp(root)?
        ));
    }
    renew_section(root, "fuzz coverage", HEAD, 1, rows)
}

/// The shares of regions and lines in the last line of `llvm-cov report`: name, then for regions, functions and lines how
/// many there are, how many were missed, and the share reached.
fn totals(report: &str) -> Option<(&str, &str)> {
    let line = report.lines().rev().find(|line| line.starts_with("TOTAL"))?;
    let cells: Vec<&str> = line.split_whitespace().collect();
    match (cells.get(3), cells.get(9)) {
        (Some(regions), Some(lines)) if regions.ends_with('%') && lines.ends_with('%') => {
            Some((regions, lines))
        }
        _ => None,
    }
}

/// Where the toolchain keeps LLVM's tools.
fn tools() -> Result<PathBuf> {
    let sysroot = run_tool(Command::new("rustc").args(["--print", "sysroot"]))?;
    let host = run_tool(Command::new("rustc").arg("-vV"))?;
    let host =
        host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not tell its host")?;
    let folder = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    match folder.join("llvm-cov").is_file() {
        true => Ok(folder),
        false => Err("there is no llvm-cov: rustup component add llvm-tools".into()),
    }
}

/// Runs a program that must succeed; its standard output.
fn run_tool(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => Err(format!("{name} failed: {}{text}", String::from_utf8_lossy(&output.stderr))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_report_is_found() {
        let report = "Filename Regions Missed Regions Cover …\n----\n\
                      read.rs 10 5 50.00% 2 1 50.00% 40 10 75.00% 0 0 -\n----\n\
                      TOTAL 100 12 88.00% 20 2 90.00% 400 22 94.50% 0 0 -\n";
        assert_eq!(totals(report), Some(("88.00%", "94.50%")));
        assert_eq!(totals("error: no such file"), None);
    }

    #[test]
    fn every_parser_and_every_file_named_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (parser, files) in READERS {
            assert!(root.join("fuzz/corpus").join(parser).is_dir(), "{parser}");
            assert!(files.iter().all(|file| root.join(file).exists()), "{files:?}");
        }
        let corpora = std::fs::read_dir(root.join("fuzz/corpus")).unwrap();
        let corpora = corpora.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count();
        assert_eq!(corpora, READERS.len());
    }
}

//! `cargo xtask trust`: runs the tests of trust and writes what they survived into `docs/trust.md`.
//!
//! Tests of trust are those in files or folders named `hostile_*`, `survive_*` and `fuzz_*` below a crate's `tests`, and
//! a few beside what they test, since they replace the system's calls.
//! Each prints `trust | NUMBER | what | executions | survived | misses`; those against parsers besides
//! `fuzz | parser | …`. Miri, where nightly Rust has it, runs the tests of the crate with the pool of memory and threads,
//! and every one that passes is an execution. Rows are kept by number and what was done, so that a run of some tests renews only theirs.

use crate::Result;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PAGE: &str = "docs/trust.md";
const PREFIXES: [&str; 3] = ["hostile_", "survive_", "fuzz_"];
/// Paths of those beside what they test.
const UNITS: [&str; 1] = ["checkpoint::atomic"];
/// What names choose Miri by.
const MIRI: &str = "miri";
const TRUST_HEAD: &str = "| test | what was done | executions | survived | misses | date | commit |\n\
                          | --- | --- | ---: | ---: | ---: | --- | --- |";
const FUZZ_HEAD: &str = "| parser | executions | read to the end | different outcomes | largest request | peak of a call | \
                         of the honest need | slowest | date | commit |\n\
                         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |";

/// Runs the tests (only those whose name holds one of `names`, if there are any) and renews their rows. `fuzz_parsers/nifti`
/// is one function of a test; then all names must be such, of one test.
///
/// # Errors
/// A test that fails, after the page is written; a page without its markers.
pub fn run(long: bool, names: &[&str]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in the workspace")?;
    let (names, functions): (Vec<&str>, Vec<&str>) =
        names.iter().map(|name| name.split_once('/').unwrap_or((name, ""))).unzip();
    let functions: Vec<&str> = functions.into_iter().filter(|function| !function.is_empty()).collect();
    let alone = functions.len() == names.len() && names.windows(2).all(|pair| pair[0] == pair[1]);
    if !(functions.is_empty() || alone) {
        return Err("functions can be chosen of one test alone, in a call of their own".into());
    }
    let is_wanted = |test: &str| names.is_empty() || names.iter().any(|name| test.contains(name));
    let tests: Vec<_> = tests(root)?.into_iter().filter(|(_, test)| is_wanted(test)).collect();
    let mut all: Vec<Vec<String>> = Vec::new();
    if !tests.is_empty() {
        let flags = tests.iter().flat_map(|(_, test)| ["--test", test]);
        all.push(flags.map(String::from).collect());
    }
    let units = UNITS.iter().filter(|path| is_wanted(path));
    all.extend(units.map(|path| ["--lib", path].map(String::from).to_vec()));
    let miri = is_wanted(MIRI);
    if all.is_empty() && !miri {
        return Err(format!("no test of trust is named {}", names.join(" or ")));
    }
    let stamp = stamp(root)?;
    let (mut trust, mut fuzz, mut passed) = (Vec::new(), Vec::new(), true);
    for arguments in all {
        passed &= execute(root, &arguments, &functions, long, |line| {
            // The name of the test may stand before it.
            if let Some((_, row)) = line.split_once("trust | ") {
                trust.push(format!("| {row} | {stamp} |"));
            } else if let Some((_, row)) = line.split_once("fuzz | ") {
                fuzz.push(fuzz_row(row, &stamp)?);
            }
            Ok(())
        })?;
    }
    if miri {
        match miri_row(root)? {
            Some((row, whole)) => {
                trust.push(format!("| {row} | {stamp} |"));
                passed &= whole;
            }
            None => println!("S8 is left out: there is no `cargo +nightly miri`"),
        }
    }
    let amount = if long { "long" } else { "short" };
    renew_section(root, &format!("{amount} trust"), TRUST_HEAD, 2, trust)?;
    renew_section(root, &format!("{amount} fuzz"), FUZZ_HEAD, 1, fuzz)?;
    if passed { Ok(()) } else { Err("a test of trust failed; its misses stand in the page".to_string()) }
}

/// Runs some tests, shows their output and hands every line to `see`; true if they passed.
fn execute(
    root: &Path,
    arguments: &[String],
    functions: &[&str],
    long: bool,
    mut see: impl FnMut(&str) -> Result<()>,
) -> Result<bool> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace, so that what `cargo test --workspace` has built is used: alone, a package gets other features.
    command.current_dir(root).args(["test", "--locked", "--workspace", "--no-fail-fast"]).args(arguments);
    command.args(["--", "--nocapture"]).args(functions).stdout(Stdio::piped());
    if long {
        // One after another: they measure time and memory, and write much.
        command.arg("--test-threads=1").env("GENESIS_TRUST", "long");
    }
    let mut child = command.spawn().map_err(|error| format!("cargo: {error}"))?;
    let output = child.stdout.take().ok_or("cargo has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| error.to_string())?;
        println!("{line}");
        see(&line)?;
    }
    Ok(child.wait().map_err(|error| error.to_string())?.success())
}

/// S8: the tests of `genesis-tensor` under Miri, but for the statistical ones, which would take hours; true if all passed.
/// None where there is no Miri.
fn miri_row(root: &Path) -> Result<Option<(String, bool)>> {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        // The toolchain of this process is passed on by variables that `+nightly` must not see.
        for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(variable);
        }
        // The pool keeps what is freed, and reads how much memory the machine has.
        command.env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks");
        command.current_dir(root).args(["+nightly", "miri"]).args(arguments);
        command.output().map_err(|error| format!("cargo: {error}"))
    };
    if !cargo(&["--version"])?.status.success() {
        return Ok(None);
    }
    let target = root.join("target/miri");
    let target = target.to_string_lossy();
    let flags =
        ["test", "--locked", "-p", "genesis-tensor", "--lib", "--no-fail-fast", "--target-dir", &target];
    let output = cargo(&[&flags[..], &["--", "--skip", "random::"]].concat())?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let count =
        |end: &str| text.lines().filter(|line| line.starts_with("test ") && line.ends_with(end)).count();
    let (passed, failed) = (passed_tests(&text), count("FAILED"));
    // What Miri objects to ends it; the tests after it are not counted.
    let failed = if output.status.success() { failed } else { failed.max(1) };
    if failed > 0 {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let what = "tests of tensors, their pool of memory and threads under Miri";
    let row = format!("S8 | {what} | {} | {passed} | {failed}", passed + failed);
    Ok(Some((row, failed == 0 && passed > 0)))
}

/// The number in `test result: ok. 9 passed; …`; 0 without such a line.
fn passed_tests(output: &str) -> usize {
    let result = output.lines().find_map(|line| line.strip_prefix("test result: "));
    let words: Vec<&str> = result.unwrap_or_default().split_whitespace().collect();
    let place = words.iter().position(|word| word.starts_with("passed"));
    place.and_then(|place| words.get(place.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}

/// Package and name of every test of trust below a crate's `tests`.
fn tests(root: &Path) -> Result<BTreeSet<(String, String)>> {
    let mut found = BTreeSet::new();
    for member in entries(root)?.into_iter().filter(|path| path.join("Cargo.toml").is_file()) {
        let manifest =
            std::fs::read_to_string(member.join("Cargo.toml")).map_err(|error| error.to_string())?;
        let package = manifest.lines().find_map(|line| line.strip_prefix("name = \""));
        let Some(package) = package.map(|name| name.trim_end_matches('"').to_string()) else { continue };
        for test in entries(&member.join("tests")).unwrap_or_default() {
            let name = test.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let is_test = test.extension().is_some_and(|end| end == "rs") || test.join("main.rs").is_file();
            if is_test && PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                found.insert((package.clone(), name));
            }
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// `name | executions | accepted | outcomes | largest | peak | ratio | milliseconds`, for people.
fn fuzz_row(row: &str, stamp: &str) -> Result<String> {
    let cells: Vec<&str> = row.split(" | ").collect();
    let [name, executions, accepted, outcomes, largest, peak, ratio, slowest] = cells[..] else {
        return Err(format!("not a line of a campaign: {row}"));
    };
    let kib = |bytes: &str| {
        bytes.parse::<u64>().map_or_else(|_| bytes.to_string(), |n| format!("{} KiB", n.div_ceil(1024)))
    };
    let (largest, peak) = (kib(largest), kib(peak));
    Ok(format!(
        "| {name} | {executions} | {accepted} | {outcomes} | {largest} | {peak} | {ratio} | {slowest} ms | {stamp} |"
    ))
}

/// The date and the commit, as the last two cells of a row.
///
/// # Errors
/// No `date`, no `git`.
pub fn stamp(root: &Path) -> Result<String> {
    Ok(format!("{} | {}", said("date", &["-u", "+%F"])?, commit(root)?))
}

/// Writes rows into a section of the page, under the name of this machine; see [`renewed`].
///
/// # Errors
/// A page that cannot be read or written, or without the section's markers.
pub fn renew_section(root: &Path, section: &str, head: &str, key: usize, rows: Vec<String>) -> Result<()> {
    let path = root.join(PAGE);
    let page = std::fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
    let page = renewed(&page, section, head, key, rows, &format!("On {}.", processor()))?;
    std::fs::write(&path, page).map_err(|error| format!("{PAGE}: {error}"))
}

/// The page with the rows of a section renewed: rows whose first `key` cells are equal are replaced, others kept.
fn renewed(
    page: &str,
    section: &str,
    head: &str,
    key: usize,
    rows: Vec<String>,
    machine: &str,
) -> Result<String> {
    let (begin, end) = (format!("<!-- {section} begins -->"), format!("<!-- {section} ends -->"));
    let (before, rest) = page.split_once(&begin).ok_or_else(|| format!("{PAGE}: has no {begin}"))?;
    let (inner, after) = rest.split_once(&end).ok_or_else(|| format!("{PAGE}: has no {end}"))?;
    if rows.is_empty() {
        return Ok(page.to_string());
    }
    let of = |row: &str| {
        row.split(" | ").take(key).map(|cell| cell.trim_start_matches("| ").to_string()).collect()
    };
    let new: BTreeSet<Vec<String>> = rows.iter().map(|row| of(row)).collect();
    let kept = inner
        .lines()
        .filter(|line| line.starts_with("| ") && !head.contains(line) && !new.contains(&of(line)));
    let mut all: Vec<String> = kept.map(str::to_string).chain(rows.iter().cloned()).collect();
    all.sort_by_key(|row| order(row));
    let table = all.join("\n");
    Ok(format!("{before}{begin}\n{machine}\n\n{head}\n{table}\n{end}{after}"))
}

/// R1, R2, … R10, S1, …, then by text.
fn order(row: &str) -> (char, u32, String) {
    let test = row.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
    let number = test.get(1..).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (test.chars().next().unwrap_or(' '), number, row.to_string())
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The commit, with a mark where something but the page has changed since.
fn commit(root: &Path) -> Result<String> {
    let root = root.to_string_lossy();
    let commit = said("git", &["-C", &root, "rev-parse", "--short", "HEAD"])?;
    let changed = said("git", &["-C", &root, "status", "--porcelain", "--untracked-files=no"])?;
    let clean = changed.lines().all(|line| line.ends_with(PAGE));
    Ok(if clean { commit } else { format!("{commit} and changes") })
}

fn processor() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    format!("{}, {cores} cores", name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_renewed_by_what_they_are_and_sorted() {
        let page = "# Page\n<!-- short trust begins -->\n<!-- short trust ends -->\nrest\n";
        let row =
            |test: &str, count: u32| format!("| {test} | cut | {count} | {count} | 0 | 2026-01-01 | abc |");
        let rows = vec![row("S10", 3), row("S2", 5), row("R1", 1)];
        let page = renewed(page, "short trust", TRUST_HEAD, 2, rows, "On it.").unwrap();
        let page = renewed(&page, "short trust", TRUST_HEAD, 2, vec![row("S2", 7)], "On it.").unwrap();
        let found: Vec<&str> = page.lines().filter(|line| line.contains("| cut |")).collect();
        assert_eq!(found, [row("R1", 1), row("S2", 7), row("S10", 3)]);
        assert!(page.starts_with("# Page\n") && page.ends_with("ends -->\nrest\n"));
        assert_eq!(page.lines().filter(|line| line.starts_with("| --- |")).count(), 1, "{page}");
        assert!(renewed(&page, "long trust", TRUST_HEAD, 2, Vec::new(), "").is_err());
    }

    #[test]
    fn miris_passed_tests_are_counted() {
        let output = "test a ... ok\n\ntest result: ok. 9 passed; 0 failed; 1 ignored; 0 measured\n";
        assert_eq!((passed_tests(output), passed_tests("error: aborting")), (9, 0));
    }

    #[test]
    fn the_tests_of_trust_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let found = tests(root).unwrap();
        for (package, test) in [("genesis-fuzz", "fuzz_parsers"), ("genesis-tests", "hostile_input")] {
            assert!(found.contains(&(package.to_string(), test.to_string())), "{found:?}");
        }
    }
}

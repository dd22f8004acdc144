//! R9: the time of day may be wrong, and change; what was computed and which checkpoint is newest do not depend on it.
#![cfg(target_os = "linux")]

use genesis_tests::built::library;
use genesis_tests::runs::difference;
use genesis_tests::trust::Tally;
use genesis_tests::{program, small_cubes, succeed};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

const YEAR: i64 = 31_556_952;

/// Seconds that lead from today to a year.
fn to_year(year: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    (year - 1970) * YEAR - now
}

/// Runs the program with a clock that is wrong by `offset` and goes back by `back` seconds at every look.
fn with_clock(arguments: &[&str], offset: i64, back: i64) -> Result<String, String> {
    static CLOCK: OnceLock<PathBuf> = OnceLock::new();
    let file = "libclock_emulator.so";
    let clock = CLOCK.get_or_init(|| library("clock-emulator", file).join(file));
    let mut command = Command::new(program());
    command.args(arguments).env_remove("LD_LIBRARY_PATH").env("LD_PRELOAD", clock);
    command.env("GENESIS_CLOCK_OFFSET", offset.to_string()).env("GENESIS_CLOCK_BACK", back.to_string());
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

/// When the first session of a checkpoint began, in seconds since 1970.
fn started(checkpoint: &Path) -> i64 {
    let (state, _) = genesis_model::checkpoint::read_safetensors(checkpoint).unwrap();
    let provenance = genesis_tests::json(&state.metadata[genesis_train::provenance::PROVENANCE_KEY]);
    provenance["sessions"][0]["started"].as_i64().unwrap_or_else(|| panic!("no time: {provenance}"))
}

#[test]
fn a_wrong_time_of_day_changes_nothing_that_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let begin =
        ["pretrain", "--cubes", &cubes, "--width", "2", "--batch-size", "4", "--lr", "0.2", "--threads", "1"];
    let begin = [&begin[..], &["--checkpoint-every", "1", "--quiet"]].concat();
    let run = |name: &str, steps: &'static str| {
        let out = folder.path().join(name);
        let text = out.to_str().unwrap().to_string();
        (out, [&begin[..], &["--steps", steps, "--out"]].concat(), text)
    };
    let (whole, arguments, out) = run("whole", "6");
    succeed(&[&arguments[..], &[&out]].concat());
    let mut tally =
        Tally::new("R9", "a clock before 1970, after 2038, far off, running back; set between sessions");
    let wrong = [
        (to_year(1950), 0),
        (to_year(1970) - 86_400, 0),
        (to_year(2039), 0),
        (to_year(2107), 0),
        (to_year(9000), 0),
        (0, 3600),
        (to_year(1971), 86_400),
    ];
    for (offset, back) in wrong {
        let (path, arguments, out) = run(&format!("{offset}-{back}"), "6");
        let done = with_clock(&[&arguments[..], &[&out]].concat(), offset, back);
        let done = done.and_then(|_| difference(&whole, &path).map_or(Ok(()), Err));
        // Otherwise the clock was not wrong at all.
        let told = done.is_ok().then(|| started(&path.join("checkpoints/last.safetensors")));
        let right = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        assert!(told.is_none_or(|told| (told - right).abs() > 1000 || offset == 0), "{offset}: {told:?}");
        tally.count(done.map_err(|error| format!("{offset} s, {back} s a look: {error}")));
    }
    // Forwards and back between the sessions of one run.
    let (path, arguments, out) = run("sessions", "2");
    let resume = |steps: &'static str| {
        ["pretrain", "--resume", "--steps", steps, "--quiet", "--threads", "1", "--out"]
    };
    let done = with_clock(&[&arguments[..], &[&out]].concat(), to_year(2060), 0)
        .and_then(|_| with_clock(&[&resume("4")[..], &[&out]].concat(), to_year(1965), 0))
        .and_then(|_| with_clock(&[&resume("6")[..], &[&out]].concat(), 0, 3600))
        .and_then(|_| difference(&whole, &path).map_or(Ok(()), Err));
    tally.count(done);
    tally.finish();
}

#[test]
fn the_newest_checkpoint_is_the_one_of_the_last_step_whatever_the_files_times() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let mut tally = Tally::new("R9", "checkpoints whose files' times are the wrong way round");
    let begin = ["pretrain", "--cubes", &cubes, "--width", "2", "--batch-size", "2", "--quiet", "--json"];
    let begin = [&begin[..], &["--threads", "1", "--checkpoint-every", "1"]].concat();
    let run = folder.path().join("run");
    let out = run.to_str().unwrap();
    succeed(&[&begin[..], &["--steps", "4", "--out", out]].concat());
    let year = |year: u64| SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * YEAR as u64);
    for (number, [last, previous]) in [[1971, 2040], [2040, 1971], [1970, 1970]].into_iter().enumerate() {
        for (name, time) in [("last", last), ("previous", previous)] {
            let file = File::options().write(true).open(run.join(format!("checkpoints/{name}.safetensors")));
            file.unwrap().set_modified(year(time)).unwrap();
        }
        let before = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let steps = (5 + number).to_string();
        succeed(&["pretrain", "--resume", "--steps", &steps, "--quiet", "--threads", "1", "--out", out]);
        let after = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let train = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.contains("\"train\"")).map(String::from).collect()
        };
        // From the older checkpoint a step would be done again, and its line, which tells its time, be another.
        let (before, after) = (train(&before), train(&after));
        tally.count(match after.len() == before.len() + 1 && after.starts_with(&before) {
            true => Ok(()),
            false => Err(format!("{last} and {previous}: {before:?}\n{after:?}")),
        });
    }
    tally.finish();
}

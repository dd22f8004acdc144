//! R4 and R7: the number of threads changes no bit, and too little memory is one line.

use genesis_tests::runs::difference;
use genesis_tests::trust::Tally;
use genesis_tests::{genesis, json, program, small_cubes, succeed};
use std::path::Path;
use std::process::Command;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn fifty_steps_are_the_same_to_the_bit_with_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let mut tally = Tally::new("R4", "50 steps with 1, 2, 3 and 8 threads, twice each: the same bits");
    let train = |name: &str, threads: &str| {
        let out = folder.path().join(name);
        let run =
            ["pretrain", "--cubes", &cubes, "--width", "2", "--batch-size", "2", "--lr", "0.2", "--quiet"];
        succeed(&[&run[..], &["--steps", "50", "--threads", threads, "--out", text(&out)]].concat());
        out
    };
    let first = train("first", "1");
    for threads in ["1", "2", "3", "8"] {
        for round in 0..2 {
            let out = train(&format!("{threads}-{round}"), threads);
            tally.count(difference(&first, &out).map_or(Ok(()), Err));
        }
    }
    tally.finish();
}

/// Runs the program with its address space limited to so many KiB.
#[cfg(target_os = "linux")]
fn limited(kibibytes: u64, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c 0; ulimit -v \"$1\"; shift; exec \"$@\"", "sh"]);
    command.arg(kibibytes.to_string()).arg(program()).args(arguments).env_remove("LD_LIBRARY_PATH");
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_step_takes_what_was_planned_and_half_of_it_is_refused_before_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 40);
    let mut tally = Tally::new(
        "R7",
        "memory of a training step, planned and measured: within 10 %; refused where too much",
    );
    for (number, flags) in [
        "--width 8 --batch-size 12",
        "--width 16 --batch-size 24 --recompute 2",
        "--width 8 --batch-size 24 --precision bf16 --recompute 0",
        "--width 16 --batch-size 8 --optimizer adam --lr 0.001 --loader-threads 1",
    ]
    .into_iter()
    .enumerate()
    {
        let out = folder.path().join(number.to_string());
        let run = ["pretrain", "--cubes", &cubes, "--steps", "3", "--quiet", "--json", "--out", text(&out)];
        let flags: Vec<&str> = flags.split(' ').collect();
        let summary = json(&succeed(&[&run[..], &flags[..]].concat()));
        let bytes = |key: &str| summary[key].as_f64().unwrap();
        let ratio = bytes("planned_memory_bytes") / bytes("peak_memory_bytes");
        println!("{flags:?}: planned over measured {ratio:.3}");
        tally.count(if (0.9..1.1).contains(&ratio) { Ok(()) } else { Err(format!("{flags:?}: {ratio}")) });
        #[cfg(target_os = "linux")]
        {
            let refused = folder.path().join(format!("{number}-refused"));
            let run = ["pretrain", "--cubes", &cubes, "--steps", "3", "--quiet", "--out", text(&refused)];
            let half = bytes("planned_resident_bytes") / 2.0 / 1024.0;
            let (code, told) = limited(half as u64, &[&run[..], &flags[..]].concat());
            let clean = code == Some(1) && told.starts_with("error:") && told.lines().count() == 1;
            let begun = refused.join("config.toml").exists();
            tally.count(if clean && !begun { Ok(()) } else { Err(format!("{flags:?}: {code:?} {told}")) });
        }
    }
    tally.finish();
}

/// All given cubes are looked through before the first step, in pages that the system may drop: a plan that counted them
/// would refuse data larger than memory.
#[test]
fn the_amount_of_data_takes_no_part_in_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let [few, many] = [40, 4040].map(|count| {
        let cubes = small_cubes(folder.path(), &format!("{count}.npy"), count);
        let out = folder.path().join(count.to_string());
        let run = ["pretrain", "--cubes", &cubes, "--steps", "1", "--width", "2", "--batch-size", "2"];
        let report = json(&succeed(&[&run[..], &["--quiet", "--json", "--out", text(&out)]].concat()));
        report["planned_resident_bytes"].as_f64().unwrap()
    });
    let file = 4000.0 * 4.0 * 4096.0;
    assert!(many - few < file / 4.0, "{few} bytes for 40 cubes, {many} for {file} bytes more of cubes");
}

/// From hardly any address space to plenty: one line as long as it is too little, a whole run ever after.
#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_is_one_line_and_costs_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let mut tally =
        Tally::new("R7", "pretrain with too little address space: one line, earlier checkpoints whole");
    let run = folder.path().join("run");
    let train = ["pretrain", "--cubes", &cubes, "--width", "16", "--batch-size", "8", "--threads", "1"];
    let begin = [&train[..], &["--steps", "1", "--quiet", "--out", text(&run)]].concat();
    succeed(&begin);
    let before = std::fs::read(run.join("checkpoints/last.safetensors")).unwrap();
    let resume = ["pretrain", "--resume", "--steps", "2", "--threads", "1", "--out", text(&run)];
    // From hardly enough to start to nearly enough to train.
    let (mut refused, mut enough) = (0, None);
    for mebibytes in (40..600).step_by(20) {
        let (code, told) = limited(mebibytes << 10, &resume);
        if code == Some(0) {
            enough = Some(mebibytes);
            break;
        }
        refused += 1;
        let errors = told.lines().filter(|line| line.starts_with("error:")).count();
        tally.count(match code {
            Some(1) if errors == 1 && !told.contains("internal error") => Ok(()),
            other => Err(format!("{mebibytes} MiB: exit code {other:?}: {told}")),
        });
        let after = std::fs::read(run.join("checkpoints/last.safetensors")).unwrap();
        assert!(after == before, "{mebibytes} MiB: the checkpoint was touched");
    }
    assert!(refused > 0, "40 MiB of address space were enough");
    // Each part of the program takes its share of what there is: no more of it may starve another part.
    let enough = enough.expect("600 MiB are enough");
    for (step, more) in [enough * 9 / 8, enough * 3 / 2, enough * 2, enough * 3].into_iter().enumerate() {
        let steps = (3 + step).to_string();
        let resume = ["pretrain", "--resume", "--steps", &steps, "--threads", "1", "--out", text(&run)];
        let (code, told) = limited(more << 10, &resume);
        tally.count(match code {
            Some(0) => Ok(()),
            _ => Err(format!("{enough} MiB are enough, {more} are not: {told}")),
        });
    }
    let unlimited = genesis(["pretrain", "--resume", "--steps", "7", "--threads", "1", "--out", text(&run)]);
    tally.count(if unlimited.status.success() {
        Ok(())
    } else {
        Err("the run does not go on without a limit")
    });
    tally.finish();
}

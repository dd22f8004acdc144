//! Checkpoints that were damaged after they were written: every damage is noticed, and the run goes on from the one
//! before, to the same end.

use genesis_tests::runs::{difference, trained};
use genesis_tests::trust::{Tally, amount};
use genesis_tests::{fail, genesis, small_cubes, succeed};
use genesis_train::training::RunDirectory;
use std::path::{Path, PathBuf};

struct Runs {
    _folder: tempfile::TempDir,
    whole: PathBuf,
    /// Stands three steps before its end.
    half: PathBuf,
    folder: PathBuf,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn runs() -> Runs {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_path_buf();
    let cubes = small_cubes(&folder, "cubes.npy", 10);
    let (whole, half) = (folder.join("whole"), folder.join("half"));
    let train = |out: &Path, steps: &str| {
        let run = ["pretrain", "--cubes", &cubes, "--width", "2", "--batch-size", "2", "--lr", "0.2"];
        let rest = ["--checkpoint-every", "1", "--steps", steps, "--out", text(out), "--quiet"];
        succeed(&[&run[..], &rest].concat());
    };
    train(&whole, "12");
    train(&half, "8");
    Runs { _folder: temporary, whole, half, folder }
}

fn copy(from: &Path, to: &Path) {
    for inner in ["", "checkpoints"] {
        std::fs::create_dir_all(to.join(inner)).unwrap();
        for entry in std::fs::read_dir(from.join(inner)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), to.join(inner).join(entry.file_name())).unwrap();
            }
        }
    }
}

/// Truncations at every 4 KiB and random bit flips of the last checkpoint.
fn damages(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let cuts = (0..whole.len())
        .step_by(4096)
        .map(|length| (format!("cut to {length} bytes"), whole[..length].to_vec()));
    let mut state = 11u64;
    let flips = (0..amount(500, 5000)).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = (state >> 20) as usize % (8 * whole.len());
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        (format!("bit {bit} flipped"), bytes)
    });
    cuts.chain(flips).collect()
}

#[test]
fn every_damage_of_the_last_checkpoint_is_noticed_and_the_one_before_is_taken() {
    let runs = runs();
    let last = runs.half.join("checkpoints/last.safetensors");
    let previous = runs.half.join("checkpoints/previous.safetensors");
    let bytes = std::fs::read(&last).unwrap();
    let mut tally = Tally::new("S3", "the last checkpoint cut at a 4 KiB boundary or with a flipped bit");
    for (what, damaged) in damages(&bytes) {
        std::fs::write(&last, &damaged).unwrap();
        let run = RunDirectory::open(&runs.half, true).unwrap();
        tally.count(match run.newest_checkpoint() {
            Ok(Some((path, _))) if path == previous => Ok(()),
            Ok(found) => Err(format!("{what}: taken for whole ({:?})", found.map(|found| found.0))),
            Err(error) => Err(format!("{what}: {error}")),
        });
    }
    tally.finish();
}

#[test]
fn a_run_goes_on_from_the_checkpoint_before_a_damaged_one_and_says_so() {
    let runs = runs();
    let mut tally = Tally::new("S3", "pretrain --resume with a damaged last checkpoint ends as if undamaged");
    let bytes = std::fs::read(runs.half.join("checkpoints/last.safetensors")).unwrap();
    let all = damages(&bytes);
    let step = (all.len() / amount(6, 60) as usize).max(1);
    for (number, (what, damaged)) in all.into_iter().step_by(step).enumerate() {
        let run = runs.folder.join(format!("damaged-{number}"));
        copy(&runs.half, &run);
        let last = run.join("checkpoints/last.safetensors");
        std::fs::write(&last, &damaged).unwrap();
        let output = genesis(["pretrain", "--resume", "--out", text(&run), "--steps", "12"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome = if !output.status.success() {
            Err(format!("{what}: {told}"))
        } else if !told.contains("going on from the checkpoint before it") {
            Err(format!("{what}: nothing was said: {told}"))
        } else {
            difference(&runs.whole, &run).map_or(Ok(()), |difference| Err(format!("{what}: {difference}")))
        };
        tally.count(outcome);
        std::fs::remove_dir_all(&run).unwrap();
    }
    tally.finish();
}

#[test]
fn with_both_checkpoints_damaged_the_run_stops_with_one_line_and_touches_neither() {
    let runs = runs();
    let names = ["last", "previous"].map(|name| runs.half.join(format!("checkpoints/{name}.safetensors")));
    let before = names.each_ref().map(|path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(path, &bytes).unwrap();
        bytes
    });
    let line = fail(1, &["pretrain", "--resume", "--out", text(&runs.half), "--steps", "12"]);
    for part in ["last.safetensors", "previous.safetensors", "damaged"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(names.each_ref().map(|path| std::fs::read(path).unwrap()) == before);
    // Without any, there is nothing to lose: the run begins anew and ends the same.
    names.each_ref().iter().for_each(|path| std::fs::remove_file(path).unwrap());
    succeed(&["pretrain", "--resume", "--out", text(&runs.half), "--steps", "12", "--quiet"]);
    assert_eq!(difference(&runs.whole, &runs.half), None);
}

#[test]
fn a_damaged_checkpoint_does_not_take_the_place_of_the_good_one_before_it() {
    let runs = runs();
    let path = |name: &str| runs.half.join(format!("checkpoints/{name}.safetensors"));
    let good = trained(path("previous"));
    std::fs::write(path("last"), b"torn").unwrap();
    // One step more: it is saved as the last, and the good one is still the one before.
    succeed(&["pretrain", "--resume", "--out", text(&runs.half), "--steps", "8", "--quiet"]);
    let after = trained(path("previous"));
    assert!(after == good || after == trained(path("last")), "the torn file became the one before");
    assert!(trained(runs.whole.join("checkpoints/last.safetensors")) != good);
}

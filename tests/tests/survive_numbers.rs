//! R11: numbers that are not finite, in volumes, labels, cubes, weights and losses: named, and the policy followed.

use genesis_model::checkpoint::{read_checkpoint, read_safetensors, write_safetensors};
use genesis_tests::trust::Tally;
use genesis_tests::{fail, genesis, small_cubes, succeed};
use genesis_train::volume::{ElementType, Volume, write_nifti};
use std::path::{Path, PathBuf};

const IDENTITY: [[f64; 4]; 4] =
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A volume of 24³ voxels whose first voxels are `first`.
fn volume(path: &Path, first: &[f32], constant: bool) {
    let mut voxels: Vec<f32> =
        (0..13_824).map(|i| if constant { -700.0 } else { -800.0 + (i * 37 % 300) as f32 }).collect();
    voxels[..first.len()].copy_from_slice(first);
    write_nifti(path, &Volume::new(voxels, [24; 3], IDENTITY).unwrap(), ElementType::Float32).unwrap();
}

/// What a command that must fail says in its one line, or why it does not.
fn refused(arguments: &[&str], parts: &[&str]) -> Result<(), String> {
    let line = std::panic::catch_unwind(|| fail(1, arguments))
        .map_err(|_| format!("genesis {} does not fail with one line", arguments.join(" ")))?;
    match parts.iter().find(|part| !line.contains(**part)) {
        None => Ok(()),
        Some(part) => Err(format!("\"{part}\" is missing in: {line}")),
    }
}

/// That a command succeeds and says something on standard error.
fn tolerated(arguments: &[&str], parts: &[&str]) -> Result<(), String> {
    let output = genesis(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(told);
    }
    match parts.iter().find(|part| !told.contains(**part)) {
        None => Ok(()),
        Some(part) => Err(format!("\"{part}\" is missing in: {told}")),
    }
}

#[test]
fn volumes_that_are_not_finite_or_constant_are_named_and_the_policy_decides() {
    let folder = tempfile::tempdir().unwrap();
    let mut tally =
        Tally::new("R11", "NaN, infinity, constants and bad labels in data, skipped or refused by name");
    let scans = folder.path().join("scans");
    std::fs::create_dir(&scans).unwrap();
    volume(&scans.join("good.nii"), &[], false);
    volume(&scans.join("nan.nii"), &[1.0, f32::NAN], false);
    volume(&scans.join("inf.nii"), &[f32::INFINITY], false);
    volume(&scans.join("constant.nii"), &[], true);
    let out = folder.path().join("cubes.npy");
    let cut =
        ["cubes", "--volumes", text(&scans), "--out", text(&out), "--cube", "16x16x16", "--border", "0,0,0"];
    let cut = [&cut[..], &["--max-tissue", "1", "--per-volume", "2"]].concat();
    tally.count(tolerated(&cut, &["nan.nii", "inf.nii", "not finite", "constant.nii"]));
    let report = std::fs::read_to_string(folder.path().join("cubes.skipped.csv")).unwrap_or_default();
    let listed =
        ["nan.nii", "inf.nii"].iter().all(|name| report.contains(name)) && !report.contains("good.nii");
    tally.count(if listed { Ok(()) } else { Err(format!("the report lists {report}")) });
    tally
        .count(refused(&[&cut[..], &["--on-bad-volume", "fail"]].concat(), &["constant.nii", "no contrast"]));
    std::fs::remove_file(scans.join("constant.nii")).unwrap();
    tally.count(refused(&[&cut[..], &["--on-bad-volume", "fail"]].concat(), &["inf.nii", "not finite"]));

    // Pre-training from volumes, skipping and failing.
    let run = folder.path().join("run");
    let train = ["pretrain", "--volumes", text(&scans), "--cube", "16x16x16", "--border", "0,0,0"];
    let train =
        [&train[..], &["--width", "2", "--steps", "2", "--batch-size", "2", "--per-volume", "12"]].concat();
    let config = folder.path().join("dense.toml");
    std::fs::write(&config, "[data.extraction]\nmax_tissue = 1.0\n").unwrap();
    volume(&scans.join("other.nii"), &[], false);
    let train = [&train[..], &["--config", text(&config)]].concat();
    tally.count(tolerated(&[&train[..], &["--out", text(&run)]].concat(), &["nan.nii"]));
    let report = std::fs::read_to_string(run.join("skipped.csv")).unwrap_or_default();
    tally.count(if report.contains("nan.nii") { Ok(()) } else { Err(format!("the report lists {report}")) });
    let failing = folder.path().join("failing");
    let flags = ["--on-bad-volume", "fail", "--out", text(&failing)];
    tally.count(refused(&[&train[..], &flags].concat(), &["inf.nii", "not finite"]));
    tally.finish();
}

/// Puts a value into the last voxel of a cube of `small_cubes`.
fn spoil(cubes: &Path, count: usize, cube: usize, value: f32) {
    let mut bytes = std::fs::read(cubes).unwrap();
    let end = bytes.len() - (count - 1 - cube) * 4096 * 4;
    bytes[end - 4..end].copy_from_slice(&value.to_le_bytes());
    std::fs::write(cubes, bytes).unwrap();
}

#[test]
fn given_cubes_that_are_not_finite_are_found_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut tally =
        Tally::new("R11", "a given cube that is not finite: skipped and reported, or refused by name");
    let cubes = small_cubes(folder.path(), "cubes.npy", 8);
    let valid = small_cubes(folder.path(), "valid.npy", 3);
    spoil(Path::new(&cubes), 8, 5, f32::NAN);
    spoil(Path::new(&valid), 3, 1, f32::INFINITY);
    let at = |name: &str| folder.path().join(name);
    let train = |out: &Path, more: &[&str]| -> Vec<String> {
        let all = ["pretrain", "--cubes", &cubes, "--width", "2", "--batch-size", "2", "--out", text(out)];
        all.iter().chain(more).map(ToString::to_string).collect()
    };
    let with = |out: &str, more: &[&str], parts: &[&str], succeeds: bool| {
        let all = train(&at(out), more);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        if succeeds { tolerated(&all, parts) } else { refused(&all, parts) }
    };
    let says = |path: &str, parts: &[&str]| {
        let text = std::fs::read_to_string(at(path)).unwrap_or_default();
        match parts.iter().find(|part| !text.contains(**part)) {
            None => Ok(()),
            Some(part) => Err(format!("{path} says nothing of {part}: {text}")),
        }
    };
    let two = ["--steps", "2"];
    let told = ["passed over", "cubes.npy: cube 5 holds voxels that are not finite", "7 cubes"];
    tally.count(with("skipping", &two, &told, true));
    tally.count(says("skipping/skipped.csv", &["file,reason", "cubes.npy,", "cube 5"]));
    // Resumed, the same cubes are left out; validation cubes are looked at, too.
    let resume = ["--steps", "4", "--resume"];
    tally.count(with("skipping", &resume, &["cube 5", "going on from step 2"], true));
    let given = [&two[..], &["--valid", &valid]].concat();
    tally.count(with("valid", &given, &["cubes.npy: cube 5", "valid.npy: cube 1"], true));
    tally.count(says("valid/skipped.csv", &["cubes.npy,", "cube 5", "valid.npy,", "cube 1"]));
    let failing = [&two[..], &["--on-bad-volume", "fail"]].concat();
    tally.count(with("failing", &failing, &["cubes.npy: cube 5", "not finite"], false));
    let began = at("failing/config.toml").exists() || at("failing/metrics.jsonl").exists();
    tally.count(if began { Err("a run began that must fail") } else { Ok(()) });
    // A run without bad cubes has no report.
    spoil(Path::new(&cubes), 8, 5, 0.5);
    tally.count(with("good", &two, &["8 cubes"], true));
    tally.count(if at("good/skipped.csv").exists() { Err("a report of nothing") } else { Ok(()) });
    // Cubes on another scale are no single cube's fault.
    spoil(Path::new(&cubes), 8, 6, 40.0);
    tally.count(with("scale", &two, &["cubes.npy: cube 6 holds 40, cubes must be scaled to [0, 1]"], false));
    tally.finish();
}

#[test]
fn bad_cases_of_a_target_task_fail_or_are_skipped_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut tally = Tally::new("R11", "a case or label map of a target task that cannot be used");
    let data = folder.path().join("data");
    for part in ["images", "labels"] {
        std::fs::create_dir_all(data.join(part)).unwrap();
    }
    for number in 0..5 {
        volume(&data.join(format!("images/case{number}.nii")), &[], false);
        let labels: Vec<f32> = (0..13_824).map(|i| f32::from(u8::from(i % 24 > 11))).collect();
        let labels = Volume::new(labels, [24; 3], IDENTITY).unwrap();
        write_nifti(&data.join(format!("labels/case{number}.nii")), &labels, ElementType::Uint8).unwrap();
    }
    let bad = data.join("labels/case1.nii");
    let train = |out: &Path| -> Vec<String> {
        let all = [
            "finetune",
            "segment",
            "--data",
            text(&data),
            "--patch",
            "16x16x16",
            "--width",
            "2",
            "--steps",
            "2",
        ];
        all.iter().chain(&["--labels", "1", "--out", text(out)]).map(ToString::to_string).collect()
    };
    let with = |out: &str, further: &[&str], parts: &[&str], succeeds: bool| {
        let all = train(&folder.path().join(out));
        let all: Vec<&str> = all.iter().map(String::as_str).chain(further.iter().copied()).collect();
        if succeeds { tolerated(&all, parts) } else { refused(&all, parts) }
    };
    // A truncated scan, a label that is NaN, a label map of another size.
    let image = data.join("images/case1.nii");
    let whole = std::fs::read(&image).unwrap();
    std::fs::write(&image, &whole[..5000]).unwrap();
    tally.count(with("a", &[], &["case1.nii", "truncated"], false));
    tally.count(with("b", &["--on-bad-volume", "skip"], &["passed over", "case1.nii"], true));
    let report = std::fs::read_to_string(folder.path().join("b/skipped.csv")).unwrap_or_default();
    tally.count(if report.contains("case1.nii") {
        Ok(())
    } else {
        Err(format!("the report lists {report}"))
    });
    let summary = std::fs::read_to_string(folder.path().join("b/summary.json")).unwrap_or_default();
    tally.count(if summary.contains("case1.nii") {
        Ok(())
    } else {
        Err(format!("the summary says {summary}"))
    });
    std::fs::write(&image, &whole).unwrap();
    volume(&bad, &[f32::NAN], false);
    tally.count(with("c", &[], &["labels/case1.nii", "label"], false));
    tally.count(with("d", &["--on-bad-volume", "skip"], &["labels/case1.nii"], true));
    std::fs::remove_file(&bad).unwrap();
    tally.count(with("e", &["--on-bad-volume", "fail"], &["case1"], false));
    tally.finish();
}

/// Damages one weight of a run's last checkpoint, as a flip of memory would, under a checksum that fits.
fn poison(run: &Path, value: f32) {
    let path: PathBuf = run.join("checkpoints/last.safetensors");
    let (mut state, _) = read_safetensors(&path).unwrap();
    let tensor =
        state.tensors.iter_mut().find(|tensor| tensor.name == "down_tr64.ops.0.conv1.weight").unwrap();
    tensor.bytes[..4].copy_from_slice(&value.to_le_bytes());
    write_safetensors(&path, &state).unwrap();
}

#[test]
fn a_loss_that_is_not_finite_stops_with_its_batch_or_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let mut tally =
        Tally::new("R11", "a loss or gradient that is not finite: stop with the batch's identity, or skip");
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let run = folder.path().join("run");
    let train =
        ["pretrain", "--cubes", &cubes, "--width", "2", "--batch-size", "2", "--lr", "0.2", "--quiet"];
    succeed(&[&train[..], &["--steps", "4", "--out", text(&run)]].concat());
    // Finite, as a checkpoint must be, and too large for any sum.
    poison(&run, 3e38);
    let before = std::fs::read(run.join("checkpoints/last.safetensors")).unwrap();
    let resume = ["pretrain", "--resume", "--out", text(&run), "--steps", "8"];
    tally.count(refused(
        &resume,
        &["loss became NaN at step 5", "cubes.npy cube", "step-00000005.safetensors"],
    ));
    let after = std::fs::read(run.join("checkpoints/last.safetensors")).unwrap();
    tally.count(if before == after { Ok(()) } else { Err("the last checkpoint was written over") });
    let dump = run.join("not-finite/step-00000005.safetensors");
    let dumped = read_checkpoint(&dump).map_err(|error| error.to_string());
    tally.count(dumped.and_then(|dumped| {
        let shapes: Vec<_> = dumped.state.tensors.iter().map(|tensor| tensor.shape.clone()).collect();
        if shapes == [[2, 16, 16, 16, 1], [2, 16, 16, 16, 1]] { Ok(()) } else { Err(format!("{shapes:?}")) }
    }));
    // Weights that are broken fail every step: skipping ends too.
    let skipping = ["pretrain", "--resume", "--out", text(&run), "--steps", "100", "--on-nan", "skip"];
    tally.count(refused(&skipping, &["the weights are at fault"]));

    // A rate that makes the loss overflow: the network stays as it was before the step.
    let wild = folder.path().join("wild");
    let fast = [&train[..7], &["--lr", "1e30", "--steps", "6", "--quiet", "--out", text(&wild)]].concat();
    tally.count(refused(&fast, &["became", "at step", "not-finite"]));
    tally.finish();
}

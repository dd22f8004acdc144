//! Runs in bf16: they follow the f32 loss curve, do not depend on the number of threads, resume to the
//! bit, and write the checkpoints an f32 run writes.

use genesis_model::checkpoint::read_checkpoint;
use genesis_tests::runs::trained;
use genesis_tests::{fail, small_cubes, succeed};
use genesis_train::volume::CubeFile;
use serde_json::Value;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn pretrain(cubes: &str, out: &Path, more: &[&str]) -> Value {
    let mut all = vec!["pretrain", "--cubes", cubes, "--out", text(out), "--quiet", "--json"];
    all.extend(more);
    serde_json::from_str(&succeed(&all)).unwrap()
}

#[test]
fn a_bf16_run_follows_the_f32_loss_curve() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    succeed(&["phantom", "--out", text(&at("data")), "--count", "2", "--size", "64x64x64"]);
    let scans = at("data/imagesTr");
    let file = at("cubes.npy");
    let cut = ["--cube", "32x32x16", "--per-volume", "10", "--border", "4,4,2", "--max-tissue", "1"];
    let mut all = vec!["cubes", "--volumes", text(&scans), "--out", text(&file)];
    all.extend(cut);
    succeed(&all);

    let run = |precision: &str| {
        let out = at(precision);
        let more = ["--width", "4", "--batch-size", "4", "--steps", "48", "--lr", "0.2"];
        let summary = pretrain(text(&file), &out, &[&more[..], &["--precision", precision]].concat());
        let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let losses = |split: &str| -> Vec<f64> {
            let records = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            records.filter(|r| r["split"] == split).map(|r| r["loss"].as_f64().unwrap()).collect()
        };
        (summary, losses("train"), losses("valid"))
    };
    let ((f32, f32_train, f32_valid), (_, bf16_train, bf16_valid)) = (run("f32"), run("bf16"));
    eprintln!("validation losses\nf32  {f32_valid:.5?}\nbf16 {bf16_valid:.5?}");
    // The network learns, or the comparison would show nothing.
    assert!(f32["best_valid_loss"].as_f64().unwrap() < 0.8 * f32_valid[0], "{f32}");
    // Two such runs part in the end like any two that differ by rounding, and validation by running
    // statistics jumps at this rate: single losses are compared while the runs are still together.
    for (step, (a, b)) in f32_train.iter().zip(&bf16_train).enumerate().take(20) {
        assert!((b / a - 1.0).abs() < 0.02, "step {step}: f32 {a}, bf16 {b}");
    }
    for (epoch, (a, b)) in f32_valid.iter().zip(&bf16_valid).enumerate().take(5) {
        assert!((b / a - 1.0).abs() < 0.02, "epoch {epoch}: f32 {a}, bf16 {b}");
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (a, b) = (mean(&f32_train), mean(&bf16_train));
    assert!((b / a - 1.0).abs() < 0.03, "mean of all steps: f32 {a}, bf16 {b}");

    // Checkpoints hold the same f32 tensors.
    let read = |precision: &str| read_checkpoint(at(precision).join("checkpoints/last.safetensors")).unwrap();
    let names = |precision: &str| {
        let tensors = read(precision).state.tensors;
        tensors.into_iter().map(|t| (t.name.clone(), t.shape.clone(), t.dtype)).collect::<Vec<_>>()
    };
    assert_eq!(names("f32"), names("bf16"));
    let config = std::fs::read_to_string(at("bf16/config.toml")).unwrap();
    assert!(config.contains("precision = \"bf16\""), "{config}");

    // And are restored from in either format, into f32.
    let weights = at("bf16/checkpoints/best.safetensors");
    let restored = |precision: &str| {
        let out = at(&format!("restored-{precision}.npy"));
        let files = ["--weights", text(&weights), "--input", text(&file), "--out", text(&out)];
        succeed(&[&["restore"], &files[..], &["--precision", precision, "--quiet"]].concat());
        let file = CubeFile::open(&out).unwrap();
        let mut cube = vec![0.0; file.size().iter().product()];
        file.read(3, &mut cube).unwrap();
        cube
    };
    let (f32, bf16) = (restored("f32"), restored("bf16"));
    let worst = f32.iter().zip(&bf16).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst > 0.0 && worst < 0.05, "largest difference {worst}");
    let coarse = bf16.iter().all(|&value| value.to_bits() & 0xffff == 0);
    assert!(!coarse, "restored intensities are rounded to bf16");
}

#[test]
fn threads_resumption_and_recompute_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 15);
    let more = ["--width", "2", "--batch-size", "3", "--steps", "16", "--lr", "0.2", "--precision", "bf16"];
    let run = |name: &str, further: &[&str]| {
        let out = folder.path().join(name);
        pretrain(&cubes, &out, &[&more[..], further].concat());
        trained(out.join("checkpoints/last.safetensors"))
    };
    let whole = run("whole", &["--threads", "1"]);
    for (name, flags) in [
        ("two", &["--threads", "2", "--recompute", "0"][..]),
        ("five", &["--threads", "5", "--recompute", "2"]),
        ("levels", &["--threads", "2", "--checkpoint-levels", "64,512"]),
    ] {
        assert!(whole == run(name, flags), "{flags:?}");
    }

    // Two epochs, then the rest; the precision comes from the run's configuration.
    let out = folder.path().join("resumed");
    let mut first = more.to_vec();
    first[5] = "8";
    pretrain(&cubes, &out, &first);
    let resume = ["pretrain", "--resume", "--out", text(&out), "--steps", "16", "--quiet"];
    let message = fail(1, &[&resume[..], &["--precision", "f32"]].concat());
    assert!(message.contains("precision is \"bf16\" there and \"f32\" here"), "{message}");
    // The refused attempt left the run's configuration as it was.
    succeed(&resume);
    let last = trained(out.join("checkpoints/last.safetensors"));
    assert!(whole == last, "a resumed run differs");
}

#[test]
fn every_proxy_task_trains_in_bf16() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 8);
    for (name, flags) in [
        ("prelu", &["--activation", "prelu", "--recompute", "2"][..]),
        ("in-painting", &["--only", "in-painting"]),
        ("paper", &["--preset", "paper"]),
    ] {
        let small = ["--width", "2", "--batch-size", "3", "--steps", "3", "--precision", "bf16"];
        pretrain(&cubes, &folder.path().join(name), &[&small[..], flags].concat());
    }
}

#[test]
fn wrong_values_are_wrong_usage() {
    let all = ["pretrain", "--cubes", "none.npy", "--out", "none"];
    for flags in
        [["--precision", "f64"], ["--recompute", "3"], ["--checkpoint-levels", "32"], ["--trace-steps", "0"]]
    {
        let message = fail(2, &[&all[..], &flags].concat());
        assert!(message.contains(flags[0]), "{message}");
    }
}

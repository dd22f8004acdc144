//! Training runs of the real program: reproducible to the bit for any number of threads and of loader
//! threads. What kills and signals do: survive_kills.rs.

use genesis_tests::runs::difference;
use genesis_tests::{small_cubes, succeed};

fn arguments<'a>(cubes: &'a str, out: &'a str) -> Vec<&'a str> {
    vec![
        "pretrain",
        "--cubes",
        cubes,
        "--out",
        out,
        "--width",
        "2",
        "--batch-size",
        "3",
        "--epochs",
        "6",
        "--lr",
        "0.2",
        "--quiet",
    ]
}

#[test]
fn threads_and_loader_threads_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 15);
    let mut runs = Vec::new();
    for (threads, loaders) in [("1", "1"), ("2", "1"), ("2", "5"), ("5", "2")] {
        let run = folder.path().join(format!("run-{threads}-{loaders}"));
        let out = run.to_str().unwrap().to_string();
        let mut all = arguments(&cubes, &out);
        all.extend(["--threads", threads, "--loader-threads", loaders]);
        succeed(&all);
        runs.push(run);
    }
    for run in &runs[1..] {
        assert_eq!(difference(&runs[0], run), None);
    }
}

#[test]
fn a_run_directory_holds_what_the_contract_names() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 15);
    let run = folder.path().join("run");
    let out = run.to_str().unwrap();
    let mut all = arguments(&cubes, out);
    all.push("--json");
    let summary: serde_json::Value = serde_json::from_str(&succeed(&all)).unwrap();
    assert_eq!(summary["status"], "complete");
    assert_eq!(summary["epochs"], 6);
    assert_eq!(summary["steps"], 24);
    for name in [
        "config.toml",
        "metrics.jsonl",
        "loss.png",
        "samples/epoch-0001.png",
        "summary.json",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
    ] {
        assert!(run.join(name).exists(), "{name} is missing");
    }
    let events = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().contains("tfevents")
    };
    assert!(std::fs::read_dir(&run).unwrap().any(events), "no TensorBoard events");
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for key in ["step", "epoch", "split", "loss", "lr", "seconds", "samples_per_second"] {
        assert!(first.get(key).is_some(), "metrics lack {key}: {first}");
    }
    // The configuration reruns the run.
    let again = folder.path().join("again");
    let config = run.join("config.toml");
    succeed(&["pretrain", "--config", config.to_str().unwrap(), "--out", again.to_str().unwrap(), "--quiet"]);
    assert_eq!(difference(&run, &again), None);
}

#[test]
fn every_preset_trains_and_so_does_every_proxy_task() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 8);
    for preset in ["original", "paper"] {
        let run = folder.path().join(preset);
        let mut all = arguments(&cubes, run.to_str().unwrap());
        all.extend(["--preset", preset, "--steps", "3"]);
        succeed(&all);
    }
    for task in ["autoencoder", "denoising", "patch-shuffling", "in-painting", "local-shuffling,nonlinear"] {
        let run = folder.path().join(task);
        let mut all = arguments(&cubes, run.to_str().unwrap());
        all.extend(["--only", task, "--steps", "3"]);
        succeed(&all);
    }
}

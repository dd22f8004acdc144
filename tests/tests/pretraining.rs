//! Training runs of the real program: reproducible to the bit for any number of threads, of loader
//! threads, and after `kill -9`.

use genesis_tests::{program, small_cubes, succeed};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

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

fn read(run: &Path, name: &str) -> Vec<u8> {
    let path = run.join("checkpoints").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `metrics.jsonl` without the parts that depend on the clock.
fn losses(run: &Path) -> Vec<(u64, String, String)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            (record["step"].as_u64().unwrap(), record["split"].to_string(), record["loss"].to_string())
        })
        .collect()
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
        for name in ["last.safetensors", "best.safetensors"] {
            assert!(read(&runs[0], name) == read(run, name), "{} of {}", name, run.display());
        }
        assert_eq!(losses(&runs[0]), losses(run));
    }
}

#[test]
fn a_killed_run_goes_on_as_if_nothing_had_happened() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 15);
    let whole = folder.path().join("whole");
    let every = ["--checkpoint-every", "3"];
    let out = whole.to_str().unwrap();
    let mut all = arguments(&cubes, out);
    all.extend(every);
    let start = std::time::Instant::now();
    succeed(&all);
    let time = start.elapsed();

    let mut killed = 0;
    for attempt in 0..10u32 {
        let run = folder.path().join(format!("killed-{attempt}"));
        let out = run.to_str().unwrap();
        let mut all = arguments(&cubes, out);
        all.extend(every);
        let mut child =
            Command::new(program()).args(&all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Moments spread over the run, from before its first file to shortly before its end.
        std::thread::sleep(Duration::from_secs_f64(time.as_secs_f64() * f64::from(attempt) / 11.0));
        child.kill().unwrap();
        if !child.wait().unwrap().success() {
            killed += 1;
        }
        if !run.join("config.toml").exists() {
            // Killed before the run began: there is nothing to go on with.
            let _ = std::fs::remove_dir_all(&run);
            succeed(&all);
        } else {
            succeed(&["pretrain", "--resume", "--out", out, "--quiet"]);
        }
        for name in ["last.safetensors", "best.safetensors"] {
            assert!(read(&whole, name) == read(&run, name), "{name} after kill {attempt}");
        }
        assert_eq!(losses(&whole), losses(&run), "metrics after kill {attempt}");
    }
    assert!(killed >= 2, "only {killed} of 10 runs were killed before their end");
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
    assert!(read(&run, "last.safetensors") == read(&again, "last.safetensors"));
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

//! `--trace` and `GENESIS_TRACE=1`: every operation of a run, in both directions, with its speed.

use genesis_tests::{fail, program, small_cubes, succeed};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read(path).unwrap();
    let trace: Value = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}"));
    trace["traceEvents"].as_array().unwrap().clone()
}

fn arguments<'a>(cubes: &'a str, out: &'a str, trace: &'a str) -> Vec<&'a str> {
    let start = ["pretrain", "--cubes", cubes, "--out", out, "--trace", trace, "--width", "2"];
    [&start[..], &["--batch-size", "3", "--lr", "0.2", "--quiet"]].concat()
}

#[test]
fn a_trace_holds_the_first_steps_and_what_happened_between() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 15);
    let (out, trace) = (folder.path().join("run"), folder.path().join("trace.json"));
    let mut all = arguments(&cubes, out.to_str().unwrap(), trace.to_str().unwrap());
    // Four steps an epoch: the trace covers a validation and ends within the second epoch.
    all.extend(["--steps", "8", "--trace-steps", "5", "--precision", "bf16"]);
    succeed(&all);
    let events = events(&trace);
    let named = |name: &str, cat: &str| {
        events.iter().filter(|event| event["name"] == name && event["cat"] == cat).collect::<Vec<_>>()
    };
    assert_eq!(named("step", "run").len(), 5);
    assert_eq!(named("optimizer", "run").len(), 5);
    assert_eq!(named("waiting for the loader", "run").len(), 5);
    assert_eq!(named("validation", "run").len(), 1);
    assert_eq!(named("checkpoint", "run").len(), 1);
    // 15 convolutions and 14 batch norms a step, and once more in the validation.
    assert_eq!(named("conv3d", "forward").len(), 6 * 15);
    assert_eq!(named("conv3d", "backward").len(), 5 * 15);
    assert_eq!(named("batch_norm", "backward").len(), 5 * 14);
    assert!(!named("batch_norm", "recompute").is_empty());
    assert_eq!(named("loss", "backward").len(), 5);
    let mut layers = BTreeSet::new();
    for event in named("conv3d", "backward") {
        let args = &event["args"];
        layers.insert(args["layer"].as_str().unwrap().to_string());
        assert_eq!((event["ph"].as_str(), args["format"].as_str()), (Some("X"), Some("bf16")));
        for key in ["GFLOP/s", "GB/s", "share of ceiling", "bytes saved", "bytes live"] {
            assert!(args[key].as_f64().is_some_and(|value| value >= 0.0), "{key}: {event}");
        }
        assert_eq!(args["inputs"].as_array().unwrap()[0].as_str().unwrap().matches(',').count(), 4);
        assert!(event["ts"].as_f64().unwrap() >= 0.0 && event["dur"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(layers.len(), 15, "{layers:?}");
    assert!(layers.contains("down_tr64.ops.0.conv1") && layers.contains("out_tr.final_conv"));
    // Operations lie within their steps.
    let steps: Vec<(f64, f64)> = named("step", "run")
        .iter()
        .map(|step| (step["ts"].as_f64().unwrap(), step["dur"].as_f64().unwrap()))
        .collect();
    for event in named("conv3d", "backward") {
        let ts = event["ts"].as_f64().unwrap();
        assert!(steps.iter().any(|(start, length)| ts >= *start && ts < start + length), "{event}");
    }
}

#[test]
fn the_trace_of_a_killed_run_is_valid_json() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 15);
    let (out, trace) = (folder.path().join("run"), folder.path().join("trace.json"));
    let mut all = arguments(&cubes, out.to_str().unwrap(), trace.to_str().unwrap());
    all.extend(["--trace-steps", "100000"]);
    let mut child =
        Command::new(program()).args(&all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while std::fs::metadata(&trace).map_or(0, |data| data.len()) < 200_000 {
        assert!(start.elapsed() < Duration::from_secs(60), "no trace appears");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(events(&trace).len() > 300);
}

#[test]
fn a_trace_that_cannot_be_written_is_one_line_and_leaves_the_directory_free() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 15);
    let (out, trace) = (folder.path().join("run"), folder.path().join("no/such/trace.json"));
    let mut all = arguments(&cubes, out.to_str().unwrap(), trace.to_str().unwrap());
    all.extend(["--steps", "1"]);
    assert!(fail(1, &all).contains("trace.json"));
    let trace = folder.path().join("trace.json");
    let mut all = arguments(&cubes, out.to_str().unwrap(), trace.to_str().unwrap());
    all.extend(["--steps", "1"]);
    succeed(&all);
    assert!(events(&trace).len() > 50);
}

#[test]
fn lines_on_standard_error_name_every_operation() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 15);
    let out = folder.path().join("run");
    let run = |value: &str, out: &Path| {
        let mut command = Command::new(program());
        command.env("GENESIS_TRACE", value).args(["pretrain", "--cubes", &cubes, "--out"]).arg(out);
        let output = command.args(["--width", "2", "--steps", "2", "--quiet"]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let text = run("1", &out);
    let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(count("trace: backward  conv3d"), 2 * 15, "{text}");
    assert!(count("trace: recompute batch_norm") > 0 && count("trace: forward   max_pool3d") > 0);
    let line = text.lines().find(|line| line.contains("down_tr64.ops.1.conv1")).unwrap();
    for unit in ["ms", "GFLOP/s", "GB/s", "%", "GB live"] {
        assert!(line.contains(unit), "{line}");
    }
    assert!(!run("0", &folder.path().join("silent")).contains("trace:"));
}

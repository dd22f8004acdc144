//! `genesis bench`: what it prints adds up. Nothing here depends on how fast the machine is.

use genesis_tests::{fail, genesis, program, succeed, workspace};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

const SMALL: [&str; 7] = ["--shape", "1x16x16x8", "--width", "2", "--runs", "1", "--json"];

fn json(arguments: &[&str]) -> Value {
    let output = succeed(arguments);
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

#[test]
fn every_operation_is_timed_beside_the_ceilings_of_the_same_run() {
    let report = json(&[&["bench"][..], &SMALL].concat());
    assert!(number(&report["ceilings"]["f32_gflops"]) > 0.0);
    let copy = number(&report["ceilings"]["copy_gigabytes_per_second"]);
    assert!(report["skipped"].as_array().unwrap().is_empty(), "{}", report["skipped"]);
    let rows = report["results"].as_array().unwrap();
    for operation in genesis_kernels::OPS {
        assert!(rows.iter().any(|row| row["operation"] == operation.name), "{}", operation.name);
    }
    for row in rows {
        let seconds = number(&row["seconds"]);
        assert!(near(number(&row["gflops"]) * seconds * 1e9, number(&row["flops"])), "{row}");
        assert!(near(number(&row["gigabytes_per_second"]) * seconds * 1e9, number(&row["bytes"])), "{row}");
        assert!(near(number(&row["intensity"]) * number(&row["bytes"]), number(&row["flops"])), "{row}");
        let share = match row["limit"].as_str().unwrap() {
            "memory" => number(&row["gigabytes_per_second"]) / copy,
            _ => number(&row["gflops"]) / number(&report["ceilings"]["f32_gflops"]),
        };
        assert!(near(share, number(&row["share"])), "{row}");
    }
    let directions: Vec<&str> = rows
        .iter()
        .filter(|row| row["operation"] == "conv3d" && row["layer"] == "up_tr64.ops.0")
        .map(|row| row["direction"].as_str().unwrap())
        .collect();
    assert_eq!(directions, ["forward", "input gradient", "weight gradient"]);
    for total in report["totals"].as_array().unwrap() {
        let sum: f64 = rows
            .iter()
            .filter(|row| row["operation"] == total["operation"] && row["direction"] == total["direction"])
            .map(|row| number(&row["seconds"]))
            .sum();
        assert!(near(sum, number(&total["seconds"])), "{total}");
    }
}

#[test]
fn one_operation_one_layer_and_a_roofline() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("roofline.svg");
    let only = ["bench", "conv3d", "--layer", "down_tr64", "--roofline", svg.to_str().unwrap()];
    let report = json(&[&only[..], &SMALL].concat());
    let rows = report["results"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["layer"].as_str().unwrap().starts_with("down_tr64")));
    // The first layer's input needs no gradient.
    assert_eq!(rows.len(), 5);
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(drawn.contains("down64.1") && drawn.contains("GB/s") && drawn.contains("weight gradient"));
    let text = succeed(&["bench", "conv3d", "linear", "--shape", "1x16x16x8", "--width", "2", "--runs", "1"]);
    for word in ["share", "path", "limit", "ceilings measured in this run", "Winograd", "all layers of"] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
}

#[test]
fn a_step_adds_up_layer_by_layer() {
    let report = json(&[&["bench", "step"][..], &SMALL].concat());
    for key in ["samples_per_second", "gflops", "share_of_peak", "peak_memory_bytes"] {
        assert!(number(&report[key]) > 0.0, "{key}");
    }
    let seconds = number(&report["seconds_per_step"]);
    assert!(near(number(&report["samples_per_second"]) * seconds, 1.0));
    let layers = report["layers"].as_array().unwrap();
    let sum = |key: &str| layers.iter().map(|layer| number(&layer[key])).sum::<f64>();
    assert!(sum("seconds") <= seconds);
    assert!(near(sum("flops"), number(&report["flops"])));
    assert!(near(number(&report["gflops"]) * seconds * 1e9, sum("flops")));
    let inside: f64 = layers
        .iter()
        .filter(|layer| layer["operation"].as_str().unwrap().starts_with("conv"))
        .map(|layer| number(&layer["seconds"]))
        .sum();
    assert!(near(number(&report["outside_convolutions_share"]), 1.0 - inside / seconds));
    let names: Vec<&str> = layers.iter().map(|layer| layer["layer"].as_str().unwrap()).collect();
    // Blocks have a convolution and a batch norm, whose output is made again for the backward pass.
    for (name, times) in [
        ("down_tr64.ops.0", 5),
        ("down_tr64.pool", 2),
        ("up_tr256.up_conv", 2),
        ("out_tr.final_conv", 2),
        ("loss", 2),
    ] {
        assert_eq!(names.iter().filter(|given| **given == name).count(), times, "{name}");
    }
    assert_eq!(report["runs"].as_array().unwrap().len(), 1);
    let text = succeed(&["bench", "step", "--shape", "1x16x16x8", "--width", "2", "--runs", "1"]);
    assert!(text.contains("outside convolutions") && text.contains("down_tr512.ops.1"));
    let forward = json(&[&["bench", "forward"][..], &SMALL].concat());
    assert!(forward["layers"].as_array().unwrap().iter().all(|layer| layer["direction"] == "forward"));
    assert!(number(&forward["peak_memory_bytes"]) < number(&report["peak_memory_bytes"]));
}

#[test]
fn runs_on_request_answer_line_by_line() {
    let mut child = Command::new(program())
        .args(["bench", "forward", "--on-request", "--json", "--shape", "1x16x16x8", "--width", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"\n\n\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (5, "ready"));
    let report: Value = serde_json::from_str(lines[4]).unwrap();
    let runs: Vec<f64> = report["runs"].as_array().unwrap().iter().map(number).collect();
    let answers: Vec<f64> = lines[1..4].iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(runs, answers);
}

#[test]
fn wrong_usage_gets_one_line_and_code_2() {
    for (arguments, word) in [
        (&["bench", "matmul"][..], "unknown operation 'matmul'"),
        (&["bench", "--shape", "64x64x32"], "N x D x H x W"),
        (&["bench", "--shape", "1x12x16x8"], "divide by 8"),
        (&["bench", "step", "--shape", "1x12x16x8"], "divide by 8"),
        (&["bench", "step", "--shape", "9999999999x64x64x64"], "memory"),
        (&["bench", "--width", "0"], "--width"),
        (&["bench", "--runs", "0"], "--runs"),
        (&["bench", "--precision", "f16"], "f32 or bf16, or tf32"),
        (&["bench", "conv3d", "--precision", "tf32", "--device", "cpu"], "tf32 exists on CUDA cards only"),
        (&["bench", "step", "--precision", "tf32", "--device", "cpu"], "tf32 exists on CUDA cards only"),
        (&["bench", "step", "--precision", "f16"], "f32 or bf16"),
        (&["bench", "--layer", "nowhere"], "nowhere"),
        (&["bench", "--roofline", "roofline.gif"], ".svg"),
        (&["bench", "step", "--runs", "2", "--on-request"], "--on-request"),
    ] {
        let line = fail(2, arguments);
        assert!(line.contains(word), "{word} is missing in: {line}");
    }
    let isa = Command::new(program()).arg("bench").env("GENESIS_ISA", "mmx").output().unwrap();
    assert_eq!(isa.status.code(), Some(2));
}

/// Each operation has a page with its maths, its tiling and a place for measured figures.
#[test]
fn every_operation_has_a_page() {
    let pages = workspace().join("docs/kernels");
    let index = std::fs::read_to_string(pages.join("README.md")).unwrap();
    for operation in genesis_kernels::OPS {
        let name = format!("{}.md", operation.name);
        let page =
            std::fs::read_to_string(pages.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        for part in ["## Maths", "## Tiling", "## Threads", "<!-- figures:begin", "<!-- figures:end -->"] {
            assert!(page.contains(part), "{name} lacks {part}");
        }
        assert!(index.contains(&name), "{name} is not in the list of pages");
    }
}

/// Either every operation takes bf16, or the first that does not is named in one line.
#[test]
fn a_bf16_step_works_or_says_which_operation_does_not() {
    let arguments = [&["bench", "step", "--precision", "bf16"][..], &SMALL].concat();
    let output = genesis(&arguments);
    if output.status.success() {
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["precision"], "bf16");
    } else {
        assert!(fail(1, &arguments).contains("Bf16"));
    }
}

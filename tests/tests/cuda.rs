//! `--device cuda:0` of the unchanged program, on the emulated card (Linux: a `libcuda.so` is put in the driver's place), or
//! with the feature `gpu-tests` on a real one.
#![cfg(target_os = "linux")]

use genesis_kernels::OPS;
use genesis_kernels::cuda::cases::{on_hopper, on_tensor_cores};
use genesis_kernels::cuda::{Format, KERNELS};
use genesis_tests::card::{REAL, capability, graphs, on_card, succeed_on_card};
use genesis_tests::runs::{Trained, difference, trained};
use genesis_tests::{genesis, small_cubes, succeed};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Bounds and alignment alone: kernels are tested with every check by `selftest`, whole steps take long.
const QUICK: &[(&str, &str)] = &[("PTX_EMULATOR_CHECKS", "none")];

/// How many checks ran on the card, and which kernels.
fn selftest(operations: &[&str], variables: &[(&str, &str)]) -> (usize, BTreeSet<String>) {
    let mut arguments = vec!["selftest", "--device", "cuda:0", "--json"];
    arguments.extend(operations);
    let report: Value = serde_json::from_str(&succeed_on_card(&arguments, variables)).unwrap();
    assert_eq!(report["failed"], 0);
    let rows = report["results"].as_array().unwrap();
    let on_card = rows.iter().filter(|row| row["mode"].as_str().unwrap().ends_with("cuda:0")).count();
    assert!(on_card * 2 > rows.len(), "{on_card} of {} checks ran on the card", rows.len());
    let kernels = report["kernels"].as_array().unwrap();
    (on_card, kernels.iter().map(|kernel| kernel.as_str().unwrap().to_string()).collect())
}

/// Makes the emulated card one that has all kernels, those for compute capability 9.0 alone among them.
const HOPPER: (&str, &str) = ("PTX_EMULATOR_CAPABILITY", "9.0");

fn is_hopper() -> bool {
    capability(&[HOPPER]) == "9.0"
}

/// In two halves at a time, which is the whole of `genesis selftest --device cuda:0`.
#[test]
fn every_case_passes_with_every_check_and_every_kernel_runs() {
    let convolutions = ["conv3d", "conv_transpose3d", "linear"];
    let mut others: Vec<&str> = OPS.iter().map(|entry| entry.name).collect();
    others.retain(|name| !convolutions.contains(name));
    others.push("elementwise");
    let [first, second] = std::thread::scope(|scope| {
        let halves = [&convolutions[..], &others].map(|half| scope.spawn(move || selftest(half, &[HOPPER])));
        halves.map(|half| half.join().unwrap())
    });
    assert!(first.0 > 250 && second.0 > 1000, "{} and {}", first.0, second.0);
    let launched: BTreeSet<String> = first.1.union(&second.1).cloned().collect();
    let runs_all = is_hopper();
    assert!(runs_all || REAL);
    let all = KERNELS.iter().filter(|kernel| runs_all || !kernel.is_hopper());
    assert_eq!(launched, all.map(|kernel| kernel.name.to_string()).collect());
}

/// Every operation has at least twelve shapes in each number format.
#[test]
fn there_are_shapes_enough() {
    for entry in OPS {
        let cases = (entry.cases)();
        let bf16 = cases.iter().filter(|case| case.label().ends_with("bf16")).count();
        // Parameters, which optimisers change, are f32 whatever activations are.
        assert!(cases.len() - bf16 >= 12 && (bf16 >= 12 || entry.name == "optimizer"), "{}", entry.name);
    }
    // Beside tensors' formats those of tensor cores, and the kernels for compute capability 9.0 alone.
    let groups = [Format::F16, Format::Tf32].map(on_tensor_cores).into_iter();
    for groups in groups.chain([Format::Bf16, Format::F16].map(on_hopper)) {
        for cases in groups {
            assert!(cases.len() >= 12);
            assert!([1, 3].iter().all(|&batch| cases.iter().any(|case| case.image[0] == batch)));
        }
    }
}

/// Work that is done as late as the driver's rules allow shows a wait that is missing: of a buffer on its way to the
/// card, or of a result.
#[test]
fn nothing_is_read_or_overwritten_too_early() {
    selftest(&["activation", "concat", "optimizer"], &[("PTX_EMULATOR_LAG", "1")]);
}

fn metrics(run: &Path, split: &str) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_split = records.filter(|record| record["split"] == split);
    of_split.map(|record| (record["step"].as_u64().unwrap(), record["loss"].as_f64().unwrap())).collect()
}

fn close(label: &str, found: &[(u64, f64)], wanted: &[(u64, f64)]) {
    assert_eq!(found.len(), wanted.len(), "{label}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.0, wanted.0, "{label}");
        let error = (found.1 / wanted.1 - 1.0).abs();
        assert!(error < 1e-4, "{label}: step {} has loss {}, wanted {}", found.0, found.1, wanted.1);
    }
}

fn weights(run: &Path) -> Trained {
    trained(run.join("checkpoints/last.safetensors"))
}

/// Trains to `steps`, or goes on to them.
fn train(cubes: &str, out: &Path, steps: &str, device: &str, resume: bool) {
    let mut arguments = vec!["pretrain", "--cubes", cubes, "--out", out.to_str().unwrap(), "--steps", steps];
    arguments.extend(["--width", "4", "--batch-size", "1", "--lr", "0.1", "--device", device, "--quiet"]);
    if resume {
        arguments.push("--resume");
    }
    if device == "cpu" {
        succeed(&arguments)
    } else {
        succeed_on_card(&arguments, QUICK)
    };
}

fn copy(from: &Path, to: &Path) {
    for folder in ["", "checkpoints"] {
        std::fs::create_dir_all(to.join(folder)).unwrap();
        for entry in std::fs::read_dir(from.join(folder)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
}

/// Twenty steps on the card, twice, and on the processor; and changes from one to the other after twelve.
#[test]
fn pretraining_goes_as_on_the_processor_and_may_change_over_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    // Four to train, one to validate: an epoch of four steps.
    let cubes = small_cubes(folder.path(), "cubes.npy", 5);
    let [cpu, card, again, from_cpu, from_card] =
        ["cpu", "card", "again", "from-cpu", "from-card"].map(|name| folder.path().join(name));
    train(&cubes, &cpu, "12", "cpu", false);
    copy(&cpu, &from_cpu);
    train(&cubes, &cpu, "20", "cpu", true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            train(&cubes, &card, "12", "cuda:0", false);
            copy(&card, &from_card);
            train(&cubes, &card, "20", "cuda:0", true);
        });
        scope.spawn(|| {
            train(&cubes, &again, "20", "cuda:0", false);
            train(&cubes, &from_cpu, "20", "cuda:0", true);
        });
    });
    train(&cubes, &from_card, "20", "cpu", true);
    assert_eq!(weights(&card), weights(&again), "two runs on the card differ");
    for split in ["train", "valid"] {
        let wanted = metrics(&cpu, split);
        assert_eq!(wanted.len(), if split == "train" { 20 } else { 5 });
        for (name, run) in [("card", &card), ("cpu to card", &from_cpu), ("card to cpu", &from_card)] {
            close(&format!("{name}, {split}"), &metrics(run, split), &wanted);
        }
    }
}

/// Batches sent ahead and steps by a graph, all work as late as the driver's rules allow, against plain steps.
#[test]
fn graphs_and_sending_ahead_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    // Three to train, one to validate: an epoch of three steps.
    let cubes = small_cubes(folder.path(), "cubes.npy", 4);
    let run = |name: &str, variables: &[(&str, &str)]| {
        let (out, report) = (folder.path().join(name), folder.path().join(format!("{name}.txt")));
        let mut arguments =
            vec!["pretrain", "--cubes", &cubes, "--out", out.to_str().unwrap(), "--steps", "5"];
        arguments.extend(["--width", "2", "--batch-size", "1", "--lr", "0.1", "--precision", "bf16"]);
        arguments.extend(["--device", "cuda:0", "--quiet"]);
        let mut variables = variables.to_vec();
        variables.extend(QUICK);
        variables.push(("PTX_EMULATOR_REPORT", report.to_str().unwrap()));
        succeed_on_card(&arguments, &variables);
        (out, graphs(&report))
    };
    let ((plain, none), (late, some)) = std::thread::scope(|scope| {
        let plain = scope.spawn(|| run("plain", &[("GENESIS_CUDA_GRAPHS", "0")]));
        let late = run("late", &[("PTX_EMULATOR_LAG", "1")]);
        (plain.join().unwrap(), late)
    });
    if !REAL {
        assert_eq!((none, some), (Some(0), Some(3)), "two plain steps, then one is recorded");
    }
    assert_eq!(difference(&plain, &late), None);
}

/// Training by the kernels for compute capability 9.0 alone, where they are asked for, goes as by those of every card; the
/// others are what nobody asks for.
#[test]
fn training_on_warpgroups_goes_as_on_every_card() {
    if !is_hopper() {
        eprintln!("SKIPPED: this card is not of compute capability 9.0");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Three to train, so that the third step is a graph.
    let cubes = small_cubes(folder.path(), "cubes.npy", 4);
    let run = |name: &str, variables: &[(&str, &str)]| {
        let (out, report) = (folder.path().join(name), folder.path().join(format!("{name}.txt")));
        let mut arguments =
            vec!["pretrain", "--cubes", &cubes, "--out", out.to_str().unwrap(), "--steps", "3"];
        // The deepest levels have 64 channels and more.
        arguments.extend(["--width", "8", "--batch-size", "1", "--lr", "0.1", "--precision", "bf16"]);
        arguments.extend(["--device", "cuda:0", "--quiet"]);
        let mut variables = variables.to_vec();
        variables.extend(QUICK);
        variables.extend([HOPPER, ("PTX_EMULATOR_REPORT", report.to_str().unwrap())]);
        succeed_on_card(&arguments, &variables);
        (metrics(&out, "train"), (!REAL).then(|| std::fs::read_to_string(report).unwrap()))
    };
    let ((wanted, plain), (found, warpgroups)) = std::thread::scope(|scope| {
        let plain = scope.spawn(|| run("plain", &[]));
        let warpgroups = run("warpgroups", &[("GENESIS_CUDA_KERNELS", "sm_90a")]);
        (plain.join().unwrap(), warpgroups)
    });
    let kernels = ["conv3d_hopper_bf16", "conv3d_hopper_weight_bf16", "conv_transpose3d_hopper_bf16"];
    if let (Some(plain), Some(warpgroups)) = (plain, warpgroups) {
        assert!(kernels.iter().all(|name| warpgroups.contains(name) && !plain.contains(name)));
    }
    // The same products in another order of sums; weights are bf16 in both.
    assert_eq!(found.len(), 3);
    for (found, wanted) in found.iter().zip(&wanted) {
        let error = (found.1 / wanted.1 - 1.0).abs();
        assert!(error < 5e-3, "step {}: {} and {}", found.0, found.1, wanted.1);
    }
}

#[test]
fn kernels_that_a_card_cannot_run_are_refused_in_one_line() {
    let own = capability(&[]);
    let wanted = format!("compute capability 9.0, and cuda:0 has {own}");
    for (choice, cause) in [("sm_90a", wanted.as_str()), ("sm_70", "neither sm_80 nor sm_90a")] {
        if choice == "sm_90a" && own == "9.0" {
            continue;
        }
        let variables = [("GENESIS_CUDA_KERNELS", choice)];
        let output = on_card(&["selftest", "activation", "--device", "cuda:0"], &variables);
        let line = String::from_utf8_lossy(&output.stderr);
        assert!(line.contains("GENESIS_CUDA_KERNELS") && line.contains(cause), "{line}");
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
    }
}

#[test]
fn operations_and_steps_are_timed_by_the_cards_clock() {
    let scale = ["--shape", "1x16x16x16", "--width", "2", "--runs", "1", "--device", "cuda:0", "--json"];
    let run = |what: &[&str]| -> Value {
        let arguments = [&["bench"], what, &scale].concat();
        serde_json::from_str(&succeed_on_card(&arguments, QUICK)).unwrap()
    };
    let report = run(&["activation"]);
    let rows = report["results"].as_array().unwrap();
    assert!(rows.len() >= 2 && rows.iter().all(|row| row["seconds"].as_f64().unwrap() > 0.0), "{report}");
    assert!(report["ceilings"]["f32_gflops"].as_f64().unwrap() > 0.0, "{report}");
    let report = run(&["conv3d", "--layer", "up_tr64.ops.1", "--precision", "tf32"]);
    assert_eq!(report["precision"], "tf32");
    assert!(report["ceilings"]["tf32_gflops"].as_f64().unwrap() > 0.0, "{report}");
    // The processor's paths are none of the card's.
    assert!(report["results"].as_array().unwrap().iter().all(|row| row["path"].is_null()), "{report}");
    let report = run(&["forward"]);
    assert!(report["isa"].as_str().unwrap().starts_with("cuda:0"), "{report}");
    assert!(report["layers"].as_array().unwrap().len() > 20, "{report}");
}

/// A step as training makes it: by a graph, unless graphs are turned off; layers are timed beside it either way.
#[test]
fn a_step_is_timed_as_training_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, variables: &[(&str, &str)], json: &[&str]| {
        let report = folder.path().join(name);
        let variables = [QUICK, variables, &[("PTX_EMULATOR_REPORT", report.to_str().unwrap())]].concat();
        let size =
            ["bench", "step", "--shape", "1x16x16x16", "--width", "2", "--runs", "2", "--device", "cuda:0"];
        let out = succeed_on_card(&[&size[..], json].concat(), &variables);
        (out, graphs(&report))
    };
    let ((report, launched), (text, none)) = std::thread::scope(|scope| {
        let plain = scope.spawn(|| run("plain", &[("GENESIS_CUDA_GRAPHS", "0")], &["--quiet"]));
        (run("graph", &[], &["--json", "--quiet"]), plain.join().unwrap())
    });
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["cuda_graph"], true);
    assert!(text.contains("kernels were launched one by one, not as a CUDA graph"), "{text}");
    if !REAL {
        // The last one to warm up, and two that are timed.
        assert_eq!((launched, none), (Some(3), Some(0)));
    }
    let layers = report["layers"].as_array().unwrap();
    let count = |direction: &str| layers.iter().filter(|layer| layer["direction"] == direction).count();
    assert_eq!((count("forward"), count("backward"), count("update")), (36, 36, 1));
    assert_eq!(report["runs"].as_array().unwrap().len(), 2);
    // As many layers where nothing was a graph.
    assert_eq!(text.matches(" backward ").count(), 36, "{text}");
}

/// Cargo lets every program that a test starts find the emulator's driver.
#[test]
fn the_emulated_card_computes_only_when_asked_for() {
    let arguments = ["bench", "activation", "--shape", "1x16x16x16", "--width", "2", "--runs", "1", "--json"];
    let report: Value = serde_json::from_str(&succeed_on_card(&arguments, QUICK)).unwrap();
    assert!(!report["isa"].as_str().unwrap().contains("cuda"), "{report}");
}

/// The program starts where nothing of CUDA is installed.
#[test]
fn the_program_links_no_cuda_library() {
    match std::process::Command::new("ldd").arg(genesis_tests::program()).output() {
        Err(cause) => eprintln!("SKIPPED: ldd: {cause}"),
        Ok(output) => {
            let libraries = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(libraries.contains("libc.so"), "{libraries}");
            assert!(!libraries.contains("cuda") && !libraries.contains("nvrtc"), "{libraries}");
        }
    }
}

#[test]
fn a_machine_without_a_driver_or_card_says_so_in_one_line() {
    if REAL || std::path::Path::new("/dev/nvidiactl").exists() {
        eprintln!("SKIPPED: this machine has a card");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 3);
    let out = folder.path().join("run");
    let arguments = ["pretrain", "--cubes", &cubes, "--out", out.to_str().unwrap(), "--device", "cuda:0"];
    let output = genesis(arguments);
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.starts_with("error: --device cuda:0") && line.contains("no CUDA driver"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    let devices = String::from_utf8_lossy(&genesis(["devices"]).stdout).into_owned();
    assert!(devices.contains("no CUDA driver was found"), "{devices}");
    assert!(succeed_on_card(&["devices"], &[]).contains("PTX emulator"));
    let output = on_card(&["selftest", "activation", "--device", "cuda:7"], &[]);
    let line = String::from_utf8_lossy(&output.stderr);
    assert!(line.contains("cuda:7 does not exist") && output.status.code() == Some(1), "{line}");
}

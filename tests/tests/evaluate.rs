//! `genesis evaluate` end to end: a random network on paired folders agrees with `genesis predict` scored from
//! its files; a fine-tuned one brings its classes along; bad cases and wrong usage.

use genesis_model::checkpoint::write_safetensors;
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tests::{fail, genesis, succeed};
use genesis_train::preprocess::{Intensity, Preprocessing};
use genesis_train::task::{Task, TaskDescription};
use genesis_train::volume::{ElementType, Volume, affine, write_nifti};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A random network of width 2 with its task.
fn weights(path: &Path, classes: usize) {
    let config = UNetConfig { width: 2, classes, ..UNetConfig::default() };
    let mut network = UNet3d::new(config).unwrap();
    network.initialise(Initialiser::Pytorch, 5).unwrap();
    let task = TaskDescription {
        task: Task::Segment,
        classes: ["background", "liver", "tumour"][..classes.max(2)].iter().map(|&c| c.into()).collect(),
        values: Vec::new(),
        inputs: None,
        channels: 1,
        patch: [16, 16, 8],
        preprocessing: Preprocessing {
            spacing: Some([1.0; 3]),
            intensity: Intensity::ZScore { nonzero_only: false },
            ..Preprocessing::default()
        },
        network: config,
    };
    let mut state = network.state(Statistics::Running).unwrap();
    task.to_metadata(&mut state.metadata).unwrap();
    write_safetensors(path, &state).unwrap();
}

/// Oblique, anisotropic scans with references of the given values.
fn data(folder: &Path, values: &[f32], names: &[&str]) {
    let affine =
        affine::from_quaternion([0.1, -0.2, 0.3], [0.7, 0.75, 2.5], -1.0, [10.1, -20.2, 30.3]).unwrap();
    let size = [21, 26, 9];
    for (number, name) in names.iter().enumerate() {
        let voxels: Vec<f32> = (0..size.iter().product::<usize>())
            .map(|i| {
                (200.0 * ((i as f32) * 0.37 + number as f32).sin() * ((i / 50) as f32 * 0.11).cos()).round()
            })
            .collect();
        let label = |voxel: f32| if voxel > 120.0 { values[values.len() - 1] } else { values[0] };
        let labels = voxels.iter().map(|&voxel| if voxel > 40.0 { label(voxel) } else { 0.0 }).collect();
        for (kind, voxels, element) in
            [("images", voxels, ElementType::Int16), ("labels", labels, ElementType::Uint8)]
        {
            fs::create_dir_all(folder.join(kind)).unwrap();
            let volume = Volume::new(voxels, size, affine).unwrap();
            write_nifti(&folder.join(kind).join(format!("{name}.nii.gz")), &volume, element).unwrap();
        }
    }
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).unwrap()
}

#[test]
fn a_network_and_its_written_predictions_score_alike() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    data(&path("data"), &[1.0, 2.0], &["a", "b", "c", "d"]);
    weights(&path("w.safetensors"), 3);
    let (weights, data, out) = (path("w.safetensors"), path("data"), path("scores"));
    let arguments = ["evaluate", "--data", text(&data), "--out", text(&out), "--json", "--quiet"];
    let with =
        |more: &[&str]| arguments.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>().join("\t");
    let run = |line: String| json(&succeed(&line.split('\t').collect::<Vec<_>>()));
    let network = run(with(&["--weights", text(&weights), "--flips", "--largest-component"]));
    assert_eq!(
        (network["cases"].as_u64(), network["classes"][1]["class"].as_str()),
        (Some(4), Some("tumour"))
    );
    let written: Value = serde_json::from_slice(&fs::read(out.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(written, network);
    assert_eq!(network["settings"]["prediction"]["flips"], true);
    assert!(network["iou_two_class_mean"].is_null());
    for name in ["dice.png", "overlay-best.png", "overlay-median.png", "overlay-worst.png"] {
        assert!(fs::read(out.join(name)).unwrap().starts_with(b"\x89PNG"), "{name}");
    }
    let csv = fs::read_to_string(out.join("cases.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 4 * 2);
    let (images, labels) = (data.join("images"), path("predicted"));
    let predict = ["predict", "--weights", text(&weights), "--input", text(&images), "--out", text(&labels)];
    succeed(&[&predict[..], &["--flips", "--largest-component", "--quiet"]].concat());
    let files = run(with(&["--predictions", text(&labels), "--labels", "1=liver,2=tumour"]));
    assert_eq!(files["classes"], network["classes"]);
    assert_eq!(fs::read_to_string(out.join("cases.csv")).unwrap(), csv);

    // A table for people.
    let output =
        succeed(&["evaluate", "--weights", text(&weights), "--data", text(&data), "--out", text(&out)]);
    for part in ["tumour", "mean of classes", "Hausdorff-95", "metrics.json", "worst"] {
        assert!(output.contains(part), "{part} in\n{output}");
    }
}

#[test]
fn one_class_has_the_original_s_iou_and_values_of_another_data_set_are_named() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    data(&path("data"), &[6.0], &["a", "b"]);
    for outputs in [1, 2] {
        weights(&path("w.safetensors"), outputs);
        let report = json(&succeed(&[
            "evaluate",
            "--weights",
            text(&path("w.safetensors")),
            "--data",
            text(&path("data")),
            "--out",
            text(&path("out")),
            "--labels",
            "6",
            "--json",
            "--quiet",
        ]));
        assert_eq!(report["classes"][0]["class"], "liver");
        assert!(report["classes"][0]["metrics"]["reference_volume_ml"]["mean"].as_f64().unwrap() > 0.0);
        let original = &report["iou_two_class_mean"];
        assert!(original["pooled"].as_f64().is_some_and(|value| (0.0..=1.0).contains(&value)), "{original}");
        assert_eq!(original["cases"]["defined"].as_u64(), Some(2));
    }
}

#[test]
fn a_fine_tuned_network_knows_its_classes_and_its_training_cases() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_string();
    data(Path::new(&path("data")), &[3.0, 5.0], &["a", "b", "c"]);
    fs::write(path("splits.json"), r#"{"train": ["a"], "val": ["b"], "test": ["c"]}"#).unwrap();
    let (data, splits, run, out) = (path("data"), path("splits.json"), path("run"), path("out"));
    succeed(&[
        "finetune",
        "segment",
        "--data",
        &data,
        "--splits",
        &splits,
        "--out",
        &run,
        "--labels",
        "5=bright",
        "--modality",
        "mri",
        "--width",
        "2",
        "--patch",
        "16x16x8",
        "--steps",
        "1",
        "--quiet",
    ]);
    let weights = format!("{run}/checkpoints/last.safetensors");
    let base = ["evaluate", "--weights", &weights, "--data", &data, "--out", &out, "--json"];
    let test = genesis([&base[..], &["--splits", &splits]].concat());
    assert!(test.status.success());
    let report = json(std::str::from_utf8(&test.stdout).unwrap());
    assert_eq!((report["cases"].as_u64(), report["trained_on"].as_u64()), (Some(1), Some(0)));
    assert_eq!(
        (report["split"].as_str(), report["classes"][0]["class"].as_str()),
        (Some("test"), Some("bright"))
    );
    let all = genesis(base);
    let report = json(std::str::from_utf8(&all.stdout).unwrap());
    assert_eq!((report["cases"].as_u64(), report["trained_on"].as_u64()), (Some(3), Some(1)));
    assert!(String::from_utf8_lossy(&all.stderr).contains("trained on"));
}

#[test]
fn bad_cases_end_with_failure_and_wrong_usage_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    data(&path("data"), &[1.0, 2.0], &["a", "b", "c"]);
    weights(&path("w.safetensors"), 3);
    fs::write(path("data/images/b.nii.gz"), b"not a volume").unwrap();
    let (weights, data, out) = (path("w.safetensors"), path("data"), path("out"));
    let base = ["evaluate", "--data", text(&data), "--out", text(&out)];
    let output = genesis([&base[..], &["--weights", text(&weights), "--quiet"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = errors.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains("b.nii.gz") && errors[1].contains("1 of 3"), "{errors:?}");
    let written = json(&fs::read_to_string(out.join("metrics.json")).unwrap());
    assert_eq!((written["status"].as_str(), written["cases"].as_u64()), (Some("incomplete"), Some(2)));
    assert_eq!(written["failed"][0]["case"], "b");

    let refuse = |code: i32, more: &[&str], part: &str| {
        let line = fail(code, &[&base[..], more].concat());
        assert!(line.contains(part), "\"{part}\" is missing in: {line}");
    };
    let network = ["--weights", text(&weights)];
    refuse(2, &[&network[..], &["--overlap", "1"]].concat(), "overlap");
    refuse(2, &[&network[..], &["--tolerance", "-1"]].concat(), "tolerance");
    refuse(2, &[&network[..], &["--split", "val"]].concat(), "--splits");
    refuse(2, &[&network[..], &["--channels", "T1"]].concat(), "T1");
    refuse(2, &[], "required");
    refuse(1, &[&network[..], &["--labels", "1+2=all"]].concat(), "--labels");
    let bare = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
    write_safetensors(path("bare.safetensors"), &bare.state(Statistics::Running).unwrap()).unwrap();
    refuse(1, &["--weights", text(&path("bare.safetensors"))], "finetune segment");
    refuse(1, &["--predictions", text(&path("data/nothing"))], "nothing");
}

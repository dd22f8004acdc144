//! DICOM series through the commands: named by folder or file, written as NIfTI, nothing of the patient kept.

use genesis_model::checkpoint::write_safetensors;
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tests::{fail, succeed, workspace};
use genesis_train::preprocess::{Intensity, Preprocessing};
use genesis_train::task::{Task, TaskDescription};
use genesis_train::volume::read_volume;
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    workspace().join("tests/fixtures/dicom").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn copy(name: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A random network of width 2 for two classes.
fn weights(folder: &Path) -> PathBuf {
    let config = UNetConfig { width: 2, channels: 1, classes: 2, ..UNetConfig::default() };
    let mut network = UNet3d::new(config).unwrap();
    network.initialise(Initialiser::Pytorch, 5).unwrap();
    let task = TaskDescription {
        task: Task::Segment,
        classes: vec!["background".into(), "liver".into()],
        values: Vec::new(),
        inputs: None,
        channels: 1,
        patch: [16, 16, 8],
        preprocessing: Preprocessing {
            spacing: None,
            intensity: Intensity::ZScore { nonzero_only: false },
            ..Preprocessing::default()
        },
        network: config,
    };
    let mut state = network.state(Statistics::Running).unwrap();
    task.to_metadata(&mut state.metadata).unwrap();
    let path = folder.join("w.safetensors");
    write_safetensors(&path, &state).unwrap();
    path
}

#[test]
fn a_series_is_inspected_and_converted() {
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("scan.nii.gz");
    let shown = succeed(&["inspect", text(&fixture("shuffled"))]);
    assert!(shown.contains("4 slices in 4 files") && !shown.contains("SECRET"), "{shown}");
    let json = succeed(&["inspect", text(&fixture("shuffled/IM0003")), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["format"], &json["series"]["modality"]), (&"DICOM".into(), &"CT".into()));
    succeed(&["convert", text(&fixture("oblique")), text(&out)]);
    let (series, copy) = (read_volume(&fixture("oblique")).unwrap(), read_volume(&out).unwrap());
    assert_eq!((copy.size, &copy.voxels), (series.size, &series.voxels));
    for (a, b) in copy.affine.iter().flatten().zip(series.affine.iter().flatten()) {
        assert!((a - b).abs() < 1e-5);
    }
    assert!(!fs::read(&out).unwrap().windows(6).any(|part| part == b"SECRET"));
    assert!(fail(1, &["convert", text(&fixture("two_series")), text(&out)]).contains("2 DICOM series"));
    assert!(fail(1, &["inspect", text(&fixture("tilt"))]).contains("12.00 degrees"));
    assert!(
        fail(2, &["convert", text(&fixture("oblique")), text(&out.with_extension("dcm"))]).contains(".nii")
    );
}

#[test]
fn labels_of_series_are_nifti_on_their_grid() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    let weights = weights(temporary.path());
    let predict = |input: &Path, out: &Path| {
        succeed(&[
            "predict",
            "--weights",
            text(&weights),
            "--input",
            text(input),
            "--out",
            text(out),
            "--quiet",
        ]);
    };
    let same_place = |series: &Path, labels: &Path| {
        let (series, labels) = (read_volume(series).unwrap(), read_volume(labels).unwrap());
        assert_eq!(labels.size, series.size);
        for (a, b) in labels.affine.iter().flatten().zip(series.affine.iter().flatten()) {
            assert!((a - b).abs() < 1e-5);
        }
    };
    // One series to one file; the same folder into a folder.
    predict(&fixture("oblique"), &at("one.nii.gz"));
    same_place(&fixture("oblique"), &at("one.nii.gz"));
    predict(&fixture("oblique"), &at("folder"));
    same_place(&fixture("oblique"), &at("folder/oblique.nii.gz"));
    // A study: a folder of one series, one of two.
    copy("explicit", &at("study/1.2.840.1"));
    copy("two_series", &at("study/mixed"));
    predict(&at("study"), &at("labels"));
    same_place(&at("study/1.2.840.1"), &at("labels/1.2.840.1.nii.gz"));
    same_place(&at("study/mixed/a0.dcm"), &at("labels/mixed/a0.nii.gz"));
    same_place(&at("study/mixed/b0.dcm"), &at("labels/mixed/b0.nii.gz"));
    // Two scans of one name are not written over one another.
    fs::copy(at("one.nii.gz"), at("study/1.2.840.1.nii.gz")).unwrap();
    let (input, out) = (at("study"), at("again"));
    let arguments = ["predict", "--weights", text(&weights), "--input", text(&input), "--out", text(&out)];
    assert!(fail(2, &arguments).contains("two scans"));
}

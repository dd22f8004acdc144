use super::*;
use crate::Precision;
use crate::inference::PredictionSettings;
use crate::volume::{ElementType, Volume, affine, write_nifti};
use genesis_kernels::Context;
use std::fs;
use std::path::{Path, PathBuf};

const SIZE: [usize; 3] = [12, 10, 8];

/// A solid box as labels of value `value`.
fn solid(start: [usize; 3], end: [usize; 3], value: f32) -> Vec<f32> {
    let [_, ny, nz] = SIZE;
    let inside = |i: usize| {
        let place = [i / (ny * nz), i / nz % ny, i % nz];
        (0..3).all(|axis| (start[axis]..end[axis]).contains(&place[axis]))
    };
    (0..SIZE.iter().product()).map(|i| if inside(i) { value } else { 0.0 }).collect()
}

/// 2 x 1 x 1 mm.
fn write(path: PathBuf, voxels: Vec<f32>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut place = affine::IDENTITY;
    place[0][0] = 2.0;
    write_nifti(&path, &Volume::new(voxels, SIZE, place).unwrap(), ElementType::Float32).unwrap();
}

/// A scan and its reference: a box of 4 x 4 x 4 voxels.
fn case(data: &Path, name: &str, value: f32) {
    let image = (0..960).map(|i| (i % 97) as f32).collect();
    write(data.join(format!("images/{name}.nii.gz")), image);
    write(data.join(format!("labels/{name}.nii.gz")), solid([2, 2, 2], [6, 6, 6], value));
}

fn request(data: &Path, predictions: &Path) -> SegmentationEvaluation {
    SegmentationEvaluation {
        data: data.to_path_buf(),
        source: LabelSource::Predictions { folder: predictions.to_path_buf(), class_numbers: false },
        splits: None,
        part: Part::All,
        labels: Vec::new(),
        channels: Vec::new(),
        prediction: PredictionSettings {
            overlap: 0.5,
            batch_size: 1,
            flips: false,
            largest_component: None,
            precision: Precision::F32,
        },
        tolerance_mm: 1.0,
        quiet: true,
    }
}

fn mean(report: &SegmentationReport, metric: &str) -> f64 {
    report.classes[0].metrics[metric].mean.unwrap()
}

#[test]
fn perfect_predictions_score_one_and_a_shifted_box_what_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let data = path("data");
    case(&data, "a", 7.0);
    case(&data, "b", 7.0);
    for name in ["a", "b"] {
        write(path(&format!("same/{name}.nii")), solid([2, 2, 2], [6, 6, 6], 7.0));
    }
    let cx = Context::new(1);
    let out = path("out");
    let report = evaluate_segmentation(&cx, &request(&data, &path("same")), &out).unwrap();
    assert_eq!((report.status, report.cases, report.classes.len()), ("complete", 2, 1));
    assert_eq!(report.classes[0].class, "label 7");
    for metric in ["dice", "iou", "sensitivity", "precision", "surface_dice"] {
        assert_eq!(mean(&report, metric), 1.0, "{metric}");
    }
    for metric in ["hausdorff_95_mm", "average_surface_distance_mm", "volume_error_ml"] {
        assert_eq!(mean(&report, metric), 0.0, "{metric}");
    }
    // 64 voxels of 2 mm³.
    assert!((mean(&report, "reference_volume_ml") - 0.128).abs() < 1e-12);
    assert!(report.iou_two_class_mean.is_none() && report.settings.prediction.is_none());

    // One voxel, 2 mm, along x: three quarters overlap.
    write(path("shifted/a.nii"), solid([3, 2, 2], [7, 6, 6], 7.0));
    // Nothing at all.
    write(path("shifted/b.mha.nii"), solid([0; 3], [0; 3], 7.0));
    fs::rename(path("shifted/b.mha.nii"), path("shifted/b.nii")).unwrap();
    let report = evaluate_segmentation(&cx, &request(&data, &path("shifted")), &out).unwrap();
    let lines: Vec<String> =
        fs::read_to_string(out.join("cases.csv")).unwrap().lines().map(str::to_string).collect();
    let cells = |line: usize| lines[line].split(',').map(str::to_string).collect::<Vec<_>>();
    let column = |name: &str| cells(0).iter().position(|cell| cell == name).unwrap();
    let value = |line: usize, name: &str| cells(line)[column(name)].clone();
    assert_eq!((lines.len(), value(1, "case"), value(1, "class")), (3, "a".into(), "label 7".into()));
    assert_eq!((value(1, "dice"), value(1, "hausdorff_95_mm")), ("0.75".into(), "2".into()));
    assert_eq!((value(1, "sensitivity"), value(1, "iou")), ("0.75".into(), "0.6".into()));
    assert_eq!((value(2, "dice"), value(2, "hausdorff_95_mm")), ("0".into(), String::new()));
    assert_eq!(value(2, "precision"), "");
    assert_eq!(mean(&report, "dice"), 0.375);
    let distance = &report.classes[0].metrics["hausdorff_95_mm"];
    assert_eq!((distance.mean, distance.defined, distance.undefined), (Some(2.0), 1, 1));
    // 48 of 64 and of 64 + 64 voxels.
    assert!((report.classes[0].pooled_dice - 96.0 / 192.0).abs() < 1e-12);
    assert_eq!((report.best_case.as_deref(), report.worst_case.as_deref()), (Some("a"), Some("b")));
    let worst = fs::read(out.join("overlay-worst.png")).unwrap();
    assert_eq!(fs::read(out.join("overlay-median.png")).unwrap(), worst);
    assert_ne!(fs::read(out.join("overlay-best.png")).unwrap(), worst);
    assert!(fs::read(out.join("dice.png")).unwrap().starts_with(b"\x89PNG"));
    // A larger tolerance takes the shift for agreement.
    let wide = SegmentationEvaluation { tolerance_mm: 2.0, ..request(&data, &path("shifted")) };
    let report = evaluate_segmentation(&cx, &wide, &out).unwrap();
    assert_eq!(report.classes[0].metrics["surface_dice"].maximum, Some(1.0));
}

#[test]
fn bad_cases_are_listed_and_the_others_scored() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (data, out) = (path("data"), path("out"));
    for name in ["a", "b", "c"] {
        case(&data, name, 1.0);
    }
    write(path("p/a.nii"), solid([2, 2, 2], [6, 6, 6], 1.0));
    fs::write(path("p/b.nii"), b"no volume").unwrap();
    let splits = path("splits.json");
    fs::write(&splits, r#"{"train": ["a"], "val": ["b"], "test": ["c", "gone"]}"#).unwrap();
    let cx = Context::new(1);
    let report = evaluate_segmentation(&cx, &request(&data, &path("p")), &out).unwrap();
    assert_eq!((report.status, report.cases, report.failed.len()), ("incomplete", 1, 2));
    assert!(report.failed[0].error.contains("b.nii") && report.failed[1].error.contains("of case c"));
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("metrics.json")).unwrap()).unwrap();
    assert_eq!((json["cases"].as_u64(), json["failed"][1]["case"].as_str()), (Some(1), Some("c")));
    let csv = fs::read_to_string(out.join("cases.csv")).unwrap();
    assert!(csv.lines().any(|line| line.starts_with("c,,") && line.contains("no prediction")), "{csv}");

    let part = |part| SegmentationEvaluation {
        splits: Some(SplitFile { file: splits.clone(), key: None }),
        part,
        ..request(&data, &path("p"))
    };
    assert_eq!(evaluate_segmentation(&cx, &part(Part::Train), &out).unwrap().cases, 1);
    // No case at all: what an earlier evaluation drew is gone.
    let report = evaluate_segmentation(&cx, &part(Part::Test), &out).unwrap();
    assert_eq!((report.cases, report.best_case.as_ref(), report.failed.len()), (0, None, 2));
    assert!(report.failed.iter().any(|failure| failure.error.contains("gone")));
    assert!(!out.join("overlay-best.png").exists() && !out.join("dice.png").exists());

    let mut wrong = request(&data, &path("p"));
    wrong.part = Part::Val;
    assert!(evaluate_segmentation(&cx, &wrong, &out).unwrap_err().to_string().contains("--splits"));
    wrong = SegmentationEvaluation { tolerance_mm: -1.0, ..request(&data, &path("p")) };
    assert!(evaluate_segmentation(&cx, &wrong, &out).unwrap_err().to_string().contains("--tolerance"));
    let nothing = evaluate_segmentation(&cx, &request(&data, &data.join("nowhere")), &out);
    assert!(nothing.unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn class_numbers_and_values_of_predictions_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let data = path("data");
    case(&data, "a", 7.0);
    write(path("p/a.nii"), solid([2, 2, 2], [6, 6, 6], 1.0));
    let cx = Context::new(1);
    let mut numbers = request(&data, &path("p"));
    numbers.source = LabelSource::Predictions { folder: path("p"), class_numbers: true };
    assert_eq!(mean(&evaluate_segmentation(&cx, &numbers, &path("out")).unwrap(), "dice"), 1.0);
    let values = evaluate_segmentation(&cx, &request(&data, &path("p")), &path("out")).unwrap();
    assert_eq!(mean(&values, "dice"), 0.0);
    write(path("p/a.nii"), solid([2, 2, 2], [6, 6, 6], 2.0));
    let report = evaluate_segmentation(&cx, &numbers, &path("out")).unwrap();
    assert!(report.failed[0].error.contains("label 2"), "{:?}", report.failed);
}

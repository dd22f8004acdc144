//! `genesis predict` on small scans: labels lie exactly where the scan does, a folder goes on past a bad
//! file, channels come in one file or several.

use genesis_model::checkpoint::write_safetensors;
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tests::{fail, genesis, succeed};
use genesis_train::preprocess::{Intensity, Preprocessing};
use genesis_train::task::{Task, TaskDescription};
use genesis_train::volume::{ElementType, Volume, affine, read_volume, write_metaimage, write_nifti};
use std::fs;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A random network of width 2 with its task.
fn weights(folder: &Path, name: &str, channels: usize, classes: usize, spacing: Option<[f64; 3]>) -> String {
    let config = UNetConfig { width: 2, channels, classes, ..UNetConfig::default() };
    let mut network = UNet3d::new(config).unwrap();
    network.initialise(Initialiser::Pytorch, 5).unwrap();
    let task = TaskDescription {
        task: Task::Segment,
        classes: ["background", "liver", "tumour"][..classes.max(2)].iter().map(|&c| c.into()).collect(),
        values: Vec::new(),
        inputs: None,
        channels,
        patch: [16, 16, 8],
        preprocessing: Preprocessing {
            spacing,
            intensity: Intensity::ZScore { nonzero_only: false },
            ..Preprocessing::default()
        },
        network: config,
    };
    let mut state = network.state(Statistics::Running).unwrap();
    task.to_metadata(&mut state.metadata).unwrap();
    let path = folder.join(name);
    write_safetensors(&path, &state).unwrap();
    text(&path).to_string()
}

/// An oblique, anisotropic, left-handed scan.
fn scan(size: [usize; 3], phase: f32) -> Volume {
    let affine =
        affine::from_quaternion([0.1, -0.2, 0.3], [0.7, 0.75, 2.5], -1.0, [10.1, -20.2, 30.3]).unwrap();
    let voxels = (0..size.iter().product::<usize>())
        .map(|i| (200.0 * ((i as f32) * 0.37 + phase).sin() * ((i / 50) as f32 * 0.11).cos()).round())
        .collect();
    Volume::new(voxels, size, affine).unwrap()
}

fn predict(weights: &str, input: &Path, out: &Path, more: &[&str]) -> String {
    let mut arguments = vec!["predict", "--weights", weights, "--input", text(input), "--out", text(out)];
    arguments.extend(more);
    succeed(&arguments)
}

fn assert_same_place(input: &Path, out: &Path) -> Volume {
    let (input, labels) = (read_volume(input).unwrap(), read_volume(out).unwrap());
    let bits = |affine: &[[f64; 4]; 4]| affine.map(|row| row.map(f64::to_bits));
    assert_eq!(bits(&labels.affine), bits(&input.affine));
    assert_eq!((labels.size, labels.source.element), (input.size, ElementType::Uint8));
    assert!(labels.voxels.iter().all(|&label| [0.0, 1.0, 2.0].contains(&label)));
    labels
}

#[test]
fn labels_of_an_oblique_scan_carry_its_geometry_bit_by_bit() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let weights = weights(folder, "w.safetensors", 1, 3, Some([1.0, 1.0, 1.0]));
    let volume = scan([31, 26, 9], 0.0);
    let path = |name: &str| folder.join(name);
    write_nifti(&path("sform.nii"), &volume, ElementType::Int16).unwrap();
    let mut bytes = fs::read(path("sform.nii")).unwrap();
    // Sform and qform that disagree, a description, a scaling: everything but the scaling is kept.
    bytes[268..272].copy_from_slice(&77.7f32.to_le_bytes());
    bytes[148..158].copy_from_slice(b"my scanner");
    bytes[112..116].copy_from_slice(&2f32.to_le_bytes());
    fs::write(path("both.nii"), &bytes).unwrap();
    bytes[254..256].copy_from_slice(&0i16.to_le_bytes());
    fs::write(path("qform.nii"), &bytes).unwrap();
    bytes[252..254].copy_from_slice(&0i16.to_le_bytes());
    fs::write(path("none.nii"), &bytes).unwrap();
    let mut labels = Vec::new();
    for name in ["sform", "both", "qform", "none"] {
        let (input, out) = (path(&format!("{name}.nii")), path(&format!("{name}-labels.nii")));
        predict(&weights, &input, &out, &[]);
        labels.push(assert_same_place(&input, &out).voxels);
        let (before, after) = (fs::read(input).unwrap(), fs::read(out).unwrap());
        for field in [40..56, 76..108, 123..124, 148..228, 252..344] {
            assert_eq!(before[field.clone()], after[field.clone()], "{name} bytes {field:?}");
        }
        assert_eq!(after.len(), 352 + 31 * 26 * 9);
    }
    // Values doubled by the scaling are the same after the z-score.
    let differ = labels[0].iter().zip(&labels[1]).filter(|(a, b)| a != b).count();
    assert!(differ * 100 < labels[0].len(), "{differ} labels differ");

    write_metaimage(&path("m.mha"), &volume, ElementType::Int16).unwrap();
    predict(&weights, &path("m.mha"), &path("l.mhd"), &["--flips", "--largest-component"]);
    assert_same_place(&path("m.mha"), &path("l.mhd"));
    let header = fs::read_to_string(path("l.mhd")).unwrap();
    let before = fs::read(path("m.mha")).unwrap();
    let before = String::from_utf8_lossy(&before).into_owned();
    for key in ["TransformMatrix", "Offset", "ElementSpacing", "DimSize", "AnatomicalOrientation"] {
        let line = before.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(header.lines().any(|other| other == line), "{line} in\n{header}");
    }
    // Another format: the affine matrix, in that format's precision.
    predict(&weights, &path("m.mha"), &path("converted.nii.gz"), &[]);
    let (a, b) = (read_volume(&path("m.mha")).unwrap(), read_volume(&path("converted.nii.gz")).unwrap());
    assert_eq!(a.affine.map(|row| row.map(|v| v as f32)), b.affine.map(|row| row.map(|v| v as f32)));
}

#[test]
fn probabilities_sum_to_one_and_decide_the_labels() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let weights = weights(folder, "w.safetensors", 1, 3, Some([1.0, 1.2, 2.0]));
    let input = folder.join("scan.nii.gz");
    write_nifti(&input, &scan([31, 26, 9], 0.0), ElementType::Int16).unwrap();
    let out = folder.join("labels.nii.gz");
    let probabilities = folder.join("p.nii.gz");
    let json = predict(&weights, &input, &out, &["--probabilities", text(&probabilities), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["classes"], serde_json::json!(["background", "liver", "tumour"]));
    let labels = assert_same_place(&input, &out);
    let classes: Vec<Volume> =
        (0..3).map(|class| read_volume(&folder.join(format!("p_{class:04}.nii.gz"))).unwrap()).collect();
    for (i, &label) in labels.voxels.iter().enumerate() {
        let shares: Vec<f32> = classes.iter().map(|class| class.voxels[i]).collect();
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        assert!(shares.iter().all(|&share| share <= shares[label as usize]));
    }
    let counted = labels.voxels.iter().filter(|&&label| label == 1.0).count();
    assert_eq!(report["predictions"][0]["voxels"][1], counted);
    let left: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .collect();
    assert!(left.iter().all(|name| !name.contains("partial")), "{left:?}");
}

#[test]
fn a_folder_goes_on_past_a_bad_file_and_ends_with_failure() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let weights = weights(folder, "w.safetensors", 1, 1, None);
    let (input, out) = (folder.join("in"), folder.join("out"));
    fs::create_dir_all(input.join("deeper")).unwrap();
    write_nifti(&input.join("a.nii.gz"), &scan([20, 17, 9], 0.0), ElementType::Int16).unwrap();
    write_metaimage(&input.join("deeper/b.mhd"), &scan([5, 30, 3], 1.0), ElementType::Int16).unwrap();
    fs::write(input.join("c.nii"), b"not a volume").unwrap();
    let bytes = fs::read(input.join("a.nii.gz")).unwrap();
    fs::write(input.join("d.nii.gz"), &bytes[..bytes.len() / 2]).unwrap();
    let arguments = ["predict", "--weights", &weights, "--input", text(&input), "--out", text(&out)];
    let output = genesis(arguments);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = errors.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].contains("c.nii") && errors[1].contains("d.nii.gz"), "{errors:?}");
    assert!(errors[2].contains("2 of 4"), "{errors:?}");
    assert_same_place(&input.join("a.nii.gz"), &out.join("a.nii.gz"));
    assert_same_place(&input.join("deeper/b.mhd"), &out.join("deeper/b.mhd"));
    assert!(!out.join("c.nii").exists() && !out.join("d.nii.gz").exists());
    let line = fail(2, &["predict", "--weights", &weights, "--input", text(&input), "--out", text(&input)]);
    assert!(line.contains("another folder"), "{line}");
}

#[test]
fn one_scan_may_go_into_a_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let weights = weights(folder, "w.safetensors", 1, 1, None);
    let path = |name: &str| folder.join(name);
    write_nifti(&path("a.nii.gz"), &scan([20, 17, 9], 0.0), ElementType::Int16).unwrap();
    predict(&weights, &path("a.nii.gz"), &path("single.nii.gz"), &[]);
    // A folder that is there, and one that is named as such.
    fs::create_dir(path("there")).unwrap();
    predict(&weights, &path("a.nii.gz"), &path("there"), &["--probabilities", text(&path("p/"))]);
    predict(&weights, &path("a.nii.gz"), &path("new/"), &[]);
    let labels = assert_same_place(&path("a.nii.gz"), &path("single.nii.gz"));
    for out in ["there/a.nii.gz", "new/a.nii.gz"] {
        assert_eq!(assert_same_place(&path("a.nii.gz"), &path(out)).voxels, labels.voxels);
    }
    assert!(path("p/a_0001.nii.gz").is_file());
    let refuse = |code: i32, input: &str, out: &str| {
        let (input, out) = (path(input), path(out));
        fail(code, &["predict", "--weights", &weights, "--input", text(&input), "--out", text(&out)])
    };
    assert!(refuse(2, "a.nii.gz", "").contains("replace the input"));
    assert!(refuse(2, "a.nii.gz", "unknown").contains("a folder ends in /"));
    assert!(refuse(1, "missing.nii.gz", "unknown").contains("missing.nii.gz"));
}

#[test]
fn channels_come_in_one_file_or_in_several() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let weights = weights(folder, "w.safetensors", 2, 2, Some([1.0, 1.0, 1.5]));
    let path = |name: &str| folder.join(name);
    fs::create_dir(path("in")).unwrap();
    let volumes = [scan([18, 21, 9], 0.0), scan([18, 21, 9], 2.0)];
    write_nifti(&path("in/case_0000.nii"), &volumes[0], ElementType::Int16).unwrap();
    write_nifti(&path("in/case_0001.nii"), &volumes[1], ElementType::Int16).unwrap();
    let mut bytes = fs::read(path("in/case_0000.nii")).unwrap();
    bytes.extend_from_slice(&fs::read(path("in/case_0001.nii")).unwrap()[352..]);
    bytes[40..42].copy_from_slice(&4i16.to_le_bytes());
    bytes[48..50].copy_from_slice(&2i16.to_le_bytes());
    fs::write(path("four.nii"), &bytes).unwrap();
    predict(&weights, &path("in/case_0001.nii"), &path("one.nii"), &[]);
    predict(&weights, &path("four.nii"), &path("two.nii"), &[]);
    predict(&weights, &path("in"), &path("out"), &[]);
    let labels = assert_same_place(&path("in/case_0000.nii"), &path("one.nii"));
    assert_eq!(labels.voxels, read_volume(&path("two.nii")).unwrap().voxels);
    assert_eq!(labels.voxels, read_volume(&path("out/case.nii")).unwrap().voxels);
    let refuse = |input: &str| {
        let (input, out) = (path(input), path("x.nii"));
        let line = fail(1, &["predict", "--weights", &weights, "--input", text(&input), "--out", text(&out)]);
        assert!(!out.exists());
        line
    };
    fs::write(path("alone.nii"), fs::read(path("in/case_0000.nii")).unwrap()).unwrap();
    let line = refuse("alone.nii");
    assert!(line.contains("alone.nii") && line.contains("1 channel"), "{line}");
    fs::write(path("gap_0000.nii"), fs::read(path("in/case_0000.nii")).unwrap()).unwrap();
    assert!(refuse("gap_0000.nii").contains("gap_0001.nii"));
}

#[test]
fn weights_without_a_segmentation_and_flags_without_sense_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let network = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
    let bare = folder.join("pretrained.safetensors");
    write_safetensors(&bare, &network.state(Statistics::Running).unwrap()).unwrap();
    let input = folder.join("scan.nii");
    write_nifti(&input, &scan([18, 21, 9], 0.0), ElementType::Int16).unwrap();
    let good = weights(folder, "w.safetensors", 1, 2, None);
    let refuse = |code: i32, weights: &str, out: &str, more: &[&str]| {
        let out = folder.join(out);
        let mut arguments =
            vec!["predict", "--weights", weights, "--input", text(&input), "--out", text(&out)];
        arguments.extend(more);
        fail(code, &arguments)
    };
    let line = refuse(1, text(&bare), "x.nii", &[]);
    assert!(line.contains("pretrained.safetensors") && line.contains("finetune segment"), "{line}");
    assert!(refuse(2, &good, "x.txt", &[]).contains("x.txt"));
    assert!(refuse(2, &good, "scan.nii", &[]).contains("replace the input"));
    assert!(refuse(2, &good, "x.nii", &["--overlap", "1"]).contains("overlap"));
    assert!(refuse(1, &good, "x.nii", &["--device", "cuda:0"]).contains("CUDA"));
}

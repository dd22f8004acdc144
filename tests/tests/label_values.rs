//! A checkpoint brings its data set's label values and channels along: nothing is repeated for `genesis predict`
//! and `genesis evaluate`.

use genesis_tests::{fail, genesis, succeed};
use genesis_train::volume::{ElementType, Volume, affine, read_volume, write_nifti};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Voxels of a scan along x, y and z.
const SIZE: [usize; 3] = [24, 20, 18];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Channel `channel` of scan `number`: smooth bands in channel 1, unrelated waves elsewhere.
fn channel(number: usize, channel: usize) -> Volume {
    let affine =
        affine::from_quaternion([0.1, -0.2, 0.3], [0.7, 0.75, 2.5], -1.0, [10.1, -20.2, 30.3]).unwrap();
    let voxel = |i: usize| {
        let (x, y, z) = (i / (SIZE[1] * SIZE[2]), i / SIZE[2] % SIZE[1], i % SIZE[2]);
        let phase = number as f32 + 2.0 * channel as f32;
        (300.0 * (0.3 * x as f32 + phase).sin() * (0.25 * y as f32).cos() + 40.0 * (0.5 * z as f32).sin())
            .round()
    };
    Volume::new((0..SIZE.iter().product()).map(voxel).collect(), SIZE, affine).unwrap()
}

/// Values as BraTS has them, bands of the intensity in channel 1.
fn labels(scan: &Volume) -> Volume {
    let value = |&voxel: &f32| match voxel {
        ..-60.0 => 0.0,
        ..40.0 => 1.0,
        ..150.0 => 2.0,
        _ => 4.0,
    };
    scan.with_voxels(scan.voxels.iter().map(value).collect()).unwrap()
}

/// One file of four dimensions with the given channels.
fn write_4d(path: &Path, channels: &[Volume]) {
    let single = path.with_extension("one.nii");
    let mut bytes = Vec::new();
    for volume in channels {
        write_nifti(&single, volume, ElementType::Int16).unwrap();
        let one = fs::read(&single).unwrap();
        if bytes.is_empty() { bytes = one } else { bytes.extend_from_slice(&one[352..]) }
    }
    fs::remove_file(&single).unwrap();
    bytes[40..42].copy_from_slice(&4i16.to_le_bytes());
    bytes[48..50].copy_from_slice(&(channels.len() as i16).to_le_bytes());
    fs::write(path, &bytes).unwrap();
}

/// Paired folders of three scans: of four channels in one file each, or of channel 1 alone.
fn data(folder: &Path, four: bool) {
    fs::create_dir_all(folder.join("images")).unwrap();
    fs::create_dir_all(folder.join("labels")).unwrap();
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        let image = folder.join(format!("images/{name}.nii"));
        if four {
            write_4d(&image, &[0, 1, 2, 3].map(|of| channel(number, of)));
        } else {
            write_nifti(&image, &channel(number, 1), ElementType::Int16).unwrap();
        }
        let label = folder.join(format!("labels/{name}.nii"));
        write_nifti(&label, &labels(&channel(number, 1)), ElementType::Uint8).unwrap();
    }
}

/// Fine-tunes a small network; its last checkpoint.
fn finetune(data: &Path, out: &Path, more: &[&str]) -> String {
    let small = "--modality mri --width 2 --patch 16x16x16 --steps 40 --batch-size 2 --lr 0.02 --validate-every 100 \
                 --augment none --loss ce --quiet --threads 2";
    let mut arguments = vec!["finetune", "segment", "--data", text(data), "--out", text(out)];
    arguments.extend(small.split(' ').filter(|part| !part.is_empty()));
    arguments.extend(more);
    succeed(&arguments);
    text(&out.join("checkpoints/last.safetensors")).to_string()
}

fn predict(weights: &str, input: &Path, out: &Path, more: &[&str]) {
    let mut arguments =
        vec!["predict", "--weights", weights, "--input", text(input), "--out", text(out), "--quiet"];
    arguments.extend(more);
    succeed(&arguments);
}

fn evaluate(data: &Path, out: &Path, more: &[&str]) -> Value {
    let mut arguments = vec!["evaluate", "--data", text(data), "--out", text(out), "--json", "--quiet"];
    arguments.extend(more);
    serde_json::from_str(&succeed(&arguments)).unwrap()
}

fn voxels(path: &Path) -> Vec<f32> {
    let volume = read_volume(path).unwrap();
    assert_eq!(volume.source.element, ElementType::Uint8);
    volume.voxels
}

#[test]
fn the_values_of_brats_come_back_and_score_the_same_either_way() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    data(&path("data"), true);
    let weights = finetune(&path("data"), &path("run"), &["--channels", "1", "--labels", "1,2,4"]);
    let (images, out) = (path("data/images"), path("scores"));
    predict(&weights, &images, &path("values"), &[]);
    predict(&weights, &images, &path("numbers"), &["--class-numbers"]);
    let mut present = [0; 5];
    for name in ["a.nii", "b.nii", "c.nii"] {
        let (values, numbers) = (voxels(&path("values").join(name)), voxels(&path("numbers").join(name)));
        for (&value, &number) in values.iter().zip(&numbers) {
            assert_eq!(value, [0.0, 1.0, 2.0, 4.0][number as usize]);
            present[value as usize] += 1;
        }
    }
    assert!(present[4] > 0 && present[0] > 0, "{present:?}");
    let network = evaluate(&path("data"), &out, &["--weights", &weights]);
    let values =
        evaluate(&path("data"), &out, &["--predictions", text(&path("values")), "--labels", "1,2,4"]);
    let found = evaluate(&path("data"), &out, &["--predictions", text(&path("values"))]);
    let folder = path("numbers");
    let numbers = ["--predictions", text(&folder), "--class-numbers", "--labels", "1,2,4"];
    let numbers = evaluate(&path("data"), &out, &numbers);
    assert_eq!(network["cases"], 3);
    assert!(network["mean_of_classes"]["dice"]["mean"].as_f64().unwrap() > 0.2, "{network}");
    assert_eq!(network["classes"], values["classes"]);
    assert_eq!(network["classes"], found["classes"]);
    assert_eq!(network["classes"], numbers["classes"]);
}

#[test]
fn merged_labels_are_written_as_the_first_of_them() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    data(&path("data"), true);
    let weights = finetune(&path("data"), &path("run"), &["--channels", "1", "--labels", "4+1+2=whole"]);
    predict(&weights, &path("data/images"), &path("values"), &[]);
    let values = voxels(&path("values/a.nii"));
    assert!(values.iter().all(|value| [0.0, 4.0].contains(value)) && values.contains(&4.0));
    let network = evaluate(&path("data"), &path("out"), &["--weights", &weights]);
    let folder = path("values");
    let files =
        evaluate(&path("data"), &path("out"), &["--predictions", text(&folder), "--labels", "4+1+2=whole"]);
    assert_eq!(network["classes"][0]["class"], "whole");
    assert_eq!(network["classes"], files["classes"]);
}

#[test]
fn the_channel_of_training_is_the_channel_of_prediction() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    data(&path("four"), true);
    data(&path("one"), false);
    let from_four = finetune(&path("four"), &path("run-4"), &["--channels", "1"]);
    let from_one = finetune(&path("one"), &path("run-1"), &[]);
    // Channel 1 of four is what the network saw: the same data in a file of its own make the same network.
    let scan = [0, 1, 2, 3].map(|of| channel(7, of));
    write_4d(&path("scan.nii"), &scan);
    write_nifti(&path("alone.nii"), &scan[1], ElementType::Int16).unwrap();
    fs::create_dir(path("files")).unwrap();
    for (number, volume) in scan.iter().enumerate() {
        write_nifti(&path(&format!("files/scan_{number:04}.nii")), volume, ElementType::Int16).unwrap();
    }
    predict(&from_one, &path("alone.nii"), &path("wanted.nii"), &[]);
    let wanted = voxels(&path("wanted.nii"));
    assert!(wanted.iter().any(|&label| label != wanted[0]));
    predict(&from_four, &path("scan.nii"), &path("out-4d.nii"), &[]);
    predict(&from_four, &path("alone.nii"), &path("out-alone.nii"), &[]);
    predict(&from_four, &path("files/scan_0003.nii"), &path("out-files.nii"), &[]);
    predict(&from_four, &path("files"), &path("out-folder"), &[]);
    for name in ["out-4d.nii", "out-alone.nii", "out-files.nii", "out-folder/scan.nii"] {
        assert!(voxels(&path(name)) == wanted, "{name}");
    }
    assert_eq!(fs::read_dir(path("out-folder")).unwrap().count(), 1);

    // Two channels are neither what was chosen nor what it was chosen from.
    write_4d(&path("two.nii"), &scan[..2]);
    let refuse = |input: &str| {
        fail(
            1,
            &[
                "predict",
                "--weights",
                &from_four,
                "--input",
                text(&path(input)),
                "--out",
                text(&path("x.nii")),
            ],
        )
    };
    let line = refuse("two.nii");
    assert!(line.contains("two.nii") && line.contains("2 channel(s)") && line.contains("of the 4"), "{line}");
    fs::remove_file(path("files/scan_0001.nii")).unwrap();
    assert!(refuse("files/scan_0000.nii").contains("scan_0001.nii"));
    write_nifti(&path("files/scan_0001.nii"), &scan[1], ElementType::Int16).unwrap();
    write_nifti(&path("files/scan_0004.nii"), &scan[1], ElementType::Int16).unwrap();
    assert!(refuse("files/scan_0000.nii").contains("5 channel(s)"));
    assert!(!path("x.nii").exists());
    // Evaluation chooses for itself, and does what it is told.
    let chosen = evaluate(&path("four"), &path("scores"), &["--weights", &from_four]);
    let told = evaluate(&path("four"), &path("scores"), &["--weights", &from_four, "--channels", "1"]);
    let other = evaluate(&path("four"), &path("scores"), &["--weights", &from_four, "--channels", "2"]);
    assert_eq!(chosen["classes"], told["classes"]);
    assert_ne!(chosen["classes"], other["classes"]);
    assert!(genesis(["inspect", &from_four]).status.success());
}

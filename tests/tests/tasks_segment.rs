//! The commands of `docs/tasks/{ncs,lcs,bms}.md`, as they stand on the page, on miniatures of the data sets in
//! their real layouts. Only flags for size are added, so page and program cannot part.

use genesis_tests::pages::follow;
use genesis_train::volume::{ElementType, Volume, affine, read_volume, write_nifti};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// What makes the fine-tuning of a page small.
const SMALL: &str = "--patch 16x16x8 --steps 2 --threads 2 --augment light";

fn write(
    path: &Path,
    size: [usize; 3],
    spacing: [f64; 3],
    element: ElementType,
    value: impl Fn([f64; 3]) -> f32,
) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut place = affine::IDENTITY;
    (0..3).for_each(|axis| place[axis][axis] = if axis < 2 { -spacing[axis] } else { spacing[axis] });
    let voxels = (0..size.iter().product::<usize>())
        .map(|i| {
            let index = [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]];
            value(std::array::from_fn(|axis| index[axis] as f64 * spacing[axis]))
        })
        .collect();
    write_nifti(path, &Volume::new(voxels, size, place).unwrap(), element).unwrap();
}

fn distance(place: [f64; 3], centre: [f64; 3]) -> f64 {
    (0..3).map(|axis| (place[axis] - centre[axis]).powi(2)).sum::<f64>().sqrt()
}

fn splits(path: &Path, train: &[&str], valid: &str, test: &str) {
    let json = serde_json::json!({ "train": train, "val": [valid], "test": [test] });
    fs::write(path, json.to_string()).unwrap();
}

fn metrics(folder: &Path, scores: &str) -> Value {
    let report: Value =
        serde_json::from_slice(&fs::read(folder.join(scores).join("metrics.json")).unwrap()).unwrap();
    assert_eq!((report["status"].as_str(), report["cases"].as_u64()), (Some("complete"), Some(1)));
    report
}

/// The values of a label map that must lie on the grid of a scan.
fn values(folder: &Path, labels: &str, scan: &str) -> Vec<u8> {
    let (labels, scan) =
        (read_volume(&folder.join(labels)).unwrap(), read_volume(&folder.join(scan)).unwrap());
    assert_eq!((labels.size, labels.affine), (scan.size, scan.affine));
    let mut values: Vec<u8> = labels.voxels.iter().map(|&value| value as u8).collect();
    values.sort();
    values.dedup();
    values
}

#[test]
fn ncs_nodule_crops_with_masks() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("LIDC-nodules");
    let names = ["1", "2", "3", "4"].map(|patient| format!("LIDC-IDRI-000{patient}-1"));
    for (number, name) in names.iter().enumerate() {
        let inside = move |place| distance(place, [12.0, 11.0, 8.0]) < 4.0 + number as f64 / 2.0;
        let (size, spacing) = ([24, 24, 16], [1.0; 3]);
        let path = |folder: &str| data.join(folder).join(format!("{name}.nii.gz"));
        write(&path("images"), size, spacing, ElementType::Int16, |p| if inside(p) { 40.0 } else { -800.0 });
        write(&path("masks"), size, spacing, ElementType::Uint8, |p| u8::from(inside(p)).into());
    }
    splits(&data.join("splits.json"), &[&names[0], &names[1]], &names[2], &names[3]);
    follow("tasks/ncs.md", temporary.path(), SMALL);
    let report = metrics(temporary.path(), "scores/ncs");
    assert_eq!(report["classes"][0]["class"], "nodule");
    assert!(report["iou_two_class_mean"]["pooled"].is_number());
    let found = values(temporary.path(), "nodule.nii.gz", "LIDC-nodules/images/LIDC-IDRI-0004-1.nii.gz");
    assert!(found.iter().all(|value| [0, 1].contains(value)));
}

#[test]
fn lcs_lits_as_distributed() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("LiTS");
    for number in 0..4 {
        let centre = [14.0 + f64::from(number), 16.0, 12.0];
        let liver = move |place| distance(place, centre) < 10.0;
        let lesion = move |place| distance(place, [centre[0], 13.0, 12.0]) < 4.0;
        let (size, spacing) = ([40, 44, 10], [0.75, 0.75, 2.5]);
        let scan = move |p| {
            if lesion(p) {
                30.0
            } else if liver(p) {
                110.0
            } else {
                -60.0
            }
        };
        let label = move |p| if lesion(p) { 2.0 } else { u8::from(liver(p)).into() };
        write(&data.join(format!("volume-{number}.nii")), size, spacing, ElementType::Int16, scan);
        write(&data.join(format!("segmentation-{number}.nii")), size, spacing, ElementType::Uint8, label);
    }
    splits(&data.join("splits.json"), &["volume-0", "volume-1"], "volume-2", "volume-3");
    follow("tasks/lcs.md", temporary.path(), SMALL);
    let report = metrics(temporary.path(), "scores/lcs");
    assert_eq!(report["classes"][0]["class"], "liver");
    assert_eq!(report["settings"]["prediction"]["largest_component"], "Corners");
    // The liver without its lesion is what counts: 4/3·π·(10³ - 4³) mm³ but for the grid.
    let volume = report["classes"][0]["metrics"]["reference_volume_ml"]["mean"].as_f64().unwrap();
    assert!((3.5..4.3).contains(&volume), "{volume}");
    let found = values(temporary.path(), "liver.nii.gz", "LiTS/volume-3.nii");
    assert!(found.iter().all(|value| [0, 1].contains(value)));
}

#[test]
fn bms_brats_as_distributed() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("BraTS19");
    let names = ["1", "2", "3", "4"].map(|patient| format!("BraTS19_CBICA_AAB_{patient}"));
    for (number, name) in names.iter().enumerate() {
        let (size, spacing) = ([30, 32, 20], [1.0; 3]);
        let centre = [15.0 + number as f64, 15.0, 10.0];
        let part = move |p| match distance(p, centre) {
            ..3.0 => 1.0,
            ..5.0 => 4.0,
            ..8.0 => 2.0,
            _ => 0.0,
        };
        let grade = if number == 1 { "LGG" } else { "HGG" };
        let path = |sequence: &str| data.join(grade).join(name).join(format!("{name}_{sequence}.nii.gz"));
        for (weight, sequence) in ["flair", "t1", "t1ce", "t2"].iter().enumerate() {
            let scan = move |p| 100.0 + (50.0 + 10.0 * weight as f32) * part(p) + p[0] as f32;
            write(&path(sequence), size, spacing, ElementType::Int16, scan);
        }
        write(&path("seg"), size, spacing, ElementType::Uint8, part);
    }
    splits(&data.join("splits.json"), &[&names[0], &names[1]], &names[2], &names[3]);
    follow("tasks/bms.md", temporary.path(), SMALL);
    let (whole, parts) = (metrics(temporary.path(), "scores/bms"), metrics(temporary.path(), "scores/bms-4"));
    assert_eq!(whole["classes"][0]["class"], "tumour");
    assert_eq!(parts["classes"].as_array().unwrap().len(), 3);
    let scan = format!("BraTS19/HGG/{0}/{0}_flair.nii.gz", names[3]);
    let found = values(temporary.path(), &format!("tumours/{}.nii.gz", names[3]), &scan);
    assert!(found.iter().all(|value| [0, 1].contains(value)), "{found:?}");
    // One label map a patient: sequences are no scans of their own, reference label maps no scans at all.
    assert_eq!(fs::read_dir(temporary.path().join("tumours")).unwrap().count(), 1);
    let found = values(temporary.path(), &format!("parts/HGG/{0}/{0}.nii.gz", names[3]), &scan);
    assert!(found.iter().all(|value| [0, 1, 2, 4].contains(value)), "{found:?}");
    let count = genesis_train::volume::list_volumes(&temporary.path().join("parts")).unwrap().len();
    assert_eq!(count, 4);
}

//! The commands of `docs/tasks/{ncc,ecc}.md`, as they stand on the page, on miniatures of the data sets in their
//! real layouts. Only flags for size are added, so page and program cannot part.

use genesis_tests::pages::follow;
use genesis_train::volume::{ElementType, Volume, affine, write_nifti};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// What makes the fine-tuning of a page small.
const SMALL: &str = "--cube 16x16x8 --batch-size 4 --steps 3 --threads 2 --augment light";

/// HU of air with bright balls of 5 mm around places in LPS millimetres, x fastest, at places `lps(index)`.
fn voxels(size: [usize; 3], lps: impl Fn([f64; 3]) -> [f64; 3], balls: &[[f64; 3]]) -> Vec<i16> {
    let [nx, ny, nz] = size;
    (0..nx * ny * nz)
        .map(|i| {
            let place = lps([i % nx, i / nx % ny, i / (nx * ny)].map(|index| index as f64));
            let near =
                |ball: &[f64; 3]| (0..3).map(|axis| (place[axis] - ball[axis]).powi(2)).sum::<f64>() < 25.0;
            if balls.iter().any(near) { 60 } else { -850 + (i % 17) as i16 }
        })
        .collect()
}

/// A scan as LUNA16 distributes it: header and raw file apart.
fn write_luna16(
    folder: &Path,
    uid: &str,
    size: [usize; 3],
    origin: [f64; 3],
    spacing: [f64; 3],
    balls: &[[f64; 3]],
) {
    fs::create_dir_all(folder).unwrap();
    let join = |values: [f64; 3]| values.map(|value| value.to_string()).join(" ");
    let header = format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n\
         TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = {}\nCenterOfRotation = 0 0 0\n\
         AnatomicalOrientation = RAI\nElementSpacing = {}\nDimSize = {}\nElementType = MET_SHORT\n\
         ElementDataFile = {uid}.raw\n",
        join(origin),
        join(spacing),
        size.map(|extent| extent.to_string()).join(" ")
    );
    fs::write(folder.join(format!("{uid}.mhd")), header).unwrap();
    let lps = |index: [f64; 3]| std::array::from_fn(|axis| origin[axis] + spacing[axis] * index[axis]);
    let bytes: Vec<u8> = voxels(size, lps, balls).iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(folder.join(format!("{uid}.raw")), bytes).unwrap();
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split(',').collect()).collect()
}

#[test]
fn ncc_luna16_as_distributed() {
    let temporary = tempfile::tempdir().unwrap();
    let luna = temporary.path().join("LUNA16");
    let (size, origin, spacing) = ([32, 32, 20], [-150.5, -171.25, -300.0], [0.7, 0.7, 1.25]);
    let mut candidates = String::from("seriesuid,coordX,coordY,coordZ,class\n");
    let mut annotations = String::from("seriesuid,coordX,coordY,coordZ,diameter_mm\n");
    for subset in 0..10 {
        let uid = format!("1.3.6.1.4.1.14519.5.2.1.6279.6001.10{subset}");
        let nodule = [origin[0] + 10.0 + f64::from(subset % 3), origin[1] + 12.0, origin[2] + 12.5];
        let elsewhere = [origin[0] + 17.0, origin[1] + 4.0, origin[2] + 4.0];
        write_luna16(&luna.join(format!("subset{subset}")), &uid, size, origin, spacing, &[nodule]);
        let row = |[x, y, z]: [f64; 3], class: u8| format!("{uid},{x},{y},{z},{class}\n");
        candidates += &row(elsewhere, 0);
        candidates += &row(nodule, 1);
        candidates += &row([elsewhere[0], elsewhere[1] + 14.0, elsewhere[2]], 0);
        annotations += &format!("{uid},{},{},{},9.5\n", nodule[0] + 0.5, nodule[1], nodule[2]);
        // A mask of the lungs under the scan's name.
        write_luna16(&luna.join("seg-lungs-LUNA16"), &uid, [4, 4, 4], origin, spacing, &[]);
    }
    fs::write(luna.join("candidates_V2.csv"), candidates).unwrap();
    fs::write(luna.join("annotations.csv"), annotations).unwrap();
    follow("tasks/ncc.md", temporary.path(), SMALL);
    let scores = json(&temporary.path().join("scores/ncc/metrics.json"));
    assert_eq!((scores["status"].as_str(), scores["cases"].as_u64()), (Some("complete"), Some(9)));
    assert_eq!(scores["classes"], serde_json::json!(["non-nodule", "nodule"]));
    assert!(scores["auc"].as_f64().is_some_and(|auc| (0.0..=1.0).contains(&auc)), "{scores}");
    assert_eq!((scores["froc"]["scans"].as_u64(), scores["froc"]["findings"].as_u64()), (Some(3), Some(3)));
    assert_eq!(scores["froc"]["findings_with_a_candidate"].as_u64(), Some(3));
    // What was predicted for the whole table has the same figures.
    let again = json(&temporary.path().join("scores/ncc-again/metrics.json"));
    assert_eq!((&again["auc"], &again["confusion"]), (&scores["auc"], &scores["confusion"]));
    let written = fs::read_to_string(temporary.path().join("probabilities.csv")).unwrap();
    assert_eq!(cells(&written).len(), 1 + 30);
    for name in ["roc.png", "precision-recall.png", "confusion.png", "froc.png", "cases.csv"] {
        assert!(temporary.path().join("scores/ncc").join(name).is_file(), "{name}");
    }
}

#[test]
fn ecc_several_crops_of_each_candidate() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("PE");
    let oblique =
        affine::from_quaternion([0.02, -0.01, 0.03], [0.8, 0.8, 1.5], 1.0, [10.0, 20.0, -30.0]).unwrap();
    let lps = |index: [f64; 3]| -> [f64; 3] {
        let ras: [f64; 3] = std::array::from_fn(|row| {
            (0..3).map(|axis| oblique[row][axis] * index[axis]).sum::<f64>() + oblique[row][3]
        });
        [-ras[0], -ras[1], ras[2]]
    };
    let mut table = String::from("path,label,split,group,scan,annotation,x,y,z\n");
    for patient in 1..=5 {
        let embolus = lps([10.0 + f64::from(patient), 12.0, 8.0]);
        let artefact = lps([22.0, 20.0, 12.0]);
        let size = [32, 32, 20];
        let found = voxels(size, lps, &[embolus]);
        let z_fastest = (0..32 * 32 * 20).map(|i| found[i % 20 * 1024 + i / 20 % 32 * 32 + i / 640].into());
        let volume = Volume::new(z_fastest.collect(), size, oblique).unwrap();
        fs::create_dir_all(&data).unwrap();
        write_nifti(&data.join(format!("p00{patient}.nii.gz")), &volume, ElementType::Int16).unwrap();
        let split = ["train", "train", "valid", "test", "test"][patient as usize - 1];
        for (number, (place, label, annotation)) in
            [(embolus, "embolus", "e1"), (artefact, "artefact", "")].into_iter().enumerate()
        {
            // Three crops of each candidate, a little apart.
            for crop in 0..3 {
                let [x, y, z] = [place[0] + f64::from(crop), place[1], place[2] - f64::from(crop)];
                let row = format!("p00{patient}.nii.gz,{label},{split},p00{patient}-c{number},p00{patient}");
                table += &format!("{row},{annotation},{x},{y},{z}\n");
            }
        }
    }
    fs::write(data.join("candidates.csv"), table).unwrap();
    follow("tasks/ecc.md", temporary.path(), SMALL);
    let scores = json(&temporary.path().join("scores/ecc/metrics.json"));
    assert_eq!((scores["rows"].as_u64(), scores["cases"].as_u64()), (Some(12), Some(4)));
    assert_eq!(scores["cases_of_class"], serde_json::json!({"artefact": 2, "embolus": 2}));
    assert_eq!((scores["froc"]["scans"].as_u64(), scores["froc"]["findings"].as_u64()), (Some(2), Some(2)));
    let again = json(&temporary.path().join("scores/ecc-again/metrics.json"));
    assert_eq!((again["score_by_group"].as_str(), again["cases"].as_u64()), (Some("max"), Some(4)));
    let written = fs::read_to_string(temporary.path().join("probabilities.csv")).unwrap();
    assert_eq!(cells(&written).len(), 1 + 30);
}

//! `genesis finetune classify` and `genesis predict` with its checkpoint, end to end on small volumes.

use genesis_tests::{fail, genesis, succeed};
use genesis_train::volume::{ElementType, Volume, affine, write_nifti};
use std::fs;
use std::path::Path;

/// Sixteen scans of two balls each, a bright one and a dim one, and a table of the balls' places.
fn dataset(folder: &Path) {
    let size = [40usize, 20, 20];
    let mut table = "path,label,group,x,y,z\n".to_string();
    for scan in 0..16 {
        // A bright ball at x = 10 or x = 30.
        let bright = if scan % 2 == 0 { 10.0 } else { 30.0 };
        let voxels = (0..size.iter().product::<usize>()).map(|place| {
            let at = [place / 400, place / 20 % 20, place % 20].map(|index| index as f64);
            let near =
                |x: f64| ((at[0] - x).powi(2) + (at[1] - 10.0).powi(2) + (at[2] - 10.0).powi(2)).sqrt() < 5.0;
            let noise = ((place * 7919 + scan * 104_729) % 101) as f64 - 50.0;
            let mean = match (near(bright), near(40.0 - bright)) {
                (true, _) => 800.0,
                (_, true) => 0.0,
                _ => -600.0,
            };
            (mean + noise) as f32
        });
        let volume = Volume::new(voxels.collect(), size, affine::IDENTITY).unwrap();
        write_nifti(&folder.join(format!("s{scan}.nii.gz")), &volume, ElementType::Int16).unwrap();
        for x in [10.0, 30.0] {
            // The table is LPS, the identity matrix RAS.
            let label = if x == bright { "nodule" } else { "none" };
            table += &format!("s{scan}.nii.gz,{label},patient{scan},-{x},-10,10\n");
        }
    }
    fs::write(folder.join("table.csv"), table).unwrap();
}

fn columns(csv: &str) -> Vec<Vec<&str>> {
    csv.lines().map(|line| line.split(',').collect()).collect()
}

#[test]
fn candidates_are_learned_and_predicted() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (table, out, cubes) = (path("table.csv"), path("run"), path("cubes.npy"));
    // Weights of a pre-training give the encoder.
    genesis_tests::small_cubes(folder.path(), "cubes.npy", 6);
    let pretrained = path("pretrained");
    succeed(&[
        "pretrain",
        "--cubes",
        &cubes,
        "--out",
        &pretrained,
        "--width",
        "2",
        "--steps",
        "2",
        "--quiet",
    ]);
    let weights = path("pretrained/checkpoints/last.safetensors");
    let base = [
        "finetune",
        "classify",
        "--data",
        &table,
        "--out",
        &out,
        "--weights",
        &weights,
        "--cube",
        "16x16x16",
        "--batch-size",
        "4",
        "--lr",
        "0.01",
        "--augment",
        "light",
        "--schedule",
        "constant",
        "--sampler",
        "balanced",
        "--class-weights",
        "1,1",
        "--validate-every",
        "3",
    ];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    let started = genesis(with(&["--steps", "21", "--json"]));
    let log = String::from_utf8_lossy(&started.stderr);
    assert!(started.status.success(), "{log}");
    for part in ["loaded:", "down_tr", "skipped:", "dense_1", "26 training cubes"] {
        assert!(log.contains(part), "\"{part}\" is missing in {log}");
    }
    let summary: serde_json::Value = serde_json::from_slice(&started.stdout).unwrap();
    assert_eq!((summary["steps"].as_u64(), summary["valid_cubes"].as_u64()), (Some(21), Some(6)));
    assert!(fail(1, &with(&["--steps", "42", "--quiet"])).contains("--resume"));
    let summary = succeed(&with(&["--steps", "42", "--resume", "--quiet", "--json"]));
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert!(summary["best_valid_auc"].as_f64() > Some(0.9), "{summary}");

    let best = path("run/checkpoints/best.safetensors");
    let (csv, flipped) = (path("p/probabilities.csv"), path("p/flipped.csv"));
    let predict = |input: &str, out: &str, more: &[&'static str]| {
        let base = ["predict", "--weights", &best, "--input", input, "--out", out, "--quiet"];
        succeed(&[&base[..], more].concat())
    };
    assert!(predict(&table, &csv, &[]).contains("32 rows"));
    let text = fs::read_to_string(&csv).unwrap();
    let rows = columns(&text);
    let names =
        ["path", "label", "group", "x", "y", "z", "probability_nodule", "probability_none", "predicted"];
    assert_eq!(rows[0], names);
    assert_eq!(rows.len(), 33);
    let mut right = 0;
    for row in &rows[1..] {
        let [first, second]: [f64; 2] = [6, 7].map(|column| row[column].parse().unwrap());
        assert!((first + second - 1.0).abs() < 1e-9);
        assert_eq!(row[8], if second >= 0.5 { "none" } else { "nodule" });
        right += usize::from(row[1] == row[8]);
    }
    assert!(right >= 28, "{right} of 32 are right");
    assert_eq!(rows[1][2..6], ["patient0", "-10", "-10", "10"]);
    let json: serde_json::Value =
        serde_json::from_str(&predict(&table, &flipped, &["--flips", "--json"])).unwrap();
    assert_eq!(json["rows"], 32);
    assert_ne!(fs::read_to_string(&flipped).unwrap(), text);

    // A folder and a file: the cube in the middle.
    fs::create_dir(folder.path().join("scans")).unwrap();
    fs::copy(folder.path().join("s0.nii.gz"), folder.path().join("scans/a.nii.gz")).unwrap();
    for input in [path("scans"), path("scans/a.nii.gz")] {
        predict(&input, &csv, &[]);
        let text = fs::read_to_string(&csv).unwrap();
        assert_eq!((columns(&text).len(), columns(&text)[0].len()), (2, 4), "{text}");
    }
    let refuse = |code, more: &[&str]| {
        let base = ["predict", "--weights", &best, "--input", &table, "--quiet"];
        fail(code, &[&base[..], more].concat())
    };
    assert!(refuse(2, &["--out", &path("labels.nii.gz")]).contains("FILE.csv"));
    assert!(refuse(2, &["--out", &csv, "--largest-component"]).contains("classifier"));
    let labelled = path("other.csv");
    fs::write(&labelled, "path,label\ns0.nii.gz,tumour\n").unwrap();
    let line = fail(1, &["predict", "--weights", &best, "--input", &labelled, "--out", &csv, "--quiet"]);
    assert!(line.contains("other.csv") && line.contains("tumour"), "{line}");
}

#[test]
fn wrong_usage_and_bad_tables_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (table, out) = (path("table.csv"), path("run"));
    fs::write(&table, "file,class\na.nii,1\n").unwrap();
    let refuse = |code, more: &[&str]| {
        let base = ["finetune", "classify", "--out", &out, "--quiet"];
        fail(code, &[&base[..], more].concat())
    };
    assert!(refuse(2, &[]).contains("--data"));
    assert!(refuse(2, &["--data", &table, "--cube", "30x32x16"]).contains("30x32x16"));
    assert!(refuse(1, &["--data", &table]).contains("path"));
    fs::write(&table, "path,label\na.nii,1\n").unwrap();
    assert!(refuse(1, &["--data", &table]).contains("a.nii"));
    assert!(refuse(1, &["--data", &path("none.csv")]).contains("none.csv"));
    assert!(!folder.path().join("run/config.toml").exists());
}

//! `genesis evaluate` of classifiers end to end: a network on a table of crops and places, probabilities made
//! elsewhere, what is written, and wrong usage.

use genesis_model::checkpoint::write_safetensors;
use genesis_model::{Classifier3d, ClassifierConfig, Initialiser, Statistics, UNetConfig};
use genesis_tests::{fail, succeed};
use genesis_train::preprocess::Preprocessing;
use genesis_train::task::{Task, TaskDescription};
use genesis_train::volume::{ElementType, Volume, affine, write_nifti};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).unwrap()
}

/// Candidates of three scans with made-up probabilities, two crops each.
fn table(with_labels: bool) -> String {
    let mut text = String::from("path,group,scan,split,probability");
    text.push_str(if with_labels { ",label\n" } else { "\n" });
    for candidate in 0..12 {
        let positive = candidate % 4 == 0;
        for crop in 0..2 {
            let probability = (candidate * 7 + crop * 3) % 10;
            let probability = 0.05 * f64::from(probability) + if positive { 0.5 } else { 0.2 };
            let split = if candidate < 6 { "train" } else { "test" };
            let row =
                format!("c{candidate}-{crop}.nii.gz,c{candidate},s{},{split},{probability}", candidate % 3);
            text.push_str(&row);
            text.push_str(if !with_labels {
                "\n"
            } else if positive {
                ",embolus\n"
            } else {
                ",clot-free\n"
            });
        }
    }
    text
}

#[test]
fn probabilities_made_elsewhere_are_scored_and_read_again() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    fs::write(path("p.csv"), table(true).replace("clot-free", "artefact")).unwrap();
    let (predictions, out) = (path("p.csv"), path("scores"));
    let base = ["evaluate", "--predictions", text(&predictions), "--out", text(&out)];
    let run = |more: &[&str]| json(&succeed(&[&base[..], more, &["--json", "--quiet"]].concat()));
    let test = run(&[]);
    assert_eq!((test["cases"].as_u64(), test["splits"][0].as_str()), (Some(12), Some("test")));
    assert_eq!(test["classes"], serde_json::json!(["artefact", "embolus"]));
    let all = run(&["--split", "all", "--score-by", "group", "--aggregate", "max", "--froc"]);
    assert_eq!((all["rows"].as_u64(), all["cases"].as_u64()), (Some(24), Some(12)));
    assert_eq!((all["froc"]["scans"].as_u64(), all["froc"]["findings"].as_u64()), (Some(3), Some(3)));
    let auc = all["auc"].as_f64().unwrap();
    let (low, high) = (all["auc_interval"]["low"].as_f64(), all["auc_interval"]["high"].as_f64());
    assert!(low.is_some_and(|low| low <= auc) && high.is_some_and(|high| high >= auc), "{all}");
    let written: Value = serde_json::from_slice(&fs::read(out.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(written, all);
    for name in ["roc.png", "precision-recall.png", "confusion.png", "froc.png"] {
        assert!(fs::read(out.join(name)).unwrap().starts_with(b"\x89PNG"), "{name}");
    }
    assert_eq!(fs::read_to_string(out.join("cases.csv")).unwrap().lines().count(), 13);

    // What was written is a table of predictions with the same figures; a table for people.
    fs::rename(out.join("cases.csv"), path("again.csv")).unwrap();
    let again = path("again.csv");
    let again = ["evaluate", "--predictions", text(&again), "--out", text(&out), "--split", "train,test"];
    let second = json(&succeed(&[&again[..], &["--froc", "--json"]].concat()));
    for key in ["auc", "auc_interval", "brier", "f1", "confusion", "froc", "sensitivity_at_specificity"] {
        assert_eq!(second[key], all[key], "{key}");
    }
    let output = succeed(&[&again[..], &["--froc", "--specificity", "0.8,0.95"]].concat());
    for part in
        ["12 candidates", "3 embolus", "sensitivity at 0.95", "Brier", "false positives", "metrics.json"]
    {
        assert!(output.contains(part), "{part} in\n{output}");
    }
}

/// A random classifier of width 2 with its task.
fn weights(path: &Path, classes: &[&str]) {
    let outputs = if classes.len() == 2 { 1 } else { classes.len() };
    let config = ClassifierConfig { width: 2, classes: outputs, ..ClassifierConfig::default() };
    let mut network = Classifier3d::new(config).unwrap();
    network.initialise(Initialiser::Pytorch, 3).unwrap();
    let task = TaskDescription {
        task: Task::Classify,
        classes: classes.iter().map(|&class| class.into()).collect(),
        values: Vec::new(),
        inputs: None,
        channels: 1,
        patch: [16, 16, 8],
        preprocessing: Preprocessing { spacing: Some([1.0; 3]), ..Preprocessing::default() },
        network: UNetConfig { width: 2, classes: outputs, ..UNetConfig::default() },
    };
    let mut state = network.state(Statistics::Running).unwrap();
    task.to_metadata(&mut state.metadata).unwrap();
    write_safetensors(path, &state).unwrap();
}

/// Volumes of 1 mm with a table: a whole volume, and places in one of them; labels are numbers or names.
fn volumes(folder: &Path, labels: [&str; 4]) {
    let mut place = affine::IDENTITY;
    (place[0][0], place[1][1]) = (-1.0, -1.0);
    for (number, name) in ["a.nii.gz", "b.nii.gz"].iter().enumerate() {
        let voxels = (0..24 * 20 * 12)
            .map(|i| (900.0 * ((i as f32) * (0.11 + 0.05 * number as f32)).sin()).round())
            .collect();
        let volume = Volume::new(voxels, [24, 20, 12], place).unwrap();
        write_nifti(&folder.join(name), &volume, ElementType::Int16).unwrap();
    }
    let [first, second, third, fourth] = labels;
    let table = format!(
        "path,label,group,x,y,z\na.nii.gz,{first},g1,5,6,7\nb.nii.gz,{second},g2,,,\n\
         a.nii.gz,{third},g3,20,15,2\na.nii.gz,{fourth},g4,12,10,6\n"
    );
    fs::write(folder.join("data.csv"), table).unwrap();
}

#[test]
fn a_network_and_its_written_probabilities_score_alike() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    volumes(temporary.path(), ["1", "0", "0", "1"]);
    weights(&path("w.safetensors"), &["benign", "malignant"]);
    let (weights_file, data, out) = (path("w.safetensors"), path("data.csv"), path("out"));
    let base = ["evaluate", "--data", text(&data), "--out", text(&out), "--json", "--quiet"];
    let run = |more: &[&str]| json(&succeed(&[&base[..], more].concat()));
    let network = run(&["--weights", text(&weights_file), "--batch-size", "3"]);
    assert_eq!(network["classes"], serde_json::json!(["benign", "malignant"]));
    assert_eq!(network["cases_of_class"], serde_json::json!({"benign": 2, "malignant": 2}));
    let cases = fs::read_to_string(out.join("cases.csv")).unwrap();
    let probabilities: Vec<f64> =
        cases.lines().skip(1).map(|line| line.rsplit(',').nth(1).unwrap().parse().unwrap()).collect();
    // Four different cubes, four different probabilities; the table's order.
    let mut different = probabilities.clone();
    different.sort_by(f64::total_cmp);
    different.dedup();
    assert_eq!(different.len(), 4, "{probabilities:?}");
    assert!(cases.lines().nth(2).unwrap().starts_with("b.nii.gz,b.nii.gz,benign,g2,,,,"), "{cases}");
    fs::write(path("again.csv"), &cases).unwrap();
    let again = run(&["--predictions", text(&path("again.csv"))]);
    for key in ["auc", "brier", "confusion", "average_precision"] {
        assert_eq!(again[key], network[key], "{key}");
    }
    let flips = run(&["--weights", text(&weights_file), "--flips"]);
    assert_ne!(flips["brier"], network["brier"]);

    volumes(temporary.path(), ["cyst", "fat", "air", "fat"]);
    weights(&weights_file, &["air", "cyst", "fat"]);
    let three = run(&["--weights", text(&weights_file)]);
    assert_eq!(three["confusion"]["counts"].as_array().map(Vec::len), Some(3));
    assert!(three["macro"]["auc"].as_f64().is_some_and(|auc| (0.0..=1.0).contains(&auc)), "{three}");
    let refuse = |code: i32, more: &[&str], part: &str| {
        let base = ["evaluate", "--weights", text(&weights_file), "--out", text(&out)];
        let line = fail(code, &[&base[..], more].concat());
        assert!(line.contains(part), "\"{part}\" is missing in: {line}");
    };
    weights(&weights_file, &["air", "fat"]);
    refuse(1, &["--data", text(&data)], "data.csv: line 2: label \"cyst\" is none of the classes air, fat");
    refuse(2, &[], "--data");
    volumes(temporary.path(), ["fat", "fat", "air", "air"]);
    fs::remove_file(path("b.nii.gz")).unwrap();
    refuse(1, &["--data", text(&data)], "1 of 2 volumes are missing");
    assert_eq!(run(&["--weights", text(&weights_file), "--skip-missing"])["cases"].as_u64(), Some(3));
    fs::write(path("data.csv"), "path,label,x,y,z\na.nii.gz,fat,500,0,0\n").unwrap();
    refuse(1, &["--data", text(&data)], "data.csv: line 2: (500, 0, 0) lies outside");
}

#[test]
fn labels_may_lie_in_a_table_of_their_own() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    fs::write(path("p.csv"), table(false)).unwrap();
    fs::write(path("with.csv"), table(true)).unwrap();
    let data: String = table(true)
        .lines()
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            format!("{},{},{}\n", cells[0], cells[5], cells[3])
        })
        .collect();
    fs::write(path("data.csv"), data).unwrap();
    let (predictions, with, data, out) = (path("p.csv"), path("with.csv"), path("data.csv"), path("out"));
    let run = |predictions: &Path, more: &[&str]| {
        let base = ["evaluate", "--predictions", text(predictions), "--out", text(&out), "--json", "--quiet"];
        json(&succeed(&[&base[..], more].concat()))
    };
    let joined = run(&predictions, &["--data", text(&data)]);
    let own = run(&with, &[]);
    assert_eq!(joined["auc"], own["auc"]);
    assert_eq!((&joined["confusion"], &joined["brier"]), (&own["confusion"], &own["brier"]));
}

#[test]
fn wrong_usage_and_bad_tables_are_one_line() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    fs::write(path("p.csv"), table(true)).unwrap();
    fs::write(path("unlabelled.csv"), table(false)).unwrap();
    fs::write(path("bad.csv"), "path,label,probability\na.nii,1,0.5\nb.nii,0,often\n").unwrap();
    let out = path("out");
    let refuse = |code: i32, name: &str, more: &[&str], part: &str| {
        let file = path(name);
        let base = ["evaluate", "--predictions", text(&file), "--out", text(&out)];
        let line = fail(code, &[&base[..], more].concat());
        assert!(line.contains(part), "\"{part}\" is missing in: {line}");
    };
    refuse(1, "unlabelled.csv", &[], "has no label");
    refuse(1, "bad.csv", &[], "bad.csv: line 3: probability is \"often\"");
    refuse(1, "missing.csv", &[], "missing.csv");
    refuse(1, "p.csv", &["--split", "fold9"], "no split \"fold9\"");
    refuse(2, "p.csv", &["--flips"], "--flips");
    refuse(2, "p.csv", &["--splits", "s.json"], "--splits");
    refuse(2, "p.csv", &["--labels", "1"], "--labels");
    refuse(2, "p.csv", &["--threshold", "2"], "--threshold");
    refuse(2, "p.csv", &["--specificity", "-1"], "--specificity");
    refuse(2, "p.csv", &["--aggregate", "mean"], "--score-by");
    refuse(2, "p.csv", &["--findings", "3"], "--froc");
    refuse(2, "p.csv", &["--froc", "--findings", "1"], "--findings 1");
    assert!(!out.exists());
}

//! Every metric against what MedPy, MONAI, SciPy and scikit-learn computed for the same inputs
//! (`oracle.json`, recorded by `tests/oracle/record_metrics.py`).

use serde_json::Value;

use super::classification::{BinaryScores, ClassificationOptions, MultiClassScores};
use super::detection::{Froc, Mark};
use super::grid::Grid;
use super::ranking::Ranking;
use super::segmentation::SegmentationScores;
use super::student::welch_t_test;
use super::two_class_iou::iou_two_class_mean;

fn recorded(part: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("oracle.json")).unwrap();
    all[part].as_array().unwrap().clone()
}

/// The script's generator.
struct Generator(u64);

impl Generator {
    fn draw(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn each(&mut self, bounds: [usize; 3]) -> [usize; 3] {
        bounds.map(|bound| self.draw(bound))
    }
}

/// Two label volumes of one size.
struct Pair {
    size: [usize; 3],
    prediction: Vec<u8>,
    reference: Vec<u8>,
}

fn paint(labels: &mut [u8], size: [usize; 3], label: usize, centre: [i64; 3], radii: [i64; 3]) {
    let [a, b, c] = radii.map(|radius| radius * radius);
    for (voxel, value) in labels.iter_mut().enumerate() {
        let place = [voxel / (size[1] * size[2]), voxel / size[2] % size[1], voxel % size[2]];
        let [x, y, z] = [0, 1, 2].map(|axis| (place[axis] as i64 - centre[axis]).pow(2));
        if x * b * c + y * a * c + z * a * b <= a * b * c {
            *value = label as u8;
        }
    }
}

fn label_pair(case: u64) -> Pair {
    let mut g = Generator(case + 1);
    let [x, y, z] = g.each([9, 13, 11]);
    let size = [16 + x, 18 + y, 10 + z];
    let voxels = size.iter().product();
    let (mut prediction, mut reference) = (vec![0; voxels], vec![0; voxels]);
    for _ in 0..2 + g.draw(4) {
        let label = 1 + g.draw(2);
        let centre = g.each(size).map(|at| at as i64);
        let radii = g.each(size.map(|extent| extent / 4)).map(|radius| 2 + radius as i64);
        paint(&mut reference, size, label, centre, radii);
        let shifted = centre.map(|at| at + g.draw(5) as i64 - 2);
        let grown = radii.map(|radius| radius + g.draw(3) as i64 - 1);
        if g.draw(8) > 0 {
            paint(&mut prediction, size, label, shifted, grown);
        }
    }
    if g.draw(2) == 0 {
        let label = 1 + g.draw(2);
        let centre = g.each(size).map(|at| at as i64);
        paint(&mut prediction, size, label, centre, [1; 3]);
    }
    Pair { size, prediction, reference }
}

#[track_caller]
fn close(got: Option<f64>, want: &Value, what: &str) {
    match (got, want.as_f64()) {
        (Some(got), Some(want)) => assert!((got - want).abs() < 1e-6, "{what}: {got} for {want}"),
        (got, want) => assert_eq!(got, want, "{what}"),
    }
}

#[track_caller]
fn all_close(got: &[f64], want: &Value, what: &str) {
    let want = want.as_array().unwrap();
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        close(Some(*got), want, what);
    }
}

#[test]
fn segmentation_agrees_with_medpy_and_monai() {
    let cases = recorded("segmentation");
    assert_eq!(cases.len(), 20);
    let mut with_distances = 0;
    for (case, record) in cases.iter().enumerate() {
        let pair = label_pair(case as u64);
        let spacing: [f64; 3] = serde_json::from_value(record["spacing"].clone()).unwrap();
        let grid = Grid::new(pair.size, spacing).unwrap();
        for label in [1u8, 2] {
            let want = &record["classes"][label.to_string()];
            let scores = [0.0, 1.0, 2.0].map(|tolerance| {
                let Pair { prediction, reference, .. } = &pair;
                SegmentationScores::of_label(prediction, reference, label, &grid, tolerance).unwrap()
            });
            let got = serde_json::to_value(&scores[0]).unwrap();
            for (name, want) in want.as_object().unwrap().iter().filter(|(name, _)| *name != "surface_dice") {
                let undefined_there = want.is_null() && (name == "dice" || name == "iou");
                let want = if undefined_there { &Value::from(1.0) } else { want };
                close(got[name].as_f64(), want, &format!("{name} of label {label}, case {case}"));
            }
            if let Some(want) = want["surface_dice"].as_array() {
                with_distances += 1;
                for (scores, want) in scores.iter().zip(want) {
                    close(Some(scores.surface_dice), want, &format!("surface Dice, case {case}"));
                }
            } else {
                assert_eq!(scores[0].hausdorff_mm, None);
            }
        }
    }
    assert!(with_distances >= 25, "only {with_distances} of 40 have both surfaces");
}

#[test]
fn the_two_class_mean_agrees_with_scikit_learn() {
    for (case, record) in recorded("segmentation").iter().enumerate() {
        let pair = label_pair(case as u64);
        let mut g = Generator(4000 + case as u64);
        let probabilities: Vec<f32> = pair
            .prediction
            .iter()
            .map(|&label| {
                let value = g.draw(1024) as f32 / 1024.0;
                if label > 0 { 1.0 - value / 2.0 } else { value }
            })
            .collect();
        let reference: Vec<bool> = pair.reference.iter().map(|&label| label > 0).collect();
        let got = iou_two_class_mean(&probabilities, &reference).unwrap();
        close(got, &record["iou_two_class_mean"], &format!("case {case}"));
    }
}

/// The script's scores `[cases, classes]` and labels.
fn ranked(record: &Value, classes: usize) -> (Vec<f64>, Vec<usize>) {
    let number = |name: &str| record[name].as_u64().unwrap() as usize;
    let mut g = Generator(1000 + number("seed") as u64);
    let levels = number("levels");
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..number("cases") {
        let label = g.draw(classes);
        labels.push(label);
        for class in 0..classes {
            let level = g.draw(levels) + if class == label { g.draw(levels) } else { 0 };
            scores.push(level as f64 / (2 * levels) as f64);
        }
    }
    (scores, labels)
}

#[test]
fn ranking_agrees_with_scikit_learn() {
    for record in recorded("ranking") {
        let (scores, labels) = ranked(&record, 2);
        let scores: Vec<f64> = scores.into_iter().skip(1).step_by(2).collect();
        let labels: Vec<bool> = labels.into_iter().map(|label| label == 1).collect();
        let options = ClassificationOptions { specificities: vec![0.8, 0.9, 0.95], ..Default::default() };
        let got = BinaryScores::new(&scores, &labels, &options).unwrap();
        let json = serde_json::to_value(&got).unwrap();
        for name in ["auc", "average_precision", "accuracy", "sensitivity", "specificity", "precision", "f1"]
        {
            close(json[name].as_f64(), &record[name], name);
        }
        assert_eq!(json["confusion"]["counts"], record["confusion"]);
        for point in &got.scores.sensitivity_at_specificity {
            let want = &record["sensitivity_at_specificity"][point.wanted_specificity.to_string()];
            close(Some(point.sensitivity), want, "sensitivity at a specificity");
        }
        let ranking = Ranking::new(&scores, &labels).unwrap();
        let roc = ranking.roc();
        let column = |value: fn(&super::ranking::RocPoint) -> f64| roc.iter().map(value).collect::<Vec<_>>();
        all_close(&column(|p| p.false_positive_rate), &record["roc"][0], "false positive rates");
        all_close(&column(|p| p.true_positive_rate), &record["roc"][1], "true positive rates");
        let thresholds: Vec<f64> = roc.iter().filter_map(|point| point.threshold).collect();
        all_close(&thresholds, &record["roc"][2], "ROC thresholds");
        let curve = ranking.precision_recall();
        let precisions: Vec<f64> = curve.iter().map(|point| point.precision).collect();
        let recalls: Vec<f64> = curve.iter().map(|point| point.recall).collect();
        let thresholds: Vec<f64> = curve.iter().filter_map(|point| point.threshold).collect();
        all_close(&precisions, &record["precision_recall"][0], "precisions");
        all_close(&recalls, &record["precision_recall"][1], "recalls");
        all_close(&thresholds, &record["precision_recall"][2], "precision-recall thresholds");
    }
}

#[test]
fn several_classes_agree_with_scikit_learn() {
    for record in recorded("multi_class") {
        let classes = record["classes"].as_u64().unwrap() as usize;
        let (scores, labels) = ranked(&record, classes);
        let got =
            MultiClassScores::new(&scores, &labels, classes, &ClassificationOptions::default()).unwrap();
        close(got.accuracy, &record["accuracy"], "accuracy");
        for (class, scores) in got.classes.iter().enumerate() {
            close(scores.auc, &record["auc"][class], "AUC");
            close(scores.sensitivity, &record["sensitivity"][class], "sensitivity");
            close(scores.precision, &record["precision"][class], "precision");
            close(scores.f1, &record["f1"][class], "F1");
        }
        assert_eq!(serde_json::to_value(&got.confusion.counts).unwrap(), record["confusion"]);
    }
}

#[test]
fn froc_agrees_with_the_challenges_script() {
    for record in recorded("froc") {
        let number = |name: &str| record[name].as_u64().unwrap() as usize;
        let findings = number("findings");
        let mut g = Generator(2000 + number("seed") as u64);
        let marks: Vec<Mark> = (0..number("candidates"))
            .map(|_| {
                let finding = Some(g.draw(findings * 4)).filter(|&finding| finding < findings);
                let score = g.draw(500) as f64 / 500.0;
                Mark { score: if finding.is_some() { (score + 1.0) / 2.0 } else { score }, finding }
            })
            .collect();
        let scores = Froc::new(&marks, findings, number("scans")).unwrap().scores();
        all_close(&scores.sensitivities, &record["sensitivities"], "FROC");
    }
}

#[test]
fn welch_agrees_with_scipy() {
    for record in recorded("welch") {
        let number = |name: &str| record[name].as_u64().unwrap() as usize;
        let mut g = Generator(3000 + number("seed") as u64);
        let shift = record["shift"].as_f64().unwrap();
        let a: Vec<f64> = (0..number("n")).map(|_| g.draw(1000) as f64 / 1000.0 + shift).collect();
        let b: Vec<f64> = (0..number("m")).map(|_| g.draw(500) as f64 / 1000.0).collect();
        let got = welch_t_test(&a, &b).unwrap();
        close(Some(got.t), &record["t"], "t");
        close(Some(got.degrees_of_freedom), &record["degrees_of_freedom"], "degrees of freedom");
        // Relative too: a tiny p-value within 1e-6 would prove nothing.
        let want = record["p_value"].as_f64().unwrap();
        assert!((got.p_value / want - 1.0).abs() < 1e-9, "{} for {want}", got.p_value);
    }
}

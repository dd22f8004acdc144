//! Small tables whose figures are worked out by hand, there and back through the written files.

use super::froc::froc;
use super::*;
use crate::candidates::TableSource;
use crate::evaluation::classification::ClassificationOptions;
use genesis_kernels::Context;
use std::fs;
use std::path::{Path, PathBuf};

fn request(predictions: &Path) -> ClassificationEvaluation {
    let mut options = ClassificationOptions { specificities: vec![0.9, 0.5], ..Default::default() };
    options.bootstrap.resamples = 50;
    ClassificationEvaluation {
        source: ProbabilitySource::Predictions(predictions.into()),
        data: None,
        splits: Vec::new(),
        aggregate: None,
        froc: None,
        options,
        quiet: true,
    }
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, request: &ClassificationEvaluation) -> ClassificationReport {
        evaluate_classification(&Context::new(1), request, &self.folder.path().join("out")).unwrap()
    }

    fn refuse(&self, request: &ClassificationEvaluation) -> String {
        let result = evaluate_classification(&Context::new(1), request, &self.folder.path().join("out"));
        let line = result.unwrap_err().to_string();
        assert!(!line.contains('\n'), "{line}");
        line
    }
}

/// scikit-learn's ROC example with a fifth case: AUC 5/6.
const FIVE: &str =
    "path,label,probability\na.nii,0,0.1\nb.nii,0,0.4\nc.nii,1,0.35\nd.nii,1,0.8\ne.nii,1,0.9\n";

#[test]
fn a_binary_table_has_the_figures_worked_out_by_hand() {
    let bench = Bench::new();
    let report = bench.run(&request(&bench.file("p.csv", FIVE)));
    let ClassificationScores::Binary(binary) = &report.scores else { panic!("two classes") };
    let close = |found: Option<f64>, wanted: f64| {
        assert!(found.is_some_and(|found| (found - wanted).abs() < 1e-12), "{found:?} for {wanted}");
    };
    // Pairs in order: c over a, d and e over both: 5 of 6.
    close(binary.scores.auc, 5.0 / 6.0);
    // Precisions at the three positives: 1, 1, 3/4.
    close(binary.scores.average_precision, 2.75 / 3.0);
    close(binary.scores.accuracy, 0.8);
    close(binary.scores.sensitivity, 2.0 / 3.0);
    close(binary.scores.specificity, 1.0);
    close(binary.scores.f1, 0.8);
    close(report.brier, (0.01 + 0.16 + 0.65f64.powi(2) + 0.04 + 0.01) / 5.0);
    assert_eq!(binary.confusion.counts, [[2, 0], [1, 2]]);
    let points = &binary.scores.sensitivity_at_specificity;
    assert_eq!((points[0].sensitivity, points[1].sensitivity), (2.0 / 3.0, 1.0));
    let interval = binary.scores.auc_interval.unwrap();
    assert!(interval.low <= 5.0 / 6.0 && interval.high >= 5.0 / 6.0);
    assert_eq!((report.cases, report.cases_of_class["1"]), (5, 3));
    let out = bench.folder.path().join("out");
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(json["auc"].as_f64(), Some(5.0 / 6.0));
    assert_eq!((json["task"].as_str(), json["cases_of_class"]["0"].as_u64()), (Some("classify"), Some(2)));
    for name in ["roc.png", "precision-recall.png", "confusion.png"] {
        assert!(fs::read(out.join(name)).unwrap().starts_with(b"\x89PNG"), "{name}");
    }
    assert!(!out.join("froc.png").exists());
}

#[test]
fn the_written_cases_are_a_table_of_predictions() {
    let bench = Bench::new();
    let text = "path,x,y,z,label,group,scan,probability_No,probability_\"May, be\",probability_Yes\n\
                \"a,1.nii\",1,2,3.5,Yes,g1,s,0.2,0.2,0.6\nb.nii,,,,No,,,0.5,0.3,0.2\n\
                c.nii,-1e-3,0,0,\"May, be\",g2,s,0.1,0.1,0.8\n"
        .replace("probability_\"May, be\"", "\"probability_May, be\"");
    let first = bench.run(&request(&bench.file("p.csv", &text)));
    assert_eq!(first.classes, ["No", "May, be", "Yes"]);
    let ClassificationScores::Multi { scores, macro_scores } = &first.scores else { panic!("three classes") };
    assert_eq!(scores.confusion.counts, [[1, 0, 0], [0, 0, 1], [0, 0, 1]]);
    // One against the rest: No 1, maybe 0 (0.1 is below 0.2 and 0.3), Yes 1/2 (0.6 over 0.2, under 0.8).
    assert_eq!(
        scores.classes.iter().map(|class| class.auc).collect::<Vec<_>>(),
        [Some(1.0), Some(0.0), Some(0.5)]
    );
    // F1 1, 0 and 2/3.
    assert!((macro_scores.f1.unwrap() - 5.0 / 9.0).abs() < 1e-12 && macro_scores.auc == Some(0.5));
    assert_eq!(macro_scores.sensitivity, Some(2.0 / 3.0));
    // (0.24 + 0.38 + 1.46) / 3
    assert!((first.brier.unwrap() - 2.08 / 3.0).abs() < 1e-12);
    let cases = bench.folder.path().join("out/cases.csv");
    let written = fs::read(&cases).unwrap();
    let copy = bench.file("copy.csv", std::str::from_utf8(&written).unwrap());
    let second = bench.run(&request(&copy));
    assert_eq!((&first.scores, first.brier), (&second.scores, second.brier));
    assert_eq!(fs::read(&cases).unwrap(), written);
    let text = std::str::from_utf8(&written).unwrap();
    let header =
        "name,path,label,group,scan,x,y,z,probability_No,\"probability_May, be\",probability_Yes,predicted";
    assert_eq!(text.lines().next(), Some(header));
    assert_eq!(text.lines().nth(1), Some("\"a,1.nii\",\"a,1.nii\",Yes,g1,s,1,2,3.5,0.2,0.2,0.6,Yes"));
}

#[test]
fn crops_of_one_candidate_become_one_score() {
    let bench = Bench::new();
    let text = "path,label,group,probability\na1.nii,1,a,0.2\nb1.nii,0,b,0.5\na2.nii,1,a,0.9\n\
                b2.nii,0,b,0.6\nc1.nii,0,c,0.05\n";
    let file = bench.file("p.csv", text);
    let every = bench.run(&request(&file));
    let ClassificationScores::Binary(binary) = &every.scores else { panic!("two classes") };
    // 0.9 is over all three negatives, 0.2 over one.
    assert_eq!(binary.scores.auc, Some(4.0 / 6.0));
    for (aggregate, a, b) in [(Aggregate::Mean, 0.55, 0.55), (Aggregate::Max, 0.9, 0.6)] {
        let report = bench.run(&ClassificationEvaluation { aggregate: Some(aggregate), ..request(&file) });
        assert_eq!((report.rows, report.cases, report.cases_of_class["0"]), (5, 3, 2));
        let written = predictions::read(&bench.folder.path().join("out/cases.csv")).unwrap().0;
        let found = written.of_class(1);
        assert!(
            (found[0] - a).abs() < 1e-12 && (found[1] - b).abs() < 1e-12 && found[2] == 0.05,
            "{found:?}"
        );
        let names: Vec<&str> = written.table.rows.iter().filter_map(|row| row.group.as_deref()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
    let mean = ClassificationEvaluation { aggregate: Some(Aggregate::Mean), ..request(&file) };
    bench.file("p.csv", &text.replace("b2.nii,0", "b2.nii,1"));
    assert!(bench.refuse(&mean).contains("line 5: group b has another label than in line 3"));
    bench.file("p.csv", &text.replace("0,c,", "0,,"));
    assert!(bench.refuse(&mean).contains("line 6: has no group"));
}

#[test]
fn froc_counts_each_nodule_once() {
    let bench = Bench::new();
    // Two scans; nodule n1 has two candidates, the unnamed positive is a nodule of its own.
    let text = "path,group,annotation,label,probability\n\
                a.nii,s1,n1,1,0.9\na.nii,s1,n1,1,0.3\na.nii,s1,,0,0.8\nb.nii,s2,,1,0.6\nb.nii,s2,,0,0.1\n\
                b.nii,s2,n1,1,0.05\n";
    let file = bench.file("p.csv", text);
    let scored = predictions::read(&file).unwrap().0;
    let (curve, report) = froc(&scored, &FrocSettings::default()).unwrap();
    assert_eq!((report.scans, report.findings, report.findings_with_a_candidate), (2, 3, 3));
    let steps: Vec<(f64, f64)> =
        curve.points.iter().map(|point| (point.false_positives_per_scan, point.sensitivity)).collect();
    let third = 1.0 / 3.0;
    let wanted = [
        (0.0, 0.0),
        (0.0, third),
        (0.5, third),
        (0.5, 2.0 * third),
        (0.5, 2.0 * third),
        (1.0, 2.0 * third),
        (1.0, 1.0),
    ];
    assert_eq!(steps, wanted);
    // 1/8 and 1/4: 1/3; 1/2: 2/3; from 1 on: 1.
    assert!((report.scores.cpm - (2.0 * third + 2.0 * third + 4.0) / 7.0).abs() < 1e-12);
    let more = FrocSettings { findings: Some(6), scans: Some(4), ..FrocSettings::default() };
    let (_, report) = froc(&scored, &more).unwrap();
    assert_eq!((report.scans, report.findings, report.scores.sensitivities[6]), (4, 6, 0.5));
    let fewer = FrocSettings { findings: Some(2), ..FrocSettings::default() };
    assert!(froc(&scored, &fewer).unwrap_err().to_string().contains("--findings 2"));
    let run = ClassificationEvaluation { froc: Some(more.clone()), ..request(&file) };
    assert_eq!(bench.run(&run).froc.unwrap(), report);
    assert!(bench.folder.path().join("out/froc.png").is_file());
    bench.file("p.csv", &text.replace("b.nii,s2,,0", "b.nii,,,0"));
    assert!(bench.refuse(&run).contains("line 6: has no scan"));
}

#[test]
fn annotations_decide_by_place_as_luna16_s_script() {
    let bench = Bench::new();
    let predictions = "seriesuid,coordX,coordY,coordZ,class,probability\n\
                       s1,0,0,1.9,0,0.9\ns1,0,0,2.1,1,0.8\ns2,10,0,0,0,0.7\ns2,50,0,0,0,0.6\ns2,54,0,0,0,0.5\n";
    let file = bench.file("p.csv", predictions);
    let columns = "seriesuid,coordX,coordY,coordZ,diameter_mm\n";
    // The first lies within 2 mm of a nodule of 4 mm, the second does not; of three nodules of these scans
    // one has no candidate; the fourth is of another scan. A finding of 10 mm is excused at x = 50.
    let annotations = format!("{columns}s1,0,0,0,4\ns2,10,0,0,3\ns2,90,0,0,3\ns9,0,0,0,5\n");
    let annotations = bench.file("annotations.csv", &annotations);
    let excluded = bench.file("excluded.csv", &format!("{columns}s2,52,0,0,-1\n"));
    let settings = FrocSettings { annotations: Some(annotations.clone()), ..FrocSettings::default() };
    let scored = predictions::read(&file).unwrap().0;
    let (curve, report) = froc(&scored, &settings).unwrap();
    assert_eq!((report.scans, report.findings, report.findings_with_a_candidate), (2, 3, 2));
    assert_eq!(curve.points.last().unwrap().false_positives_per_scan, 1.5);
    assert!((curve.sensitivity_at(0.25) - 1.0 / 3.0).abs() < 1e-12);
    assert!((curve.sensitivity_at(0.5) - 2.0 / 3.0).abs() < 1e-12);
    let with = FrocSettings { excluded: Some(excluded), ..settings.clone() };
    let (curve, _) = froc(&scored, &with).unwrap();
    assert_eq!(curve.points.last().unwrap().false_positives_per_scan, 0.5);
    let run = ClassificationEvaluation { froc: Some(settings), ..request(&file) };
    assert!(bench.run(&run).froc.is_some());
    bench.file("annotations.csv", "seriesuid,coordX,coordY,coordZ,diameter_mm\ns1,0,0,0,wide\n");
    assert!(bench.refuse(&run).contains("annotations.csv: line 2: diameter_mm is \"wide\""));
    bench.file("annotations.csv", "seriesuid,coordX\n");
    assert!(bench.refuse(&run).contains("no column \"coordY\""));
}

#[test]
fn labels_of_a_table_meet_predictions_by_volume_and_place() {
    let bench = Bench::new();
    // As a LUNA16 submission, in another order than the candidates, with one that is not asked for.
    let data = bench.file(
        "candidates.csv",
        "seriesuid,coordX,coordY,coordZ,class,split\nu.1,1.5,2,3,0,test\nu.1,-4.0001,5,6,1,test\nu.2,1,2,3,0,train\n",
    );
    let predictions = bench.file(
        "p.csv",
        "seriesuid,coordX,coordY,coordZ,probability\nu.9,0,0,0,0.5\nu.1,-4.0,5,6,0.75\nu.1,1.50,2,3,0.25\n",
    );
    let run = ClassificationEvaluation { data: Some(TableSource::new(&data)), ..request(&predictions) };
    let report = bench.run(&run);
    assert_eq!((report.cases, report.splits.as_slice()), (2, &["test".to_string()][..]));
    assert_eq!(report.classes, ["non-nodule", "nodule"]);
    assert!((report.brier.unwrap() - 0.0625).abs() < 1e-12);
    let all = ClassificationEvaluation { splits: vec!["test".into(), "train".into()], ..run.clone() };
    let line = bench.refuse(&all);
    assert!(line.contains("p.csv: has no probability for 1 of 3") && line.contains("line 4"), "{line}");
    let none = ClassificationEvaluation { splits: vec!["fold".into()], ..run };
    assert!(bench.refuse(&none).contains("no split \"fold\""));
    // Without labels from anywhere.
    assert!(bench.refuse(&request(&predictions)).contains("line 2: has no label"));
}

#[test]
fn bad_predictions_are_one_line() {
    let bench = Bench::new();
    for (text, part) in [
        ("path,label\na.nii,1\n", "has no column \"probability\""),
        ("path,label,probability\na.nii,1,1.5\n", "line 2: 1.5 is no probability"),
        ("path,label,probability\na.nii,1,nan\n", "line 2: probability is \"nan\""),
        ("path,label,probability\na.nii,1,\n", "line 2: probability is \"\""),
        ("path,label,probability\na.nii,a,1\na.nii,b,1\na.nii,c,1\n", "for the 3 classes a, b, c"),
        ("path,label,probability_a,probability_b\na.nii,c,0.5,0.5\n", "line 2: label \"c\" is none of"),
        ("path,label,probability_a\na.nii,a,0.5\n", "single class"),
        ("label,probability\n1,0.5\n", "has no column \"path\""),
    ] {
        let line = bench.refuse(&request(&bench.file("p.csv", text)));
        assert!(line.contains(part) && line.contains("p.csv"), "\"{part}\" is not in: {line}");
    }
    let file = bench.file("p.csv", FIVE);
    let mut wrong = request(&file);
    wrong.options.threshold = 1.5;
    assert!(bench.refuse(&wrong).contains("--threshold"));
    let mut wrong = request(&file);
    wrong.options.specificities = vec![f64::NAN];
    assert!(bench.refuse(&wrong).contains("--specificity"));
}

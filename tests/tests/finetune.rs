//! `genesis finetune segment` end to end on phantoms: a run, its resumption, and what is refused.

use genesis_tests::{fail, succeed};

#[test]
fn phantoms_are_segmented_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (data, out) = (path("data"), path("run"));
    succeed(&["phantom", "--out", &data, "--count", "3", "--size", "48x48x40", "--quiet"]);
    let base = [
        "finetune",
        "segment",
        "--data",
        &data,
        "--out",
        &out,
        "--labels",
        "lung",
        "--width",
        "2",
        "--patch",
        "32x32x16",
        "--schedule",
        "constant",
        "--quiet",
        "--json",
        "--steps",
    ];
    let with =
        |more: &[&str]| base.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>().join("\t");
    let run = |line: String| succeed(&line.split('\t').collect::<Vec<_>>());
    let summary: serde_json::Value = serde_json::from_str(&run(with(&["2"]))).unwrap();
    assert_eq!((summary["steps"].as_u64(), summary["valid_cases"].as_u64()), (Some(2), Some(1)));
    assert!(summary["last_valid_dice_classes"]["lung"].is_number(), "{summary}");
    let refused = |code: i32, line: String| fail(code, &line.split('\t').collect::<Vec<_>>());
    assert!(refused(1, with(&["4"])).contains("--resume"));
    let summary: serde_json::Value = serde_json::from_str(&run(with(&["4", "--resume"]))).unwrap();
    assert_eq!(summary["steps"].as_u64(), Some(4));
    let inspected = succeed(&["inspect", &path("run/checkpoints/last.safetensors")]);
    assert!(inspected.contains("genesis.task"), "{inspected}");
}

#[test]
fn wrong_usage_is_one_line_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").to_str().unwrap().to_string();
    let data = folder.path().to_str().unwrap().to_string();
    let base = ["finetune", "segment", "--out", &out];
    let with = |more: &[&str]| base.iter().copied().chain(more.iter().copied()).map(str::to_string).collect();
    let refused =
        |code: i32, line: Vec<String>| fail(code, &line.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(refused(2, with(&[])).contains("--data"));
    assert!(refused(2, with(&["--data", &data, "--patch", "30x32x16"])).contains("30x32x16"));
    assert!(refused(2, with(&["--data", &data, "--augment", "heavy"])).contains("heavy"));
    assert!(refused(1, with(&["--data", &data])).contains("holds no data set"));
}

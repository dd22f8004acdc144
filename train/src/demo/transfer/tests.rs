//! The comparison and the whole demo in miniature.

use super::*;
use crate::demo::Demo;
use crate::phantom::{PhantomConfig, generate, write_dataset, write_volume};
use crate::trace::TraceRequest;
use crate::training::RunConfig;
use crate::volume::read_volume;
use std::path::PathBuf;

fn settings() -> TransferSettings {
    TransferSettings {
        phantom_size: [80, 80, 64],
        nodules: 3,
        labelled: vec![1, 2],
        validation: 1,
        test: 2,
        crop: [16, 16, 16],
        batch_size: 2,
        steps: 4,
        seeds: 2,
    }
}

/// Weights as pre-training leaves them, of a network drawn at random.
fn weights(folder: &Path) -> PathBuf {
    use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig, checkpoint::write_safetensors};
    let mut network = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
    network.initialise(Initialiser::Pytorch, 5).unwrap();
    let path = folder.join("weights.safetensors");
    write_safetensors(&path, &network.state(Statistics::Running).unwrap()).unwrap();
    path
}

fn compare(folder: &Path, name: &str, seed: u64, threads: usize) -> Comparison {
    let transfer = Transfer {
        settings: &settings(),
        out: &folder.join(name),
        weights: &weights(folder),
        width: 2,
        seed,
        threads,
        hardware: Hardware::cpu(),
        precision: Precision::F32,
        quiet: true,
    };
    transfer.run().unwrap()
}

fn dice(comparison: &Comparison) -> Vec<f64> {
    comparison.outcome.runs.iter().flat_map(|run| [run.dice, run.iou, run.best_valid_dice]).collect()
}

#[test]
fn the_comparison_is_complete_and_depends_on_the_seed_alone() {
    let folder = tempfile::tempdir().unwrap();
    let first = compare(folder.path(), "a", 1, 2);
    let outcome = &first.outcome;
    // Two seeds, two numbers of phantoms, two starts.
    assert_eq!(outcome.runs.len(), 8);
    for (index, run) in outcome.runs.iter().enumerate() {
        assert_eq!(run.start, Start::ALL[index % 2]);
        assert_eq!((run.seed, run.labelled, run.steps), (1 + index as u64 / 4, 1 + index / 2 % 2, 4));
        // Dice d and IoU i of one case obey i = d / (2 - d), and so i <= d in the mean.
        assert!((0.0..=1.0).contains(&run.dice) && (0.0..=run.dice).contains(&run.iou), "{run:?}");
    }
    assert_eq!(outcome.shares.iter().map(|share| share.share).collect::<Vec<_>>(), [0.5, 1.0]);
    for share in &outcome.shares {
        for start in [&share.scratch, &share.pretrained] {
            assert_eq!((start.dice.values.len(), start.iou.values.len()), (2, 2));
            assert!(start.dice.standard_deviation.is_some_and(f64::is_finite));
        }
    }
    // All phantoms are the crops of both seeds; one of them is fewer.
    let crops: Vec<usize> = outcome.runs.iter().map(|run| run.train_crops).collect();
    assert!(crops[0] < crops[2] && crops[2] == crops[6] && crops[2] == outcome.train_crops, "{crops:?}");
    assert!(first.cases.iter().all(|case| !case.centres[0].is_empty() && case.size == [16, 16, 16]));
    assert_eq!(first.cases.len(), outcome.test_crops);
    // The starts differ, and so do the seeds.
    let values = dice(&first);
    assert!(outcome.runs.iter().any(|run| run.dice != outcome.runs[0].dice));
    assert_eq!(values, dice(&compare(folder.path(), "b", 1, 1)));
    assert_ne!(values, dice(&compare(folder.path(), "c", 2, 2)));
}

#[test]
fn the_crops_make_a_data_set_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    compare(folder.path(), "a", 1, 2);
    let crops = folder.path().join("a/crops");
    let dataset = crate::finetune::Dataset::open(&crops).unwrap();
    assert_eq!(dataset.labels.as_ref().unwrap()[1].name, "nodule");
    let of = |key: &str| crate::finetune::Split::read(&crops.join("splits.json"), Some(key)).unwrap();
    let (few, all) = (of("seed-1.phantoms-1"), of("seed-1.phantoms-2"));
    assert!(few.train.iter().all(|name| all.train.contains(name)));
    assert_eq!((&few.valid, &few.test), (&all.valid, &all.test));
    assert_eq!(all.train.len() + all.valid.len() + all.test.len(), dataset.cases.len());
    for case in &dataset.cases {
        let (image, label) = (read_volume(&case.images[0]).unwrap(), read_volume(&case.label).unwrap());
        assert_eq!((image.size, image.affine), (label.size, label.affine));
        let inside: Vec<f32> =
            image.voxels.iter().zip(&label.voxels).filter(|(_, l)| **l == 1.0).map(|(v, _)| *v).collect();
        // A nodule is denser than the lung.
        let mean = inside.iter().sum::<f32>() / inside.len() as f32;
        assert!(mean > -750.0, "{}: {mean} HU", case.name);
    }
    // Runs keep what reruns them, not their weights.
    let run = folder.path().join("a/runs/seed-2-phantoms-1-pretrained");
    assert!(run.join("config.toml").is_file() && run.join("metrics.jsonl").is_file());
    assert!(!run.join("checkpoints").exists());
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let wrong: [fn(&mut TransferSettings); 6] = [
        |s| s.seeds = 0,
        |s| s.labelled = vec![2, 1],
        |s| s.labelled = vec![0],
        |s| s.test = 0,
        |s| s.crop = [12, 16, 16],
        |s| s.crop = [88, 16, 16],
    ];
    for change in wrong {
        let mut settings = settings();
        change(&mut settings);
        let line = settings.check().unwrap_err().to_string();
        assert!(line.starts_with("the demo's fine-tuning: ") && !line.contains('\n'), "{line}");
    }
    assert!(TransferSettings::default().check().is_ok());
}

#[test]
fn a_miniature_demo_writes_the_section_and_the_same_numbers_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let scans = folder.path().join("scans");
    let phantoms = (0..3).map(|index| generate(&PhantomConfig::new([96, 96, 72], 1, index), 2));
    write_dataset(&scans, phantoms, &mut write_volume).unwrap();
    let demo = Demo {
        out: folder.path().join("demo"),
        volumes: Some(scans.join("imagesTr")),
        border: [4, 4, 2],
        steps: 2,
        width: 2,
        seed: 1,
        threads: 2,
        hardware: Hardware::cpu(),
        precision: Precision::F32,
        transfer: Some(settings()),
        trace: TraceRequest::new(None, 1),
        quiet: true,
    };
    let outcome = demo.run().unwrap();
    let transfer = outcome.transfer.as_ref().unwrap();
    let html = std::fs::read_to_string(&outcome.report).unwrap();
    assert!(html.contains("Transfer: nodules with few labels"));
    for share in &transfer.shares {
        for text in [share.scratch.dice.text(), share.pretrained.iou.text(), share.verdict()] {
            assert!(html.contains(&text.replace('<', "&lt;")), "{text}");
        }
    }
    // Dice, training loss, validation Dice, and pre-training's loss.
    assert_eq!(html.matches("<div class=\"chart\">").count(), 4);
    let charts: Vec<&str> =
        html.split("<svg").skip(1).filter_map(|rest| rest.split("</svg>").next()).collect();
    assert!(charts.len() == 4 && charts.iter().all(|svg| !svg.contains("NaN") && !svg.contains("inf")));
    let summary = std::fs::read_to_string(demo.out.join("summary.json")).unwrap();
    assert_eq!(summary.trim_end(), serde_json::to_string_pretty(&outcome).unwrap());
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["transfer"]["runs"].as_array().unwrap().len(), 8);
    let mean = summary["transfer"]["shares"][1]["pretrained"]["dice"]["mean"].as_f64().unwrap();
    assert!((mean - transfer.shares[1].pretrained.dice.mean).abs() < 1e-12);
    // The weights compared are those of the pre-training.
    let run = demo.out.join("transfer/runs/seed-1-phantoms-2-pretrained/config.toml");
    let config = crate::finetune::SegmentationConfig::from_file(&run).unwrap();
    let weights = std::fs::canonicalize(demo.out.join("run/checkpoints/best.safetensors")).unwrap();
    assert_eq!(config.weights, Some(weights));
    assert_eq!(RunConfig::from_file(&demo.out.join("run/config.toml"), None).unwrap().steps, 2);
    let line = demo.run().unwrap_err().to_string();
    assert!(line.contains("is not empty"), "{line}");
}

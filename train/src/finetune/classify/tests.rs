//! Whole runs on a miniature task: bright and dim balls in noise.

use super::*;
use crate::finetune::{Freeze, TargetConfig, starting_network};
use crate::inference::{Classifier, ClassifySettings, Segmenter, classify_table};
use crate::preprocess::Intensity;
use crate::trace::TraceRequest;
use crate::training::Execution;
use crate::volume::{ElementType, Volume, affine, write_nifti};
use crate::{Error, Precision, Result};
use genesis_kernels::{Context, Hardware};
use genesis_model::checkpoint::{read_checkpoint, write_safetensors};
use genesis_model::{Classifier3d, Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tensor::random::{Purpose, Stream};
use std::fmt::Write;
use std::path::Path;

/// Writes `count` volumes, larger and smaller than a cube of 16³, and a table of them; class c has balls of
/// intensity 0.9, 0.5, 0.2.
fn dataset(folder: &Path, count: usize, classes: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let mut table = "path,label,group\n".to_string();
    for number in 0..count {
        let class = number % classes;
        let mut stream = Stream::new(3, 0, number as u64, Purpose::Other);
        let size = if number % 3 == 0 { [20, 18, 16] } else { [14, 16, 12] };
        let voxels = (0..size.iter().product()).map(|place: usize| {
            let at = [place / (size[1] * size[2]), place / size[2] % size[1], place % size[2]];
            let distance: f64 =
                (0..3).map(|a| (at[a] as f64 - size[a] as f64 / 2.0).powi(2)).sum::<f64>().sqrt();
            let mean = if distance < 4.5 { [0.9, 0.5, 0.2][class] } else { 0.1 };
            (mean + 0.05 * stream.normal()) as f32
        });
        let volume = Volume::new(voxels.collect(), size, affine::IDENTITY).unwrap();
        write_nifti(&folder.join(format!("v{number}.nii")), &volume, ElementType::Float32).unwrap();
        writeln!(table, "v{number}.nii,{},p{}", ["bright", "dim", "grey"][class], number / 2).unwrap();
    }
    std::fs::write(folder.join("table.csv"), table).unwrap();
}

fn config(folder: &Path) -> ClassificationConfig {
    let mut config = ClassificationConfig::default();
    config.data.file = folder.join("table.csv");
    config.preprocessing.intensity = Intensity::Window { low: 0.0, high: 1.0 };
    config.augmentation = crate::augment::AugmentationRecipe::light();
    config.width = 2;
    config.cube = [16, 16, 16];
    config.batch_size = 4;
    config.optimizer.learning_rate = 1e-2;
    config.threads = 2;
    config
}

fn execution(resume: bool) -> Execution {
    Execution::of_library(Hardware::cpu(), resume, true, TraceRequest::new(None, 1))
}

fn train(config: &ClassificationConfig, out: &Path) -> Result<ClassificationSummary> {
    finetune_classification(config, out, &execution(false))
}

fn says(error: &Error, parts: &[&str]) {
    let line = error.to_string();
    for part in parts {
        assert!(line.contains(part) && !line.contains('\n'), "\"{part}\" is missing in: {line}");
    }
}

#[test]
fn separable_classes_are_learned_and_told_from_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 30, 2);
    let run = folder.path().join("run");
    let mut config = config(&data);
    (config.epochs, config.validation.every_epochs) = (8, 2);
    config.class_weights = crate::finetune::ClassWeights::Balanced;
    let summary = train(&config, &run).unwrap();
    assert!(summary.best_valid_auc > Some(0.9), "{summary:?}");
    // Patients are two volumes of both classes: all of class "dim", the second of the two.
    assert_eq!((summary.train_cubes, summary.valid_cubes), (24, 6));
    for name in ["config.toml", "metrics.jsonl", "summary.json", "loss.png", "samples/epoch-0002.png"] {
        assert!(run.join(name).is_file(), "{name}");
    }
    assert_eq!(ClassificationConfig::from_file(&run.join("config.toml")).unwrap(), config);

    let best = run.join("checkpoints/best.safetensors");
    let mut classifier = Classifier::load(&best).unwrap();
    assert_eq!(classifier.task.classes, ["bright", "dim"]);
    assert_eq!((classifier.task.patch, classifier.task.network.classes), ([16, 16, 16], 1));
    let source = crate::candidates::TableSource::new(data.join("table.csv"));
    let table = crate::candidates::CandidateTable::read(&source, Some(&classifier.task.classes)).unwrap();
    let mut run = |batch_size, flips| {
        let settings = ClassifySettings { batch_size, flips, precision: Precision::F32 };
        let mut rows = 0;
        let found =
            classify_table(&Context::new(1), &mut classifier, &table, &settings, |done, _| rows = done);
        assert_eq!(rows, 30);
        found.unwrap()
    };
    let (one, many, flipped) = (run(1, false), run(7, false), run(4, true));
    assert!(area_under_curve(&one, &table.labels().unwrap()).unwrap() > Some(0.9));
    for ((one, many), flipped) in one.iter().zip(&many).zip(&flipped) {
        assert!((one[1] - many[1]).abs() < 1e-6 && (one[1] - flipped[1]).abs() < 0.5);
    }
    assert!(one != flipped);
    says(&Segmenter::load(&best).unwrap_err(), &["best.safetensors", "holds a classifier"]);
}

#[test]
fn three_classes_are_learned_by_a_softmax() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 36, 3);
    let mut config = config(&data);
    config.sampler = Sampler::Balanced;
    config.loss = ClassLoss::Focal;
    config.precision = Precision::Bf16;
    (config.epochs, config.validation.every_epochs) = (8, 4);
    let summary = train(&config, &folder.path().join("run")).unwrap();
    assert!(summary.best_valid_auc > Some(0.8), "{summary:?}");
    let classifier = Classifier::load(&folder.path().join("run/checkpoints/best.safetensors")).unwrap();
    assert_eq!((classifier.task.network.classes, classifier.task.classes.len()), (3, 3));
}

#[test]
fn a_resumed_run_ends_as_one_that_was_not_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 12, 2);
    let mut whole = config(&data);
    whole.augmentation = crate::augment::AugmentationRecipe::default();
    whole.schedule.name = "constant".into();
    whole.schedule.warm_up_steps = 3;
    whole.sampler = Sampler::Balanced;
    whole.data.held_out = 0.3;
    whole.steps = 7;
    let mut part = whole.clone();
    (part.steps, part.threads, part.loader_threads) = (4, 1, 3);
    // Cubes have to make room for one another.
    part.data.cache_mib = 0;
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    train(&whole, &a).unwrap();
    train(&part, &b).unwrap();
    part.steps = 7;
    finetune_classification(&part, &b, &execution(true)).unwrap();
    let last = "checkpoints/last.safetensors";
    let (first, second) = (read_checkpoint(a.join(last)).unwrap(), read_checkpoint(b.join(last)).unwrap());
    assert!(first.state.tensors == second.state.tensors, "weights differ");
    assert!(first.optimizer == second.optimizer, "the optimiser's state differs");
    let mut other = part.clone();
    other.sampler = Sampler::Shuffled;
    let error = finetune_classification(&other, &b, &execution(true)).unwrap_err();
    says(&error, &["last.safetensors", "sampler"]);
    other = part;
    other.data.held_out = 0.5;
    assert!(finetune_classification(&other, &b, &execution(true)).is_err());
}

#[test]
fn the_encoder_is_loaded_and_can_be_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 8, 2);
    let weights = folder.path().join("weights.safetensors");
    let mut trained = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
    trained.initialise(Initialiser::Pytorch, 9).unwrap();
    let state = trained.state(Statistics::Running).unwrap();
    write_safetensors(&weights, &state).unwrap();
    let mut config = config(&data);
    (config.width, config.steps, config.freeze) = (0, 3, Freeze::Encoder);
    config.weights = Some(weights.clone());
    let run = folder.path().join("run");
    train(&config, &run).unwrap();
    let last = run.join("checkpoints/last.safetensors");
    let after = read_checkpoint(&last).unwrap().state;
    let values =
        |state: &genesis_model::checkpoint::StateDict, name: &str| state.get(name).unwrap().to_f32().to_vec();
    for name in ["down_tr64.ops.0.conv1.weight", "down_tr512.ops.1.conv1.weight"] {
        assert!(values(&after, name) == values(&state, name), "{name}");
    }
    let mut drawn: Classifier3d = starting_network(&config.settings(), 1, 1, &[], false).unwrap();
    let start = drawn.state(Statistics::Running).unwrap();
    assert!(values(&start, "dense_1.weight") != values(&after, "dense_1.weight"));
    // A classifier goes into a classifier whole.
    config.weights = Some(last);
    drawn = starting_network(&config.settings(), 1, 1, &[], false).unwrap();
    let again = drawn.state(Statistics::Running).unwrap();
    assert!(values(&again, "dense_2.weight") == values(&after, "dense_2.weight"));
    config.width = 4;
    says(&train(&config, &folder.path().join("c")).unwrap_err(), &["last.safetensors", "width 2"]);
}

#[test]
fn bad_data_is_one_line_that_names_the_file_and_no_run_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 6, 2);
    let run = folder.path().join("run");
    let good = config(&data);
    let table = data.join("table.csv");
    let refused = |config: &ClassificationConfig, parts: &[&str]| {
        says(&train(config, &run).unwrap_err(), parts);
        assert!(!run.join("config.toml").exists());
    };
    let with = |text: &str, parts: &[&str]| {
        std::fs::write(&table, text).unwrap();
        refused(&good, parts);
    };
    with("path,label\nv0.nii,a\nv1.nii,a\n", &["table.csv", "1 class"]);
    with("path,label,split\nv0.nii,a,train\nv1.nii,b,valid\n", &["table.csv", "no training row", "b"]);
    with("path,label,split\nv0.nii,a,train\nv1.nii,b,test\n", &["table.csv", "valid", "test"]);
    with("path,label,split\nv0.nii,a,train\nv1.nii,b,train\nv2.nii,,val\n", &["table.csv", "line 4"]);
    with("path,label\nv0.nii,a\nv9.nii,b\n", &["table.csv", "v9.nii"]);
    with(
        "path,label,x,y,z\nv0.nii,a,0,0,500\nv1.nii,b,0,0,0\nv2.nii,a,0,0,0\nv3.nii,b,0,0,0\n",
        &["table.csv", "line 2", "outside"],
    );
    std::fs::write(data.join("v1.nii"), b"no volume").unwrap();
    with("path,label\nv0.nii,a\nv1.nii,b\nv2.nii,a\nv3.nii,b\n", &["v1.nii"]);
    let mut odd = good.clone();
    odd.cube = [16, 20, 16];
    refused(&odd, &["16x20x16", "8"]);
}

//! Whole runs on a miniature task: bright balls and dim cubes in noise.

use super::*;
use crate::finetune::{Freeze, TargetConfig, starting_network};
use crate::preprocess::Intensity;
use crate::task::{TASK_KEY, TaskDescription};
use crate::trace::TraceRequest;
use crate::training::Execution;
use crate::volume::{ElementType, Volume, write_nifti};
use crate::{Error, Result};
use genesis_kernels::Hardware;
use genesis_model::checkpoint::{StateDict, read_checkpoint, write_safetensors};
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tensor::random::{Purpose, Stream};
use std::path::Path;

const SIZE: [usize; 3] = [24, 20, 16];
/// Left, back, head: what training works in, so that nothing is turned around.
const LPS: [[f64; 4]; 4] =
    [[-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

/// Writes `count` cases; label 1 is a ball of intensity 0.9, label 2 a cube of 0.6.
fn dataset(folder: &Path, count: u64) {
    for name in ["images", "labels"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    for case in 0..count {
        let mut stream = Stream::new(7, 0, case, Purpose::Other);
        let centre: [f64; 3] = std::array::from_fn(|a| 6.0 + stream.uniform_f64() * (SIZE[a] as f64 - 12.0));
        let corner: [usize; 3] = std::array::from_fn(|a| stream.between(0, SIZE[a] - 6));
        let (mut image, mut label) = (Vec::new(), Vec::new());
        for place in 0..SIZE.iter().product::<usize>() {
            let at = [place / (SIZE[1] * SIZE[2]), place / SIZE[2] % SIZE[1], place % SIZE[2]];
            let distance: f64 = (0..3).map(|a| (at[a] as f64 - centre[a]).powi(2)).sum::<f64>().sqrt();
            let in_cube = (0..3).all(|a| (corner[a]..corner[a] + 5).contains(&at[a]));
            let class = if distance < 4.0 { 1 } else { 2 * u8::from(in_cube) };
            let mean = [0.2, 0.9, 0.6][usize::from(class)];
            image.push(mean + 0.05 * stream.normal() as f32);
            label.push(f32::from(class));
        }
        let write = |kind: &str, voxels: Vec<f32>, element: ElementType| {
            let volume = Volume::new(voxels, SIZE, LPS).unwrap();
            write_nifti(&folder.join(format!("{kind}/case{case}.nii.gz")), &volume, element).unwrap();
        };
        write("images", image, ElementType::Float32);
        write("labels", label, ElementType::Uint8);
    }
}

fn config(folder: &Path) -> SegmentationConfig {
    let mut config = SegmentationConfig::default();
    config.data.folder = folder.to_path_buf();
    config.preprocessing.intensity = Intensity::Window { low: 0.0, high: 1.0 };
    config.augmentation = crate::augment::AugmentationRecipe::light();
    config.width = 4;
    config.patch.size = [16, 16, 16];
    config.optimizer.learning_rate = 1e-2;
    config.threads = 2;
    config
}

fn execution(resume: bool) -> Execution {
    Execution::of_library(Hardware::cpu(), resume, true, TraceRequest::new(None, 1))
}

fn train(config: &SegmentationConfig, out: &Path) -> Result<SegmentationSummary> {
    finetune_segmentation(config, out, &execution(false))
}

fn says(error: &Error, parts: &[&str]) {
    let line = error.to_string();
    for part in parts {
        assert!(line.contains(part) && !line.contains('\n'), "\"{part}\" is missing in: {line}");
    }
}

#[test]
fn a_small_network_learns_balls_and_cubes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 8);
    let run = folder.path().join("run");
    let mut config = config(&data);
    config.steps = 160;
    config.validation.every_epochs = 5;
    let summary = train(&config, &run).unwrap();
    assert!(summary.best_valid_dice > 0.7, "{summary:?}");
    assert_eq!((summary.run.steps, summary.train_cases, summary.valid_cases), (160, 6, 2));
    for name in ["config.toml", "metrics.jsonl", "summary.json", "loss.png", "samples/epoch-0005.png"] {
        assert!(run.join(name).is_file(), "{name}");
    }
    let best = read_checkpoint(run.join("checkpoints/best.safetensors")).unwrap();
    let task = TaskDescription::from_metadata(&best.state.metadata).unwrap().unwrap();
    assert_eq!(task.classes, ["background", "label 1", "label 2"]);
    assert_eq!((task.channels, task.patch, task.network.classes), (1, [16, 16, 16], 3));
    assert_eq!(task.preprocessing, config.preprocessing);
    assert_eq!((task.values, task.inputs), (vec![vec![0], vec![1], vec![2]], None));
    // What the run wrote reruns it.
    assert_eq!(SegmentationConfig::from_file(&run.join("config.toml")).unwrap(), config);
}

#[test]
fn one_class_is_learned_by_a_sigmoid_and_in_half_precision() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 5);
    let mut config = config(&data);
    config.data.labels = vec!["1=ball".into()];
    config.steps = 50;
    config.validation.every_epochs = 100;
    config.precision = crate::Precision::Bf16;
    let summary = train(&config, &folder.path().join("run")).unwrap();
    assert!(summary.last_valid_dice_classes["ball"] > Some(0.7), "{summary:?}");
    let best = read_checkpoint(folder.path().join("run/checkpoints/best.safetensors")).unwrap();
    let task = TaskDescription::from_metadata(&best.state.metadata).unwrap().unwrap();
    assert_eq!((task.network.classes, task.classes.len()), (1, 2));
}

#[test]
fn a_resumed_run_ends_as_one_that_was_not_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 5);
    let mut whole = config(&data);
    whole.width = 2;
    whole.augmentation = crate::augment::AugmentationRecipe::default();
    whole.schedule.name = "constant".into();
    whole.schedule.warm_up_steps = 4;
    whole.steps = 9;
    let mut part = whole.clone();
    part.steps = 5;
    part.threads = 1;
    part.loader_threads = 3;
    // Cases have to make room for one another.
    part.data.cache_mib = 0;
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    train(&whole, &a).unwrap();
    train(&part, &b).unwrap();
    part.steps = 9;
    finetune_segmentation(&part, &b, &execution(true)).unwrap();
    let last = "checkpoints/last.safetensors";
    // Validation at step 5 belongs to the first part alone; what follows from training must be equal.
    let (a, b) = (read_checkpoint(a.join(last)).unwrap(), read_checkpoint(b.join(last)).unwrap());
    assert!(a.state.tensors == b.state.tensors, "weights differ");
    assert!(a.optimizer == b.optimizer, "the optimiser's state differs");
    let mut other = part.clone();
    other.optimizer.learning_rate = 0.5;
    let error = finetune_segmentation(&other, &folder.path().join("b"), &execution(true)).unwrap_err();
    says(&error, &["last.safetensors", "learning_rate"]);
}

#[test]
fn weights_are_inflated_frozen_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    dataset(&one, 3);
    dataset(&two, 3);
    // A second channel: the first again.
    for case in 0..3 {
        let image = |name: String| two.join("images").join(name);
        std::fs::rename(image(format!("case{case}.nii.gz")), image(format!("case{case}_0000.nii.gz")))
            .unwrap();
        std::fs::copy(image(format!("case{case}_0000.nii.gz")), image(format!("case{case}_0001.nii.gz")))
            .unwrap();
    }
    let mut first = config(&one);
    (first.width, first.steps) = (2, 2);
    train(&first, &folder.path().join("a")).unwrap();
    let weights = folder.path().join("a/checkpoints/last.safetensors");
    let mut second = config(&two);
    second.weights = Some(weights.clone());
    second.freeze = Freeze::Encoder;
    (second.width, second.steps) = (0, 3);
    second.data.labels = vec!["2".into()];
    let run = folder.path().join("b");
    train(&second, &run).unwrap();
    let before = read_checkpoint(&weights).unwrap().state;
    let after = read_checkpoint(run.join("checkpoints/last.safetensors")).unwrap().state;
    let name = "down_tr64.ops.0.conv1.weight";
    let (before_first, after_first) = (before.get(name).unwrap().to_f32(), after.get(name).unwrap().to_f32());
    assert_eq!(after.get(name).unwrap().shape, [2, 2, 3, 3, 3]);
    for (filter, inflated) in before_first.chunks(27).zip(after_first.chunks(54)) {
        for (tap, weight) in filter.iter().enumerate() {
            assert_eq!([inflated[tap], inflated[27 + tap]], [weight / 2.0; 2]);
        }
    }
    let same = |name: &str| before.get(name).unwrap().to_f32() == after.get(name).unwrap().to_f32();
    assert!(same("down_tr512.ops.1.conv1.weight") && !same("up_tr64.ops.1.conv1.weight"));
    assert_eq!(after.get("out_tr.final_conv.weight").unwrap().shape[0], 1);
    second.width = 4;
    says(&train(&second, &folder.path().join("c")).unwrap_err(), &["last.safetensors", "width 2"]);
    second.weights = None;
    says(&train(&second, &folder.path().join("c")).unwrap_err(), &["--weights"]);
}

#[test]
fn bad_data_is_one_line_that_names_the_file_and_no_run_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 3);
    let run = folder.path().join("run");
    let config = config(&data);
    let refused = |config: &SegmentationConfig, parts: &[&str]| {
        says(&train(config, &run).unwrap_err(), parts);
        assert!(!run.join("config.toml").exists());
    };
    let mut odd = config.clone();
    odd.patch.size = [20, 16, 16];
    refused(&odd, &["20x16x16", "8"]);
    let mut unknown = config.clone();
    unknown.data.labels = vec!["liver".into()];
    refused(&unknown, &["liver"]);
    let mut absent = config.clone();
    absent.data.labels = vec!["9".into()];
    refused(&absent, &["no training case", "label 9"]);
    let splits = folder.path().join("splits.json");
    std::fs::write(&splits, r#"{"train": ["case0", "case7"], "val": ["case1"]}"#).unwrap();
    let mut named = config.clone();
    named.data.splits = Some(splits);
    refused(&named, &["splits.json", "case7"]);
    let mut bce = config.clone();
    bce.loss = LossName::Bce;
    refused(&bce, &["bce", "one foreground class"]);

    let label = data.join("labels/case2.nii.gz");
    let write = |size: [usize; 3], value: f32| {
        let volume = Volume::new(vec![value; size.iter().product()], size, LPS).unwrap();
        write_nifti(&label, &volume, ElementType::Float32).unwrap();
    };
    write([24, 20, 15], 1.0);
    refused(&config, &["case2.nii.gz", "24x20x15", "24x20x16"]);
    write(SIZE, 0.25);
    refused(&config, &["labels", "case2.nii.gz", "0.25"]);
    write(SIZE, 300.0);
    refused(&config, &["case2.nii.gz", "300"]);
    std::fs::remove_file(&label).unwrap();
    refused(&config, &["images", "case2.nii.gz", "no label map"]);
    let mut empty = config.clone();
    empty.data.folder = folder.path().join("empty");
    refused(&empty, &["empty"]);
    std::fs::create_dir_all(&empty.data.folder).unwrap();
    refused(&empty, &["empty", "holds no data set"]);
}

#[test]
fn the_last_layer_stays_for_the_same_task_and_starts_anew_after_restoration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let mut trained = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
    trained.initialise(Initialiser::Pytorch, 9).unwrap();
    let mut config = config(folder.path());
    (config.width, config.weights) = (0, Some(path.clone()));
    let last = |state: &StateDict| state.get("out_tr.final_conv.weight").unwrap().to_f32();
    let mut state = trained.state(Statistics::Running).unwrap();
    for (task, kept) in [(None, false), (Some("{}"), true)] {
        state.metadata.extend(task.map(|task| (TASK_KEY.to_owned(), task.to_owned())));
        write_safetensors(&path, &state).unwrap();
        let network = starting_network::<UNet3d>(&config.settings(), 1, 1, &[], false).unwrap();
        assert_eq!(last(&network.state(Statistics::Running).unwrap()) == last(&state), kept, "{task:?}");
    }
}

#[test]
fn class_weights_change_the_training_as_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, 5);
    let mut config = config(&data);
    config.steps = 3;
    config.loss = LossName::Ce;
    config.validation.every_epochs = 100;
    let mut number = 0;
    let mut parameters = |weights: &str, config: &SegmentationConfig| {
        number += 1;
        let run = folder.path().join(format!("run{number}"));
        let config = SegmentationConfig { class_weights: weights.parse().unwrap(), ..config.clone() };
        train(&config, &run).unwrap();
        let state = read_checkpoint(run.join("checkpoints/last.safetensors")).unwrap().state;
        state.tensors.iter().map(|tensor| tensor.to_f32().to_vec()).collect::<Vec<_>>()
    };
    let plain = parameters("none", &config);
    assert!(parameters("1,1,1", &config) == plain, "equal weights are none");
    assert!(parameters("0.1,1,2", &config) != plain);
    assert!(parameters("balanced", &config) != plain);
    // One class against the background: ratios alone matter, and equal ones are none.
    config.data.labels = vec!["1=ball".into()];
    let binary = parameters("none", &config);
    assert!(parameters("2,2", &config) == binary);
    let weighted = parameters("1,4", &config);
    assert!(weighted != binary && parameters("0.5,2", &config) == weighted);
    let refused = |weights: &str, loss: LossName, part: &str| {
        let class_weights = weights.parse().unwrap();
        let config = SegmentationConfig { class_weights, loss, ..config.clone() };
        says(&train(&config, &folder.path().join("refused")).unwrap_err(), &["--class-weights", part]);
    };
    refused("1,2", LossName::DiceCe, "single foreground class");
    refused("1,2,3", LossName::Ce, "3 weights for 2 classes");
}

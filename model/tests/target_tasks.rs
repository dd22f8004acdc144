//! Networks for target tasks: several channels and classes, the classifier, weight transfer, freezing.

use genesis_autograd::{Gradients, ParameterId, Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::optimizer::{Moments, Optimizer};
use genesis_model::checkpoint::{NamedTensor, PtLayout, StateDict, write_pt, write_safetensors};
use genesis_model::{
    Classifier3d, ClassifierConfig, Initialiser, Levels, Network, Statistics, Transfer, UNet3d, UNetConfig,
    transfer,
};
use genesis_tensor::{DType, Shape, Tensor};

const SHAPE: [usize; 4] = [2, 16, 16, 8];

fn unet(channels: usize, classes: usize) -> UNet3d {
    let config = UNetConfig { channels, classes, width: 2, ..UNetConfig::default() };
    let mut network = UNet3d::new(config).unwrap();
    network.initialise(Initialiser::Pytorch, 5).unwrap();
    network
}

fn classifier(channels: usize, classes: usize, seed: u64) -> Classifier3d {
    let config = ClassifierConfig { channels, classes, width: 2, ..ClassifierConfig::default() };
    let mut network = Classifier3d::new(config).unwrap();
    network.initialise(Initialiser::Pytorch, seed).unwrap();
    network
}

fn cubes(channels: usize) -> Tensor {
    let [n, d, h, w] = SHAPE;
    let values: Vec<f32> = (0..n * d * h * w * channels).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_slice([n, d, h, w, channels], &values).unwrap()
}

fn labels(shape: &[usize], classes: usize) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|i| (i / 3 % classes) as f32).collect();
    Tensor::from_slice(Shape::new(shape), &values).unwrap()
}

/// The loss, with gradients.
fn backward<N: Network>(network: &mut N, loss: Loss, input: Tensor, gradients: &mut Gradients) -> f32 {
    let cx = Context::new(2);
    gradients.restart();
    let mut tape = Tape::training().recomputing(true);
    let logits = network.forward(&cx, &mut tape, Var::constant(input), Statistics::BatchAndUpdate).unwrap();
    let dims = logits.shape();
    let (&classes, rows) = dims.dims().split_last().unwrap();
    // Of one class: 0 or 1 for every logit.
    let target = if classes == 1 { labels(dims.dims(), 2) } else { labels(rows, classes) };
    let target = Var::constant(target);
    let loss = tape.apply(&cx, loss, &[&logits, &target]).unwrap();
    let value = loss.tensor().as_slice()[0];
    drop(logits);
    tape.backward(&cx, loss, Tensor::full([1], 1.0).unwrap(), gradients).unwrap();
    value
}

/// Losses of some steps of AdamW with weight decay.
fn train<N: Network>(network: &mut N, loss: Loss, input: &Tensor, steps: u64) -> (Vec<f32>, Vec<Tensor>) {
    let cx = Context::new(2);
    let optimizer = Optimizer::AdamW(Moments { weight_decay: 0.1, ..Moments::default() });
    let mut gradients = network.zero_gradients().unwrap();
    let length = network.parameters().flat().shape();
    let mut state = vec![Tensor::zeros(length).unwrap(), Tensor::zeros(length).unwrap()];
    let mut losses = Vec::new();
    for step in 1..=steps {
        losses.push(backward(network, loss, input.clone(), &mut gradients));
        let groups = network.parameters().groups();
        let flat = network.parameters_mut().flat_mut();
        optimizer.update_groups(&cx, step, 0.01, flat, gradients.flat(), &mut state, &groups).unwrap();
    }
    (losses, state)
}

fn infer<N: Network>(network: &mut N, input: Tensor) -> Tensor {
    let cx = Context::new(2);
    network
        .forward(&cx, &mut Tape::inference(), Var::constant(input), Statistics::Running)
        .unwrap()
        .into_tensor()
}

#[test]
fn a_unet_with_four_channels_and_three_classes_learns() {
    let mut network = unet(4, 3);
    assert_eq!(infer(&mut network, cubes(4)).shape().dims(), [2, 16, 16, 8, 3]);
    let loss = Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: true };
    let (losses, _) = train(&mut network, loss, &cubes(4), 12);
    assert!(losses[11] < losses[0], "{losses:?}");
    let again = UNet3d::from_state(&network.state(Statistics::Running).unwrap()).unwrap();
    assert_eq!((again.config().channels, again.config().classes), (4, 3));
    let error = network
        .forward(&Context::new(1), &mut Tape::inference(), Var::constant(cubes(1)), Statistics::Running)
        .unwrap_err();
    assert!(error.to_string().contains("4 input channels"), "{error}");
}

#[test]
fn a_classifier_learns_in_f32_and_runs_in_bf16() {
    let mut network = classifier(1, 3, 1);
    assert_eq!(infer(&mut network, cubes(1)).shape().dims(), [2, 3]);
    let narrow = infer(&mut network, cubes(1).cast(DType::Bf16).unwrap());
    assert_eq!(narrow.dtype(), DType::Bf16);
    let (losses, _) = train(&mut network, Loss::CrossEntropy, &cubes(1), 12);
    assert!(losses[11] < losses[0], "{losses:?}");
    assert!(Classifier3d::new(ClassifierConfig { classes: 0, ..ClassifierConfig::default() }).is_err());
}

#[test]
fn a_classifiers_names_extents_and_encoder_are_the_originals() {
    let network = classifier(1, 2, 5);
    let state = network.state(Statistics::Running).unwrap();
    assert_eq!(state.get("dense_1.weight").unwrap().shape, [64, 32]);
    assert_eq!(state.get("dense_2.weight").unwrap().shape, [2, 64]);
    let heads = state.tensors.iter().filter(|tensor| !tensor.name.starts_with("down_tr")).count();
    assert_eq!(heads, 4);
    // One seed, one encoder.
    let whole = unet(1, 1).state(Statistics::Running).unwrap();
    for tensor in state.tensors.iter().filter(|tensor| tensor.name.starts_with("down_tr")) {
        assert_eq!(whole.get(&tensor.name), Some(tensor));
    }
    let full = Classifier3d::new(ClassifierConfig { classes: 2, ..ClassifierConfig::default() }).unwrap();
    let full = full.state(Statistics::Running).unwrap();
    assert_eq!(full.get("dense_1.weight").unwrap().shape, [1024, 512]);

    let mut again = Classifier3d::from_state(&state).unwrap();
    let mut bare = state.clone();
    bare.metadata.clear();
    assert_eq!(ClassifierConfig::from_state(&bare).unwrap(), again.config());
    assert_eq!(infer(&mut again, cubes(1)).as_slice(), infer(&mut network.clone(), cubes(1)).as_slice());
    for (error, named) in [
        (UNet3d::from_state(&state).unwrap_err(), "classifier"),
        (Classifier3d::from_state(&whole).unwrap_err(), "U-Net"),
    ] {
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn a_classifiers_checkpointed_levels_change_no_bit() {
    let run = |levels: Levels| {
        let mut network = classifier(1, 2, 3);
        network.set_checkpoints(levels);
        let mut gradients = network.zero_gradients().unwrap();
        backward(&mut network, Loss::CrossEntropy, cubes(1), &mut gradients);
        (gradients.flat().as_slice().to_vec(), network.state(Statistics::Running).unwrap())
    };
    let plain = run(Levels::NONE);
    assert!(plain.0.iter().any(|&g| g != 0.0));
    assert_eq!(plain, run(Levels::WIDEST));
}

fn reasons<'a>(tensors: &'a [transfer::TransferredTensor], name: &str) -> Vec<&'a str> {
    tensors.iter().filter(|t| t.tensor == name).map(|t| t.reason.as_str()).collect()
}

/// A network whose running statistics have moved.
fn pretrained() -> UNet3d {
    let mut network = unet(1, 1);
    train(&mut network, Loss::SigmoidDiceBce { smooth: 1.0 }, &cubes(1), 2);
    network
}

#[test]
fn encoder_and_decoder_are_loaded_and_a_head_of_other_classes_is_not() {
    let source = pretrained().state(Statistics::Running).unwrap();
    let mut network = unet(1, 3);
    let before = network.state(Statistics::Running).unwrap();
    let report = transfer::into_network(&mut network, &source, Transfer::EncoderDecoder).unwrap();
    let after = network.state(Statistics::Running).unwrap();
    for tensor in &after.tensors {
        let prepared = ["out_tr.", "up_tr64.ops.1.bn1.weight", "up_tr64.ops.1.bn1.bias"];
        if prepared.iter().any(|start| tensor.name.starts_with(start)) {
            continue;
        }
        assert_eq!(source.get(&tensor.name), Some(tensor), "{}", tensor.name);
    }
    let values = |state: &StateDict, name: &str| state.get(name).unwrap().to_f32();
    // A new layer: drawn, and each class's weights less their mean.
    let drawn = values(&before, "out_tr.final_conv.weight");
    let level = drawn.chunks_exact(4).flat_map(|row| {
        let mean = row.iter().sum::<f32>() / 4.0;
        row.iter().map(move |weight| weight - mean)
    });
    assert!(level.zip(values(&after, "out_tr.final_conv.weight")).all(|(a, b)| (a - b).abs() < 1e-6));
    let factor = report.scaled.unwrap();
    let given = values(&source, "up_tr64.ops.1.bn1.weight");
    let scaled = given.iter().map(|gamma| gamma * factor).collect::<Vec<f32>>();
    assert_eq!(values(&after, "up_tr64.ops.1.bn1.weight"), scaled);
    assert_eq!(reasons(&report.initialised, "out_tr.final_conv.weight"), ["1 class in the file, 3 here"]);
    assert_eq!(report.initialised.len(), 2);
    assert_eq!(report.loaded.len(), after.tensors.len() - 2);
    assert!(report.inflated.is_empty() && report.skipped.is_empty());
    let lines = report.lines();
    let head =
        "re-initialised: out_tr.final_conv.weight, out_tr.final_conv.bias: 1 class in the file, 3 here";
    assert!(lines.iter().any(|line| line == head), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("to the size that a new last layer expects")), "{lines:?}");
    // With the same classes the head comes along.
    let mut network = unet(1, 1);
    let report = transfer::into_network(&mut network, &source, Transfer::EncoderDecoder).unwrap();
    assert!(report.initialised.is_empty());
    assert_eq!(network.state(Statistics::Running).unwrap().tensors, source.tensors);
}

#[test]
fn resized_convolutions_have_the_size_of_fresh_ones_and_the_network_computes_the_same() {
    let root_mean_square = |values: &[f32]| {
        (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let mut source = pretrained().state(Statistics::Running).unwrap();
    // The first filters have grown, their batch norm's statistics with them; one layer has died.
    let grown = "down_tr64.ops.0";
    let (dead, faint) = ("up_tr128.ops.1.conv1.weight", "up_tr256.ops.1.conv1.weight");
    for tensor in &mut source.tensors {
        let factor = match tensor.name.strip_prefix(grown) {
            Some(".conv1.weight" | ".conv1.bias" | ".bn1.running_mean") => 3.0,
            Some(".bn1.running_var") => 9.0,
            _ if tensor.name == dead => 0.0,
            _ if tensor.name == faint => 1e-4,
            _ => continue,
        };
        let values: Vec<f32> = tensor.to_f32().iter().map(|value| value * factor).collect();
        *tensor = NamedTensor::from_f32(&tensor.name, &tensor.shape, &values).unwrap();
    }
    for channels in [1, 2] {
        let mut network = unet(channels, 1);
        let mut report = transfer::into_network(&mut network, &source, Transfer::EncoderDecoder).unwrap();
        let before = network.state(Statistics::Running).unwrap();
        let output = infer(&mut network, cubes(channels));
        transfer::resize_convolutions(&mut network, &mut report, Initialiser::Pytorch).unwrap();
        let after = network.state(Statistics::Running).unwrap();
        let names: Vec<&str> = report.resized.iter().map(|each| each.tensor.as_str()).collect();
        assert_eq!(names.len(), 12, "{names:?}");
        assert!(!names.contains(&dead) && !names.contains(&faint));
        for tensor in &after.tensors {
            let Some(block) = tensor.name.strip_suffix("conv1.weight") else { continue };
            if tensor.name == dead || tensor.name == faint {
                continue;
            }
            // Uniform in ±1/√fan_in.
            let fan_in = tensor.shape[1..].iter().product::<usize>() as f64;
            let size = root_mean_square(&tensor.to_f32());
            assert!((size * (3.0 * fan_in).sqrt() - 1.0).abs() < 1e-5, "{}: {size}", tensor.name);
            // Shift and scale are no part of it.
            for name in [format!("{block}bn1.weight"), format!("{block}bn1.bias")] {
                assert_eq!(before.get(&name), after.get(&name));
            }
        }
        assert_eq!(before.get("up_tr64.up_conv.weight"), after.get("up_tr64.up_conv.weight"));
        let again = infer(&mut network, cubes(channels));
        let (output, again) = (output.as_slice(), again.as_slice());
        assert!(root_mean_square(output) > 0.01);
        // Exact but for the ε beside the variance.
        assert!(output.iter().zip(again).all(|(a, b)| (a - b).abs() < 2e-3), "{output:?} {again:?}");
        let lines = report.lines();
        assert!(
            lines.iter().any(|line| line.contains("resized: 12 convolutions, down_tr64.ops.0.conv1.weight")),
            "{lines:?}"
        );
    }
}

#[test]
fn features_leave_the_last_layer_alone_and_say_so() {
    let file = pretrained();
    let mut network = unet(1, 1);
    let report =
        transfer::into_network(&mut network, &file.state(Statistics::Running).unwrap(), Transfer::Features)
            .unwrap();
    let (last, decoder) = ("out_tr.final_conv.weight", "up_tr64.ops.1.conv1.weight");
    assert_eq!(reasons(&report.initialised, last), ["the file's last layer is another task's"]);
    assert_eq!(reasons(&report.loaded, decoder).len(), 1);
    let [given, fresh, now] =
        [&file, &unet(1, 1), &network].map(|network| network.state(Statistics::Running).unwrap());
    let values = |state: &StateDict, name: &str| state.get(name).unwrap().to_f32();
    let rows = values(&fresh, last).len();
    let mean = values(&fresh, last).iter().sum::<f32>() / rows as f32;
    assert!(
        values(&now, last)
            .iter()
            .zip(values(&fresh, last))
            .all(|(now, fresh)| (now - fresh + mean).abs() < 1e-6)
    );
    assert_ne!(values(&now, last), values(&given, last));
    assert_eq!(values(&now, decoder), values(&given, decoder));
}

#[test]
fn inflation_keeps_the_response_to_one_picture_in_all_channels() {
    let mut source = pretrained();
    let state = source.state(Statistics::Running).unwrap();
    let mut network = unet(4, 1);
    let report = transfer::into_network(&mut network, &state, Transfer::EncoderDecoder).unwrap();
    let name = "down_tr64.ops.0.conv1.weight";
    let reason = "1 channel in the file, 4 here: repeated over the channels and divided by 4";
    assert_eq!(reasons(&report.inflated, name), [reason]);
    let one = cubes(1);
    let four: Vec<f32> = one.as_slice().iter().flat_map(|&v| [v; 4]).collect();
    let [n, d, h, w] = SHAPE;
    let four = infer(&mut network, Tensor::from_slice([n, d, h, w, 4], &four).unwrap());
    let one = infer(&mut source, one);
    let worst = one.as_slice().iter().zip(four.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
    // Fewer channels than in the file: a new first convolution.
    let four = network.state(Statistics::Running).unwrap();
    let report = transfer::into_network(&mut unet(3, 1), &four, Transfer::EncoderDecoder).unwrap();
    assert_eq!(reasons(&report.initialised, name), ["4 channels in the file, 3 here"]);
}

#[test]
fn a_classifier_takes_the_encoder_from_a_file_of_the_originals_kind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("target.pt");
    let mut state = pretrained().state(Statistics::Running).unwrap();
    state.metadata.clear();
    for tensor in &mut state.tensors {
        tensor.name = format!("module.{}", tensor.name);
    }
    write_pt(&path, &state, PtLayout::StateDict).unwrap();
    let mut network = classifier(1, 2, 9);
    let (before, source) = (network.state(Statistics::Running).unwrap(), pretrained());
    let source = source.state(Statistics::Running).unwrap();
    for scope in [Transfer::EncoderDecoder, Transfer::Features, Transfer::Encoder] {
        let report = transfer::load(&mut network, &path, scope).unwrap();
        let after = network.state(Statistics::Running).unwrap();
        for tensor in &after.tensors {
            let from = if tensor.name.starts_with("dense") { &before } else { &source };
            assert_eq!(from.get(&tensor.name), Some(tensor), "{}", tensor.name);
        }
        let skipped = reasons(&report.skipped, "up_tr256.up_conv.weight");
        let (why, head) = match scope {
            Transfer::EncoderDecoder => ("not part of a classifier", "not in the file"),
            Transfer::Features => ("not part of a classifier", "the file's last layer is another task's"),
            Transfer::Encoder => ("only the encoder was asked for", "only the encoder was asked for"),
        };
        assert_eq!(skipped, [why]);
        assert_eq!(reasons(&report.initialised, "dense_2.bias"), [head]);
    }
    // And back, from a file of the original's target networks: the encoder, no decoder.
    let mut state = StateDict { tensors: before.tensors.clone(), ..StateDict::default() };
    for tensor in state.tensors.iter_mut().filter(|tensor| tensor.name.starts_with("down")) {
        tensor.name = format!("base_model.{}", tensor.name);
    }
    let path = directory.path().join("classifier.safetensors");
    write_safetensors(&path, &state).unwrap();
    let mut network = unet(1, 1);
    let report = transfer::load(&mut network, &path, Transfer::EncoderDecoder).unwrap();
    assert_eq!(reasons(&report.initialised, "up_tr64.up_conv.bias"), ["not in the file"]);
    assert_eq!(reasons(&report.skipped, "dense_1.weight"), ["not part of a U-Net"]);
    assert_eq!(report.loaded.len(), 8 * 7);
}

#[test]
fn what_does_not_fit_is_one_line_and_changes_nothing() {
    let mut network = unet(1, 1);
    let before = network.state(Statistics::Running).unwrap();
    let mut refuse = |state: &StateDict, scope, named: &[&str]| {
        let error = transfer::into_network(&mut network, state, scope).unwrap_err().to_string();
        assert!(named.iter().all(|word| error.contains(word)) && !error.contains('\n'), "{error}");
        assert_eq!(network.state(Statistics::Running).unwrap(), before);
    };
    let wide = UNet3d::new(UNetConfig { width: 4, ..UNetConfig::default() }).unwrap();
    let wide = wide.state(Statistics::Running).unwrap();
    refuse(&wide, Transfer::EncoderDecoder, &["width 4", "width 2"]);
    let mut foreign = StateDict::default();
    foreign.insert(NamedTensor::from_f32("layer1.weight", &[2], &[0.0; 2]).unwrap());
    refuse(&foreign, Transfer::EncoderDecoder, &["layer1.weight", "1 tensors"]);
    refuse(&StateDict::default(), Transfer::EncoderDecoder, &["no tensors"]);
    let mut broken = pretrained().state(Statistics::Running).unwrap();
    broken.insert(NamedTensor::from_f32("up_tr64.up_conv.bias", &[8], &[f32::NAN; 8]).unwrap());
    refuse(&broken, Transfer::EncoderDecoder, &["up_tr64.up_conv.bias", "NaN"]);
    broken.insert(NamedTensor::from_f32("up_tr64.up_conv.bias", &[9], &[0.0; 9]).unwrap());
    refuse(&broken, Transfer::EncoderDecoder, &["up_tr64.up_conv.bias", "[8]", "[9]"]);
    broken.tensors.retain(|tensor| !tensor.name.starts_with("down"));
    refuse(&broken, Transfer::Encoder, &["in the encoder"]);
}

#[test]
fn frozen_tensors_and_their_statistics_keep_their_bits() {
    for levels in [Levels::NONE, Levels::WIDEST] {
        let mut network = pretrained();
        network.set_checkpoints(levels);
        let frozen = network.parameters_mut().set_factor("down_tr", 0.0).unwrap();
        assert_eq!(frozen, 32);
        let before = network.state(Statistics::Running).unwrap();
        let (_, state) = train(&mut network, Loss::SigmoidDice { smooth: 1.0 }, &cubes(1), 3);
        let after = network.state(Statistics::Running).unwrap();
        for (old, new) in before.tensors.iter().zip(&after.tensors) {
            // A convolution's bias before batch norm moves by weight decay alone, but it moves.
            assert_eq!(old == new, old.name.starts_with("down_tr"), "{}", old.name);
        }
        let places = network.parameters().places();
        for place in places.iter().filter(|place| place.name.starts_with("down_tr")) {
            let range = place.start..place.start + place.shape.elements();
            assert!(state.iter().all(|state| state.as_slice()[range.clone()].iter().all(|&v| v == 0.0)));
        }
    }
}

#[test]
fn what_is_not_frozen_has_the_gradients_it_had() {
    let loss = Loss::SigmoidDice { smooth: 1.0 };
    let run = |frozen: &[&str], levels: Levels| {
        let mut network = unet(1, 1);
        network.set_checkpoints(levels);
        for prefix in frozen {
            network.parameters_mut().set_factor(prefix, 0.0).unwrap();
        }
        let mut gradients = network.zero_gradients().unwrap();
        let value = backward(&mut network, loss, cubes(1), &mut gradients);
        (value, network, gradients)
    };
    // Parts of blocks, so that every batch norm still uses the batch.
    let frozen = ["down_tr64.ops.0.conv1", "up_tr128.ops.1.bn1", "up_tr64.up_conv", "out_tr"];
    for levels in [Levels::NONE, Levels::WIDEST] {
        let (value, _, plain) = run(&[], levels);
        let (same, network, gradients) = run(&frozen, levels);
        assert_eq!(value, same);
        for (k, place) in network.parameters().places().iter().enumerate() {
            let given = gradients.of(ParameterId(k)).unwrap();
            if frozen.iter().any(|prefix| place.name.starts_with(prefix)) {
                assert!(given.as_slice().iter().all(|&g| g == 0.0), "{}", place.name);
            } else {
                assert_eq!(given.as_slice(), plain.of(ParameterId(k)).unwrap().as_slice(), "{}", place.name);
            }
        }
    }
    // Frozen blocks give the same with checkpointed levels.
    let (_, _, plain) = run(&["down_tr64", "up_tr64"], Levels::NONE);
    let (_, _, again) = run(&["down_tr64", "up_tr64"], Levels::WIDEST);
    assert_eq!(plain.flat().as_slice(), again.flat().as_slice());
}

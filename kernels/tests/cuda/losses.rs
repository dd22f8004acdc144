//! Losses and their gradients.

use crate::card::{Card, close, noise};
use genesis_kernels::Array;
use genesis_kernels::cuda::{Format, NULL};
use genesis_kernels::op::Operation;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::loss::cuda::{Buffers, Plan};
use genesis_tensor::Shape;

/// Runs a loss; the sums that it leaves.
fn run(op: Loss, inputs: &[Array], format: Format) -> Vec<f64> {
    let label = format!("{op:?} {format:?}");
    let mut card = Card::default();
    let (prediction, rounded) = card.upload(&inputs[0], format);
    let (target, target_array) = card.upload(&inputs[1], Format::F32);
    let mut all = vec![rounded, target_array];
    let mut weights = NULL;
    if let Some(given) = inputs.get(2) {
        let array;
        (weights, array) = card.upload(given, Format::F32);
        all.push(array);
    }
    let shapes: Vec<Shape> = all.iter().map(|array| array.shape).collect();
    let plan = Plan::new(op, &shapes, format).unwrap();
    let kept = if op == Loss::SigmoidMse { card.room(shapes[0].elements() * 4) } else { NULL };
    let (sums, loss) = (card.room(plan.sums_bytes()), card.room(4));
    let buffers = Buffers { prediction, target, weights, kept, sums, loss };
    card.run_with(|workspace| plan.forward(buffers, workspace));
    let found = card.download_f64(sums, plan.sums_bytes() / 8);
    if found[plan.invalid()] > 0.0 {
        return found;
    }
    close(&format!("{label}: value"), &card.download(loss, [1], Format::F32), &op.reference(&all), 1e-5);
    let incoming = card.upload_f32(&[0.75]);
    let gradient = card.room_for(shapes[0], format);
    card.run(&[plan.backward(buffers, incoming, gradient).unwrap()]);
    let dy = Array { shape: Shape::from([1]), values: vec![0.75] };
    let wanted = op.reference_backward(&all, &dy).remove(0).unwrap();
    let tolerance = if format == Format::F32 { 1e-5 } else { 1e-2 };
    close(&format!("{label}: gradient"), &card.download(gradient, shapes[0], format), &wanted, tolerance);
    found
}

fn map(shape: impl Into<Shape>, seed: u64, f: impl Fn(f64) -> f64) -> Array {
    noise(shape, seed).map(f)
}

#[test]
fn losses_of_elements() {
    // Three pieces of 2048, the last of them short.
    let shape = [2, 2001];
    let (target, binary) = (map(shape, 2, |v| 0.5 + 0.5 * v), map(shape, 3, |v| f64::from(v > 0.3)));
    for format in [Format::F32, Format::Bf16] {
        let logits = map(shape, 1, |v| 6.0 * v);
        let probabilities = map(shape, 1, |v| 0.5 + 0.45 * v);
        run(Loss::Mse, &[logits.clone(), target.clone()], format);
        run(Loss::MaskedMse, &[logits.clone(), target.clone(), binary.clone()], format);
        run(Loss::MaskedMse, &[logits.clone(), target.clone(), Array::zeros(shape)], format);
        run(Loss::Bce, &[probabilities.clone(), target.clone()], format);
        run(Loss::BceWithLogits, &[logits.clone(), target.clone()], format);
        run(Loss::WeightedBceWithLogits { positive: 3.0 }, &[logits.clone(), binary.clone()], format);
        run(Loss::Dice { smooth: 1.0 }, &[probabilities, binary.clone()], format);
        run(Loss::SigmoidMse, &[logits.clone(), target.clone()], format);
        run(Loss::SigmoidDice { smooth: 1.0 }, &[logits.clone(), binary.clone()], format);
        run(Loss::SigmoidDiceBce { smooth: 1.0 }, &[logits.clone(), binary.clone()], format);
        run(Loss::SigmoidFocal { alpha: 0.25, gamma: 2.0 }, &[logits, binary.clone()], format);
    }
}

#[test]
fn losses_of_classes() {
    let (rows, classes) = (1500, 5);
    let logits = map([rows, classes], 1, |v| 5.0 * v);
    let labels = map([rows], 2, |v| ((v + 1.0) * 2.5).floor().min(4.0));
    let weights = map([classes], 3, |v| v + 1.0);
    for format in [Format::F32, Format::Bf16] {
        let plain = [logits.clone(), labels.clone()];
        let weighted = [logits.clone(), labels.clone(), weights.clone()];
        run(Loss::CrossEntropy, &plain, format);
        run(Loss::CrossEntropy, &weighted, format);
        run(Loss::SoftmaxDice { smooth: 1.0, background: true }, &plain, format);
        run(Loss::SoftmaxDice { smooth: 1.0, background: false }, &plain, format);
        run(Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: false }, &weighted, format);
        run(Loss::SoftmaxFocal { gamma: 2.0 }, &plain, format);
        run(Loss::SoftmaxFocal { gamma: 1.5 }, &weighted, format);
    }
}

#[test]
fn what_is_out_of_range_is_counted() {
    let shape = Shape::from([4]);
    let array = |values: [f64; 4]| Array { shape, values: values.to_vec() };
    let half = array([0.5; 4]);
    let bad = array([0.5, 1.5, f64::NAN, -0.1]);
    assert_eq!(run(Loss::Bce, &[bad, half.clone()], Format::F32)[4], 3.0);
    let focal = Loss::SigmoidFocal { alpha: 0.25, gamma: 2.0 };
    assert_eq!(run(focal, &[half.clone(), array([0.0, 1.0, 0.5, 2.0])], Format::F32)[4], 2.0);
    let logits = noise([4, 3], 1);
    let labels = array([0.0, 3.0, 1.5, -1.0]);
    assert_eq!(run(Loss::CrossEntropy, &[logits.clone(), labels], Format::F32)[2], 3.0);
    let weights = Array { shape: Shape::from([3]), values: vec![1.0, -1.0, f64::INFINITY] };
    let found = run(Loss::CrossEntropy, &[logits, array([0.0, 0.0, 2.0, 0.0]), weights], Format::F32);
    assert_eq!(found[2], 2.0);
}

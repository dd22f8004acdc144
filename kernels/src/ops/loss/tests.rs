//! Edges: extreme values, empty sets, values out of range.

use super::*;

fn run(loss: Loss, inputs: &[&[f32]]) -> Result<(f32, Vec<f32>)> {
    let cx = Context::new(2);
    let tensors: Vec<Tensor> =
        inputs.iter().map(|values| Tensor::from_slice([values.len()], values).unwrap()).collect();
    let (value, saved) = loss.forward(&cx, &tensors.iter().collect::<Vec<_>>())?;
    let dy = Tensor::full([1], 1.0)?;
    let gradients = loss.backward(&cx, saved, dy, &vec![true; inputs.len()])?;
    Ok((value.as_slice()[0], gradients[0].as_ref().unwrap().as_slice().to_vec()))
}

#[test]
fn extreme_logits_stay_finite() {
    let (value, gradient) =
        run(Loss::BceWithLogits, &[&[1e4, -1e4, 1e4, -1e4], &[1.0, 0.0, 0.0, 1.0]]).unwrap();
    assert_eq!(value, 5e3);
    assert_eq!(gradient, [0.0, 0.0, 0.25, -0.25]);

    let cx = Context::new(1);
    let logits = Tensor::from_slice([2, 2], &[1e4, -1e4, 3e38, -3e38]).unwrap();
    let labels = Tensor::from_slice([2], &[1.0, 0.0]).unwrap();
    let (value, saved) = Loss::CrossEntropy.forward(&cx, &[&logits, &labels]).unwrap();
    assert_eq!(value.as_slice(), [1e4]);
    let dy = Tensor::full([1], 1.0).unwrap();
    let gradient = Loss::CrossEntropy.backward(&cx, saved, dy, &[true, false]).unwrap();
    assert_eq!(gradient[0].as_ref().unwrap().as_slice(), [0.5, -0.5, 0.0, 0.0]);
}

#[test]
fn certain_probabilities_stay_finite() {
    let (value, gradient) = run(Loss::Bce, &[&[0.0, 1.0, 0.0, 1.0], &[0.0, 1.0, 1.0, 0.0]]).unwrap();
    assert_eq!(value, 50.0);
    assert!(gradient.iter().all(|g| g.is_finite()));
    assert_eq!(gradient[..2], [0.0, 0.0]);
}

#[test]
fn values_out_of_range_are_errors() {
    for bad in [-0.1, 1.5, f32::NAN] {
        let error = run(Loss::Bce, &[&[0.5, bad], &[0.0, 1.0]]).unwrap_err().to_string();
        assert!(error.contains("element 1"), "{error}");
    }
    let cx = Context::new(1);
    let logits = Tensor::zeros([2, 3]).unwrap();
    for bad in [-1.0, 3.0, 0.5, f32::NAN, 1e20] {
        let labels = Tensor::from_slice([2], &[2.0, bad]).unwrap();
        let error = Loss::CrossEntropy.forward(&cx, &[&logits, &labels]).unwrap_err().to_string();
        assert!(error.contains("label 1") && error.contains("0..3"), "{error}");
    }
    let error = run(Loss::Dice { smooth: 0.0 }, &[&[0.0], &[0.0]]).unwrap_err().to_string();
    assert!(error.contains("smooth"), "{error}");
    assert!(run(Loss::Mse, &[&[0.0, 1.0], &[0.0]]).is_err());
    assert!(run(Loss::Mse, &[&[], &[]]).is_err());
}

#[test]
fn an_empty_mask_gives_nothing() {
    let (value, gradient) = run(Loss::MaskedMse, &[&[1.0, 2.0], &[0.0, 0.0], &[0.0, 0.0]]).unwrap();
    assert_eq!((value, gradient), (0.0, vec![0.0, 0.0]));
}

#[test]
fn nan_reaches_the_value() {
    for loss in [Loss::Mse, Loss::BceWithLogits, Loss::SigmoidMse, Loss::Dice { smooth: 1.0 }] {
        assert!(run(loss, &[&[0.5, f32::NAN], &[0.0, 1.0]]).unwrap().0.is_nan(), "{loss:?}");
    }
}

#[test]
fn two_empty_masks_have_dice_loss_zero_and_the_sigmoid_is_to_be_had() {
    assert_eq!(run(Loss::Dice { smooth: 1.0 }, &[&[0.0; 4], &[0.0; 4]]).unwrap().0, 0.0);
    let cx = Context::new(1);
    let x = Tensor::zeros([3]).unwrap();
    let (_, saved) = Loss::SigmoidMse.forward(&cx, &[&x, &x]).unwrap();
    assert_eq!(saved.prediction.as_slice(), [0.5; 3]);
}

fn on_classes(loss: Loss, logits: &[f32], classes: usize, labels: &[f32]) -> Result<(f32, Vec<f32>)> {
    weighted_on_classes(loss, logits, classes, labels, &[])
}

fn weighted_on_classes(
    loss: Loss,
    logits: &[f32],
    classes: usize,
    labels: &[f32],
    weights: &[f32],
) -> Result<(f32, Vec<f32>)> {
    let cx = Context::new(2);
    let mut inputs = vec![Tensor::from_slice([labels.len(), classes], logits).unwrap()];
    inputs.push(Tensor::from_slice([labels.len()], labels).unwrap());
    if !weights.is_empty() {
        inputs.push(Tensor::from_slice([weights.len()], weights).unwrap());
    }
    let (value, saved) = loss.forward(&cx, &inputs.iter().collect::<Vec<_>>())?;
    let gradients = loss.backward(&cx, saved, Tensor::full([1], 1.0)?, &[true, false, false])?;
    Ok((value.as_slice()[0], gradients[0].as_ref().unwrap().as_slice().to_vec()))
}

const ON_CLASSES: [Loss; 4] = [
    Loss::CrossEntropy,
    Loss::SoftmaxDice { smooth: 1.0, background: true },
    Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: false },
    Loss::SoftmaxFocal { gamma: 0.5 },
];

#[test]
fn certain_classes_stay_finite_and_nan_is_seen() {
    for loss in ON_CLASSES {
        let (value, gradient) =
            on_classes(loss, &[200.0, -200.0, 0.0, 0.0, 0.0, 3e38], 3, &[0.0, 2.0]).unwrap();
        assert!(value == 0.0 && gradient.iter().all(|&g| g == 0.0), "{loss:?}: {value} {gradient:?}");
        let (value, gradient) =
            on_classes(loss, &[200.0, -200.0, 0.0, 0.0, 0.0, 99.0], 3, &[1.0, 0.0]).unwrap();
        assert!(value.is_finite() && value > 0.3 && gradient.iter().all(|g| g.is_finite()), "{loss:?}");
        let (value, _) = on_classes(loss, &[0.0, f32::NAN, 0.0, 1.0], 2, &[0.0, 1.0]).unwrap();
        assert!(value.is_nan(), "{loss:?}");
    }
    for loss in [Loss::SigmoidFocal { alpha: 0.25, gamma: 0.5 }, Loss::SigmoidDiceBce { smooth: 1.0 }] {
        let (value, gradient) = run(loss, &[&[1e4, -1e4, 1e4, -1e4], &[1.0, 0.0, 0.0, 1.0]]).unwrap();
        assert!(value.is_finite() && value > 0.3 && gradient.iter().all(|g| g.is_finite()), "{loss:?}");
        let (value, _) = run(loss, &[&[0.0, f32::NAN], &[0.0, 1.0]]).unwrap();
        assert!(value.is_nan(), "{loss:?}");
    }
}

#[test]
fn related_losses_agree() {
    let logits: Vec<f32> = (0..300).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect();
    let labels: Vec<f32> = (0..100).map(|i| (i * 7 % 3) as f32).collect();
    let weights = [0.5, 2.0, 3.0];
    let close = |a: &(f32, Vec<f32>), b: &(f32, Vec<f32>)| {
        let near = |a: f32, b: f32| (a - b).abs() < 1e-6 * a.abs().max(1e-3);
        near(a.0, b.0) && a.1.iter().zip(&b.1).all(|(&a, &b)| near(a, b))
    };
    let entropy = weighted_on_classes(Loss::CrossEntropy, &logits, 3, &labels, &weights).unwrap();
    let flat = weighted_on_classes(Loss::SoftmaxFocal { gamma: 0.0 }, &logits, 3, &labels, &weights).unwrap();
    assert_eq!(entropy, flat);
    let dice = on_classes(Loss::SoftmaxDice { smooth: 1.0, background: true }, &logits, 3, &labels).unwrap();
    let both = Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: true };
    let both = weighted_on_classes(both, &logits, 3, &labels, &weights).unwrap();
    let sum = (entropy.0 + dice.0, entropy.1.iter().zip(&dice.1).map(|(a, b)| a + b).collect());
    assert!(close(&both, &sum));
    // Two classes are one logit, the difference.
    let pairs: Vec<f32> = logits.iter().flat_map(|&x| [0.0, x]).collect();
    let targets: Vec<f32> = (0..300).map(|i| (i * 7 % 3 % 2) as f32).collect();
    for (softmax, sigmoid) in [
        (Loss::SoftmaxDice { smooth: 1.0, background: false }, Loss::SigmoidDice { smooth: 1.0 }),
        (
            Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: false },
            Loss::SigmoidDiceBce { smooth: 1.0 },
        ),
    ] {
        let (value, gradient) = on_classes(softmax, &pairs, 2, &targets).unwrap();
        let gradient = gradient.into_iter().skip(1).step_by(2).collect();
        assert!(close(&(value, gradient), &run(sigmoid, &[&logits, &targets]).unwrap()), "{softmax:?}");
    }
    let balanced = run(Loss::WeightedBceWithLogits { positive: 1.0 }, &[&logits, &targets]).unwrap();
    assert!(close(&balanced, &run(Loss::BceWithLogits, &[&logits, &targets]).unwrap()));
}

#[test]
fn parameters_labels_and_weights_out_of_range_are_errors() {
    for loss in ON_CLASSES {
        let error = on_classes(loss, &[0.0; 6], 3, &[0.0, 3.0]).unwrap_err().to_string();
        assert!(error.contains("label 1") && error.contains("0..3"), "{error}");
    }
    let error = weighted_on_classes(Loss::CrossEntropy, &[0.0; 4], 2, &[0.0, 1.0], &[1.0, -1.0]).unwrap_err();
    assert!(error.to_string().contains("class 1"), "{error}");
    assert!(weighted_on_classes(Loss::CrossEntropy, &[0.0; 4], 2, &[0.0, 1.0], &[1.0; 3]).is_err());
    let alone = Loss::SoftmaxDice { smooth: 1.0, background: false };
    let error = on_classes(alone, &[0.0; 2], 1, &[0.0; 2]).unwrap_err().to_string();
    assert!(error.contains("K at least 2"), "{error}");
    for (loss, named) in [
        (Loss::WeightedBceWithLogits { positive: 0.0 }, "positive"),
        (Loss::SigmoidFocal { alpha: 1.5, gamma: 2.0 }, "alpha"),
        (Loss::SigmoidFocal { alpha: 0.5, gamma: -1.0 }, "gamma"),
        (Loss::SigmoidDice { smooth: f32::NAN }, "smooth"),
    ] {
        let error = run(loss, &[&[0.0], &[0.0]]).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let soft = run(Loss::SigmoidFocal { alpha: 0.5, gamma: 2.0 }, &[&[0.0, 0.0], &[1.0, 0.5]]).unwrap_err();
    assert!(soft.to_string().contains("element 1"), "{soft}");
}

#[test]
fn labels_that_weigh_nothing_give_nothing() {
    let (value, gradient) =
        weighted_on_classes(Loss::CrossEntropy, &[1.0, 2.0], 2, &[0.0], &[0.0, 1.0]).unwrap();
    assert_eq!((value, gradient), (0.0, vec![0.0, 0.0]));
}

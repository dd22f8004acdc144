//! Batch norm, losses, optimisers, pooling and a schedule against PyTorch 2.15, in numbers that
//! `tests/record_pytorch.py` recorded there in f64 from the same formula-made inputs.

use genesis_kernels::op::Operation;
use genesis_kernels::ops::activation::Activation;
use genesis_kernels::ops::batch_norm::{BatchNorm, Fused, Statistics};
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::max_pool3d::MaxPool3d;
use genesis_kernels::ops::optimizer::{Moments, Optimizer, Schedule};
use genesis_kernels::{Array, Context};
use genesis_tensor::{Shape, Tensor};

#[allow(missing_docs)]
#[rustfmt::skip]
mod pytorch_numbers;
use pytorch_numbers::*;

/// As in the script: sin(a·i + b), rounded to f32.
fn wave(count: usize, a: f64, b: f64) -> Vec<f64> {
    (0..count).map(|i| f64::from((a * i as f64 + b).sin() as f32)).collect()
}

fn tensor(shape: impl Into<Shape>, values: impl IntoIterator<Item = f64>) -> Tensor {
    Tensor::from_slice(shape, &values.into_iter().map(|v| v as f32).collect::<Vec<_>>()).unwrap()
}

#[track_caller]
fn assert_close(what: &str, given: &Tensor, wanted: &[f64]) {
    let wanted = Array { shape: given.shape(), values: wanted.to_vec() };
    assert_eq!(given.elements(), wanted.values.len(), "{what}");
    let error = Array::from_tensor(given).relative_error(&wanted);
    assert!(error < 2e-6, "{what} is off by {error:e}: {:?} for {:?}", given.as_slice(), wanted.values);
}

#[test]
fn batch_norm_is_pytorch_s() {
    let cx = Context::new(2);
    let scaled =
        |values: Vec<f64>, factor: f64, offset: f64| values.into_iter().map(move |v| v * factor + offset);
    let shape = [2, 2, 3, 2, 3];
    let x = tensor(shape, scaled(wave(72, 0.7, 0.1), 2.0, 0.5));
    let gamma = tensor([3], scaled(wave(3, 1.3, 0.4), 1.0, 1.5));
    let beta = tensor([3], scaled(wave(3, 0.9, 0.2), 0.5, 0.0));
    let mean = tensor([3], scaled(wave(3, 0.5, 0.3), 0.25, 0.0));
    let variance = tensor([3], scaled(wave(3, 0.6, 0.7), 1.0, 1.5));
    let cases: [(Statistics, Fused, [&[f64]; 4]); 6] = [
        (
            Statistics::Batch,
            Fused::None,
            [
                &BATCH_NORM_TRAIN_NONE_Y,
                &BATCH_NORM_TRAIN_NONE_DX,
                &BATCH_NORM_TRAIN_NONE_DGAMMA,
                &BATCH_NORM_TRAIN_NONE_DBETA,
            ],
        ),
        (
            Statistics::Batch,
            Fused::Relu,
            [
                &BATCH_NORM_TRAIN_RELU_Y,
                &BATCH_NORM_TRAIN_RELU_DX,
                &BATCH_NORM_TRAIN_RELU_DGAMMA,
                &BATCH_NORM_TRAIN_RELU_DBETA,
            ],
        ),
        (
            Statistics::Batch,
            Fused::Elu,
            [
                &BATCH_NORM_TRAIN_ELU_Y,
                &BATCH_NORM_TRAIN_ELU_DX,
                &BATCH_NORM_TRAIN_ELU_DGAMMA,
                &BATCH_NORM_TRAIN_ELU_DBETA,
            ],
        ),
        (
            Statistics::Running,
            Fused::None,
            [
                &BATCH_NORM_EVAL_NONE_Y,
                &BATCH_NORM_EVAL_NONE_DX,
                &BATCH_NORM_EVAL_NONE_DGAMMA,
                &BATCH_NORM_EVAL_NONE_DBETA,
            ],
        ),
        (
            Statistics::Running,
            Fused::Relu,
            [
                &BATCH_NORM_EVAL_RELU_Y,
                &BATCH_NORM_EVAL_RELU_DX,
                &BATCH_NORM_EVAL_RELU_DGAMMA,
                &BATCH_NORM_EVAL_RELU_DBETA,
            ],
        ),
        (
            Statistics::Running,
            Fused::Elu,
            [
                &BATCH_NORM_EVAL_ELU_Y,
                &BATCH_NORM_EVAL_ELU_DX,
                &BATCH_NORM_EVAL_ELU_DGAMMA,
                &BATCH_NORM_EVAL_ELU_DBETA,
            ],
        ),
    ];
    for (statistics, activation, wanted) in cases {
        let what = format!("{statistics:?} {activation:?}");
        let op = BatchNorm { epsilon: 1e-5, statistics, activation };
        let mut inputs = vec![&x, &gamma, &beta];
        if statistics == Statistics::Running {
            inputs.extend([&mean, &variance]);
        }
        let (y, saved) = op.forward(&cx, &inputs).unwrap();
        assert_close(&format!("{what} y"), &y, wanted[0]);
        if statistics == Statistics::Batch {
            let update = |running: &Tensor, new: &Tensor| {
                let pairs = running.as_slice().iter().zip(new.as_slice());
                tensor([3], pairs.map(|(&old, &new)| 0.9 * f64::from(old) + 0.1 * f64::from(new)))
            };
            assert_close("running mean", &update(&mean, &saved.mean), &BATCH_NORM_RUNNING_MEAN);
            let unbiased = saved.unbiased_variance().unwrap();
            assert_close("running variance", &update(&variance, &unbiased), &BATCH_NORM_RUNNING_VAR);
        }
        let dy = tensor(shape, wave(72, 1.1, 0.6));
        let gradients = op.backward(&cx, saved, dy, &vec![true; inputs.len()]).unwrap();
        for (index, name) in ["dx", "dgamma", "dbeta"].into_iter().enumerate() {
            assert_close(&format!("{what} {name}"), gradients[index].as_ref().unwrap(), wanted[index + 1]);
        }
    }
}

#[test]
fn fused_activations_equal_separate_ones() {
    let cx = Context::new(2);
    let x = tensor([3, 2, 5, 3, 9], wave(810, 0.7, 0.1));
    let gamma = tensor([9], wave(9, 0.2, 1.0));
    let beta = tensor([9], wave(9, 0.9, 0.2));
    for (fused, separate) in [(Fused::Relu, Activation::Relu), (Fused::Elu, Activation::Elu)] {
        let op = |activation| BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation };
        let (together, saved) = op(fused).forward(&cx, &[&x, &gamma, &beta]).unwrap();
        let (between, saved_norm) = op(Fused::None).forward(&cx, &[&x, &gamma, &beta]).unwrap();
        let (apart, saved_activation) = separate.forward(&cx, &[&between]).unwrap();
        assert_eq!(together.as_slice(), apart.as_slice());
        let dy = tensor(x.shape(), wave(810, 1.1, 0.6));
        let one = op(fused).backward(&cx, saved, dy.clone(), &[true; 3]).unwrap();
        let dv = separate.backward(&cx, saved_activation, dy, &[true]).unwrap().remove(0).unwrap();
        let two = op(Fused::None).backward(&cx, saved_norm, dv, &[true; 3]).unwrap();
        for (one, two) in one.iter().zip(&two) {
            let wanted = Array::from_tensor(two.as_ref().unwrap());
            assert_close(&format!("{fused:?}"), one.as_ref().unwrap(), &wanted.values);
        }
    }
}

#[test]
fn losses_are_pytorch_s() {
    let cx = Context::new(2);
    let logits = tensor([12], wave(12, 0.8, 0.3).into_iter().map(|v| v * 3.0));
    let target = tensor([12], wave(12, 1.7, 0.2).into_iter().map(|v| v * 0.5 + 0.5));
    let probability = tensor([12], wave(12, 0.9, 0.5).into_iter().map(|v| v * 0.45 + 0.5));
    let mask = tensor([12], (0..12).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 }));
    let rows = logits.reshape([4, 3]).unwrap();
    let labels = tensor([4], [2.0, 0.0, 1.0, 1.0]);
    type LossCase<'a> = (Loss, Vec<&'a Tensor>, [f64; 1], [f64; 12]);
    let cases: [LossCase; 7] = [
        (Loss::Mse, vec![&logits, &target], LOSS_MSE, LOSS_MSE_GRADIENT),
        (Loss::MaskedMse, vec![&logits, &target, &mask], LOSS_MASKED_MSE, LOSS_MASKED_MSE_GRADIENT),
        (Loss::Bce, vec![&probability, &target], LOSS_BCE, LOSS_BCE_GRADIENT),
        (Loss::BceWithLogits, vec![&logits, &target], LOSS_BCE_WITH_LOGITS, LOSS_BCE_WITH_LOGITS_GRADIENT),
        (Loss::CrossEntropy, vec![&rows, &labels], LOSS_CROSS_ENTROPY, LOSS_CROSS_ENTROPY_GRADIENT),
        (Loss::Dice { smooth: 1.0 }, vec![&probability, &target], LOSS_DICE, LOSS_DICE_GRADIENT),
        (Loss::SigmoidMse, vec![&logits, &target], LOSS_SIGMOID_MSE, LOSS_SIGMOID_MSE_GRADIENT),
    ];
    for (loss, inputs, value, gradient) in cases {
        let (given, saved) = loss.forward(&cx, &inputs).unwrap();
        assert_close(&format!("{loss:?}"), &given, &value);
        let dy = Tensor::full([1], 1.0).unwrap();
        let gradients = loss.backward(&cx, saved, dy, &vec![true; inputs.len()]).unwrap();
        assert_close(&format!("{loss:?} gradient"), gradients[0].as_ref().unwrap(), &gradient);
    }
    let certain = tensor([4], [0.0, 1.0, 0.0, 1.0]);
    let (given, _) = Loss::Bce.forward(&cx, &[&certain, &tensor([4], [0.0, 1.0, 1.0, 0.0])]).unwrap();
    assert_close("certain probabilities", &given, &LOSS_BCE_CERTAIN);
}

#[test]
fn three_steps_of_each_optimizer_are_pytorch_s() {
    let cx = Context::new(2);
    let sgd = |momentum, dampening, weight_decay, nesterov| Optimizer::Sgd {
        momentum,
        dampening,
        weight_decay,
        nesterov,
    };
    let decay = Moments { weight_decay: 0.05, ..Moments::default() };
    let cases = [
        (Optimizer::sgd(0.0), OPTIMIZER_SGD),
        (Optimizer::sgd(0.9), OPTIMIZER_SGD_MOMENTUM),
        (sgd(0.9, 0.3, 0.05, false), OPTIMIZER_SGD_ALL),
        (sgd(0.9, 0.0, 0.05, true), OPTIMIZER_SGD_NESTEROV),
        (Optimizer::Adam(Moments::default()), OPTIMIZER_ADAM),
        (Optimizer::Adam(decay), OPTIMIZER_ADAM_DECAY),
        (Optimizer::AdamW(decay), OPTIMIZER_ADAMW),
    ];
    for (optimizer, wanted) in cases {
        let mut parameters = tensor([5], wave(5, 0.7, 0.2));
        let mut state: Vec<Tensor> =
            (0..optimizer.state_count()).map(|_| Tensor::zeros([5]).unwrap()).collect();
        for step in 0..3 {
            let gradients = tensor([5], wave(5, 1.3, 0.5 + step as f64));
            optimizer.update(&cx, step + 1, 0.1, &mut parameters, &gradients, &mut state).unwrap();
        }
        assert_close(&format!("{optimizer:?}"), &parameters, &wanted);
    }
}

#[test]
fn max_pooling_is_pytorch_s_ties_included() {
    let cx = Context::new(2);
    let x =
        tensor([1, 5, 4, 6, 2], wave(240, 0.37, 0.1).into_iter().map(|v| (v * 4.0).round_ties_even() / 4.0));
    let cases: [(MaxPool3d, &[f64], &[f64]); 2] = [
        (MaxPool3d::HALVE, &MAX_POOL_HALVE_Y, &MAX_POOL_HALVE_DX),
        (MaxPool3d { kernel: [3; 3], stride: [2; 3] }, &MAX_POOL_OVERLAP_Y, &MAX_POOL_OVERLAP_DX),
    ];
    for (op, y, dx) in cases {
        let (given, saved) = op.forward(&cx, &[&x]).unwrap();
        assert_close("y", &given, y);
        let dy = tensor(given.shape(), wave(given.elements(), 1.1, 0.6));
        let gradients = op.backward(&cx, saved, dy, &[true]).unwrap();
        assert_close("dx", gradients[0].as_ref().unwrap(), dx);
    }
}

#[test]
fn the_cosine_schedule_is_pytorch_s() {
    let schedule = Schedule::Cosine { length: 7, floor: 0.1 };
    let rates = (0..8).map(|epoch| f64::from(schedule.rate(0.8, epoch)));
    assert_close("cosine", &tensor([8], rates), &COSINE);
}

//! Batch norm, pooling, activations, elementwise loops and optimisers.

use crate::card::{Card, batch_norm_tables, close, noise, tolerance};
use genesis_kernels::Array;
use genesis_kernels::cuda::cases::LOOPS;
use genesis_kernels::cuda::{Format, NULL, channels, elementwise};
use genesis_kernels::op::Operation;
use genesis_kernels::ops::activation::{self, Activation};
use genesis_kernels::ops::batch_norm::{self, BatchNorm, Fused, Statistics};
use genesis_kernels::ops::global_average_pool::GlobalAveragePool;
use genesis_kernels::ops::max_pool3d::{self, MaxPool3d};
use genesis_kernels::ops::optimizer::{self, Moments, Optimizer, OptimizerStep};
use genesis_tensor::{DType, Shape};

const FORMATS: [Format; 2] = [Format::F32, Format::Bf16];

fn normalise(op: BatchNorm, shape: [usize; 3], format: Format, shift: f64) {
    let label = format!("{op:?} {shape:?} {format:?}");
    let mut card = Card::default();
    let (shape, channels) = (Shape::from(shape), shape[2]);
    let rows = shape.elements() / channels;
    let mut x = noise(shape, 1);
    // Means far from 0 show what raw sums would lose.
    x.values.iter_mut().enumerate().for_each(|(i, v)| *v += shift * ((i % channels) as f64 + 1.0));
    let (x, x_array) = card.upload(&x, format);
    let (gamma, gamma_array) = card.upload(&noise([channels], 2), Format::F32);
    let (beta, beta_array) = card.upload(&noise([channels], 3), Format::F32);
    let (mean, mean_array) = card.upload(&noise([channels], 4), Format::F32);
    let positive = Array {
        values: noise([channels], 5).values.iter().map(|v| v.abs() + 0.1).collect(),
        ..mean_array.clone()
    };
    let (variance, variance_array) = card.upload(&positive, Format::F32);
    let tables = batch_norm_tables(&mut card, channels, gamma, beta);
    let running = batch_norm::cuda::Running { mean, variance, momentum: 0.1 };
    let plan = batch_norm::cuda::Plan::new(op, format, rows, channels).unwrap();
    let (y, dx) = (card.room_for(shape, format), card.room_for(shape, format));
    card.run_with(|workspace| {
        let mut launches = plan.statistics(x, None, tables, running, workspace)?;
        launches.push(plan.forward(x, tables, y)?);
        Ok(launches)
    });
    let mut inputs = vec![x_array, gamma_array, beta_array];
    if op.statistics == Statistics::Running {
        inputs.extend([mean_array.clone(), variance_array.clone()]);
    }
    close(
        &format!("{label}: y"),
        &card.download(y, shape, format),
        &op.reference(&inputs),
        tolerance(format),
    );

    let (dy, dy_array) = card.upload(&noise(shape, 9), format);
    let total = card.room(2 * channels * 4);
    card.run_with(|workspace| plan.backward(x, tables, dy, total, dx, workspace));
    let gradients = op.reference_backward(&inputs, &dy_array);
    let gradient = |index: usize| gradients[index].as_ref().unwrap();
    close(&format!("{label}: dx"), &card.download(dx, shape, format), gradient(0), tolerance(format));
    let sums = card.download(total, [2, channels], Format::F32);
    let part = |index: usize| Array {
        shape: Shape::from([channels]),
        values: sums.values[index * channels..(index + 1) * channels].to_vec(),
    };
    close(&format!("{label}: dbeta"), &part(0), gradient(2), 1e-5);
    close(&format!("{label}: dgamma"), &part(1), gradient(1), 2e-5);

    // The running statistics: PyTorch's update, or untouched.
    let values = |c: usize| inputs[0].values.iter().skip(c).step_by(channels);
    let (mut new_mean, mut new_variance) = (mean_array, variance_array);
    if op.statistics == Statistics::Batch {
        for c in 0..channels {
            let mean = values(c).sum::<f64>() / rows as f64;
            let squares = values(c).map(|v| (v - mean).powi(2)).sum::<f64>();
            new_mean.values[c] = 0.9 * new_mean.values[c] + 0.1 * mean;
            new_variance.values[c] = 0.9 * new_variance.values[c] + 0.1 * squares / (rows as f64 - 1.0);
        }
    }
    close(&format!("{label}: running mean"), &card.download(mean, [channels], Format::F32), &new_mean, 1e-6);
    close(
        &format!("{label}: running variance"),
        &card.download(variance, [channels], Format::F32),
        &new_variance,
        1e-5,
    );
}

#[test]
fn batch_norm() {
    for format in FORMATS {
        for (statistics, activation) in [
            (Statistics::Batch, Fused::None),
            (Statistics::Batch, Fused::Relu),
            (Statistics::Batch, Fused::Elu),
            (Statistics::Running, Fused::Relu),
        ] {
            let op = BatchNorm { epsilon: 1e-5, statistics, activation };
            normalise(op, [2, 150, 48], format, 0.5);
            normalise(op, [1, 7, 3], format, 0.0);
        }
        let op = BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation: Fused::Relu };
        // Several pieces; several groups of channels; one channel.
        normalise(op, [1, 1100, 64], format, 0.0);
        normalise(op, [1, 20, 520], format, 0.0);
        normalise(op, [1, 500, 1], format, 0.0);
    }
    // Means up to 35 standard deviations: raw squares would lose the digits wanted here.
    let op = BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation: Fused::None };
    normalise(op, [1, 300, 4], Format::F32, 5.0);
}

#[test]
fn max_pooling() {
    let pool = |op: MaxPool3d, shape: [usize; 5], format: Format| {
        let label = format!("{op:?} {shape:?} {format:?}");
        let (mut card, shape) = (Card::default(), Shape::from(shape));
        let mut values = noise(shape, 1);
        // Ties, and values that a maximum must let through.
        values.values.iter_mut().for_each(|v| *v = (*v * 4.0).round());
        values.values[0] = f64::NAN;
        values.values[shape.elements() - 1] = f64::INFINITY;
        let (x, x_array) = card.upload(&values, format);
        let plan = max_pool3d::cuda::Plan::new(&op, shape, format).unwrap();
        let y_shape = op.infer(&[shape]).unwrap();
        let (y, positions) = (card.room_for(y_shape, format), card.room(plan.positions_bytes()));
        card.run(&[plan.forward(x, y, positions).unwrap()]);
        let inputs = [x_array];
        close(&format!("{label}: y"), &card.download(y, y_shape, format), &op.reference(&inputs), 0.0);
        let (dy, dy_array) = card.upload(&noise(y_shape, 2), format);
        let dx = card.room_for(shape, format);
        card.run(&[plan.backward(dy, positions, dx).unwrap()]);
        let wanted = op.reference_backward(&inputs, &dy_array).remove(0).unwrap();
        close(&format!("{label}: dx"), &card.download(dx, shape, format), &wanted, tolerance(format));
    };
    for format in FORMATS {
        pool(MaxPool3d::HALVE, [2, 4, 6, 2, 16], format);
        pool(MaxPool3d::HALVE, [1, 5, 3, 7, 3], format);
        pool(MaxPool3d { kernel: [3, 2, 3], stride: [2, 1, 1] }, [1, 6, 5, 7, 8], format);
        pool(MaxPool3d { kernel: [7, 7, 6], stride: [3, 1, 2] }, [1, 8, 7, 8, 2], format);
    }
}

#[test]
fn activations() {
    for format in FORMATS {
        for (shape, slopes) in [([3, 100, 16], 16), ([1, 37, 3], 3), ([1, 37, 3], 1)] {
            for op in [Activation::Relu, Activation::Prelu, Activation::Elu, Activation::Sigmoid] {
                let label = format!("{op:?} {shape:?} {format:?}");
                let (mut card, shape) = (Card::default(), Shape::from(shape));
                let elements = shape.elements();
                let (x, x_array) = card.upload(&noise(shape, 1), format);
                let (address, slope_array) = card.upload(&noise([slopes], 2), Format::F32);
                let (dy, dy_array) = card.upload(&noise(shape, 3), format);
                let (y, dx) = (card.room_for(shape, format), card.room_for(shape, format));
                let prelu = op == Activation::Prelu;
                let given = if prelu {
                    activation::cuda::Slopes { address, count: slopes }
                } else {
                    activation::cuda::Slopes::NONE
                };
                let mut inputs = vec![x_array];
                if prelu {
                    inputs.push(slope_array);
                }
                card.run(&[activation::cuda::forward(op, format, elements, x, given, y).unwrap()]);
                let found = card.download(y, shape, format);
                close(&format!("{label}: y"), &found, &op.reference(&inputs), tolerance(format));
                let kept = if prelu { x } else { y };
                let backward = activation::cuda::backward(op, format, elements, kept, given, dy, dx);
                card.run(&[backward.unwrap()]);
                let gradients = op.reference_backward(&inputs, &dy_array);
                let found = card.download(dx, shape, format);
                close(&format!("{label}: dx"), &found, gradients[0].as_ref().unwrap(), tolerance(format));
                if prelu {
                    let sums = card.room(slopes * 4);
                    card.run_with(|workspace| {
                        activation::cuda::slope_gradient(format, elements, slopes, x, dy, sums, workspace)
                    });
                    let found = card.download(sums, [slopes], Format::F32);
                    close(&format!("{label}: slopes"), &found, gradients[1].as_ref().unwrap(), 1e-5);
                }
            }
        }
    }
}

#[test]
fn global_average_pooling() {
    for format in FORMATS {
        for [batch, voxels, channels] in [[2, 60, 16], [3, 7, 5]] {
            let mut card = Card::default();
            let shape = Shape::from([batch, voxels, 1, 1, channels]);
            let (x, x_array) = card.upload(&noise(shape, 1), format);
            let extents = [batch, voxels, channels];
            let y = card.room(batch * channels * 4);
            card.run_with(|workspace| channels::means(format, extents, x, y, workspace));
            let inputs = [x_array];
            let wanted = GlobalAveragePool.reference(&inputs);
            close("y", &card.download(y, wanted.shape, format), &wanted, tolerance(format));
            let (dy, dy_array) = card.upload(&noise(wanted.shape, 2), format);
            let dx = card.room_for(shape, format);
            let dtype = if format == Format::F32 { DType::F32 } else { DType::Bf16 };
            let scale = 1.0 / voxels as f32;
            card.run(&[elementwise::broadcast(dtype, extents, scale, dy, dx).unwrap()]);
            let wanted = GlobalAveragePool.reference_backward(&inputs, &dy_array).remove(0).unwrap();
            close("dx", &card.download(dx, shape, format), &wanted, tolerance(format));
        }
    }
}

#[test]
fn loops_of_no_operation() {
    for check in LOOPS {
        for part in (check.run)(&mut Card::default()).unwrap() {
            close(&format!("{}: {}", check.name, part.name), &part.found, &part.wanted, part.tolerance);
        }
    }
}

#[test]
fn optimisers() {
    let moments = Moments { weight_decay: 0.1, ..Moments::default() };
    let sgd =
        |momentum, dampening, nesterov| Optimizer::Sgd { momentum, dampening, weight_decay: 0.1, nesterov };
    for optimizer in [
        sgd(0.0, 0.0, false),
        sgd(0.9, 0.2, false),
        sgd(0.9, 0.0, true),
        Optimizer::Adam(moments),
        Optimizer::AdamW(moments),
    ] {
        for step in [1, 3] {
            let (mut card, count) = (Card::default(), 1001);
            let op = OptimizerStep { optimizer, step, rate: 0.05 };
            let mut inputs = Vec::new();
            let mut addresses = [NULL; 4];
            for (i, address) in addresses.iter_mut().take(2 + optimizer.state_count()).enumerate() {
                let mut values = noise([count], i as u64 + 1);
                if i == 3 {
                    // Squares.
                    values.values.iter_mut().for_each(|v| *v = v.abs());
                }
                let array;
                (*address, array) = card.upload(&values, Format::F32);
                inputs.push(array);
            }
            let [parameters, gradients, first, second] = addresses;
            let buffers =
                optimizer::cuda::Buffers { parameters, gradients, state: [first, second], factor: NULL };
            card.run(&[optimizer::cuda::update(&optimizer, step, 0.05, buffers, 0..count).unwrap()]);
            let wanted = op.reference(&inputs);
            for (row, address) in
                [parameters, first, second].into_iter().enumerate().take(1 + optimizer.state_count())
            {
                let part = &wanted.values[row * count..(row + 1) * count];
                let part = Array { shape: Shape::from([count]), values: part.to_vec() };
                close(&format!("{op:?} {row}"), &card.download(address, [count], Format::F32), &part, 2e-6);
            }
        }
    }
}

/// Factors of finite norms are among the loops above.
#[test]
fn a_norm_that_is_not_finite_clips_nothing() {
    let mut card = Card::default();
    let norm = card.room(8);
    let bad = card.upload_f32(&[f32::NAN, 1.0]);
    card.run_with(|workspace| optimizer::cuda::norm(bad, 2, 1.0, norm, workspace));
    let found = card.download(norm, [2], Format::F32).values;
    assert!(found[0].is_nan() && found[1] == 1.0);
}

//! What memory the kernels touch: exact counts of the PTX, before any cache.

use crate::card::{Card, noise};
use genesis_kernels::cuda::{Format, NULL};
use genesis_kernels::ops::batch_norm::{self, BatchNorm, Fused, Statistics};
use genesis_kernels::ops::{conv_transpose3d, conv3d};
use genesis_tensor::Shape;
use ptx_emulator::Counters;

/// All launches of a convolution and its gradients.
fn convolution(format: Format, channels: usize, outputs: usize) -> Vec<(&'static str, Counters)> {
    let mut card = Card::default();
    let op = conv3d::Conv3d { bias: false, ..conv3d::Conv3d::same(3) };
    let shapes = [Shape::from([1, 4, 8, 8, channels]), Shape::from([outputs, channels, 3, 3, 3])];
    let y_shape = Shape::from([1, 4, 8, 8, outputs]);
    let plan = conv3d::cuda::Plan::new(&op, &shapes, format).unwrap();
    let x = card.upload(&noise(shapes[0], 1), format).0;
    let weight = card.upload(&noise(shapes[1], 2), Format::F32).0;
    let dy = card.upload(&noise(y_shape, 3), format).0;
    let (y, dx, dw) =
        (card.room_for(y_shape, format), card.room_for(shapes[0], format), card.room_for(shapes[1], Format::F32));
    card.run_with(|workspace| plan.forward(&[x], weight, NULL, y, NULL, workspace));
    card.run_with(|workspace| plan.input_gradient(0, dy, weight, dx, workspace));
    card.run_with(|workspace| plan.weight_gradient(&[x], dy, dw, workspace));
    card.counters
}

#[test]
fn tiles_have_no_bank_conflicts_and_use_every_byte() {
    for format in [Format::Bf16, Format::Tf32, Format::F32] {
        for outputs in [32, 64, 128] {
            for (name, counters) in convolution(format, outputs.max(64), outputs) {
                println!("{name}\n{counters}");
            }
        }
    }
    let mut card = Card::default();
    let op = conv_transpose3d::ConvTranspose3d { bias: false, ..conv_transpose3d::ConvTranspose3d::double() };
    let shapes = [Shape::from([1, 4, 8, 8, 64]), Shape::from([64, 64, 2, 2, 2])];
    let plan = conv_transpose3d::cuda::Plan::new(&op, &shapes, Format::Bf16).unwrap();
    let x = card.upload(&noise(shapes[0], 1), Format::Bf16).0;
    let weight = card.upload(&noise(shapes[1], 2), Format::F32).0;
    let y = card.room(8 * 4 * 8 * 8 * 64 * 2);
    card.run_with(|workspace| plan.forward(x, weight, NULL, y, workspace));
    let norm = BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation: Fused::Relu };
    let norm = batch_norm::cuda::Plan::new(norm, Format::Bf16, 256, 64).unwrap();
    let mut table = || card.room(64 * 4);
    let mut tables = batch_norm::cuda::Tables {
        mean: table(),
        remainder: table(),
        variance: table(),
        inverse: table(),
        ..Default::default()
    };
    tables.gamma = card.upload(&noise([64], 1), Format::F32).0;
    tables.beta = tables.gamma;
    let running = batch_norm::cuda::Running::default();
    card.run_with(|workspace| norm.statistics(x, None, tables, running, workspace));
    let (z, total) = (card.room(256 * 64 * 2), card.room(2 * 64 * 4));
    card.run(&[norm.forward(x, tables, z).unwrap()]);
    card.run_with(|workspace| norm.backward(x, tables, z, total, z, workspace));
    for (name, counters) in card.counters {
        println!("{name}\n{counters}");
    }
}

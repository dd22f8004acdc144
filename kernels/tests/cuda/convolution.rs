//! conv3d: every path, forward and all gradients.

use crate::card::{Card, batch_norm_tables, close, noise, tolerance};
use genesis_kernels::Array;
use genesis_kernels::cuda::cases::{Convolution, Operator, directly};
use genesis_kernels::cuda::{Format, KERNELS, NULL};
use genesis_kernels::op::Operation;
use genesis_kernels::ops::batch_norm::cuda::{Moments, Plan as BatchNormPlan, Running};
use genesis_kernels::ops::batch_norm::{BatchNorm, Fused, Statistics};
use genesis_kernels::ops::conv3d::{Conv3d, cuda::Plan};
use genesis_tensor::Shape;
use std::collections::BTreeSet;

const SAME: Conv3d =
    Conv3d { kernel: [3; 3], stride: [1; 3], padding: [[1; 2]; 3], dilation: [1; 3], inputs: 1, bias: true };

/// Bits of all results, so that runs can be compared.
type Results = Vec<Array>;

fn run(op: Conv3d, image: [usize; 4], channels: &[usize], outputs: usize, format: Format) -> Results {
    let operator = Operator::Plain(op);
    check(&Convolution { operator, image, channels: channels.to_vec(), outputs, format })
}

/// Output and every gradient of a case, each within its tolerance.
pub fn check(case: &Convolution) -> Results {
    let parts = case.run(&mut Card::default()).unwrap();
    for part in &parts {
        close(&format!("{}: {}", case.label(), part.name), &part.found, &part.wanted, part.tolerance);
    }
    parts.into_iter().map(|part| part.found).collect()
}

#[test]
fn tensor_cores_in_every_format_and_tile() {
    for format in [Format::Bf16, Format::F16, Format::Tf32] {
        run(SAME, [1, 3, 4, 5], &[16], 8, format);
        run(SAME, [1, 2, 3, 4], &[32], 64, format);
        run(SAME, [1, 2, 2, 3], &[40], 128, format);
    }
}

#[test]
fn tensor_cores_read_two_inputs_and_part_tiles() {
    let two = Conv3d { inputs: 2, ..SAME };
    run(two, [2, 3, 5, 3], &[16, 8], 24, Format::Bf16);
    run(two, [1, 2, 3, 3], &[72, 40], 72, Format::Bf16);
    run(two, [1, 2, 3, 3], &[20, 12], 36, Format::Tf32);
}

#[test]
fn large_weight_tiles() {
    for format in [Format::Bf16, Format::F16, Format::Tf32] {
        run(Conv3d { padding: [[0; 2]; 3], ..SAME }, [1, 3, 3, 6], &[128], 128, format);
    }
}

#[test]
fn tensor_cores_with_padding_dilation_and_stride() {
    let one = Conv3d::same(1);
    run(one, [2, 3, 4, 5], &[64], 8, Format::Bf16);
    run(
        Conv3d { padding: [[4, 0], [0, 5], [3, 3]], bias: false, ..SAME },
        [1, 3, 4, 3],
        &[8],
        8,
        Format::Bf16,
    );
    run(Conv3d { dilation: [2; 3], padding: [[2; 2]; 3], ..SAME }, [1, 5, 4, 5], &[8], 16, Format::Bf16);
    run(
        Conv3d { stride: [2, 1, 3], padding: [[0, 1], [1, 0], [2, 1]], ..SAME },
        [1, 5, 4, 7],
        &[16],
        8,
        Format::Bf16,
    );
    run(
        Conv3d { kernel: [3, 1, 2], padding: [[1, 1], [0, 0], [1, 0]], ..SAME },
        [2, 4, 3, 5],
        &[16],
        32,
        Format::Bf16,
    );
}

#[test]
fn split_sums_have_the_same_bits_in_every_run() {
    // One tile of rows, 27 · 2 iterations: split.
    let first = run(SAME, [1, 3, 4, 4], &[64], 32, Format::Bf16);
    let second = run(SAME, [1, 3, 4, 4], &[64], 32, Format::Bf16);
    assert!(first.iter().zip(&second).all(|(a, b)| a.values == b.values));
}

#[test]
fn any_shape_runs_directly() {
    let two = Conv3d { inputs: 2, ..SAME };
    for format in [Format::F32, Format::Bf16] {
        run(SAME, [2, 3, 4, 5], &[1], 33, format);
        run(two, [1, 3, 3, 5], &[6, 5], 17, format);
        run(Conv3d::same(1), [1, 3, 4, 5], &[65], 1, format);
        run(
            Conv3d { stride: [2, 3, 2], dilation: [2, 1, 3], padding: [[1, 2]; 3], ..SAME },
            [2, 7, 7, 9],
            &[3],
            9,
            format,
        );
        run(
            Conv3d { kernel: [2; 3], stride: [2; 3], padding: [[0; 2]; 3], ..SAME },
            [1, 5, 7, 9],
            &[3],
            5,
            format,
        );
    }
    run(Conv3d::same(5), [1, 5, 6, 7], &[3], 70, Format::F32);
}

/// Wide rows, windows and elements; narrow tiles and results of whole and of broken rows.
#[test]
fn direct_kernels_of_every_kind() {
    let two = Conv3d { inputs: 2, ..SAME };
    let strided = Conv3d { stride: [2, 1, 2], ..SAME };
    let dilated = Conv3d { dilation: [2, 1, 3], padding: [[2; 2], [1; 2], [3; 2]], ..SAME };
    for format in [Format::F32, Format::Bf16] {
        // Windows of one to eight channels, over batch entries and the ends of the image.
        run(dilated, [3, 3, 4, 7], &[1], 9, format);
        run(SAME, [2, 5, 4, 3], &[4], 3, format);
        run(SAME, [1, 5, 6, 7], &[7], 4, format);
        run(Conv3d::same(5), [1, 3, 4, 5], &[2], 5, format);
        // Channels whose 16 bytes are no sectors, in tiles of less than 64 pairs, and more than a tile.
        run(SAME, [1, 3, 4, 7], &[12], 20, format);
        run(Conv3d::same(1), [1, 3, 4, 7], &[68], 12, format);
        // More taps than a block turns at once, and than tensor cores take.
        run(
            Conv3d { kernel: [11, 3, 3], padding: [[5; 2], [1; 2], [1; 2]], ..SAME },
            [1, 3, 3, 4],
            &[16],
            8,
            format,
        );
        // Gradients that divide by the stride.
        for (channels, outputs) in [(16, 32), (40, 16), (80, 16), (5, 16)] {
            run(strided, [1, 5, 4, 7], &[channels], outputs, format);
        }
    }
    run(two, [2, 3, 3, 5], &[16, 8], 40, Format::F32);
    run(two, [2, 3, 3, 5], &[4, 12], 8, Format::F32);
    run(Conv3d::same(1), [1, 7, 9, 9], &[16], 5, Format::F32);
}

/// The cases of the selftest, which are to reach every kernel that takes any shape.
#[test]
fn every_direct_kernel_runs_in_a_case() {
    let mut launched = BTreeSet::new();
    for case in [Format::F32, Format::Bf16].into_iter().flat_map(directly) {
        let mut card = Card::default();
        for part in case.run(&mut card).unwrap() {
            close(&format!("{}: {}", case.label(), part.name), &part.found, &part.wanted, part.tolerance);
        }
        launched.extend(card.counters.iter().map(|(name, _)| *name));
    }
    let direct = KERNELS.iter().filter(|kernel| kernel.module == "conv3d_direct");
    let missing: Vec<&str> =
        direct.map(|kernel| kernel.name).filter(|name| !launched.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Channels of 0 weight times NaN must not be read: padding is zeros, whatever lies beside an image.
#[test]
fn padding_is_zero_beside_a_nan() {
    let mut card = Card::default();
    let shapes = [Shape::from([1, 1, 2, 2, 8]), Shape::from([8, 8, 3, 3, 3])];
    let op = Conv3d { bias: false, ..SAME };
    let mut x = noise([3, 1, 2, 2, 8], 5);
    // The batch entries before and after.
    for (i, value) in x.values.iter_mut().enumerate() {
        if !(32..64).contains(&i) {
            *value = f64::NAN;
        }
    }
    let (address, x) = card.upload(&x, Format::Bf16);
    let (weight, w) = card.upload(&noise(shapes[1], 6), Format::F32);
    let y = card.room_for(shapes[0], Format::Bf16);
    let plan = Plan::new(&op, &shapes, Format::Bf16).unwrap();
    card.run_with(|workspace| plan.forward(&[address + 64], weight, NULL, y, NULL, workspace));
    let middle = Array { shape: shapes[0], values: x.values[32..64].to_vec() };
    let found = card.download(y, shapes[0], Format::Bf16);
    close("y", &found, &op.reference(&[middle, w]), tolerance(Format::Bf16));
}

/// The same of windows, which hold the batch entries before and after.
#[test]
fn windows_use_nothing_beside_an_image() {
    let op = Conv3d { bias: false, ..SAME };
    for format in [Format::F32, Format::Bf16] {
        let mut card = Card::default();
        let shapes = [Shape::from([3, 1, 2, 2, 1]), Shape::from([8, 1, 3, 3, 3])];
        let mut x = noise(shapes[0], 5);
        x.values.iter_mut().enumerate().filter(|(i, _)| i / 4 != 1).for_each(|(_, value)| *value = f64::NAN);
        let (x, x_array) = card.upload(&x, format);
        let (weight, w) = card.upload(&noise(shapes[1], 6), Format::F32);
        let y_shape = Shape::from([3, 1, 2, 2, 8]);
        let y = card.room_for(y_shape, format);
        let plan = Plan::new(&op, &shapes, format).unwrap();
        card.run_with(|workspace| plan.forward(&[x], weight, NULL, y, NULL, workspace));
        assert!(card.counters.last().unwrap().0.contains("windows"));
        let middle = Array { shape: Shape::from([1, 1, 2, 2, 1]), values: x_array.values[4..8].to_vec() };
        let found = card.download(y, y_shape, format).values[32..64].to_vec();
        let found = Array { shape: Shape::from([1, 1, 2, 2, 8]), values: found };
        close("y", &found, &op.reference(&[middle, w]), tolerance(format));
    }
}

/// The moments that the epilogue writes are as good as those that batch normalisation finds itself.
#[test]
fn moments_of_the_epilogue() {
    // 3 · 8 · 8 · 7 rows are 11 tiles, the last of them short; one tap of 32 channels is one iteration, which is not split.
    let shapes = [Shape::from([3, 8, 8, 7, 32]), Shape::from([64, 32, 1, 1, 1]), Shape::from([64])];
    moments(&mut Card::default(), shapes);
}

/// Moments of a convolution of 1³ in bf16 by its epilogue, given its inputs' shapes.
pub fn moments(card: &mut Card, shapes: [Shape; 3]) {
    let (op, outputs) = (Conv3d::same(1), shapes[2].elements());
    let (x, x_array) = card.upload(&noise(shapes[0], 1), Format::Bf16);
    let (w, w_array) = card.upload(&noise(shapes[1], 2), Format::F32);
    let bias_values = Array { shape: shapes[2], values: (0..outputs).map(|o| o as f64 * 0.5).collect() };
    let (b, b_array) = card.upload(&bias_values, Format::F32);
    let plan = Plan::new(&op, &shapes, Format::Bf16).unwrap();
    let [pieces, piece] = plan.moment_pieces().unwrap();
    let y_shape = op.infer(&shapes).unwrap();
    let rows = y_shape.elements() / outputs;
    let (y, moments) = (card.room_for(y_shape, Format::Bf16), card.room(pieces * 2 * outputs * 4));
    card.run_with(|workspace| plan.forward(&[x], w, b, y, moments, workspace));

    let norm = BatchNorm { epsilon: 1e-5, statistics: Statistics::Sums, activation: Fused::None };
    let tables = batch_norm_tables(card, outputs, NULL, NULL);
    let found = Moments { address: moments, pieces, piece };
    let norm = BatchNormPlan::new(norm, Format::Bf16, rows, outputs).unwrap();
    card.run_with(|workspace| norm.statistics(y, Some(found), tables, Running::default(), workspace));
    let y = op.reference(&[x_array, w_array, b_array]);
    let of_channel = |c: usize| y.values.iter().skip(c).step_by(outputs);
    let mean: Vec<f64> = (0..outputs).map(|c| of_channel(c).sum::<f64>() / rows as f64).collect();
    let variance: Vec<f64> = (0..outputs)
        .map(|c| of_channel(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() / rows as f64)
        .collect();
    let shape = Shape::from([outputs]);
    close("mean", &card.download(tables.mean, shape, Format::F32), &Array { shape, values: mean }, 2e-3);
    close(
        "variance",
        &card.download(tables.variance, shape, Format::F32),
        &Array { shape, values: variance },
        5e-3,
    );
}

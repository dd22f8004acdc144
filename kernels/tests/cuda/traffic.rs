//! What memory the kernels touch: exact counts of the PTX, before any cache.
//!
//! Every kernel of convolutions, transposed convolutions and batch normalisation, in all directions, is held to
//! 90 % of the bytes of each sector that it reads and writes, and to 1.1 times the wavefronts of shared memory that
//! accesses without bank conflicts need. `--nocapture` prints the table.

use crate::card::{Card, batch_norm_tables, noise};
use genesis_kernels::cuda::{Format, KERNELS, NULL, Target};
use genesis_kernels::op::Operation;
use genesis_kernels::ops::batch_norm::{self, BatchNorm, Fused, Statistics};
use genesis_kernels::ops::conv_transpose3d::{self, ConvTranspose3d};
use genesis_kernels::ops::conv3d::{self, Conv3d};
use genesis_tensor::Shape;
use ptx_emulator::{Counters, Traffic};
use std::collections::BTreeSet;

/// Kernels' names, and what they did.
type Launches = Vec<(&'static str, Counters)>;

/// Loads and stores at least, wavefronts at most.
const BOUNDS: [f64; 3] = [0.9, 0.9, 1.1];

/// Shares of the bytes loaded and stored that were used, and wavefronts by those without conflicts; 1 of what does
/// not happen.
fn figures(counters: &Counters) -> [f64; 3] {
    let share = |traffic: &Traffic| match traffic.requests {
        0 => 1.0,
        _ => traffic.efficiency(),
    };
    let wavefronts = match counters.shared.ideal {
        0 => 1.0,
        ideal => counters.shared.wavefronts as f64 / ideal as f64,
    };
    [share(&counters.loads), share(&counters.stores), wavefronts]
}

/// A kernel (by the start of its name) that cannot hold [`BOUNDS`] in some shape, and what it is held to there.
type Exception = (&'static str, [f64; 3]);

/// Holds launches to [`BOUNDS`] or to their exception, and notes the kernels' names.
fn check(seen: &mut BTreeSet<&str>, label: &str, launches: Launches, exceptions: &[Exception]) {
    let mut missed = Vec::new();
    for (name, counters) in launches {
        let found = figures(&counters);
        let [loads, stores, wavefronts] = found;
        println!("{label:40} {name:46} {loads:5.3} {stores:5.3} {wavefronts:5.3}");
        let own = exceptions.iter().find(|(start, _)| name.starts_with(start));
        let bounds = own.map_or(BOUNDS, |(_, bounds)| *bounds);
        if loads < bounds[0] || stores < bounds[1] || wavefronts > bounds[2] {
            missed.push(format!("{label}: {name}: {found:.3?}, wanted {bounds:?}"));
        }
        seen.insert(name);
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// All launches of a convolution and its gradients.
fn convolution(
    op: Conv3d,
    extents: [usize; 3],
    channels: &[usize],
    outputs: usize,
    format: Format,
) -> Launches {
    convolution_on(Target::Sm80, op, extents, channels, outputs, format)
}

fn convolution_on(
    target: Target,
    op: Conv3d,
    [d, h, w]: [usize; 3],
    channels: &[usize],
    outputs: usize,
    format: Format,
) -> Launches {
    let mut card = Card::on(target).counting();
    let op = Conv3d { inputs: channels.len(), ..op };
    let mut shapes: Vec<Shape> = channels.iter().map(|&c| Shape::from([1, d, h, w, c])).collect();
    let [kd, kh, kw] = op.kernel;
    shapes.push(Shape::from([outputs, channels.iter().sum(), kd, kh, kw]));
    shapes.push(Shape::from([outputs]));
    let y_shape = op.infer(&shapes).unwrap();
    let plan = conv3d::cuda::Plan::new(&op, &shapes, format).unwrap();
    let inputs: Vec<_> =
        shapes[..op.inputs].iter().map(|&shape| card.upload(&noise(shape, 1), format).0).collect();
    let weight = card.upload(&noise(shapes[op.inputs], 2), Format::F32).0;
    let bias = card.upload(&noise([outputs], 3), Format::F32).0;
    let dy = card.upload(&noise(y_shape, 4), format).0;
    let y = card.room_for(y_shape, format);
    card.run_with(|workspace| plan.forward(&inputs, weight, bias, y, NULL, workspace));
    for (input, &shape) in shapes[..op.inputs].iter().enumerate() {
        let dx = card.room_for(shape, format);
        card.run_with(|workspace| plan.input_gradient(input, dy, weight, dx, workspace));
    }
    let (dw, db) = (card.room_for(shapes[op.inputs], Format::F32), card.room(outputs * 4));
    card.run_with(|workspace| plan.weight_gradient(&inputs, dy, dw, workspace));
    if format != Format::F16 {
        card.run_with(|workspace| plan.bias_gradient(dy, db, workspace));
    }
    card.counters
}

/// All launches of a transposed convolution and its gradients.
fn transposed(
    op: ConvTranspose3d,
    extents: [usize; 3],
    channels: usize,
    outputs: usize,
    format: Format,
) -> Launches {
    transposed_on(Target::Sm80, op, extents, channels, outputs, format)
}

fn transposed_on(
    target: Target,
    op: ConvTranspose3d,
    [d, h, w]: [usize; 3],
    channels: usize,
    outputs: usize,
    format: Format,
) -> Launches {
    let mut card = Card::on(target).counting();
    let [kd, kh, kw] = op.kernel;
    let shapes =
        [Shape::from([1, d, h, w, channels]), Shape::from([channels, outputs, kd, kh, kw]), [outputs].into()];
    let y_shape = op.infer(&shapes).unwrap();
    let plan = conv_transpose3d::cuda::Plan::new(&op, &shapes, format).unwrap();
    let x = card.upload(&noise(shapes[0], 1), format).0;
    let weight = card.upload(&noise(shapes[1], 2), Format::F32).0;
    let bias = card.upload(&noise([outputs], 3), Format::F32).0;
    let dy = card.upload(&noise(y_shape, 4), format).0;
    let (y, dx) = (card.room_for(y_shape, format), card.room_for(shapes[0], format));
    let (dw, db) = (card.room_for(shapes[1], Format::F32), card.room(outputs * 4));
    card.run_with(|workspace| plan.forward(x, weight, bias, y, workspace));
    card.run_with(|workspace| plan.input_gradient(dy, weight, dx, workspace));
    card.run_with(|workspace| plan.weight_gradient(x, dy, dw, workspace));
    if format != Format::F16 {
        card.run_with(|workspace| plan.bias_gradient(dy, db, workspace));
    }
    card.counters
}

/// All launches of batch normalisation, forward and backward.
fn normalisation(rows: usize, channels: usize, format: Format) -> Launches {
    let mut card = Card::default().counting();
    let op = BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation: Fused::Relu };
    let shape = Shape::from([1, rows, channels]);
    let mut parameter = |seed| card.upload(&noise([channels], seed), Format::F32).0;
    let (gamma, beta, mean, variance) = (parameter(1), parameter(2), parameter(3), parameter(4));
    let tables = batch_norm_tables(&mut card, channels, gamma, beta);
    let running = batch_norm::cuda::Running { mean, variance, momentum: 0.1 };
    let plan = batch_norm::cuda::Plan::new(op, format, rows, channels).unwrap();
    let (x, dy) = (card.upload(&noise(shape, 5), format).0, card.upload(&noise(shape, 6), format).0);
    let (y, dx, total) =
        (card.room_for(shape, format), card.room_for(shape, format), card.room(8 * channels));
    card.run_with(|workspace| plan.statistics(x, None, tables, running, workspace));
    card.run(&[plan.forward(x, tables, y).unwrap()]);
    card.run_with(|workspace| plan.backward(x, tables, dy, total, dx, workspace));
    card.counters
}

const IMAGE: [usize; 3] = [4, 8, 16];
const SAME: Conv3d =
    Conv3d { kernel: [3; 3], stride: [1; 3], padding: [[1; 2]; 3], dilation: [1; 3], inputs: 1, bias: true };
const ONE: Conv3d = Conv3d { kernel: [1; 3], padding: [[0; 2]; 3], ..SAME };
const STRIDED: Conv3d = Conv3d { stride: [2; 3], ..SAME };
/// Longer than tensor cores take.
const LONG: Conv3d = Conv3d { kernel: [11, 1, 1], padding: [[5; 2], [0; 2], [0; 2]], ..SAME };

/// Convolutions and transposed convolutions whose products all run on tensor cores.
fn on_tensor_cores(seen: &mut BTreeSet<&str>, format: Format) {
    let cases = [
        (SAME, IMAGE, &[32][..], 64),
        (SAME, IMAGE, &[64, 32], 64),
        (STRIDED, IMAGE, &[32], 64),
        (SAME, [2, 4, 8], &[128], 128),
    ];
    for (op, image, channels, outputs) in cases {
        if op == STRIDED && format == Format::F16 {
            // Its input gradient runs directly.
            continue;
        }
        let label = format!("{format:?} {channels:?} -> {outputs}, kernel 3, stride {}", op.stride[0]);
        check(seen, &label, convolution(op, image, channels, outputs, format), &[]);
    }
    // 24 elements of 16 bits are one and a half sectors: a gradient that reads every second voxel leaves halves.
    let halves: &[Exception] = &[
        ("conv3d_bf16", [0.78, 0.9, 1.1]),
        ("conv3d_f16", [0.78, 0.9, 1.1]),
        ("conv3d_weight", [0.87, 0.9, 1.1]),
    ];
    for (channels, outputs, exceptions) in [(64, 32, &[][..]), (32, 24, halves)] {
        let label = format!("{format:?} {channels} -> {outputs}, transposed");
        let launches = transposed(ConvTranspose3d::double(), [4, 4, 16], channels, outputs, format);
        check(seen, &label, launches, exceptions);
    }
}

/// The same on warpgroups, in boxes that fill the image and in such that do not.
fn on_warpgroups(seen: &mut BTreeSet<&str>, format: Format) {
    let target = Target::Sm90a;
    let cases = [
        (SAME, IMAGE, &[64][..], 64),
        (SAME, [3, 5, 7], &[64], 128),
        (SAME, [2, 4, 8], &[128, 64], 64),
        (SAME, [2, 4, 8], &[128], 128),
    ];
    for (op, image, channels, outputs) in cases {
        let label = format!("{format:?} {channels:?} -> {outputs}, kernel 3, warpgroups");
        check(seen, &label, convolution_on(target, op, image, channels, outputs, format), &[]);
    }
    let launches = transposed_on(target, ConvTranspose3d::double(), [4, 4, 16], 128, 64, format);
    check(seen, &format!("{format:?} 128 -> 64, transposed, warpgroups"), launches, &[]);
}

/// Convolutions that run directly, in all directions or in some.
fn directly(seen: &mut BTreeSet<&str>, format: Format) {
    // A bias of `outputs` elements is summed by pieces whose sums are one line each, no whole sector.
    let sums = |outputs: usize| ("channel_sums", [outputs as f64 / 8.0, outputs as f64 / 8.0, 1.1]);
    // 27 elements for each of 32 outputs, at no sector's beginning, and a gradient that nobody wants of the first layer.
    let lines = ("conv3d_pack", [0.79, 0.9, 1.1]);
    // 16 bytes a voxel are half a sector.
    let halves = [("conv3d_bf16", [0.62, 0.9, 1.1]), ("conv3d_weight_bf16", [0.86, 0.9, 1.1])];
    // No voxel begins with a sector, and windows hold fewer channels.
    let odd = [
        ("conv3d_pack", [0.82, 0.9, 1.1]),
        ("conv3d_direct_elements", [0.58, 0.52, 1.1]),
        ("conv3d_direct_transposed_elements", [0.74, 0.52, 1.1]),
        ("conv3d_direct_weight_elements", [0.64, 0.9, 1.1]),
        ("channel_sums", [0.68, 0.7, 1.1]),
    ];
    let cases = [
        (SAME, &[1][..], 32, &[lines][..]),
        (SAME, &[64], 3, &[sums(3)]),
        (ONE, &[64], 1, &[sums(1)]),
        (ONE, &[64], 3, &[sums(3)]),
        (SAME, &[4], 32, &[("conv3d_pack", [0.87, 0.9, 1.1])]),
        (STRIDED, &[64], 32, &[]),
        (STRIDED, &[32], 32, &[]),
        (STRIDED, &[8], 32, &halves),
        (LONG, &[32], 64, &[]),
        (SAME, &[33], 17, &odd),
        (STRIDED, &[33], 17, &odd),
    ];
    for (op, channels, outputs, exceptions) in cases {
        let [kernel, stride] = [op.kernel[0], op.stride[0]];
        let label = format!("{format:?} {channels:?} -> {outputs}, kernel {kernel}, stride {stride}");
        check(seen, &label, convolution(op, IMAGE, channels, outputs, format), exceptions);
    }
}

fn normalisations(seen: &mut BTreeSet<&str>, format: Format) {
    for channels in [1, 3, 8, 32, 48, 64, 512] {
        // A piece's sums, and what is kept of a channel, are one line of `channels` elements: of few no whole sector.
        let line = (channels as f64 / 8.0).min(0.9);
        let exceptions = [
            ("batch_norm_moments", [0.9, line, 1.1]),
            ("batch_norm_gradient_sums", [0.9, line, 1.1]),
            ("batch_norm_finish", [line, line, 1.1]),
            ("channel_sums_finish", [line, line, 1.1]),
        ];
        check(
            seen,
            &format!("{format:?} norm {channels}"),
            normalisation(1024, channels, format),
            &exceptions,
        );
    }
}

/// Every kernel that the format has was measured.
fn complete(seen: &BTreeSet<&str>, format: &str) {
    let modules = ["batch_norm", "conv3d", "conv_transpose3d", "channel_sums"];
    let missing: Vec<&str> = KERNELS
        .iter()
        .filter(|kernel| modules.iter().any(|module| kernel.module.starts_with(module)))
        .map(|kernel| kernel.name)
        .filter(|name| name.contains(&format!("_{format}")) && !seen.contains(name))
        // Of average pooling.
        .filter(|name| *name != "channel_sums_finish_bf16")
        .collect();
    assert!(missing.is_empty(), "not measured: {missing:?}");
}

#[test]
fn bf16_kernels_use_their_sectors_and_banks() {
    let seen = &mut BTreeSet::new();
    on_tensor_cores(seen, Format::Bf16);
    on_warpgroups(seen, Format::Bf16);
    directly(seen, Format::Bf16);
    normalisations(seen, Format::Bf16);
    complete(seen, "bf16");
}

#[test]
fn f32_kernels_use_their_sectors_and_banks() {
    let seen = &mut BTreeSet::new();
    for (channels, outputs) in [(&[32][..], 64), (&[64, 32], 64)] {
        let label = format!("F32 {channels:?} -> {outputs}, kernel 3, stride 1");
        check(seen, &label, convolution(SAME, IMAGE, channels, outputs, Format::F32), &[]);
    }
    let launches = transposed(ConvTranspose3d::double(), [4, 4, 16], 64, 32, Format::F32);
    check(seen, "F32 64 -> 32, transposed", launches, &[]);
    directly(seen, Format::F32);
    normalisations(seen, Format::F32);
    complete(seen, "f32");
}

#[test]
fn tf32_and_f16_kernels_use_their_sectors_and_banks() {
    for (format, name) in [(Format::Tf32, "tf32"), (Format::F16, "f16")] {
        let seen = &mut BTreeSet::new();
        on_tensor_cores(seen, format);
        if format == Format::F16 {
            on_warpgroups(seen, format);
        }
        complete(seen, name);
    }
}

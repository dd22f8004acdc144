//! Every shipped kernel on a named shape: small, as the network has it. The counts of `docs/cuda.md` and the planted
//! faults both run these.

use crate::card::{Card, batch_norm_tables, noise};
use genesis_kernels::cuda::cases::{LOOPS, Loop};
use genesis_kernels::cuda::{Format, NULL, Operand, Target, channels, elementwise};
use genesis_kernels::ops::activation::{self, Activation, cuda::Slopes};
use genesis_kernels::ops::batch_norm::{self, BatchNorm, Fused, Statistics};
use genesis_kernels::ops::conv_transpose3d::{self, ConvTranspose3d};
use genesis_kernels::ops::conv3d::{self, Conv3d};
use genesis_kernels::ops::loss::{self, Loss};
use genesis_kernels::ops::max_pool3d::{self, MaxPool3d};
use genesis_kernels::ops::optimizer::{self, Moments, Optimizer};
use genesis_tensor::{DType, Shape};

/// Launches of some kernels.
pub struct Scene {
    /// What they compute.
    pub shape: String,
    /// Runs them.
    pub run: Box<dyn Fn(&mut Card)>,
}

fn scene(shape: String, run: impl Fn(&mut Card) + 'static) -> Scene {
    Scene { shape, run: Box::new(run) }
}

fn name(format: Format) -> String {
    format!("{format:?}").to_lowercase()
}

/// Every kernel of the table is in at least one of them.
pub fn all() -> Vec<Scene> {
    let mut all = Vec::new();
    for format in [Format::Bf16, Format::F16, Format::Tf32] {
        // Sums of one split, as in the network's large layers: the epilogue writes y and its moments.
        let channels = if format == Format::Tf32 { 16 } else { 32 };
        for outputs in [128, 64, 32] {
            all.push(whole_sums(format, channels, outputs, [1, 3, 3]));
        }
        all.extend([128, 64].map(|width| products(format, width, [4, 8, 8])));
        // Eight taps of so many outputs are columns. Two iterations: the last stage read lies in the memory that the
        // results go to.
        all.extend([64, 8].map(|outputs| doubled(format, channels * 2, outputs)));
    }
    for format in [Format::Bf16, Format::F16] {
        // More iterations than stages, so that each is filled again.
        let mut scenes = vec![doubled(format, 5 * 64, 64)];
        scenes.extend([128, 64].map(|outputs| whole_sums(format, 64, outputs, [1, 1, 3])));
        scenes.extend([128, 64].map(|width| products(format, width, [5, 8, 8])));
        all.extend(scenes.into_iter().map(on_warpgroups));
    }
    // f32 as in the network's layers, the first and the last included, and in odd channels; bf16 in channels that tensor
    // cores do not take.
    for [channels, outputs] in [[32, 64], [64, 32], [1, 32], [32, 1], [3, 3], [31, 33], [32, 33], [32, 17]] {
        all.push(direct(Format::F32, channels, outputs));
    }
    for [channels, outputs] in [[31, 63], [63, 31], [1, 32], [32, 1], [3, 3], [32, 33], [32, 17]] {
        all.push(direct(Format::Bf16, channels, outputs));
    }
    for format in [Format::F32, Format::Bf16] {
        let ends = [[8, 64], [64, 8], [32, 64], [31, 33], [15, 33], [3, 64], [17, 64], [33, 64], [12, 33]];
        all.extend(ends.map(|[channels, outputs]| strided(format, channels, outputs)));
    }
    for format in [Format::F32, Format::Bf16] {
        for width in [64, 33] {
            all.push(normalised(format, width));
            all.push(activated(format, width));
            all.push(pooled(format, width, MaxPool3d::HALVE));
            all.push(summed(format, width));
        }
        all.push(pooled(format, 8, MaxPool3d { kernel: [7; 3], stride: [2; 3] }));
        all.extend([elements(format), classes(format)]);
        all.push(moved(format));
    }
    all.extend([casts(), optimised()]);
    // The rest.
    all.extend(LOOPS.iter().map(|check: &'static Loop| {
        scene(check.name.into(), move |card| (check.run)(card).map(drop).unwrap_or_default())
    }));
    all
}

/// The same by the kernels for compute capability 9.0 alone.
fn on_warpgroups(scene: Scene) -> Scene {
    let Scene { shape, run } = scene;
    self::scene(format!("{shape}, warpgroups"), move |card| {
        card.target = Target::Sm90a;
        run(card);
    })
}

fn whole_sums(format: Format, channels: usize, outputs: usize, kernel: [usize; 3]) -> Scene {
    let op = Conv3d { kernel, padding: kernel.map(|extent| [extent / 2; 2]), ..Conv3d::same(3) };
    let [kd, kh, kw] = kernel;
    let shape = format!("8×8×8, {channels} → {outputs}, kernel {kd}×{kh}×{kw}, {}", name(format));
    scene(shape, move |card| {
        let shapes = [
            Shape::from([1, 8, 8, 8, channels]),
            Shape::from([outputs, channels, kd, kh, kw]),
            Shape::from([outputs]),
        ];
        let plan = conv3d::cuda::Plan::new(&op, &shapes, format).unwrap();
        let (x, _) = card.upload(&noise(shapes[0], 1), format);
        let (weight, _) = card.upload(&noise(shapes[1], 2), Format::F32);
        let (bias, _) = card.upload(&noise(shapes[2], 3), Format::F32);
        let [pieces, _] = plan.moment_pieces().expect("sums of one split");
        let (y, moments) = (card.room(512 * outputs * format.size()), card.room(pieces * 2 * outputs * 4));
        card.run_with(|workspace| plan.forward(&[x], weight, bias, y, moments, workspace));
    })
}

fn products(format: Format, width: usize, [d, h, w]: [usize; 3]) -> Scene {
    let op = Conv3d { bias: false, ..Conv3d::same(3) };
    scene(format!("{d}×{h}×{w}, {width} → {width}, kernel 3³, {}", name(format)), move |card| {
        let shapes = [Shape::from([1, d, h, w, width]), Shape::from([width, width, 3, 3, 3])];
        convolve(card, &op, shapes, shapes[0], format);
    })
}

/// Forward, input gradient, weight gradient.
fn convolve(card: &mut Card, op: &Conv3d, shapes: [Shape; 2], y_shape: Shape, format: Format) {
    let plan = conv3d::cuda::Plan::new(op, &shapes, format).unwrap();
    let x = card.upload(&noise(shapes[0], 1), format).0;
    let weight = card.upload(&noise(shapes[1], 2), Format::F32).0;
    let dy = card.upload(&noise(y_shape, 3), format).0;
    let (y, dx, dw) = (
        card.room_for(y_shape, format),
        card.room_for(shapes[0], format),
        card.room_for(shapes[1], Format::F32),
    );
    card.run_with(|workspace| plan.forward(&[x], weight, NULL, y, NULL, workspace));
    card.run_with(|workspace| plan.input_gradient(0, dy, weight, dx, workspace));
    card.run_with(|workspace| plan.weight_gradient(&[x], dy, dw, workspace));
}

fn direct(format: Format, channels: usize, outputs: usize) -> Scene {
    let op = Conv3d { bias: false, ..Conv3d::same(3) };
    scene(format!("4×8×8, {channels} → {outputs}, kernel 3³, {}", name(format)), move |card| {
        let shapes = [Shape::from([1, 4, 8, 8, channels]), Shape::from([outputs, channels, 3, 3, 3])];
        convolve(card, &op, shapes, Shape::from([1, 4, 8, 8, outputs]), format);
    })
}

/// A stride of 2: its input gradient runs directly in every format.
fn strided(format: Format, channels: usize, outputs: usize) -> Scene {
    let op = Conv3d { stride: [2; 3], bias: false, ..Conv3d::same(3) };
    scene(
        format!("8×8×8 → 4×4×4, {channels} → {outputs}, kernel 3³, {}", name(format)),
        move |card| {
            let shapes = [Shape::from([1, 8, 8, 8, channels]), Shape::from([outputs, channels, 3, 3, 3])];
            convolve(card, &op, shapes, Shape::from([1, 4, 4, 4, outputs]), format);
        },
    )
}

fn doubled(format: Format, channels: usize, outputs: usize) -> Scene {
    let op = ConvTranspose3d::double();
    scene(format!("4×8×8 → 8×16×16, {channels} → {outputs}, {}", name(format)), move |card| {
        let shapes = [
            Shape::from([1, 4, 8, 8, channels]),
            Shape::from([channels, outputs, 2, 2, 2]),
            Shape::from([outputs]),
        ];
        let plan = conv_transpose3d::cuda::Plan::new(&op, &shapes, format).unwrap();
        let x = card.upload(&noise(shapes[0], 1), format).0;
        let weight = card.upload(&noise(shapes[1], 2), Format::F32).0;
        let bias = card.upload(&noise(shapes[2], 3), Format::F32).0;
        let y = card.room(8 * 256 * outputs * format.size());
        card.run_with(|workspace| plan.forward(x, weight, bias, y, workspace));
    })
}

fn normalised(format: Format, width: usize) -> Scene {
    let op = BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation: Fused::Relu };
    scene(format!("2048 voxels × {width}, ReLU, {}", name(format)), move |card| {
        let shape = Shape::from([2048, width]);
        let x = card.upload(&noise(shape, 1), format).0;
        let dy = card.upload(&noise(shape, 2), format).0;
        let [gamma, beta, mean, variance] =
            [3, 4, 5, 6].map(|seed| card.upload(&noise([width], seed).map(|v| v + 2.0), Format::F32).0);
        let tables = batch_norm_tables(card, width, gamma, beta);
        let running = batch_norm::cuda::Running { mean, variance, momentum: 0.1 };
        let plan = batch_norm::cuda::Plan::new(op, format, 2048, width).unwrap();
        let (y, dx) = (card.room_for(shape, format), card.room_for(shape, format));
        let total = card.room(2 * width * 4);
        card.run_with(|workspace| {
            let mut launches = plan.statistics(x, None, tables, running, workspace)?;
            launches.push(plan.forward(x, tables, y)?);
            launches.extend(plan.backward(x, tables, dy, total, dx, workspace)?);
            Ok(launches)
        });
    })
}

fn activated(format: Format, width: usize) -> Scene {
    // Elements that fill no 16 bytes, where channels do not.
    let voxels = if width.is_multiple_of(8) { 2048 } else { 2047 };
    scene(format!("{voxels} voxels × {width}, PReLU, {}", name(format)), move |card| {
        let (shape, elements) = (Shape::from([voxels, width]), voxels * width);
        let x = card.upload(&noise(shape, 1), format).0;
        let dy = card.upload(&noise(shape, 2), format).0;
        let address = card.upload(&noise([width], 3), Format::F32).0;
        let slopes = Slopes { address, count: width };
        let (y, dx) = (card.room_for(shape, format), card.room_for(shape, format));
        let sums = card.room(width * 4);
        card.run_with(|workspace| {
            let op = Activation::Prelu;
            let mut launches = vec![
                activation::cuda::forward(op, format, elements, x, slopes, y)?,
                activation::cuda::backward(op, format, elements, x, slopes, dy, dx)?,
            ];
            launches
                .extend(activation::cuda::slope_gradient(format, elements, width, x, dy, sums, workspace)?);
            Ok(launches)
        });
    })
}

fn pooled(format: Format, width: usize, op: MaxPool3d) -> Scene {
    let [side, _, _] = op.kernel;
    scene(format!("16×8×8, {width} channels, window {side}³, {}", name(format)), move |card| {
        let shape = Shape::from([1, 16, 8, 8, width]);
        let plan = max_pool3d::cuda::Plan::new(&op, shape, format).unwrap();
        let x = card.upload(&noise(shape, 1), format).0;
        let rows = [16, 8, 8].map(|extent| (extent - side) / op.stride[0] + 1).iter().product::<usize>();
        let y_shape = Shape::from([rows, width]);
        let dy = card.upload(&noise(y_shape, 2), format).0;
        let (y, dx) = (card.room_for(y_shape, format), card.room_for(shape, format));
        let positions = card.room(plan.positions_bytes());
        card.run(&[plan.forward(x, y, positions).unwrap(), plan.backward(dy, positions, dx).unwrap()]);
    })
}

fn summed(format: Format, width: usize) -> Scene {
    scene(format!("2048 voxels × {width}, sums and means, {}", name(format)), move |card| {
        let x = card.upload(&noise([2048, width], 1), format).0;
        let (sums, means) = (card.room(width * 4), card.room(2 * width * format.size()));
        card.run_with(|workspace| channels::sums(format, 2048, Operand::dense(x, width), sums, workspace));
        card.run_with(|workspace| channels::means(format, [2, 1024, width], x, means, workspace));
    })
}

/// Losses and gradients of a prediction; `weights` are those of its classes.
fn lost(card: &mut Card, op: Loss, shapes: &[Shape], format: Format) {
    let plan = loss::cuda::Plan::new(op, shapes, format).unwrap();
    let prediction = card.upload(&noise(shapes[0], 1), format).0;
    let target = card.upload(&noise(shapes[1], 2).map(|v| ((v + 1.0) * 1.5).floor()), Format::F32).0;
    let buffers = loss::cuda::Buffers {
        prediction,
        target,
        weights: NULL,
        kept: if op == Loss::SigmoidMse { card.room(shapes[0].elements() * 4) } else { NULL },
        sums: card.room(plan.sums_bytes()),
        loss: card.room(4),
    };
    let (incoming, gradient) = (card.upload_f32(&[1.0]), card.room_for(shapes[0], format));
    card.run_with(|workspace| plan.forward(buffers, workspace));
    card.run(&[plan.backward(buffers, incoming, gradient).unwrap()]);
}

fn elements(format: Format) -> Scene {
    scene(format!("16×16×16, sigmoid + MSE, {}", name(format)), move |card| {
        lost(card, Loss::SigmoidMse, &[Shape::from([4096]); 2], format);
    })
}

fn classes(format: Format) -> Scene {
    scene(format!("16×16×16, 3 classes, Dice + cross-entropy, {}", name(format)), move |card| {
        let op = Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: true };
        lost(card, op, &[Shape::from([4096, 3]), Shape::from([4096])], format);
    })
}

fn moved(format: Format) -> Scene {
    let (dtype, count) = (if format == Format::F32 { DType::F32 } else { DType::Bf16 }, 1 << 14);
    scene(format!("256 voxels × 64, {}", name(format)), move |card| {
        let (a, b) = (card.upload(&noise([count], 1), format).0, card.upload(&noise([count], 2), format).0);
        let means = card.upload(&noise([2, 64], 3), format).0;
        let joined = card.room(2 * count * format.size());
        let halves = |width| {
            let part = |first: u64| Operand { address: joined + first, channels: width, pitch: 2 * width };
            [part(0), part((width * format.size()) as u64)]
        };
        card.run(&[
            elementwise::fill(dtype, joined, 2 * count, 0.5).unwrap(),
            elementwise::add(dtype, 2.0, a, b, count).unwrap(),
            elementwise::broadcast(dtype, [2, 128, 64], 0.5, means, b).unwrap(),
            elementwise::copy_slices(format, 256, Operand::dense(a, 64), halves(64)[0]).unwrap(),
            elementwise::copy_slices(format, 256, Operand::dense(a, 33), halves(33)[1]).unwrap(),
        ]);
    })
}

fn casts() -> Scene {
    let count = 1 << 14;
    scene("256 voxels × 64".into(), move |card| {
        let wide = card.upload(&noise([count], 1), Format::F32).0;
        let narrow = card.room(count * 2);
        for format in [Format::Bf16, Format::F16] {
            card.run(&[
                elementwise::cast(Format::F32, format, wide, narrow, count).unwrap(),
                elementwise::cast(format, Format::F32, narrow, wide, count).unwrap(),
            ]);
        }
        let factor = card.upload_f32(&[0.5]);
        card.run(&[elementwise::scale(factor, wide, count).unwrap()]);
    })
}

fn optimised() -> Scene {
    let count = 1 << 14;
    scene("16384 parameters".into(), move |card| {
        let [parameters, gradients, first, second] =
            [1, 2, 3, 4].map(|seed| card.upload(&noise([count], seed).map(f64::abs), Format::F32).0);
        let norm = card.room(8);
        card.run_with(|workspace| optimizer::cuda::norm(gradients, count, 1.0, norm, workspace));
        let sgd = |momentum| Optimizer::Sgd { momentum, dampening: 0.0, weight_decay: 0.1, nesterov: false };
        for (optimizer, state) in [
            (sgd(0.0), [NULL; 2]),
            (sgd(0.9), [first, NULL]),
            (Optimizer::Adam(Moments::default()), [first, second]),
        ] {
            let buffers = optimizer::cuda::Buffers { parameters, gradients, state, factor: norm + 4 };
            card.run(&[optimizer::cuda::update(&optimizer, 3, 0.05, buffers, 0..count).unwrap()]);
        }
    })
}

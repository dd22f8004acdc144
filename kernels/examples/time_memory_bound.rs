//! Times the operations that memory limits, beside a plain copy in the same run:
//!
//! ```text
//! cargo run --release -p genesis-kernels --example time_memory_bound -- [THREADS] [CHANNELS] [portable|avx2|avx512]
//! ```
//!
//! GB/s counts the bytes of each operation's [`Cost`]: what it must read and write. What the memory moves
//! is more: a store to a line that is not in cache reads the line first.

use genesis_kernels::op::{Cost, Operation};
use genesis_kernels::ops::activation::Activation;
use genesis_kernels::ops::batch_norm::{BatchNorm, Fused, Statistics};
use genesis_kernels::ops::concat::Concat;
use genesis_kernels::ops::global_average_pool::GlobalAveragePool;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::max_pool3d::MaxPool3d;
use genesis_kernels::ops::optimizer::{Moments, Optimizer};
use genesis_kernels::{Context, Isa, Result};
use genesis_tensor::random::{Purpose, Stream};
use genesis_tensor::{Shape, Tensor};
use std::time::Instant;

const REPEATS: usize = 7;

fn random(shape: impl Into<Shape>) -> Result<Tensor> {
    let mut tensor = Tensor::zeros(shape)?;
    Stream::new(0, 0, 0, Purpose::Other).fill_uniform(tensor.as_mut_slice()?);
    Ok(tensor)
}

fn report(name: &str, bytes: u64, seconds: f64) {
    println!("{name:<40} {:8.2} ms {:8.1} GB/s", seconds * 1e3, bytes as f64 / seconds / 1e9);
}

/// The least of several times.
fn best(mut work: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..REPEATS {
        least = least.min(work()?);
    }
    Ok(least)
}

fn time<O: Operation>(cx: &Context, name: &str, operation: &O, inputs: &[&Tensor]) -> Result<()> {
    let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
    let Cost { forward, backward } = operation.cost(&shapes);
    let dy = random(operation.infer(&shapes)?)?;
    let seconds = best(|| {
        let start = Instant::now();
        operation.forward(cx, inputs)?;
        Ok(start.elapsed().as_secs_f64())
    })?;
    report(&format!("{name}, forward"), forward.bytes, seconds);
    let need = vec![true; inputs.len()];
    let seconds = best(|| {
        let (_, saved) = operation.forward(cx, inputs)?;
        // Its own block, as on a tape, so that backward may write over it.
        let dy = Tensor::from_slice(dy.shape(), dy.as_slice())?;
        let start = Instant::now();
        operation.backward(cx, saved, dy, &need)?;
        Ok(start.elapsed().as_secs_f64())
    })?;
    report(&format!("{name}, backward"), backward.bytes, seconds);
    Ok(())
}

fn time_optimizer(cx: &Context, name: &str, optimizer: Optimizer) -> Result<()> {
    let shape = [19_073_665];
    let (mut parameters, gradients) = (random(shape)?, random(shape)?);
    let mut state = Vec::new();
    for _ in 0..optimizer.state_count() {
        state.push(Tensor::zeros(shape)?);
    }
    let seconds = best(|| {
        let start = Instant::now();
        optimizer.update(cx, 1, 1e-3, &mut parameters, &gradients, &mut state)?;
        Ok(start.elapsed().as_secs_f64())
    })?;
    report(name, 4 * (3 + 2 * state.len() as u64) * shape[0] as u64, seconds);
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.first().map_or(Ok(2), |v| v.parse())?;
    let channels: usize = arguments.get(1).map_or(Ok(64), |v| v.parse())?;
    let isa = arguments.get(2).map_or(Ok(Isa::detect()), |v| v.parse())?;
    let cx = Context::with_isa(threads, isa);
    // 16.8 million elements, 67 MB, whatever the channels.
    let depth = (2 * 64 * 64 * 32 * 64 / (64 * 32 * channels.max(1))).max(2) / 2 * 2;
    let shape = [2, depth / 2, 64, 32, channels];
    println!("{threads} threads, {isa}, {shape:?}");

    let x = random(shape)?;
    let mut copy = random(shape)?;
    let seconds = best(|| {
        let start = Instant::now();
        cx.pool.run_pieces(copy.as_mut_slice()?, x.elements().div_ceil(threads), |index, piece| {
            let start = index * x.elements().div_ceil(threads);
            piece.copy_from_slice(&x.as_slice()[start..start + piece.len()]);
        });
        Ok(start.elapsed().as_secs_f64())
    })?;
    report("copy (the C library's)", 2 * x.size_in_bytes() as u64, seconds);

    let (gamma, beta) = (random([channels])?, random([channels])?);
    for activation in [Fused::None, Fused::Relu, Fused::Elu] {
        let op = BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation };
        time(&cx, &format!("batch_norm {activation:?}"), &op, &[&x, &gamma, &beta])?;
    }
    for activation in [Activation::Relu, Activation::Elu, Activation::Sigmoid] {
        time(&cx, &format!("activation {activation:?}"), &activation, &[&x])?;
    }
    time(&cx, "max_pool3d 2x2x2", &MaxPool3d::HALVE, &[&x])?;
    time(&cx, "global_average_pool", &GlobalAveragePool, &[&x])?;
    time(&cx, "concat", &Concat, &[&x, &copy])?;
    for loss in [Loss::Mse, Loss::SigmoidMse, Loss::Dice { smooth: 1.0 }, Loss::BceWithLogits] {
        time(&cx, &format!("loss {loss:?}"), &loss, &[&x, &copy])?;
    }
    time_optimizer(&cx, "SGD", Optimizer::sgd(0.0))?;
    time_optimizer(&cx, "SGD, momentum", Optimizer::sgd(0.9))?;
    time_optimizer(&cx, "Adam", Optimizer::Adam(Moments::default()))?;
    Ok(())
}

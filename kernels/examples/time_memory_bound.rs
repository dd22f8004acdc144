//! Times the operations that memory limits, beside a plain copy in the same run:
//!
//! ```text
//! cargo run --release -p genesis-kernels --example time_memory_bound -- \
//!     [THREADS] [CHANNELS] [ISA] [f32|bf16] [PART OF A NAME]
//! ```
//!
//! GB/s counts the bytes of each operation's [`Cost`] in the format of the activations: what it must read
//! and write. What the memory moves is more where a store to a line that is not in cache reads the line
//! first. `copy` beside each operation is how its GB/s compare with a copy just before it: on a shared machine
//! both vary together.

use genesis_kernels::op::{Cost, Operation};
use genesis_kernels::ops::activation::Activation;
use genesis_kernels::ops::batch_norm::{BatchNorm, Fused, Statistics, moments};
use genesis_kernels::ops::concat::Concat;
use genesis_kernels::ops::global_average_pool::GlobalAveragePool;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::max_pool3d::MaxPool3d;
use genesis_kernels::ops::optimizer::{Moments, Optimizer};
use genesis_kernels::{Context, Isa, Result};
use genesis_tensor::random::{Purpose, Stream};
use genesis_tensor::{DType, Shape, Tensor};
use std::time::Instant;

const REPEATS: usize = 9;

fn random(shape: impl Into<Shape>) -> Result<Tensor> {
    let mut tensor = Tensor::zeros(shape)?;
    Stream::new(0, 0, 0, Purpose::Other).fill_uniform(tensor.as_mut_slice()?);
    Ok(tensor)
}

struct Bench {
    cx: Context,
    dtype: DType,
    /// Part of the names of what is to be timed.
    only: String,
    /// What is copied, and where to: 67 MB each.
    memory: [Tensor; 2],
}

impl Bench {
    fn skips(&self, name: &str) -> bool {
        !name.to_lowercase().contains(&self.only)
    }

    /// Seconds of one copy by the C library on all threads.
    fn copy(&mut self) -> Result<f64> {
        let [from, to] = &mut self.memory;
        let length = from.elements().div_ceil(self.cx.pool.threads());
        let start = Instant::now();
        self.cx.pool.run_pieces(to.as_mut_slice()?, length, |index, piece| {
            let start = index * length;
            piece.copy_from_slice(&from.as_slice()[start..start + piece.len()]);
        });
        Ok(start.elapsed().as_secs_f64())
    }

    /// The least of several times of `work`, between copies.
    fn report(
        &mut self,
        name: &str,
        bytes: u64,
        mut work: impl FnMut(&Context) -> Result<f64>,
    ) -> Result<()> {
        let (mut least, mut least_copy) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..REPEATS {
            least_copy = least_copy.min(self.copy()?);
            least = least.min(work(&self.cx)?);
        }
        let speed = bytes as f64 / least / 1e9;
        let copy = 2.0 * self.memory[0].size_in_bytes() as f64 / least_copy / 1e9;
        let share = 100.0 * speed / copy;
        println!("{name:<36} {:8.2} ms {speed:6.1} GB/s  {share:4.0} % of copy's {copy:.1}", least * 1e3);
        Ok(())
    }

    fn time<O: Operation>(&mut self, name: &str, operation: &O, inputs: &[&Tensor]) -> Result<()> {
        if self.skips(name) {
            return Ok(());
        }
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
        let Cost { forward, backward } = operation.cost(&shapes);
        let in_format = |bytes: u64| bytes * self.dtype.bytes() as u64 / 4;
        let (forward, backward) = (in_format(forward.bytes), in_format(backward.bytes));
        let (y, _) = operation.forward(&self.cx, inputs)?;
        let dy = random(y.shape())?.cast(y.dtype())?;
        drop(y);
        self.report(&format!("{name}, forward"), forward, |cx| {
            let start = Instant::now();
            operation.forward(cx, inputs)?;
            Ok(start.elapsed().as_secs_f64())
        })?;
        let need = vec![true; inputs.len()];
        self.report(&format!("{name}, backward"), backward, |cx| {
            let (_, saved) = operation.forward(cx, inputs)?;
            // Its own block, as on a tape, so that backward may write over it.
            let dy = dy.cast(dy.dtype())?;
            let start = Instant::now();
            operation.backward(cx, saved, dy, &need)?;
            Ok(start.elapsed().as_secs_f64())
        })
    }

    fn time_optimizer(&mut self, name: &str, optimizer: Optimizer) -> Result<()> {
        if self.skips(name) {
            return Ok(());
        }
        let shape = [19_073_665];
        let (mut parameters, gradients) = (random(shape)?, random(shape)?);
        let mut state = Vec::new();
        for _ in 0..optimizer.state_count() {
            state.push(Tensor::zeros(shape)?);
        }
        self.report(name, 4 * (3 + 2 * state.len() as u64) * shape[0] as u64, |cx| {
            let start = Instant::now();
            optimizer.update(cx, 1, 1e-3, &mut parameters, &gradients, &mut state)?;
            Ok(start.elapsed().as_secs_f64())
        })
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.first().map_or(Ok(2), |v| v.parse())?;
    let channels: usize = arguments.get(1).map_or(Ok(64), |v| v.parse())?;
    let isa = arguments.get(2).map_or(Ok(Isa::detect()), |v| v.parse())?;
    let dtype = if arguments.get(3).is_some_and(|v| v == "bf16") { DType::Bf16 } else { DType::F32 };
    let only = arguments.get(4).map_or(String::new(), |v| v.to_lowercase());
    // 16.8 million elements, whatever the channels.
    let depth = (2 * 64 * 64 * 32 * 64 / (64 * 32 * channels.max(1))).max(2) / 2 * 2;
    let shape = [2, depth / 2, 64, 32, channels];
    println!("{threads} threads, {isa}, {shape:?} {dtype:?}");

    let cx = Context::with_isa(threads, isa);
    let memory = [random(shape)?, random(shape)?];
    let mut bench = Bench { cx, dtype, only, memory };
    let x = random(shape)?.cast(dtype)?;
    let other = x.cast(dtype)?;

    let (gamma, beta) = (random([channels])?, random([channels])?);
    for activation in [Fused::None, Fused::Relu, Fused::Elu] {
        let op = BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation };
        bench.time(&format!("batch_norm {activation:?}"), &op, &[&x, &gamma, &beta])?;
    }
    let op = BatchNorm { epsilon: 1e-5, statistics: Statistics::Sums, activation: Fused::Relu };
    let sums = moments(&bench.cx, &x)?;
    bench.time("batch_norm Relu, sums given", &op, &[&x, &gamma, &beta, &sums])?;
    for activation in [Activation::Relu, Activation::Elu, Activation::Sigmoid] {
        bench.time(&format!("activation {activation:?}"), &activation, &[&x])?;
    }
    bench.time("max_pool3d 2x2x2", &MaxPool3d::HALVE, &[&x])?;
    bench.time("global_average_pool", &GlobalAveragePool, &[&x])?;
    bench.time("concat", &Concat, &[&x, &other])?;
    let target = random(shape)?;
    for loss in [Loss::Mse, Loss::SigmoidMse, Loss::Dice { smooth: 1.0 }, Loss::BceWithLogits] {
        bench.time(&format!("loss {loss:?}"), &loss, &[&x, &target])?;
    }
    bench.time_optimizer("SGD", Optimizer::sgd(0.0))?;
    bench.time_optimizer("SGD, momentum", Optimizer::sgd(0.9))?;
    bench.time_optimizer("Adam", Optimizer::Adam(Moments::default()))?;
    Ok(())
}

//! Seconds of a training step (forward, loss, backward, SGD) of the full network, operation by
//! operation, and its peak memory:
//!
//! ```text
//! cargo run --release --example 05_profile_a_training_step \
//!     [width] [batch] [steps] [threads] [f32|bf16] [recompute 0|1|2] [levels that run again]
//! ```

use genesis_autograd::{Executed, Tape, Var};
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::optimizer::Optimizer;
use genesis_kernels::{Context, cpu::peak};
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tensor::{DType, Tensor, memory};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = |index: usize, default: usize| {
        std::env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (width, batch, steps) = (argument(1, 32), argument(2, 2), argument(3, 5));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cx = Context::new(argument(4, cores));
    let mut network = UNet3d::new(UNetConfig { width, ..UNetConfig::default() })?;
    network.initialise(Initialiser::Pytorch, 1)?;
    let text = |index: usize, default: &str| std::env::args().nth(index).unwrap_or_else(|| default.into());
    let format = if text(5, "f32") == "bf16" { DType::Bf16 } else { DType::F32 };
    let recompute = argument(6, 1);
    if recompute == 2 {
        network.set_checkpoints(text(7, "64,128").parse()?);
    }
    let mut gradients = network.zero_gradients()?;
    let mut state = vec![Tensor::zeros(network.parameters().flat().shape())?];
    let shape = [batch, 64, 64, 32, 1];
    let values: Vec<f32> = (0..batch * 131_072).map(|i| (i % 251) as f32 / 251.0).collect();
    let mut seconds = Vec::new();
    let mut table: BTreeMap<(bool, String), (f64, f64)> = BTreeMap::new();
    for step in 0..steps {
        let start = Instant::now();
        gradients.restart();
        let mut tape = Tape::training().recomputing(recompute > 0).with_profile();
        let input = Var::constant(Tensor::from_slice(shape, &values)?.cast(format)?);
        let logits = network.forward(&cx, &mut tape, input, Statistics::BatchAndUpdate)?;
        let target = Var::constant(Tensor::from_slice(shape, &values)?);
        let loss = tape.apply(&cx, Loss::SigmoidMse, &[&logits, &target])?;
        drop(logits);
        tape.backward(&cx, loss, Tensor::full([1], 1.0)?, &mut gradients)?;
        let flat = network.parameters_mut().flat_mut();
        Optimizer::sgd(0.9).update(&cx, step as u64 + 1, 0.01, flat, gradients.flat(), &mut state)?;
        seconds.push(start.elapsed().as_secs_f64());
        eprintln!("step {step}: {:.3} s", seconds[step]);
        for Executed { name, output, backward, recomputed, seconds, cost, .. } in tape.take_profile() {
            let work = if backward { cost.backward } else { cost.forward };
            let again = if recomputed { " again" } else { "" };
            let row = table.entry((backward, format!("{name} {output}{again}"))).or_default();
            row.0 += seconds / steps as f64;
            row.1 += work.flops as f64 / steps as f64;
        }
    }
    let peak = peak::f32_gflops(&cx);
    for ((backward, name), (seconds, flops)) in &table {
        let direction = if *backward { "backward" } else { "forward" };
        let rate = flops / seconds / 1e9;
        println!(
            "{direction:8} {name:44} {:8.1} ms {rate:7.1} GFLOP/s {:3.0} %",
            seconds * 1e3,
            100.0 * rate / peak
        );
    }
    let sum = |convolutions: bool| -> f64 {
        table
            .iter()
            .filter(|((_, name), _)| name.starts_with("conv") == convolutions)
            .map(|(_, row)| row.0)
            .sum()
    };
    seconds.sort_by(f64::total_cmp);
    println!(
        "width {width}, batch {batch}, {format:?}, recompute {recompute}, {} threads, {}: median {:.3} s a step; convolutions {:.3} s, other operations \
         {:.3} s; f32 peak {peak:.0} GFLOP/s; peak memory of tensors {:.2} GB, \
         held {:.2} GB, of the process {:.2} GB, blocks from the system {}",
        cx.pool.threads(),
        cx.isa,
        seconds[steps / 2],
        sum(true),
        sum(false),
        memory::statistics().peak as f64 / 1e9,
        memory::statistics().held as f64 / 1e9,
        memory::peak_resident_bytes().unwrap_or(0) as f64 / 1e9,
        memory::statistics().system_allocations
    );
    Ok(())
}

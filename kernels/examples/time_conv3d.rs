//! Times every convolution of the network, forward and both gradients, beside the measured peak.
//!
//! ```text
//! cargo run --release -p genesis-kernels --example time_conv3d -- \
//!     [--precision bf16] [--isa avx512] [--threads 1] [--layer up_tr64] [--batch 2] [--runs 5] [--best true] [--clock cpu]
//! ```
//! `--layer` takes a part of a name; `--best true` prints the fastest run instead of the median, for a
//! machine that others use too; so does `--clock cpu`, which counts the time the one thread was running
//! (Linux, a resolution of milliseconds). A share is of `threads` times the peak of
//! one thread: that of bf16 products for `--precision bf16` where there are such, else that of f32.

use genesis_kernels::cpu::peak::{bf16_peak_flops, peak_flops};
use genesis_kernels::op::Operation;
use genesis_kernels::ops::conv3d::shapes::{GENESIS, Kind, Layer, parse};
use genesis_kernels::{Context, Isa};
use genesis_tensor::random::{Purpose, Stream};
use genesis_tensor::{DType, Tensor};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Arguments {
    isa: Isa,
    precision: DType,
    threads: usize,
    layer: String,
    batch: usize,
    runs: usize,
    best: bool,
    cpu: bool,
}

impl Arguments {
    /// Seconds on the clock asked for.
    fn now(&self) -> Result<f64> {
        if !self.cpu {
            static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
            return Ok(START.elapsed().as_secs_f64());
        }
        let statistics = std::fs::read_to_string("/proc/thread-self/schedstat")?;
        let running = statistics.split(' ').next().ok_or("an empty schedstat")?;
        Ok(running.parse::<f64>()? * 1e-9)
    }

    /// Seconds that several runs take, after one to warm up.
    fn times(&self, mut work: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
        work()?;
        let mut times = Vec::new();
        for _ in 0..self.runs {
            let start = self.now()?;
            work()?;
            times.push(self.now()? - start);
        }
        Ok(times)
    }

    /// The median of the times, or the least.
    fn choose(&self, mut times: Vec<f64>) -> f64 {
        times.sort_by(f64::total_cmp);
        times[if self.best { 0 } else { times.len() / 2 }]
    }
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments {
        isa: Isa::detect(),
        precision: DType::F32,
        threads: 1,
        layer: String::new(),
        batch: 2,
        runs: 5,
        best: false,
        cpu: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--isa" => arguments.isa = value.parse()?,
            "--precision" => {
                arguments.precision = match value.as_str() {
                    "f32" => DType::F32,
                    "bf16" => DType::Bf16,
                    _ => return Err("--precision f32 or bf16".into()),
                }
            }
            "--threads" => arguments.threads = value.parse()?,
            "--layer" => arguments.layer = value,
            "--batch" => arguments.batch = value.parse()?,
            "--clock" => arguments.cpu = value == "cpu",
            "--best" => arguments.best = value.parse()?,
            "--runs" => arguments.runs = value.parse::<usize>()?.max(1),
            _ => return Err(format!("unknown argument {word}").into()),
        }
    }
    if arguments.cpu && arguments.threads > 1 {
        return Err("--clock cpu counts one thread".into());
    }
    Ok(arguments)
}

/// Seconds of the forward pass, of the input gradients alone, and of the weight gradient alone.
fn time<O: Operation>(cx: &Context, operation: &O, layer: &Layer, arguments: &Arguments) -> Result<[f64; 3]> {
    let shapes = layer.inputs(arguments.batch);
    let mut stream = Stream::new(0, 0, 0, Purpose::Other);
    let mut draw = |shape, precision| -> Result<Tensor> {
        let mut tensor = Tensor::zeros(shape)?;
        stream.fill_uniform(tensor.as_mut_slice()?);
        Ok(tensor.cast(precision)?)
    };
    let activations = layer.channels.len();
    let inputs = shapes.iter().enumerate().map(|(index, &shape)| {
        draw(shape, if index < activations { arguments.precision } else { DType::F32 })
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let dy = draw(operation.infer(&shapes)?, arguments.precision)?;
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let forward = arguments.choose(arguments.times(|| {
        operation.forward(cx, &inputs)?;
        Ok(())
    })?);
    let backward = |need: &dyn Fn(usize) -> bool| {
        let need: Vec<bool> = (0..inputs.len()).map(need).collect();
        let (_, saved) = operation.forward(cx, &inputs)?;
        let mut saved = Some(saved);
        let mut times = Vec::new();
        for _ in 0..=arguments.runs {
            let kept = match saved.take() {
                Some(kept) => kept,
                None => operation.forward(cx, &inputs)?.1,
            };
            let dy = dy.clone();
            let start = arguments.now()?;
            operation.backward(cx, kept, dy, &need)?;
            times.push(arguments.now()? - start);
        }
        times.remove(0);
        Ok::<f64, Box<dyn std::error::Error>>(arguments.choose(times))
    };
    let input = backward(&|index| index < activations)?;
    let weight = backward(&|index| index >= activations)?;
    Ok([forward, input, weight])
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let cx = Context::with_isa(arguments.threads, arguments.isa);
    let one = match arguments.precision {
        DType::F32 => None,
        DType::Bf16 => bf16_peak_flops(arguments.isa),
    };
    let peak = one.unwrap_or_else(|| peak_flops(arguments.isa)) * arguments.threads as f64;
    println!(
        "{}, {:?}, {} thread(s), batch {}, peak {:.1} GFLOP/s",
        arguments.isa,
        arguments.precision,
        arguments.threads,
        arguments.batch,
        peak / 1e9
    );
    println!(
        "{:18} {:>9} {:>11} | {:>9} {:>8} {:>5} | {:>9} {:>8} {:>5} | {:>9} {:>8} {:>5}",
        "layer",
        "channels",
        "extents",
        "forward",
        "GFLOP/s",
        "peak",
        "dgrad",
        "GFLOP/s",
        "peak",
        "wgrad",
        "GFLOP/s",
        "peak"
    );
    let mut total = [0.0; 3];
    let mut work = 0.0;
    for layer in parse(GENESIS)?.iter().filter(|layer| layer.name.contains(&arguments.layer)) {
        let shapes = layer.inputs(arguments.batch);
        let (seconds, flops) = match &layer.operation {
            Kind::Conv(conv) => (time(&cx, conv, layer, &arguments)?, conv.cost(&shapes).forward.flops),
            Kind::Transposed(conv) => (time(&cx, conv, layer, &arguments)?, conv.cost(&shapes).forward.flops),
        };
        let channels = layer.channels.iter().map(usize::to_string).collect::<Vec<_>>().join("+");
        let extents = layer.extents.map(|extent| extent.to_string()).join("x");
        print!("{:18} {:>9} {extents:>11}", layer.name, format!("{channels}>{}", layer.outputs));
        for (seconds, total) in seconds.iter().zip(&mut total) {
            let rate = flops as f64 / seconds;
            print!(" | {:6.1} ms {:8.1} {:4.0}%", 1e3 * seconds, rate / 1e9, 100.0 * rate / peak);
            *total += seconds;
        }
        println!();
        work += flops as f64;
    }
    print!("{:40}", "all");
    for seconds in total {
        let rate = work / seconds;
        print!(" | {:6.0} ms {:8.1} {:4.0}%", 1e3 * seconds, rate / 1e9, 100.0 * rate / peak);
    }
    println!();
    Ok(())
}

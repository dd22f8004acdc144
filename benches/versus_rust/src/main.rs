//! conv3d forward in other Rust libraries on the CPU, next to ours, on the network's layers.
//!
//! ```text
//! cargo run --release -- [--layer up_tr64] [--batch 1] [--runs 3] [--threads N] [--limit 20]
//! ```
//!
//! burn: its `flex` backend (the CPU backend it recommends) and its older `ndarray` backend, with every
//! feature that makes them fast. candle has no 3D convolution (huggingface/candle, issue 2997).
//! Each gets its own layout; where ours reads two inputs, burn gets them concatenated for free.
//! Results are compared before anything is timed.

mod burn;
mod ours;

use genesis_kernels::ops::conv3d::shapes::{GENESIS, Kind, Layer, parse};
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Values of one layer, channels last: x of all inputs together, weight `[O, C, 3, 3, 3]`, bias `[O]`.
pub struct Problem {
    layer: Layer,
    batch: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Problem {
    fn new(layer: Layer, batch: usize) -> Self {
        // A fixed sequence in [-1, 1): values do not matter for time, and must only not be special.
        let mut state = 1u64;
        let mut draw = |count: usize| -> Vec<f32> {
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            };
            (0..count).map(|_| next()).collect()
        };
        let (inputs, kernel) = (layer.channels.iter().sum::<usize>(), Self::kernel_of(&layer));
        let voxels = batch * layer.extents.iter().product::<usize>();
        let x = draw(voxels * inputs);
        let weight = draw(layer.outputs * inputs * kernel.pow(3));
        let bias = draw(layer.outputs);
        Self { layer, batch, x, weight, bias }
    }

    fn kernel_of(layer: &Layer) -> usize {
        match layer.operation {
            Kind::Conv(conv) => conv.kernel[0],
            Kind::Transposed(conv) => conv.kernel[0],
        }
    }

    fn kernel(&self) -> usize {
        Self::kernel_of(&self.layer)
    }

    fn inputs(&self) -> usize {
        self.layer.channels.iter().sum()
    }

    fn voxels(&self) -> usize {
        self.batch * self.layer.extents.iter().product::<usize>()
    }

    fn flops(&self) -> f64 {
        2.0 * (self.voxels() * self.weight.len()) as f64
    }
}

/// A library that convolves; values stay in its own layout between runs.
pub trait Rival {
    /// Convolves once; seconds.
    fn run(&mut self) -> f64;
    /// The last result, channels last.
    fn result(&self) -> Vec<f32>;
}

struct Arguments {
    layer: String,
    batch: usize,
    runs: usize,
    threads: usize,
    limit: f64,
}

fn arguments() -> Result<Arguments> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut given = Arguments { layer: String::new(), batch: 1, runs: 3, threads: cores, limit: 20.0 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--layer" => given.layer = value,
            "--batch" => given.batch = value.parse::<usize>()?.max(1),
            "--runs" => given.runs = value.parse::<usize>()?.max(1),
            "--threads" => given.threads = value.parse::<usize>()?.max(1),
            "--limit" => given.limit = value.parse()?,
            _ => return Err(format!("unknown argument {word}; see the top of src/main.rs").into()),
        }
    }
    Ok(given)
}

/// The median of some runs after one to warm up; that one alone if it took longer than the limit.
fn time(rival: &mut dyn Rival, runs: usize, limit: f64) -> f64 {
    let first = rival.run();
    if first > limit {
        return first;
    }
    let mut times: Vec<f64> = (0..runs).map(|_| rival.run()).collect();
    times.sort_by(f64::total_cmp);
    times[(times.len() - 1) / 2]
}

/// ‖a - b‖ / ‖b‖.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = a.iter().zip(b).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let norm: f64 = b.iter().map(|&b| square(f64::from(b))).sum();
    if a.len() == b.len() { (error / norm).sqrt() } else { f64::INFINITY }
}

fn bench() -> Result<()> {
    let given = arguments()?;
    // rayon's pool, which both of burn's backends compute on. Nothing has started a thread yet.
    rayon::ThreadPoolBuilder::new().num_threads(given.threads).build_global()?;
    println!(
        "conv3d forward, f32, batch {}, {} thread(s), median of {}",
        given.batch, given.threads, given.runs
    );
    println!("candle 0.11: no 3D convolution (https://github.com/huggingface/candle/issues/2997)");
    println!("burn 0.22.1: flex (with AVX-512), ndarray (SIMD, all threads)\n");
    println!("| layer | Genesis | GFLOP/s | burn flex | ours is faster | burn ndarray | ours is faster |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut compared = 0;
    // What each rival reached on the layer before, to leave out layers that would take it too long.
    let mut rates = [f64::INFINITY; 2];
    for layer in parse(GENESIS)? {
        if !matches!(layer.operation, Kind::Conv(_)) || !layer.name.contains(&given.layer) {
            continue;
        }
        let problem = Problem::new(layer, given.batch);
        let mut ours = ours::Ours::new(&problem, given.threads)?;
        let mine = time(&mut ours, given.runs, given.limit);
        let wanted = ours.result();
        print!("| {} | {:.1} ms | {:.0} |", problem.layer.name, 1e3 * mine, problem.flops() / mine / 1e9);
        let rivals: [(&str, Box<dyn Rival>); 2] = [
            ("flex", Box::new(burn::Flex::new(&problem))),
            ("ndarray", Box::new(burn::NdArray::new(&problem))),
        ];
        for ((name, mut rival), rate) in rivals.into_iter().zip(&mut rates) {
            if problem.flops() / *rate > given.limit {
                print!(" > {:.0} s | - |", given.limit);
                continue;
            }
            let theirs = time(rival.as_mut(), given.runs, given.limit);
            let error = difference(&rival.result(), &wanted);
            // Negated, so that a NaN fails.
            if !(error < 1e-4) {
                return Err(
                    format!("burn {name} and ours differ by {error:.1e} on {}", problem.layer.name).into()
                );
            }
            print!(" {:.1} ms | {:.1} x |", 1e3 * theirs, theirs / mine);
            *rate = problem.flops() / theirs;
        }
        println!();
        compared += 1;
    }
    if compared == 0 {
        return Err(format!("no convolution has '{}' in its name", given.layer).into());
    }
    println!(
        "\nWhat was timed agrees to 1e-4. '> {:.0} s': left out, by the rate on the layer before.",
        given.limit
    );
    Ok(())
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

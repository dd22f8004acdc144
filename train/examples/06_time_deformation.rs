//! Milliseconds per 64x64x32 cube and core of each deformation and of whole recipes:
//!
//! ```text
//! cargo run --release --example 06_time_deformation [cubes]
//! ```

use std::time::Instant;

use genesis_tensor::random::{Purpose, Stream};
use genesis_train::deform::{Deformer, Operation, Recipe};

const SIZE: [usize; 3] = [64, 64, 32];

/// Mean and smallest-batch milliseconds per cube over `cubes` cubes in ten batches.
fn milliseconds(recipe: Recipe, cubes: u64) -> genesis_train::Result<[f64; 2]> {
    let mut deformer = Deformer::new(recipe, SIZE)?;
    let voxels = SIZE.iter().product();
    let mut original = vec![0.0f32; voxels];
    Stream::new(1, 0, 0, Purpose::Other).fill_uniform(&mut original);
    let (mut target, mut input) = (original.clone(), original.clone());
    let batches: Vec<f64> = (0..10)
        .map(|batch| {
            let start = Instant::now();
            for sample in 0..cubes / 10 {
                deformer.pair_for_sample(1, batch, sample, &original, &mut target, &mut input, None);
            }
            start.elapsed().as_secs_f64() * 1e3 / (cubes / 10) as f64
        })
        .collect();
    Ok([batches.iter().sum::<f64>() / 10.0, batches.iter().copied().fold(f64::INFINITY, f64::min)])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cubes = match std::env::args().nth(1) {
        Some(count) => count.parse::<u64>()?.max(10),
        None => 2_000,
    };
    println!("{:<24}{:>14}{:>14}", "one core", "ms per cube", "best batch");
    let print = |name: &str, recipe| -> Result<(), Box<dyn std::error::Error>> {
        let [mean, best] = milliseconds(recipe, cubes)?;
        println!("{name:<24}{mean:>14.3}{best:>14.3}");
        Ok(())
    };
    for name in Operation::NAMES {
        print(name, Recipe::only(&[name])?)?;
    }
    print("recipe genesis", Recipe::genesis())?;
    print("recipe original", Recipe::original())?;
    print("recipe paper", Recipe::paper())
}

//! Milliseconds per 64x64x32 patch and core of each augmentation and of whole recipes, with labels,
//! from a volume of 128x128x64 voxels:
//!
//! ```text
//! cargo run --release --example time_augment [patches]
//! ```

use std::time::Instant;

use genesis_tensor::random::{Purpose, Stream};
use genesis_train::augment::{AugmentationRecipe, Augmenter, Source};

const SIZE: [usize; 3] = [64, 64, 32];
const EXTENTS: [usize; 3] = [128, 128, 64];

/// Mean and smallest-batch milliseconds per patch over `patches` patches in ten batches.
fn milliseconds(
    recipe: AugmentationRecipe,
    source: &Source<'_>,
    patches: u64,
) -> genesis_train::Result<[f64; 2]> {
    let mut augmenter = Augmenter::new(recipe, SIZE)?;
    let voxels = SIZE.iter().product();
    let (mut image, mut labels) = (vec![0.0f32; voxels], vec![0u8; voxels]);
    let batches: Vec<f64> = (0..10)
        .map(|batch| {
            let start = Instant::now();
            for sample in 0..patches / 10 {
                augmenter.patch_for_sample(
                    1,
                    batch,
                    sample,
                    source,
                    [30, 40, 20],
                    &mut image,
                    Some(&mut labels),
                );
            }
            start.elapsed().as_secs_f64() * 1e3 / (patches / 10) as f64
        })
        .collect();
    Ok([batches.iter().sum::<f64>() / 10.0, batches.iter().copied().fold(f64::INFINITY, f64::min)])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let patches = match std::env::args().nth(1) {
        Some(count) => count.parse::<u64>()?.max(10),
        None => 500,
    };
    let mut volume = vec![0.0f32; EXTENTS.iter().product()];
    Stream::new(1, 0, 0, Purpose::Other).fill_uniform(&mut volume);
    let labels: Vec<u8> = volume.iter().map(|&value| u8::from(value > 0.5)).collect();
    let source = Source::new(&volume, 1, EXTENTS, [0.8, 0.8, 1.5])?.with_labels(&labels, 0)?;

    type Change = fn(&mut AugmentationRecipe);
    let transforms: [(&str, Change); 10] = [
        ("copy", |_| ()),
        ("flip", |r| r.flip.probability = [1.0; 3]),
        ("rotation", |r| r.rotation.probability = 1.0),
        ("scaling", |r| r.scaling.probability = 1.0),
        ("elastic", |r| r.elastic.probability = 1.0),
        ("noise", |r| r.noise.probability = 1.0),
        ("blur", |r| (r.blur.probability, r.blur.channel_probability) = (1.0, 1.0)),
        ("brightness", |r| r.brightness.probability = 1.0),
        ("contrast", |r| r.contrast.probability = 1.0),
        ("gamma", |r| r.gamma.probability = 1.0),
    ];
    println!("{:<24}{:>14}{:>14}", "one core", "ms per patch", "best batch");
    let print = |name: &str, recipe| -> Result<(), Box<dyn std::error::Error>> {
        let [mean, best] = milliseconds(recipe, &source, patches)?;
        println!("{name:<24}{mean:>14.3}{best:>14.3}");
        Ok(())
    };
    let mut everything = AugmentationRecipe::none();
    for (name, change) in transforms {
        let mut recipe = AugmentationRecipe::none();
        change(&mut recipe);
        change(&mut everything);
        print(name, recipe)?;
    }
    print("all of these", everything)?;
    print("recipe light", AugmentationRecipe::light())?;
    print("recipe default", AugmentationRecipe::default())
}

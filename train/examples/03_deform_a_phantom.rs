//! A phantom chest CT, one cube of it, and what each deformation makes of that cube.
//!
//! ```text
//! cargo run --example 03_deform_a_phantom
//! ```

use genesis_train::deform::{Deformer, Operation, Recipe};
use genesis_train::phantom::{PhantomConfig, generate};

fn main() -> genesis_train::Result<()> {
    let phantom = generate(&PhantomConfig::new([96, 96, 64], 1, 0), 2)?;
    // A cube of the right lung, intensities scaled as METHOD says: [-1000, 1000] HU to [0, 1].
    let (size, corner) = ([32, 32, 16], [22, 34, 24]);
    let mut cube = Vec::new();
    for x in 0..size[0] {
        for y in 0..size[1] {
            for z in 0..size[2] {
                let index = ((corner[0] + x) * 96 + corner[1] + y) * 64 + corner[2] + z;
                cube.push((f32::from(phantom.hounsfield[index]) / 2000.0 + 0.5).clamp(0.0, 1.0));
            }
        }
    }
    for name in Operation::NAMES {
        let mut deformer = Deformer::new(Recipe::only(&[name])?, size)?;
        let (mut target, mut input) = (cube.clone(), cube.clone());
        deformer.pair_for_sample(1, 0, 0, &cube, &mut target, &mut input, None);
        let changed = input.iter().zip(&target).filter(|(a, b)| a != b).count();
        println!("{name:16} changes {:5.1} % of the voxels", 100.0 * changed as f64 / cube.len() as f64);
    }
    Ok(())
}

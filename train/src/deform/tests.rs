//! Tests of whole deformations.

use super::*;

const SIZE: [usize; 3] = [64, 64, 32];
const VOXELS: usize = 64 * 64 * 32;

fn cube() -> Vec<f32> {
    let mut values = vec![0.0; VOXELS];
    Stream::new(77, 0, 0, Purpose::Other).fill_uniform(&mut values);
    values
}

struct Pair {
    target: Vec<f32>,
    input: Vec<f32>,
    mask: Vec<f32>,
}

fn pair(deformer: &mut Deformer, sample: u64, original: &[f32]) -> Pair {
    let stale = || vec![f32::NAN; VOXELS];
    let mut pair = Pair { target: stale(), input: stale(), mask: stale() };
    let Pair { target, input, mask } = &mut pair;
    deformer.pair_for_sample(1, 2, sample, original, target, input, Some(mask));
    pair
}

fn sorted(values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    values.sort_by(f32::total_cmp);
    values
}

#[test]
fn every_recipe_gives_finite_cubes_in_range_and_a_flipped_target() {
    let original = cube();
    let want = sorted(&original);
    for recipe in [Recipe::genesis(), Recipe::original(), Recipe::paper()] {
        let mut deformer = Deformer::new(recipe, SIZE).unwrap();
        for sample in 0..40 {
            let pair = pair(&mut deformer, sample, &original);
            assert_eq!(sorted(&pair.target), want);
            assert!(pair.input.iter().all(|v| (0.0..=1.0).contains(v)));
            assert!(pair.mask.iter().all(|&v| v == 1.0));
        }
    }
}

#[test]
fn a_pair_depends_on_its_key_alone() {
    let original = cube();
    let mut first = Deformer::new(Recipe::genesis(), SIZE).unwrap();
    let mut second = first.clone();
    let inputs: Vec<Vec<f32>> = (0..8).map(|s| pair(&mut first, s, &original).input).collect();
    // Another order, so other remains in the working memory.
    for sample in (0..8).rev() {
        assert_eq!(pair(&mut second, sample, &original).input, inputs[sample as usize]);
    }
    assert_ne!(inputs[0], inputs[1]);
}

#[test]
fn single_operations_do_what_their_name_says() {
    let original = cube();
    let run = |name: &str, sample| {
        let mut deformer = Deformer::new(Recipe::only(&[name]).unwrap(), SIZE).unwrap();
        pair(&mut deformer, sample, &original)
    };
    for sample in 0..20 {
        let same = run("autoencoder", sample);
        assert!(same.input == original && same.target == original);
        let flipped = run("flip", sample);
        assert_eq!(flipped.input, flipped.target);
        let patches = run("patch-shuffling", sample);
        assert!(patches.target == original && patches.input != original);
        assert_eq!(sorted(&patches.input), sorted(&original));
        // Local shuffling loses voxels but invents none.
        let shuffled = run("local-shuffling", sample);
        let known = sorted(&original);
        assert!(shuffled.input.iter().all(|v| known.binary_search_by(|k| k.total_cmp(v)).is_ok()));
        // Equal voxels stay equal, others keep or reverse their order.
        let mapped = run("nonlinear", sample);
        let mut order: Vec<usize> = (0..VOXELS).collect();
        order.sort_by(|&a, &b| original[a].total_cmp(&original[b]));
        let rising = mapped.input[order[VOXELS - 1]] > mapped.input[order[0]];
        let sign = if rising { 1.0 } else { -1.0 };
        assert!(order.windows(2).all(|w| sign * (mapped.input[w[1]] - mapped.input[w[0]]) > -2e-7));
        let noisy = run("denoising", sample);
        assert!(noisy.input.iter().zip(&original).all(|(a, b)| (a - b).abs() < 0.6));
    }
}

#[test]
fn in_painting_masks_its_holes_and_always_has_one() {
    let original = cube();
    let mut deformer = Deformer::new(Recipe::only(&["in-painting"]).unwrap(), SIZE).unwrap();
    for sample in 0..200 {
        let pair = pair(&mut deformer, sample, &original);
        let mut holes = 0;
        for ((input, target), mask) in pair.input.iter().zip(&pair.target).zip(&pair.mask) {
            assert!(*mask == 1.0 || (*mask == 0.0 && input == target));
            holes += usize::from(*mask == 1.0);
        }
        assert!((10 * 10 * 5..=5 * 21 * 21 * 10).contains(&holes), "{holes}");
        let changed = pair.input.iter().zip(&pair.target).filter(|(i, t)| i != t).count();
        assert!(changed <= holes && changed * 100 > holes * 99);
    }
}

#[test]
fn what_a_cut_out_leaves_is_deformed_like_the_rest() {
    // The cut-out is drawn first so that hidden voxels need no work; what stays visible must
    // nevertheless be shuffled and mapped as without a cut-out.
    let original = cube();
    let names = ["local-shuffling", "nonlinear", "outer-cutout"];
    let mut deformer = Deformer::new(Recipe::only(&names).unwrap(), SIZE).unwrap();
    let mut moved = 0.0;
    for sample in 0..60 {
        let pair = pair(&mut deformer, sample, &original);
        let visible = || (0..VOXELS).filter(|v| !deformer.cutout.hidden.contains(*v));
        let mut mapped = original.clone();
        deformer.map.apply(&mut mapped);
        let known = sorted(&mapped);
        assert!(visible().all(|v| known.binary_search_by(|k| k.total_cmp(&pair.input[v])).is_ok()));
        let shifted = visible().filter(|&v| pair.input[v] != mapped[v]).count();
        moved += shifted as f64 / visible().count() as f64 / 60.0;
    }
    // In the cube's interior a shuffle moves 80 to 85 % of the voxels (78.5 % with its faces).
    assert!((0.79..0.86).contains(&moved), "{moved}");
}

#[test]
fn awkward_sizes_work() {
    for size in [[10, 10, 10], [14, 23, 17], [16, 16, 700]] {
        let voxels = size.iter().product();
        let original: Vec<f32> = (0..voxels).map(|v| v as f32 / voxels as f32).collect();
        for recipe in [Recipe::genesis(), Recipe::paper(), Recipe::only(&["local-shuffling"]).unwrap()] {
            let Ok(mut deformer) = Deformer::new(recipe, size) else { continue };
            let (mut target, mut input) = (original.clone(), original.clone());
            for sample in 0..20 {
                deformer.pair_for_sample(1, 0, sample, &original, &mut target, &mut input, None);
            }
        }
    }
    assert!(Deformer::new(Recipe::genesis(), [9, 64, 64]).is_err());
}

//! The promises of augmentation as a whole: geometry, labels and reproducibility.

use super::*;

/// A smooth random volume with two labels.
fn volume(extents: [usize; 3], channels: usize) -> (Vec<f32>, Vec<u16>) {
    let voxels: usize = extents.iter().product();
    let mut image = vec![0.0; voxels * channels];
    Stream::new(4, 0, 0, Purpose::Other).fill_uniform(&mut image);
    let labels = image[..voxels].iter().map(|&v| if v > 0.7 { 300 } else { u16::from(v > 0.4) }).collect();
    (image, labels)
}

/// 1 within a ball of `radius` mm about the middle of the volume, fading to 0 over a millimetre.
fn ball(extents: [usize; 3], spacing: [f64; 3], radius: f64) -> Vec<f32> {
    let [_, ey, ez] = extents;
    (0..extents.iter().product())
        .map(|i: usize| {
            let place = [i / (ey * ez), i / ez % ey, i % ez];
            let distance = (0..3)
                .map(|a| ((place[a] as f64 - (extents[a] as f64 - 1.0) / 2.0) * spacing[a]).powi(2))
                .sum::<f64>()
                .sqrt();
            (radius - distance + 0.5).clamp(0.0, 1.0) as f32
        })
        .collect()
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn transformed(image: &[f32], extents: [usize; 3], spacing: [f64; 3], to: &SpatialTransform) -> Vec<f32> {
    let mut patch = vec![0.0; image.len()];
    let source = Source::new(image, 1, extents, spacing).unwrap();
    sample_patch(&source, [0; 3], extents, to, &mut patch, None);
    patch
}

#[test]
fn without_augmentation_patches_are_the_volume_bit_for_bit() {
    let (extents, size) = ([9, 8, 7], [6, 9, 4]);
    let (image, labels) = volume(extents, 2);
    let source = Source::new(&image, 2, extents, [1.0, 2.0, 3.0]).unwrap();
    let source = source.padded(&[-1.0, -2.0]).unwrap().with_labels(&labels, 5).unwrap();
    let mut augmenter = Augmenter::new(AugmentationRecipe::none(), size).unwrap();
    let corner = augmenter.corner_around([3, 4, 5]);
    assert_eq!(corner, [0, 0, 3]);
    let (mut patch, mut patch_labels) = (vec![0.0; 2 * 216], vec![0; 216]);
    augmenter.patch_for_sample(1, 2, 3, &source, corner, &mut patch, Some(&mut patch_labels));
    for (i, &label) in patch_labels.iter().enumerate() {
        let [x, y, z] = [i / 36, i / 4 % 9, i % 4 + 3];
        let from = (y < 8).then_some((x * 8 + y) * 7 + z);
        assert_eq!(label, from.map_or(5, |from| labels[from]));
        assert_eq!(patch[i].to_bits(), from.map_or(-1.0, |from| image[from]).to_bits());
        assert_eq!(patch[216 + i].to_bits(), from.map_or(-2.0, |from| image[504 + from]).to_bits());
    }
}

#[test]
fn a_resampled_identity_is_the_identity() {
    // A displacement by nothing takes the path of a displacement by something.
    for extents in [[8, 7, 6], [1, 1, 5]] {
        let (image, labels) = volume(extents, 1);
        let stream = &mut Stream::new(1, 0, 0, Purpose::Other);
        let grid = DisplacementGrid::draw(extents, [1.0; 3], 4.0, 0.0, stream);
        for choice in 0..8 {
            let flips = [choice & 1 != 0, choice & 2 != 0, choice & 4 != 0];
            let aligned = SpatialTransform { flips, ..SpatialTransform::default() };
            let resampled = SpatialTransform { displacement: Some(grid.clone()), ..aligned.clone() };
            assert!(aligned.is_aligned() && !resampled.is_aligned());
            let source = Source::new(&image, 1, extents, [1.0; 3]).unwrap().with_labels(&labels, 0).unwrap();
            let [a, b] = [aligned, resampled].map(|transform| {
                let (mut patch, mut patch_labels) = (image.clone(), labels.clone());
                sample_patch(&source, [0, 0, 1], extents, &transform, &mut patch, Some(&mut patch_labels));
                (patch, patch_labels)
            });
            assert_eq!(a, b, "{extents:?} {flips:?}");
        }
    }
}

#[test]
fn quarter_turns_move_voxels_where_they_belong() {
    let extents = [6, 6, 6];
    let (image, _) = volume(extents, 1);
    let at = |image: &[f32], [x, y, z]: [usize; 3]| image[(x * 6 + y) * 6 + z];
    // Where the content of a voxel goes, with both coordinates counted from the middle.
    type Move = fn([usize; 3]) -> [usize; 3];
    let moves: [([f64; 3], Move); 5] = [
        ([90.0, 0.0, 0.0], |[x, y, z]| [x, 5 - z, y]),
        ([0.0, 90.0, 0.0], |[x, y, z]| [z, y, 5 - x]),
        ([0.0, 0.0, 90.0], |[x, y, z]| [5 - y, x, z]),
        ([0.0, 0.0, 180.0], |[x, y, z]| [5 - x, 5 - y, z]),
        // First about x, then about z.
        ([90.0, 0.0, 90.0], |[x, y, z]| [z, x, y]),
    ];
    for (degrees, moved) in moves {
        let transform = SpatialTransform { degrees, ..SpatialTransform::default() };
        let turned = transformed(&image, extents, [1.0; 3], &transform);
        for i in 0..216 {
            let place = [i / 36, i / 6 % 6, i % 6];
            let (value, want) = (at(&turned, moved(place)), at(&image, place));
            assert!((value - want).abs() < 1e-5, "{degrees:?} {place:?}: {value}, {want}");
        }
    }
}

#[test]
fn volume_grows_with_the_third_power_of_the_scale() {
    let extents = [48, 44, 40];
    let image = ball(extents, [1.0; 3], 12.0);
    let sum = |image: &[f32]| image.iter().map(|&v| f64::from(v)).sum::<f64>();
    for scale in [0.8, 1.0, 1.3] {
        let transform = SpatialTransform { degrees: [14.0, -9.0, 23.0], scale, ..Default::default() };
        let ratio = sum(&transformed(&image, extents, [1.0; 3], &transform)) / sum(&image);
        assert!((ratio / f64::powi(scale, 3) - 1.0).abs() < 0.01, "{scale}: {ratio}");
    }
}

#[test]
fn anisotropic_voxels_turn_in_millimetres() {
    let (extents, spacing) = ([64, 56, 22], [0.7, 0.8, 2.0]);
    let image = ball(extents, spacing, 14.0);
    let transform = SpatialTransform { degrees: [30.0, -40.0, 25.0], ..SpatialTransform::default() };
    let difference = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / a.len() as f64
    };
    let right = difference(&transformed(&image, extents, spacing, &transform), &image);
    let wrong = difference(&transformed(&image, extents, [1.0; 3], &transform), &image);
    // The ball stays itself but for the interpolation at its rim.
    assert!(right < 0.01 && wrong > 5.0 * right, "{right}, {wrong}");
}

#[test]
fn a_turned_patch_shows_the_volume_around_it() {
    let extents = [40, 40, 40];
    let image = vec![1.0f32; 64_000];
    let source = Source::new(&image, 1, extents, [1.0; 3]).unwrap().padded(&[-1.0]).unwrap();
    let transform = SpatialTransform { degrees: [0.0, 0.0, 45.0], scale: 0.9, ..Default::default() };
    let mut patch = vec![0.0; 8000];
    sample_patch(&source, [10; 3], [20; 3], &transform, &mut patch, None);
    assert!(patch.iter().all(|value| (value - 1.0).abs() < 1e-6));
    // At the volume's corner there is nothing around.
    sample_patch(&source, [0; 3], [20; 3], &transform, &mut patch, None);
    assert!(patch.iter().any(|&value| value == -1.0));
    // Far away neither, and nothing overflows.
    sample_patch(&source, [i64::MIN, 0, i64::MAX], [20; 3], &transform, &mut patch, None);
    assert!(patch.iter().all(|&value| value == -1.0));
}

#[test]
fn labels_follow_the_image_and_stay_labels() {
    let (extents, size) = ([30, 28, 20], [24, 20, 16]);
    let image = ball(extents, [1.0, 1.0, 1.4], 9.0);
    let labels: Vec<u16> = image.iter().map(|&v| if v > 0.5 { 300 } else { 4 }).collect();
    let source = Source::new(&image, 1, extents, [1.0, 1.0, 1.4]).unwrap().with_labels(&labels, 4).unwrap();
    let mut recipe = AugmentationRecipe::none();
    recipe.flip.probability = [0.5; 3];
    recipe.rotation.probability = 0.9;
    recipe.scaling.probability = 0.9;
    recipe.elastic.probability = 0.5;
    let mut augmenter = Augmenter::new(recipe, size).unwrap();
    let (mut patch, mut patch_labels) = (vec![0.0; 7680], vec![0; 7680]);
    for sample in 0..20 {
        augmenter.patch_for_sample(1, 0, sample, &source, [1, 5, 3], &mut patch, Some(&mut patch_labels));
        assert!(patch_labels.iter().all(|label| [4, 300].contains(label)));
        let inside = patch_labels.iter().filter(|&&label| label == 300).count();
        let apart =
            patch.iter().zip(&patch_labels).filter(|&(&value, &label)| (value > 0.5) != (label == 300));
        // Nearest and linear interpolation part only along the rim.
        let apart = apart.count();
        assert!(inside > 500 && apart * 10 < inside, "sample {sample}: {apart} of {inside}");
    }
}

#[test]
fn intensities_change_without_the_labels() {
    let extents = [12, 12, 12];
    let (image, labels) = volume(extents, 2);
    let source = Source::new(&image, 2, extents, [1.0; 3]).unwrap().with_labels(&labels, 0).unwrap();
    type Change = fn(&mut AugmentationRecipe);
    let changes: [Change; 5] = [
        |r| r.noise.probability = 1.0,
        |r| (r.blur.probability, r.blur.channel_probability) = (1.0, 1.0),
        |r| r.brightness.probability = 1.0,
        |r| r.contrast.probability = 1.0,
        |r| r.gamma.probability = 1.0,
    ];
    for change in changes {
        let mut recipe = AugmentationRecipe::none();
        change(&mut recipe);
        let mut augmenter = Augmenter::new(recipe, extents).unwrap();
        let (mut patch, mut patch_labels) = (image.clone(), vec![0; 1728]);
        augmenter.patch_for_sample(1, 0, 0, &source, [0; 3], &mut patch, Some(&mut patch_labels));
        assert_eq!(patch_labels, labels);
        // Each channel has its own constant.
        let [a, b] = [0, 1].map(|channel| {
            let part = channel * 1728..(channel + 1) * 1728;
            assert!(!same(&patch[part.clone()], &image[part.clone()]));
            intensities::deviation(&patch[part.clone()]) / intensities::deviation(&image[part])
        });
        assert!((a - b).abs() > 1e-6, "{a}, {b}");
    }
}

#[test]
fn a_sample_depends_on_its_key_alone() {
    let (extents, size) = ([24, 20, 18], [16, 16, 8]);
    let (image, labels) = volume(extents, 1);
    let source = Source::new(&image, 1, extents, [1.0, 1.0, 2.0]).unwrap().with_labels(&labels, 0).unwrap();
    let fresh = Augmenter::new(AugmentationRecipe::default(), size).unwrap();
    let mut draw = {
        let mut used = fresh.clone();
        move |augmenter: Option<&mut Augmenter>, seed, epoch, sample| {
            let (mut patch, mut patch_labels) = (vec![0.0; 2048], vec![0u16; 2048]);
            let augmenter = augmenter.unwrap_or(&mut used);
            let labels = Some(&mut patch_labels[..]);
            augmenter.patch_for_sample(seed, epoch, sample, &source, [4, 2, 5], &mut patch, labels);
            (patch, patch_labels)
        }
    };
    let first: Vec<_> = (0..40).map(|sample| draw(None, 1, 0, sample)).collect();
    // Backwards, and with working memory that saw no other sample.
    for sample in (0..40).rev() {
        let (patch, patch_labels) = draw(Some(&mut fresh.clone()), 1, 0, sample);
        let (want, want_labels) = &first[sample as usize];
        assert!(same(&patch, want) && patch_labels == *want_labels, "sample {sample}");
    }
    let differing = |other: Vec<(Vec<f32>, Vec<u16>)>| {
        other.iter().zip(&first).filter(|(a, b)| !same(&a.0, &b.0)).count()
    };
    // Two samples agree only where both are at most flipped, and alike.
    assert!(differing((0..40).map(|sample| draw(None, 2, 0, sample)).collect()) > 30);
    assert!(differing((0..40).map(|sample| draw(None, 1, 1, sample)).collect()) > 30);
    assert!(differing((40..80).map(|sample| draw(None, 1, 0, sample)).collect()) > 30);
}

#[test]
fn transforms_are_drawn_as_often_and_as_far_as_the_recipe_says() {
    let recipe = AugmentationRecipe::default();
    let mut stream = Stream::new(8, 0, 0, Purpose::Other);
    let draws: Vec<SpatialTransform> =
        (0..4000).map(|_| SpatialTransform::draw(&recipe, [32, 32, 16], [1.0; 3], &mut stream)).collect();
    let share = |what: fn(&SpatialTransform) -> bool| draws.iter().filter(|t| what(t)).count() as f64 / 4e3;
    // Four standard errors of a share of 0.3 are 0.029.
    assert!((share(|t| t.degrees != [0.0; 3]) - 0.3).abs() < 0.03);
    assert!((share(|t| t.scale != 1.0) - 0.3).abs() < 0.03);
    assert!((share(|t| t.displacement.is_some()) - 0.2).abs() < 0.03);
    assert!((share(|t| t.flips[2]) - 0.5).abs() < 0.035);
    assert!((share(|t| t.is_aligned()) - 0.7 * 0.7 * 0.8).abs() < 0.035);
    assert!(draws.iter().all(|t| (0.85..=1.25).contains(&t.scale)));
    assert!(draws.iter().all(|t| t.degrees.iter().all(|angle| angle.abs() <= 15.0)));
    let largest = draws.iter().map(|t| t.degrees[1]).fold(0.0, f64::max);
    assert!(largest > 14.0, "{largest}");
    assert!(Augmenter::new(recipe.clone(), [0, 4, 4]).is_err());
    assert!(Augmenter::new(recipe, [usize::MAX, 4, 4]).is_err());
}

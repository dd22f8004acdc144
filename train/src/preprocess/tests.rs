//! Resampling against functions that are known, and there and back.

use super::*;
use crate::volume::{Affine, affine};

fn pool() -> ThreadPool {
    ThreadPool::new(2)
}

/// An oblique matrix with the given spacing.
fn oblique(spacing: [f64; 3]) -> Affine {
    affine::from_quaternion([0.1, -0.2, 0.3], spacing, -1.0, [10.0, -20.0, 30.5]).expect("a quaternion")
}

fn world(affine: &Affine, index: [usize; 3]) -> [f64; 3] {
    std::array::from_fn(|row| {
        (0..3).map(|axis| affine[row][axis] * index[axis] as f64).sum::<f64>() + affine[row][3]
    })
}

fn each(size: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..size.iter().product()).map(move |i| [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]])
}

/// Resampling with intensities left as they are.
fn only_spacing(spacing: [f64; 3]) -> Preprocessing {
    Preprocessing { spacing: Some(spacing), ..Preprocessing::default() }
}

#[test]
fn constants_and_ramps_in_world_coordinates_stay_what_they_are() {
    let size = [24, 19, 12];
    let affine = oblique([0.7, 0.8, 2.5]);
    let ramp = |place: [f64; 3]| (0.3 + 0.01 * place[0] - 0.007 * place[1] + 0.004 * place[2]) as f32;
    let values: Vec<f32> = each(size).map(|index| ramp(world(&affine, index))).collect();
    let volume = Volume::new(values.clone(), size, affine).expect("valid");
    for spacing in [[1.0, 1.0, 1.0], [0.5, 2.2, 2.5], [1.9, 0.8, 0.6]] {
        let grid = Grid::new(&volume, &only_spacing(spacing)).expect("a grid");
        for (axis, (found, wanted)) in grid.spacing().iter().zip(spacing).enumerate() {
            let length = found * grid.size()[axis] as f64;
            assert!((length - wanted * grid.size()[axis] as f64).abs() <= wanted / 2.0 + 1e-9);
        }
        let constant = grid.image_forward(&pool(), vec![0.37; values.len()]).expect("resampled");
        assert!(constant.iter().all(|value| (value - 0.37).abs() < 1e-6));
        let resampled = grid.image_forward(&pool(), values.clone()).expect("resampled");
        let mut inside = 0;
        for (index, &value) in each(grid.size()).zip(&resampled) {
            // Beyond the outermost centres the image is constant, and averages reach that far.
            let clear = (0..3).all(|axis| {
                let ratio = grid.oriented_size()[axis] as f64 / grid.size()[axis] as f64;
                let centre = (index[axis] as f64 + 0.5) * ratio - 0.5;
                let reach = (ratio * ratio - 1.0).max(0.0).sqrt() / 2.0;
                centre - reach >= 0.0 && centre + reach <= grid.oriented_size()[axis] as f64 - 1.0
            });
            if clear {
                inside += 1;
                let wanted = ramp(world(grid.affine(), index));
                assert!((value - wanted).abs() < 1e-5, "{spacing:?} {index:?}: {value} for {wanted}");
            }
        }
        assert!(inside * 3 > resampled.len(), "{inside} of {}", resampled.len());
        // Back again the ramp is on the input's own grid.
        let back = grid.image_back(&pool(), resampled).expect("resampled");
        let centre = volume.index([12, 9, 6]);
        assert!((back[centre] - values[centre]).abs() < 1e-5);
    }
}

fn dice(a: &[u8], b: &[u8], label: u8) -> f64 {
    let count = |labels: &[u8]| labels.iter().filter(|&&value| value == label).count() as f64;
    let both = a.iter().zip(b).filter(|(a, b)| **a == label && **b == label).count() as f64;
    2.0 * both / (count(a) + count(b))
}

/// Two halves of a sphere of 20 mm around the centre, labels 1 and 2.
fn sphere(size: [usize; 3], affine: &Affine) -> Vec<u8> {
    let centre: [f64; 3] = std::array::from_fn(|row| {
        (0..3).map(|axis| affine[row][axis] * (size[axis] as f64 - 1.0) / 2.0).sum::<f64>() + affine[row][3]
    });
    let label = |index| {
        let place = world(affine, index);
        let distance: f64 = (0..3).map(|axis| (place[axis] - centre[axis]).powi(2)).sum::<f64>().sqrt();
        // No plane of voxels: how it falls between them would decide half a voxel everywhere at once.
        let side: f64 = (0..3).map(|axis| [0.8, 0.5, 0.3][axis] * (place[axis] - centre[axis])).sum();
        if distance > 20.0 { 0 } else { 1 + u8::from(side > 0.0) }
    };
    each(size).map(label).collect()
}

#[test]
fn labels_there_and_back_overlap_by_98_per_cent() {
    let anisotropic =
        [[-0.7, 0.0, 0.0, 3.0], [0.0, -0.7, 0.0, 4.0], [0.0, 0.0, 2.5, 5.0], [0.0, 0.0, 0.0, 1.0]];
    let isotropic = [[1.0, 0.0, 0.0, 3.0], [0.0, 1.0, 0.0, 4.0], [0.0, 0.0, 1.0, 5.0], [0.0, 0.0, 0.0, 1.0]];
    for (size, affine, spacing) in [
        ([70, 68, 20], anisotropic, [1.0, 1.0, 1.0]),
        ([48, 50, 48], isotropic, [0.7, 0.7, 2.5]),
        ([70, 68, 20], oblique([0.7, 0.7, 2.5]), [1.0, 1.0, 1.0]),
        ([48, 50, 48], oblique([1.0, 1.0, 1.0]), [0.7, 0.7, 1.3]),
    ] {
        let labels = sphere(size, &affine);
        let volume = Volume::new(vec![0.0; labels.len()], size, affine).expect("valid");
        let grid = Grid::new(&volume, &only_spacing(spacing)).expect("a grid");
        let working = grid.labels_forward(&pool(), &labels).expect("resampled");
        // On the working grid it is the sphere one would have drawn there.
        let truth = sphere(grid.size(), grid.affine());
        let back = grid.labels_back(&pool(), &working).expect("resampled");
        for label in [1, 2] {
            let (there, returned) = (dice(&working, &truth, label), dice(&back, &labels, label));
            eprintln!("{size:?} to {spacing:?}, label {label}: {there:.4} there, {returned:.4} and back");
            assert!(returned >= 0.98, "{spacing:?}: {returned}");
            assert!(there >= 0.975, "{spacing:?}: {there}");
        }
    }
}

/// An ellipsoid with these semi-axes, mm, around the centre of a grid that is 4 mm larger on every side; its Dice
/// after the way to the working grid and back.
fn there_and_back(semi_axes: [f64; 3], from: [f64; 3], to: [f64; 3]) -> f64 {
    let affine = oblique(from);
    let size: [usize; 3] =
        std::array::from_fn(|axis| ((2.0 * semi_axes[axis] + 8.0) / from[axis]).ceil() as usize);
    let inside = |index: [usize; 3]| {
        let part = |axis: usize| {
            // No voxel's centre in the middle, as in life.
            let offset = (index[axis] as f64 - (size[axis] as f64 - 1.0) / 2.0 + 0.21) * from[axis];
            (offset / semi_axes[axis]).powi(2)
        };
        (0..3).map(part).sum::<f64>() <= 1.0
    };
    let labels: Vec<u8> = each(size).map(|index| u8::from(inside(index))).collect();
    let volume = Volume::new(vec![0.0; labels.len()], size, affine).expect("valid");
    let grid = Grid::new(&volume, &only_spacing(to)).expect("a grid");
    let working = grid.labels_forward(&pool(), &labels).expect("resampled");
    dice(&grid.labels_back(&pool(), &working).expect("resampled"), &labels, 1)
}

/// Labels the size of organs and nodules, between spacings as scanners and tasks have them. What is lost is lost at
/// the surface, so the Dice falls with the size; and it cannot be 0.98 where a structure is a few voxels of the
/// coarser of the two grids across.
#[test]
fn livers_keep_98_per_cent_and_small_nodules_what_their_voxels_allow() {
    let (liver, nodule) = ([95.0, 75.0, 60.0], |radius: f64| [radius; 3]);
    for (from, to, radii) in [
        ([0.7, 0.7, 2.5], [1.0; 3], [12.0, 6.0, 3.0, 2.0]),
        ([0.8, 0.8, 5.0], [1.0; 3], [12.0, 6.0, 3.0, 2.0]),
        ([0.75, 0.75, 1.0], [1.5, 1.5, 2.0], [12.0, 6.0, 3.0, 2.0]),
    ] {
        let whole = there_and_back(liver, from, to);
        let found = radii.map(|radius| there_and_back(nodule(radius), from, to));
        eprintln!("{from:?} to {to:?} mm and back: liver {whole:.4}, nodules of {radii:?} mm {found:.4?}");
        assert!(whole >= 0.98, "{from:?} to {to:?}: {whole}");
    }
}

#[test]
fn orientation_alone_returns_every_bit_from_all_48_orientations() {
    let size = [3, 4, 5];
    let labels: Vec<u8> = (0..60).collect();
    let values: Vec<f32> = (0..60).map(|i| (i as f32).sin()).collect();
    let mut codes = std::collections::BTreeSet::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for flips in 0..8 {
            let mut affine = affine::IDENTITY;
            for axis in 0..3 {
                affine[axis][axis] = 0.0;
            }
            for (axis, row) in order.into_iter().enumerate() {
                affine[row][axis] = if flips >> axis & 1 == 1 { -1.5 } else { 0.5 };
            }
            let volume = Volume::new(values.clone(), size, affine).expect("valid");
            codes.insert(volume.orientation_code());
            let grid = Grid::new(&volume, &Preprocessing::default()).expect("a grid");
            let oriented = volume.clone().to_canonical().0;
            assert_eq!((grid.affine(), grid.size()), (&oriented.affine, oriented.size));
            let working = grid.image_forward(&pool(), values.clone()).expect("moved");
            assert_eq!(working, oriented.voxels);
            assert_eq!(grid.image_back(&pool(), working).expect("moved"), values);
            let working = grid.labels_forward(&pool(), &labels).expect("moved");
            assert_eq!(grid.labels_back(&pool(), &working).expect("moved"), labels);
        }
    }
    assert_eq!(codes.len(), 48);
}

#[test]
fn planes_in_turn_are_the_array_resampled_at_once() {
    let size = [9, 14, 6];
    for spacing in [[0.6, 2.0, 1.0], [2.3, 0.5, 1.0], [1.0, 1.0, 1.0]] {
        let volume = Volume::new(vec![0.0; 756], size, affine::IDENTITY).expect("valid");
        let grid = Grid::new(&volume, &only_spacing(spacing)).expect("a grid");
        let [nx, ny, nz] = grid.size();
        let class = |k: usize| -> Vec<f32> {
            (0..nx * ny * nz).map(|i| ((i * (k + 3)) as f32 * 0.1).sin()).collect()
        };
        let (a, b) = (class(0), class(1));
        let mut stream = PlaneStream::new(&grid, 2);
        let mut found = [Vec::new(), Vec::new()];
        let mut count = 0;
        for x in 0..nx {
            let range = x * ny * nz..(x + 1) * ny * nz;
            let plane = [&a[range.clone()], &b[range]].concat();
            stream
                .push(&pool(), &plane, |x, plane| {
                    assert_eq!(x, count);
                    count += 1;
                    let (first, second) = plane.split_at(plane.len() / 2);
                    found[0].extend_from_slice(first);
                    found[1].extend_from_slice(second);
                    Ok(())
                })
                .expect("taken");
        }
        let oriented = grid.oriented_size();
        for (found, values) in found.iter().zip([&a, &b]) {
            let whole = resample::image(&pool(), values, grid.size(), oriented).expect("resampled");
            assert_eq!(found, &whole);
        }
    }
}

#[test]
fn channels_on_other_grids_labels_that_are_none_and_settings_without_sense_are_refused() {
    let volume = |size: [usize; 3], shift: f64| {
        let mut matrix = affine::IDENTITY;
        matrix[0][3] = shift;
        Volume::new(vec![0.0; size.iter().product()], size, matrix).expect("valid")
    };
    let preprocessing = Preprocessing::default();
    let both = |other| preprocessing.apply_channels(&pool(), vec![volume([4, 4, 4], 0.0), other]);
    assert_eq!(both(volume([4, 4, 4], 0.001)).expect("one grid").channels.len(), 2);
    assert!(both(volume([4, 4, 4], 0.5)).expect_err("shifted").to_string().contains("channel 1"));
    assert!(both(volume([4, 4, 5], 0.0)).is_err());
    assert!(preprocessing.apply_channels(&pool(), Vec::new()).is_err());
    for spacing in [[0.0, 1.0, 1.0], [f64::NAN, 1.0, 1.0], [1e-9, 1.0, 1.0], [1e-4, 1e-4, 1e-4]] {
        assert!(only_spacing(spacing).apply(&pool(), volume([4, 4, 4], 0.0)).is_err(), "{spacing:?}");
    }
    let mut labels = volume([2, 2, 2], 0.0);
    labels.voxels[3] = 2.0;
    assert_eq!(label_map(&labels, 3).expect("labels"), [0, 0, 0, 2, 0, 0, 0, 0]);
    for bad in [3.0, 0.5, -1.0, f32::NAN] {
        labels.voxels[5] = bad;
        assert!(label_map(&labels, 3).expect_err("no label").to_string().contains("(1, 0, 1)"));
    }
}

#[test]
fn a_voxel_that_is_not_a_number_becomes_air_and_spoils_no_neighbour() {
    let mut volume = Volume::new(vec![500.0; 1000], [10, 10, 10], affine::IDENTITY).expect("valid");
    volume.voxels[0] = -800.0;
    volume.voxels[555] = f32::NAN;
    let prepared = only_spacing([0.5, 0.5, 0.5]).apply(&pool(), volume).expect("prepared");
    assert_eq!(prepared.replaced, 1);
    assert!(prepared.channels[0].iter().all(|value| (0.0999..=0.7501).contains(value)));
}

#[test]
fn settings_survive_json_and_missing_ones_are_the_defaults() {
    let settings = Preprocessing {
        orientation: Orientation::Keep,
        spacing: Some([0.7, 0.7, 2.5]),
        intensity: Intensity::Percentiles { low: 0.5, high: 99.5 },
    };
    let text = serde_json::to_string(&settings).expect("JSON");
    assert_eq!(serde_json::from_str::<Preprocessing>(&text).expect("JSON"), settings);
    assert_eq!(serde_json::from_str::<Preprocessing>("{}").expect("JSON"), Preprocessing::default());
    let window = r#"{"intensity": {"kind": "window", "low": -150.0, "high": 250.0}}"#;
    let read: Preprocessing = serde_json::from_str(window).expect("JSON");
    assert_eq!(read.intensity, Intensity::Window { low: -150.0, high: 250.0 });
}

//! The extraction against a literal translation of the original's loops, and folders of volumes.

use crate::bad_volume::OnBadVolume;
use std::fs;

use genesis_tensor::random::{Purpose, Stream};

use super::*;
use crate::volume::{CubeFile, ElementType, Volume, affine, write_nifti};

/// The original's inner loops on voxels in [0, 1]: for every voxel, count up slices from 0 while they
/// are below the threshold, at most to 2; the cube is rejected if the sum of 1 - k/2 exceeds the share.
fn naive_accepts(volume: &Volume, corner: [usize; 3], settings: &CubeSettings) -> bool {
    let [low, high] = settings.window;
    let value = |x: usize, y: usize, z: usize| {
        let raw = f64::from(volume.voxels[volume.index([x, y, z])]);
        (raw.clamp(low, high) - low) / (high - low)
    };
    let threshold = (settings.tissue_level - low) / (high - low);
    let mut score = 0.0;
    for i in corner[0]..corner[0] + settings.cube[0] {
        for j in corner[1]..corner[1] + settings.cube[1] {
            for k in corner[2]..corner[2] + settings.cube[2] {
                let mut step = 0;
                while step < 2 && value(i, j, k + step) < threshold {
                    step += 1;
                }
                score += 1.0 - step as f64 / 2.0;
            }
        }
    }
    let voxels = settings.cube.iter().product::<usize>() as f64;
    score <= settings.max_tissue * voxels && score >= settings.min_tissue * voxels
}

/// An LPS volume of air with balls of tissue, integers in Hounsfield units, some exactly -150.
fn lump_volume(size: [usize; 3], seed: u64) -> Volume {
    let mut stream = Stream::new(seed, 0, 0, Purpose::Other);
    let mut matrix = affine::IDENTITY;
    matrix[0][0] = -1.0;
    matrix[1][1] = -1.0;
    let mut volume = Volume::new(vec![0.0; size.iter().product()], size, matrix).expect("valid");
    volume.voxels.iter_mut().for_each(|value| *value = -1000.0 + stream.below(400) as f32);
    for _ in 0..25 {
        let centre: [f64; 3] = std::array::from_fn(|axis| stream.below(size[axis] as u32).into());
        let radius = 2.0 + 4.0 * stream.uniform_f64();
        let level = [-151.0, -150.0, -149.0, 40.0, 1500.0][stream.below(5) as usize];
        for x in 0..size[0] {
            for y in 0..size[1] {
                for z in 0..size[2] {
                    let place = [x as f64, y as f64, z as f64];
                    let distance: f64 = (0..3).map(|axis| (place[axis] - centre[axis]).powi(2)).sum();
                    if distance < radius * radius {
                        let index = volume.index([x, y, z]);
                        volume.voxels[index] = level;
                    }
                }
            }
        }
    }
    volume
}

fn small_settings() -> CubeSettings {
    CubeSettings {
        cube: [12, 10, 8],
        crop: [12, 10],
        per_volume: 20,
        border: [3, 4, 2],
        ..CubeSettings::new(Modality::Ct)
    }
}

#[test]
fn the_same_corners_are_accepted_as_by_the_originals_loops() {
    for (seed, min_tissue) in [(1, 0.0), (2, 0.05), (3, 0.1)] {
        let volume = lump_volume([40, 44, 30], seed);
        let settings = CubeSettings { min_tissue, ..small_settings() };
        let scaled = ScaledVolume::new(volume.clone(), &settings).expect("large enough");
        let mut found = Vec::new();
        let drawn = scaled
            .draw(&settings, &mut Stream::new(5, 0, seed, Purpose::Cubes), |corner, cube| {
                for (i, &value) in cube.iter().enumerate() {
                    let place = [corner[0] + i / 80, corner[1] + i / 8 % 10, corner[2] + i % 8];
                    let raw = volume.voxels[volume.index(place)];
                    assert_eq!(value, (raw.clamp(-1000.0, 1000.0) + 1000.0) / 2000.0);
                }
                found.push(corner);
                Ok(())
            })
            .expect("drawn");
        let mut stream = Stream::new(5, 0, seed, Purpose::Cubes);
        let (mut wanted, mut tries) = (Vec::new(), 0);
        while wanted.len() < 20 && tries < 1000 {
            // Inclusive bounds: border to size - cube (- 3 slices) - 1 - border.
            let corner = [
                stream.between(3, 40 - 12 - 1 - 3),
                stream.between(4, 44 - 10 - 1 - 4),
                stream.between(2, 30 - 8 - 3 - 1 - 2),
            ];
            tries += 1;
            if naive_accepts(&volume, corner, &settings) {
                wanted.push(corner);
            }
        }
        assert_eq!((&found, drawn.tries), (&wanted, tries));
        assert!(!found.is_empty() && tries > found.len(), "some accepted, some not: {tries}");
    }
}

#[test]
fn a_voxel_at_the_tissue_level_counts_and_the_slice_after_counts_half() {
    let settings = CubeSettings { per_volume: 1, border: [0; 3], max_tissue: 0.0, ..small_settings() };
    let accepted = |level: f32, slice: usize| {
        let mut volume = lump_volume([13, 11, 12], 0);
        volume.voxels.fill(-1000.0);
        // One corner only is possible: (0, 0, 0), of slices 0 to 7.
        let place = volume.index([5, 5, slice]);
        volume.voxels[place] = level;
        let scaled = ScaledVolume::new(volume, &settings).expect("just large enough");
        let mut stream = Stream::new(1, 0, 0, Purpose::Cubes);
        scaled.draw(&settings, &mut stream, |_, _| Ok(())).expect("drawn")
    };
    assert_eq!(accepted(-151.0, 3).cubes, 1);
    // The voxel itself 1, the slice before it 1/2.
    let score = 1.5 / 960.0;
    assert_eq!(accepted(-150.0, 3), Drawn { cubes: 0, tries: 50, scores: [score; 2] });
    assert_eq!(accepted(-150.0, 8).cubes, 0, "the slice after the last counts half");
    assert_eq!(accepted(-150.0, 9).cubes, 1, "the one after that scores 0");
}

#[test]
fn needed_sizes_are_the_originals() {
    let settings = CubeSettings::new(Modality::Ct);
    // z - 32 - 3 - 1 - 30 >= 30 and x - 64 - 1 - 100 >= 100.
    assert_eq!(settings.needed_size(), [265, 265, 96]);
    let mri = CubeSettings::new(Modality::Mri);
    assert_eq!((mri.needed_size(), mri.window, mri.filters()), ([65, 65, 36], [0.0, 4000.0], false));
}

#[test]
fn percentiles_make_the_units_of_a_scanner_irrelevant_and_an_unfit_window_is_told_of() {
    let volume = lump_volume([40, 44, 30], 6);
    let mut settings = small_settings();
    (settings.percentiles, settings.max_tissue) = (Some([1.0, 99.0]), 1.0);
    let cubes = |volume: Volume, settings: &CubeSettings| {
        let scaled = ScaledVolume::new(volume, settings).expect("large enough");
        let mut all = Vec::new();
        let mut stream = Stream::new(1, 0, 0, Purpose::Cubes);
        let keep = |_: [usize; 3], cube: &[f32]| {
            all.extend_from_slice(cube);
            Ok(())
        };
        scaled.draw(settings, &mut stream, keep).expect("drawn");
        (all, scaled.flat())
    };
    let (expected, fits) = cubes(volume.clone(), &settings);
    assert!(!expected.is_empty() && fits.is_none());
    let mut other = volume.clone();
    other.voxels.iter_mut().for_each(|value| *value = 16.0 * *value + 65536.0);
    let found = cubes(other.clone(), &settings).0;
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
    settings.percentiles = None;
    let flat = cubes(other.clone(), &settings).1.expect("saturated").to_string();
    assert!(flat.starts_with("100 % of the voxels lie above") && flat.contains("-1000,1000"), "{flat}");
    settings.percentiles = Some([99.0, 1.0]);
    assert!(settings.check().is_err());
    settings.percentiles = Some([0.0, 100.0]);
    other.voxels.fill(3.0);
    let error = ScaledVolume::new(other, &settings).expect_err("no contrast").to_string();
    assert!(error.contains("no contrast"), "{error}");
}

#[test]
fn axis_order_and_direction_of_the_file_do_not_matter() {
    let volume = lump_volume([40, 44, 30], 4);
    let turned = volume
        .clone()
        .reorient(&crate::volume::Reorientation { from_axis: [2, 0, 1], reversed: [true, false, true] });
    let settings = small_settings();
    let cubes = |volume: Volume| {
        let mut all = Vec::new();
        ScaledVolume::new(volume, &settings)
            .expect("large enough")
            .draw(&settings, &mut Stream::new(1, 0, 0, Purpose::Cubes), |_, cube| {
                all.extend_from_slice(cube);
                Ok(())
            })
            .expect("drawn");
        all
    };
    assert_eq!(cubes(volume), cubes(turned));
}

#[test]
fn a_larger_crop_is_resized_to_the_cube() {
    let volume = lump_volume([40, 44, 30], 6);
    let settings = CubeSettings { crop: [18, 15], ..small_settings() };
    assert_eq!(settings.needed_size(), [18 + 1 + 6, 15 + 1 + 8, 8 + 3 + 1 + 4]);
    let scaled = ScaledVolume::new(volume.clone(), &settings).expect("large enough");
    let mut count = 0;
    scaled
        .draw(&settings, &mut Stream::new(1, 0, 0, Purpose::Cubes), |corner, cube| {
            // Resizing keeps the mean up to the edges.
            let mut mean = 0.0;
            for x in 0..18 {
                for y in 0..15 {
                    for z in 0..8 {
                        let raw = volume.voxels[volume.index([corner[0] + x, corner[1] + y, corner[2] + z])];
                        mean +=
                            f64::from((raw.clamp(-1000.0, 1000.0) + 1000.0) / 2000.0) / (18.0 * 15.0 * 8.0);
                    }
                }
            }
            let found = cube.iter().map(|&value| f64::from(value)).sum::<f64>() / cube.len() as f64;
            assert!((found - mean).abs() < 0.005, "{found} {mean}");
            assert!(cube.iter().all(|value| (0.0..=1.0).contains(value)));
            count += 1;
            Ok(())
        })
        .expect("drawn");
    assert_eq!(count, 20);
}

#[test]
fn wrong_settings_are_wrong_usage() {
    let good = small_settings();
    good.check().expect("good");
    for bad in [
        CubeSettings { cube: [0, 64, 32], ..good.clone() },
        CubeSettings { crop: [0, 64], ..good.clone() },
        CubeSettings { per_volume: 0, ..good.clone() },
        CubeSettings { window: [1000.0, -1000.0], ..good.clone() },
        CubeSettings { window: [f64::NAN, 1.0], ..good.clone() },
        CubeSettings { window: [-50.0, 200.0], ..good.clone() },
        CubeSettings { border: [usize::MAX, 0, 0], ..good.clone() },
        CubeSettings { max_tissue: 1.5, ..good.clone() },
        CubeSettings { min_tissue: 0.5, ..good.clone() },
    ] {
        assert_eq!(bad.check().expect_err("wrong").exit_code(), 2, "{bad:?}");
    }
    CubeSettings { window: [-50.0, 200.0], max_tissue: 1.0, ..good }.check().expect("no filter");
}

#[test]
fn a_folder_becomes_one_file_and_volumes_of_no_use_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let scans = folder.path().join("scans");
    fs::create_dir(&scans).expect("folder");
    let settings = small_settings();
    let out = folder.path().join("cubes.npy");
    let run = |seed| {
        let mut lines = Vec::new();
        let summary = extract_folder(&scans, &settings, seed, OnBadVolume::Skip, &out, |path, cubes| {
            lines.push((path.file_name().expect("a name").to_string_lossy().into_owned(), cubes));
        });
        (summary, lines)
    };
    let message = run(1).0.expect_err("empty").to_string();
    assert!(message.contains("no volume"), "{message}");

    let volume = lump_volume([40, 44, 30], 1);
    write_nifti(&scans.join("d-small.nii"), &lump_volume([40, 44, 15], 1), ElementType::Int16)
        .expect("written");
    let mut dense = volume.clone();
    dense.voxels.iter_mut().enumerate().for_each(|(place, voxel)| *voxel = 40.0 + (place % 7) as f32);
    write_nifti(&scans.join("c-dense.nii"), &dense, ElementType::Int16).expect("written");
    dense.voxels[17] = f32::NAN;
    write_nifti(&scans.join("b-nan.nii"), &dense, ElementType::Float32).expect("written");
    fs::write(scans.join("e-damaged.nii"), "not a volume").expect("written");
    let message = run(1).0.expect_err("nothing usable").to_string();
    assert!(message.contains("none of its 4 volumes") && message.contains("b-nan.nii"), "{message}");
    assert!(!out.exists());

    write_nifti(&scans.join("a-good.nii.gz"), &volume, ElementType::Int16).expect("written");
    write_nifti(&scans.join("f-good.nii.gz"), &lump_volume([40, 44, 30], 2), ElementType::Int16)
        .expect("written");
    let (summary, lines) = run(1);
    let summary = summary.expect("cubes");
    assert_eq!((summary.cubes, summary.volumes, summary.skipped.len()), (40, 2, 4));
    let counts: Vec<usize> = lines.iter().map(|line| line.1).collect();
    assert_eq!(counts, [20, 0, 0, 0, 0, 20]);
    for (skipped, part) in
        summary.skipped.iter().zip(["1 of 52800 voxels", "none of 1000 cubes", "needed", "not NIfTI"])
    {
        assert!(skipped.reason.contains(part), "{}", skipped.reason);
        assert!(skipped.reason.contains(skipped.file.to_str().expect("UTF-8")), "{}", skipped.reason);
    }
    let file = CubeFile::open(&out).expect("valid");
    assert_eq!(file.shape(), [40, 12, 10, 8]);
    let first = fs::read(&out).expect("read");
    run(1).0.expect("again");
    assert_eq!(fs::read(&out).expect("read"), first, "the same seed gives the same file");
    run(2).0.expect("again");
    assert_ne!(fs::read(&out).expect("read"), first, "another seed gives another file");
}

use super::*;

fn chest(index: u64) -> Phantom {
    generate(&PhantomConfig::new([96, 96, 80], 1, index), 2).expect("a valid configuration")
}

fn values_of(phantom: &Phantom, wanted: u8) -> Vec<f64> {
    let pairs = phantom.labels.iter().zip(&phantom.hounsfield);
    pairs.filter(|(label, _)| **label == wanted).map(|(_, hu)| f64::from(*hu)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Centre of the fullest 20 HU wide bin within `[low, high)`.
fn mode(phantom: &Phantom, low: i16, high: i16) -> i16 {
    let mut bins = vec![0usize; ((high - low) / 20) as usize];
    for &hu in phantom.hounsfield.iter().filter(|&&hu| (low..high).contains(&hu)) {
        bins[(((hu - low) / 20) as usize).min(((high - low) / 20 - 1) as usize)] += 1;
    }
    let fullest = (0..bins.len()).max_by_key(|&i| bins[i]).expect("bins");
    low + 20 * fullest as i16 + 10
}

#[test]
fn the_histogram_has_the_modes_of_a_chest() {
    for index in 0..4 {
        let phantom = chest(index);
        assert!((-1015..=-985).contains(&mode(&phantom, -1024, -930)), "air {}", mode(&phantom, -1024, -930));
        assert!((-915..=-815).contains(&mode(&phantom, -930, -700)), "lung {}", mode(&phantom, -930, -700));
        assert!((-120..=-80).contains(&mode(&phantom, -200, -40)), "fat {}", mode(&phantom, -200, -40));
        assert!((30..=70).contains(&mode(&phantom, -40, 120)), "soft {}", mode(&phantom, -40, 120));
        let bone = phantom.hounsfield.iter().filter(|&&hu| hu > 300).count() as f64;
        let share = bone / phantom.hounsfield.len() as f64;
        assert!((0.004..0.04).contains(&share), "bone {share}");
    }
}

#[test]
fn organs_have_plausible_volumes_and_positions() {
    for index in 0..4 {
        let phantom = chest(index);
        let litres = phantom.spacing.iter().product::<f64>() * 1e-6;
        let volume = |label: u8| values_of(&phantom, label).len() as f64 * litres;
        assert!((2.0..6.0).contains(&volume(label::LUNG)), "lungs {} l", volume(label::LUNG));
        assert!((0.25..1.0).contains(&volume(label::HEART)), "heart {} l", volume(label::HEART));
        assert!((0.4..2.5).contains(&volume(label::LIVER)), "liver {} l", volume(label::LIVER));
        assert!((0.3..1.8).contains(&volume(label::BONE)), "bones {} l", volume(label::BONE));
        // The share of a label on the patient's right (x grows to the right) tells the sides apart.
        let plane = phantom.size[1] * phantom.size[2];
        let right = |label: u8| {
            let half = phantom.size[0] / 2 * plane;
            let all = phantom.labels.iter().filter(|&&l| l == label).count();
            phantom.labels[half..].iter().filter(|&&l| l == label).count() as f64 / all as f64
        };
        assert!(right(label::LIVER) > 0.8 && right(label::HEART) < 0.5);
        assert!((0.4..0.66).contains(&right(label::LUNG)));
    }
}

#[test]
fn labels_agree_with_intensities() {
    for index in 0..6 {
        let phantom = chest(index);
        for (label, low, high) in label::MEAN_HOUNSFIELD {
            let values = values_of(&phantom, label);
            assert!(!values.is_empty(), "label {label} is missing in phantom {index}");
            let mean = mean(&values);
            assert!((low..high).contains(&mean), "label {label}: mean {mean} HU in phantom {index}");
        }
    }
}

#[test]
fn a_nodule_has_the_stated_diameter_place_and_tissue() {
    let mut kinds = std::collections::HashSet::new();
    for index in 0..3 {
        let mut config = PhantomConfig::new([150, 150, 125], 2, index);
        config.nodules = Some(8);
        let phantom = generate(&config, 2).expect("a valid configuration");
        assert_eq!(phantom.nodules.len(), 8);
        let [_, ny, nz] = phantom.size;
        let voxel = phantom.spacing[0];
        let mut counted = 0;
        for nodule in &phantom.nodules {
            kinds.insert(nodule.kind as u8);
            let (mut count, mut sum, mut inner, mut inside) = (0usize, [0.0f64; 3], 0.0, 0);
            for (i, &label) in phantom.labels.iter().enumerate() {
                let at = [i / (ny * nz), i / nz % ny, i % nz];
                let offset: [f64; 3] =
                    std::array::from_fn(|k| (at[k] as f64 - nodule.voxel[k]) * phantom.spacing[k]);
                let d = offset.iter().map(|o| o * o).sum::<f64>().sqrt();
                if label == label::NODULE && d < 0.7 * nodule.diameter {
                    count += 1;
                    (0..3).for_each(|k| sum[k] += offset[k]);
                    // The smallest core of a part-solid nodule has 0.35 of its radius.
                    if d < 0.15 * nodule.diameter {
                        inner += f64::from(phantom.hounsfield[i]);
                        inside += 1;
                    }
                }
            }
            counted += count;
            let volume = count as f64 * phantom.spacing.iter().product::<f64>();
            let diameter = (6.0 * volume / std::f64::consts::PI).cbrt();
            assert!((diameter - nodule.diameter).abs() < voxel, "{diameter} mm for {nodule:?}");
            let shift = sum.map(|s| s / count as f64).iter().map(|s| s * s).sum::<f64>().sqrt();
            assert!(shift < voxel.max(0.12 * nodule.diameter), "centre off by {shift} mm: {nodule:?}");
            if inside > 0 && nodule.diameter > 5.0 * voxel {
                let tissue = inner / f64::from(inside);
                let range = match nodule.kind {
                    NoduleKind::Solid => -60.0..120.0,
                    NoduleKind::PartSolid => -250.0..80.0,
                    NoduleKind::GroundGlass => -720.0..-300.0,
                };
                assert!(range.contains(&tissue), "{tissue} HU in {nodule:?}");
            }
        }
        let all = phantom.labels.iter().filter(|&&l| l == label::NODULE).count();
        assert_eq!(counted, all, "every voxel with the label belongs to a listed nodule");
    }
    assert_eq!(kinds.len(), 3, "three kinds among 24 nodules");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let config = PhantomConfig::new([61, 50, 40], 9, 3);
    let one = generate(&config, 1).expect("a valid configuration");
    for threads in [2, 3, 64] {
        assert!(one == generate(&config, threads).expect("a valid configuration"), "{threads} threads");
    }
}

#[test]
fn every_index_and_seed_is_another_patient_and_resolution_is_not() {
    let labels = |seed: u64, index: u64, size: [usize; 3]| {
        generate(&PhantomConfig::new(size, seed, index), 2).expect("a valid configuration").labels
    };
    let size = [60, 60, 50];
    let base = labels(1, 0, size);
    let overlap = |other: &[u8]| {
        let both = base.iter().zip(other).filter(|(a, b)| **a == 1 && **b == 1).count();
        let either = base.iter().zip(other).filter(|(a, b)| **a == 1 || **b == 1).count();
        both as f64 / either as f64
    };
    assert!(overlap(&labels(1, 1, size)) < 0.93);
    assert!(overlap(&labels(2, 0, size)) < 0.93);
    // Twice the resolution, read at every second voxel's corner: the same lungs.
    let fine = labels(1, 0, [120, 120, 100]);
    let coarse: Vec<u8> = (0..60 * 60 * 50)
        .map(|i| {
            let (x, y, z) = (i / 3000, i / 50 % 60, i % 50);
            fine[(2 * x * 120 + 2 * y) * 100 + 2 * z]
        })
        .collect();
    assert!(overlap(&coarse) > 0.85, "{}", overlap(&coarse));
}

#[test]
fn noise_has_the_stated_strength_and_can_be_switched_off() {
    let mut config = PhantomConfig::new([64, 64, 40], 4, 0);
    let noisy = generate(&config, 2).expect("a valid configuration");
    config.noise = 0.0;
    let clean = generate(&config, 2).expect("a valid configuration");
    assert!(noisy.labels == clean.labels);
    let mut middle = Vec::new();
    for x in 29..35 {
        for y in 29..35 {
            for z in 0..40 {
                let i = (x * 64 + y) * 40 + z;
                middle.push(f64::from(noisy.hounsfield[i]) - f64::from(clean.hounsfield[i]));
            }
        }
    }
    let deviation = (middle.iter().map(|v| v * v).sum::<f64>() / middle.len() as f64).sqrt();
    assert!((deviation - 13.0).abs() < 1.5, "{deviation} HU");
}

#[test]
fn any_size_and_spacing_works() {
    for size in [[1, 1, 1], [2, 3, 4], [16, 16, 16], [16, 1, 40], [1, 60, 5], [33, 17, 9]] {
        let phantom = generate(&PhantomConfig::new(size, 1, 0), 2).expect("any size works");
        assert_eq!(phantom.hounsfield.len(), size.iter().product::<usize>());
        assert_eq!(phantom.labels.len(), phantom.hounsfield.len());
    }
    for spacing in [[0.1; 3], [50.0; 3], [0.7, 0.7, 100.0], [400.0, 0.05, 1.0], [400.0; 3]] {
        let config = PhantomConfig { spacing, ..PhantomConfig::new([20, 20, 20], 1, 0) };
        let phantom = generate(&config, 1).expect("any spacing works");
        assert!(phantom.hounsfield.iter().all(|&hu| (-1024..=3071).contains(&hu)));
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let good = PhantomConfig::new([8, 8, 8], 1, 0);
    let bad = [
        PhantomConfig { size: [0, 8, 8], ..good.clone() },
        PhantomConfig { size: [usize::MAX, 8, 8], ..good.clone() },
        PhantomConfig { size: [4096, 4096, 4096], ..good.clone() },
        PhantomConfig { spacing: [f64::NAN, 1.0, 1.0], ..good.clone() },
        PhantomConfig { spacing: [1.0, 0.0, 1.0], ..good.clone() },
        PhantomConfig { noise: -1.0, ..good.clone() },
        PhantomConfig { noise: f64::INFINITY, ..good.clone() },
        PhantomConfig { nodules: Some(1000), ..good.clone() },
    ];
    for config in bad {
        let error = generate(&config, 1).expect_err("refused");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

#[test]
fn a_collection_has_the_decathlons_layout() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let target = directory.path().join("new").join("collection");
    let phantoms = (0..2).map(|index| generate(&PhantomConfig::new([24, 24, 20], 1, index), 1));
    let mut written = Vec::new();
    let images = write_dataset(&target, phantoms, &mut |path, phantom, labels| {
        written.push((path.strip_prefix(&target).expect("inside").display().to_string(), labels));
        std::fs::write(path, &phantom.labels).map_err(crate::Error::io("write", path))
    })
    .expect("written");
    let expected = [
        ("imagesTr/phantom-0000.nii.gz", false),
        ("labelsTr/phantom-0000.nii.gz", true),
        ("imagesTr/phantom-0001.nii.gz", false),
        ("labelsTr/phantom-0001.nii.gz", true),
    ];
    assert!(written.iter().map(|(p, l)| (p.as_str(), *l)).eq(expected), "{written:?}");
    assert_eq!(images[1], target.join("imagesTr/phantom-0001.nii.gz"));
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(target.join(name)).expect("there")).expect("JSON")
    };
    let dataset = read("dataset.json");
    assert_eq!(dataset["numTraining"], 2);
    assert_eq!(dataset["labels"]["2"], "nodule");
    assert_eq!(dataset["training"][1]["label"], "./labelsTr/phantom-0001.nii.gz");
    assert!(read("nodules.json")["phantom-0000"].is_array());

    let again = write_dataset(&target, std::iter::empty(), &mut |_, _, _| Ok(())).expect_err("not empty");
    assert!(again.to_string().contains("not empty"), "{again}");
    let file = directory.path().join("file");
    std::fs::write(&file, "x").expect("written");
    assert!(write_dataset(&file, std::iter::empty(), &mut |_, _, _| Ok(())).is_err());
}

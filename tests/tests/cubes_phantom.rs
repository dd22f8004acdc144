//! The lung filter on a 512×512×120 phantom against METHOD's rule, written out voxel by voxel.

use genesis_tensor::random::{Purpose, Stream};
use genesis_train::cubes::{CubeSettings, Modality, ScaledVolume};
use genesis_train::phantom::{PhantomConfig, generate};
use genesis_train::volume::Volume;

const SIZE: [usize; 3] = [512, 512, 120];

/// Score of the cube at `corner`: each voxel counts 1 - k/2, where k is the first of 0, 1, 2 whose
/// slice further on is at least 0.425 dense, else 2.
fn naive_score(scaled: &[f64], corner: [usize; 3]) -> f64 {
    let at = |x: usize, y: usize, z: usize| scaled[(x * SIZE[1] + y) * SIZE[2] + z];
    let mut score = 0.0;
    for x in corner[0]..corner[0] + 64 {
        for y in corner[1]..corner[1] + 64 {
            for z in corner[2]..corner[2] + 32 {
                let k = (0..3).find(|k| at(x, y, z + k) >= 0.425).unwrap_or(2);
                score += 1.0 - k as f64 / 2.0;
            }
        }
    }
    score
}

#[test]
fn the_filter_accepts_the_corners_the_rule_accepts() {
    let config = PhantomConfig { spacing: [0.7, 0.7, 2.5], ..PhantomConfig::new(SIZE, 3, 0) };
    let phantom = generate(&config, 2).unwrap();
    let voxels = phantom.hounsfield.iter().map(|&hu| f32::from(hu)).collect();
    let volume = Volume::new(voxels, SIZE, phantom.affine()).unwrap();
    let (canonical, _) = volume.clone().to_canonical();
    let scaled: Vec<f64> =
        canonical.voxels.iter().map(|&hu| (f64::from(hu).clamp(-1000.0, 1000.0) + 1000.0) / 2000.0).collect();

    let settings = CubeSettings { per_volume: 16, ..CubeSettings::new(Modality::Ct) };
    let mut given = Vec::new();
    ScaledVolume::new(volume, &settings)
        .unwrap()
        .draw(&settings, &mut Stream::new(3, 0, 0, Purpose::Cubes), |corner, _| {
            given.push(corner);
            Ok(())
        })
        .unwrap();

    let mut stream = Stream::new(3, 0, 0, Purpose::Cubes);
    let (mut wanted, mut tries) = (Vec::new(), 0);
    while wanted.len() < 16 && tries < 50 * 16 {
        tries += 1;
        // METHOD: x in [100, X-64-1-100], y likewise, z in [30, Z-32-3-1-30], both ends included.
        let corner = [stream.between(100, 347), stream.between(100, 347), stream.between(30, 54)];
        if naive_score(&scaled, corner) <= 0.15 * (64.0 * 64.0 * 32.0) {
            wanted.push(corner);
        }
    }
    eprintln!("{} of {tries} corners accepted", wanted.len());
    assert!(
        !wanted.is_empty() && tries > wanted.len(),
        "{} of {tries}: the case shows nothing",
        wanted.len()
    );
    assert_eq!(given, wanted);
}

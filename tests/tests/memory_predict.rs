//! Memory of `genesis predict`: a longer scan takes memory for its voxels and labels, and none for probabilities,
//! of which only a slab is held. (A process of its own for every measurement: peaks do not go down.)

use genesis_model::checkpoint::write_safetensors;
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tests::succeed;
use genesis_train::preprocess::Preprocessing;
use genesis_train::task::{Task, TaskDescription};
use genesis_train::volume::{ElementType, Volume, affine, write_nifti};
use std::path::Path;

/// Bytes that a voxel of a scan may take: twice a float32 while axes are turned around, its label, and what the
/// allocator does not give back. The probabilities of a single class kept whole would take 4 more.
const BYTES_A_VOXEL: f64 = 10.5;

fn weights(path: &Path, classes: usize) {
    let config = UNetConfig { width: 2, classes, ..UNetConfig::default() };
    let mut network = UNet3d::new(config).unwrap();
    network.initialise(Initialiser::Pytorch, 5).unwrap();
    let names = ["background", "liver", "tumour", "cyst"];
    let task = TaskDescription {
        task: Task::Segment,
        classes: names[..classes].iter().map(|&name| name.into()).collect(),
        values: Vec::new(),
        inputs: None,
        channels: 1,
        patch: [32, 32, 32],
        preprocessing: Preprocessing::default(),
        network: config,
    };
    let mut state = network.state(Statistics::Running).unwrap();
    task.to_metadata(&mut state.metadata).unwrap();
    write_safetensors(path, &state).unwrap();
}

/// The process's peak in bytes on a scan of `length` planes, its axes turned against those of the network.
fn peak(folder: &Path, length: usize, more: &[&str]) -> usize {
    let size = [length, 96, 96];
    let voxels = (0..size.iter().product::<usize>()).map(|i| (i % 1999) as f32 - 1000.0).collect();
    let (scan, out) = (folder.join("scan.nii"), folder.join("labels.nii"));
    write_nifti(&scan, &Volume::new(voxels, size, affine::IDENTITY).unwrap(), ElementType::Int16).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_string();
    let (weights, scan, out) = (path(&folder.join("w.safetensors")), path(&scan), path(&out));
    let arguments = ["predict", "--weights", &weights, "--input", &scan, "--out", &out, "--overlap", "0"];
    let arguments = [&arguments[..], &["--threads", "2", "--quiet", "--json"], more].concat();
    let report: serde_json::Value = serde_json::from_str(&succeed(&arguments)).unwrap();
    report["peak_memory_bytes"].as_u64().expect("this system tells its peak") as usize
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux tells the peak")]
fn a_longer_scan_takes_memory_for_voxels_and_labels_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    weights(&folder.join("w.safetensors"), 4);
    let probabilities = folder.join("p.nii").to_str().unwrap().to_string();
    for more in [&[][..], &["--probabilities", &probabilities]] {
        let (short, long) = (512, 1536);
        let [a, b] = [short, long].map(|length| peak(folder, length, more));
        let bytes = (b as f64 - a as f64) / ((long - short) * 96 * 96) as f64;
        eprintln!("{more:?}: {a} and {b} bytes, {bytes:.2} a voxel");
        assert!(bytes <= BYTES_A_VOXEL, "{more:?}: {bytes:.2} bytes a voxel, from {a} to {b}");
        assert!(bytes >= 4.0, "{more:?}: {bytes:.2} bytes a voxel do not hold a scan: what was measured?");
    }
}

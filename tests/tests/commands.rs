//! The commands of the contract, end to end on small data.

use genesis_model::checkpoint::{PtLayout, read_checkpoint, write_pt};
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tests::{cubes, json, small_cubes, succeed};
use genesis_train::volume::read_volume;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn from_phantoms_to_restored_volumes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    succeed(&["phantom", "--out", text(&at("data")), "--count", "2", "--size", "64x64x64"]);
    let scans = at("data/imagesTr");
    let report = json(&succeed(&[
        "cubes",
        "--volumes",
        text(&scans),
        "--out",
        text(&at("cubes.npy")),
        "--cube",
        "32x32x16",
        "--per-volume",
        "6",
        "--border",
        "4,4,2",
        "--max-tissue",
        "1",
        "--json",
    ]));
    assert_eq!(report["cubes"], 12);
    let all = cubes(&at("cubes.npy"));
    assert!(all.iter().flatten().all(|value| (0.0..=1.0).contains(value)));

    succeed(&["deform", "--input", text(&at("cubes.npy")), "--out", text(&at("pairs")), "--count", "3"]);
    assert_eq!(cubes(&at("pairs/deformed.npy")).len(), 3);
    assert_ne!(cubes(&at("pairs/deformed.npy")), cubes(&at("pairs/original.npy")));

    let run = at("run");
    succeed(&[
        "pretrain",
        "--cubes",
        text(&at("cubes.npy")),
        "--out",
        text(&run),
        "--width",
        "2",
        "--batch-size",
        "2",
        "--steps",
        "4",
        "--quiet",
    ]);
    let best = run.join("checkpoints/best.safetensors");
    let report = json(&succeed(&[
        "restore",
        "--weights",
        text(&best),
        "--input",
        text(&at("cubes.npy")),
        "--out",
        text(&at("restored.npy")),
        "--deform",
        "--json",
    ]));
    assert!(report["restored_mse"].as_f64().unwrap() > 0.0 && report["identity_mse"].as_f64().unwrap() > 0.0);
    assert_eq!(cubes(&at("restored.npy")).len(), 12);

    let scan = scans.join("phantom-0000.nii.gz");
    let out = at("restored.nii.gz");
    succeed(&[
        "restore",
        "--weights",
        text(&best),
        "--input",
        text(&scan),
        "--out",
        text(&out),
        "--cube",
        "32x32x32",
        "--overlap",
        "0.25",
    ]);
    let (before, after) = (read_volume(&scan).unwrap(), read_volume(&out).unwrap());
    assert_eq!(
        (before.size, before.affine),
        (after.size, after.affine),
        "a volume comes back in its own space"
    );
    assert!(after.voxels.iter().all(|value| (-1000.0..=1000.0).contains(value)));

    let described = json(&succeed(&["inspect", text(&scan), "--json"]));
    assert_eq!(described["size"], serde_json::json!([64, 64, 64]));
    let described = json(&succeed(&["inspect", text(&best), "--json"]));
    assert!(described["metadata"]["genesis.network"].is_string());
    let converted = at("copy.nii.gz");
    succeed(&["convert", text(&scan), text(&converted)]);
    assert_eq!(read_volume(&converted).unwrap().voxels, before.voxels);
}

#[test]
fn weights_give_the_same_cubes_in_every_container() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let input = small_cubes(folder.path(), "cubes.npy", 3);
    let mut network = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
    network.initialise(Initialiser::Msra, 7).unwrap();
    let state = network.state(Statistics::Running).unwrap();
    write_pt(at("plain.pt"), &state, PtLayout::StateDict).unwrap();
    let mut parallel = state.clone();
    parallel.tensors.iter_mut().for_each(|tensor| tensor.name.insert_str(0, "module."));
    write_pt(at("parallel.pt"), &parallel, PtLayout::Training { epoch: Some(3), optimizer: None }).unwrap();
    succeed(&["convert", text(&at("parallel.pt")), text(&at("native.safetensors"))]);
    succeed(&["convert", text(&at("native.safetensors")), text(&at("back.pt"))]);
    let restore = |weights: &str, statistics: &str| {
        let out = at("restored.npy");
        succeed(&[
            "restore",
            "--weights",
            text(&at(weights)),
            "--input",
            &input,
            "--out",
            text(&out),
            "--statistics",
            statistics,
        ]);
        cubes(&out)
    };
    for statistics in ["running", "batch"] {
        let first = restore("plain.pt", statistics);
        for weights in ["parallel.pt", "native.safetensors", "back.pt"] {
            assert_eq!(first, restore(weights, statistics), "{weights}, {statistics} statistics");
        }
    }
    let loaded = read_checkpoint(at("back.pt")).unwrap();
    assert_eq!(loaded.state.tensors.len(), state.tensors.len());
}

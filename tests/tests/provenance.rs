//! Where a checkpoint comes from can be read from the checkpoint alone, over several sessions, and data that changed are
//! told of.

use genesis_tests::{genesis, small_cubes, succeed};
use serde_json::Value;

#[test]
fn a_checkpoint_alone_says_what_made_it_and_from_which_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let out = path("run");
    let train =
        ["pretrain", "--cubes", &cubes, "--width", "2", "--batch-size", "2", "--lr", "0.2", "--quiet"];
    succeed(&[&train[..], &["--steps", "2", "--seed", "77", "--threads", "1", "--out", &out]].concat());
    let resume = ["pretrain", "--resume", "--out", &out, "--threads", "2"];
    succeed(&[&resume[..], &["--steps", "3", "--quiet"]].concat());
    // Away from its run directory.
    let alone = path("alone.safetensors");
    std::fs::copy(format!("{out}/checkpoints/last.safetensors"), &alone).unwrap();
    let shown = succeed(&["inspect", &alone]);
    for part in
        ["trained by genesis 0.1.0", "seed 77", "--width 2", "resumed by", "2 thread(s)", "data: 1 files"]
    {
        assert!(shown.contains(part), "{part} is missing in:\n{shown}");
    }
    assert!(shown.contains("cubes.npy (") && shown.contains("fingerprint "), "{shown}");

    let json: Value = serde_json::from_str(&succeed(&["inspect", &alone, "--json"])).unwrap();
    let provenance: Value =
        serde_json::from_str(json["metadata"]["genesis.provenance"].as_str().unwrap()).unwrap();
    let sessions = provenance["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    for key in ["version", "commit", "features", "hardware", "threads", "seed", "started", "command"] {
        assert!(sessions.iter().all(|session| !session[key].is_null()), "{key}");
    }
    let bytes = std::fs::metadata(&cubes).unwrap().len();
    assert_eq!(provenance["data"]["bytes"].as_u64().unwrap(), bytes);
    let listed: Value = serde_json::from_slice(&std::fs::read(format!("{out}/data.json")).unwrap()).unwrap();
    assert_eq!(listed["files"], provenance["data"]["files"]);

    // Data that are not what they were: the run goes on, and says so.
    let mut content = std::fs::read(&cubes).unwrap();
    let last = content.len() - 4;
    content[last..].copy_from_slice(&0.5f32.to_le_bytes());
    std::fs::write(&cubes, content).unwrap();
    let output = genesis([&resume[..], &["--steps", "4"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("cubes.npy has another content"), "{told}");
}

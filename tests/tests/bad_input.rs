//! Bad input gets one line that names the file and the cause, and exit code 1 (2 for wrong usage).

use genesis_model::checkpoint::{NamedTensor, PtLayout, StateDict, write_pt, write_safetensors};
use genesis_model::{Statistics, UNet3d, UNetConfig};
use genesis_tests::{fail, small_cubes, succeed};
use genesis_train::volume::{CubeWriter, ElementType, Volume, write_nifti};
use std::path::Path;

const IDENTITY: [[f64; 4]; 4] =
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

fn assert_says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "\"{part}\" is missing in: {line}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn volume(folder: &Path, name: &str, size: [usize; 3], value: impl Fn(usize) -> f32) -> String {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    let voxels = (0..size.iter().product()).map(value).collect();
    write_nifti(&path, &Volume::new(voxels, size, IDENTITY).unwrap(), ElementType::Float32).unwrap();
    text(&path).to_string()
}

fn cut(folder: &Path, out: &Path) -> String {
    fail(1, &["cubes", "--volumes", text(folder), "--out", text(out), "--border", "0,0,0"])
}

#[test]
fn folders_and_volumes_that_give_no_cube() {
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("cubes.npy");
    let case = |name: &str| {
        let folder = temporary.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };

    assert_says(&cut(&temporary.path().join("nowhere"), &out), &["nowhere"]);
    assert_says(&cut(&case("empty"), &out), &["empty", "volume"]);

    let folder = case("not-nifti");
    std::fs::write(folder.join("a.nii"), b"this is no volume").unwrap();
    assert_says(&cut(&folder, &out), &["a.nii"]);

    let folder = case("truncated");
    let path = volume(&folder, "t.nii", [80, 80, 80], |i| i as f32);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_says(&cut(&folder, &out), &["t.nii"]);

    let folder = case("huge");
    let path = volume(&folder, "h.nii", [8, 8, 8], |i| i as f32);
    let mut bytes = std::fs::read(&path).unwrap();
    for (axis, extent) in [1000i16, 1000, 1000].into_iter().enumerate() {
        bytes[42 + 2 * axis..44 + 2 * axis].copy_from_slice(&extent.to_le_bytes());
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_says(&cut(&folder, &out), &["h.nii"]);

    let folder = case("nan");
    volume(&folder, "n.nii.gz", [80, 80, 80], |i| if i == 77 { f32::NAN } else { -500.0 });
    assert_says(&cut(&folder, &out), &["n.nii.gz"]);

    let folder = case("small");
    volume(&folder, "s.nii.gz", [40, 40, 20], |_| -500.0);
    assert_says(&cut(&folder, &out), &["s.nii.gz", "too small", "65x65x36"]);
    assert!(!out.exists(), "a failed command leaves no output");
}

#[test]
fn cubes_that_do_not_fit() {
    let temporary = tempfile::tempdir().unwrap();
    let good = small_cubes(temporary.path(), "good.npy", 6);
    let odd = temporary.path().join("odd.npy");
    let mut writer = CubeWriter::create(&odd, [15, 16, 16]).unwrap();
    (0..4).for_each(|_| writer.push(&vec![0.5; 15 * 256]).unwrap());
    writer.finish().unwrap();
    let hounsfield = temporary.path().join("hounsfield.npy");
    let mut writer = CubeWriter::create(&hounsfield, [16, 16, 16]).unwrap();
    (0..4).for_each(|_| writer.push(&vec![-800.0; 4096]).unwrap());
    writer.finish().unwrap();
    let run = temporary.path().join("run");
    let train = |cubes: &[&str]| {
        let mut all = vec!["pretrain", "--out", text(&run), "--width", "2", "--steps", "1", "--cubes"];
        all.extend(cubes);
        fail(1, &all)
    };
    assert_says(&train(&[text(&odd)]), &["15x16x16", "8"]);
    assert_says(&train(&[&good, text(&odd)]), &["odd.npy", "15x16x16"]);
    assert_says(&train(&[text(&hounsfield)]), &["hounsfield.npy", "-800", "[0, 1]"]);
    let bytes = std::fs::read(&good).unwrap();
    let torn = temporary.path().join("torn.npy");
    std::fs::write(&torn, &bytes[..bytes.len() - 100]).unwrap();
    assert_says(&train(&[text(&torn)]), &["torn.npy"]);
    assert_says(&train(&["nowhere.npy"]), &["nowhere.npy"]);
}

#[test]
fn weights_that_do_not_fit() {
    let temporary = tempfile::tempdir().unwrap();
    let cubes = small_cubes(temporary.path(), "cubes.npy", 2);
    let out = temporary.path().join("restored.npy");
    let restore = |weights: &Path| {
        fail(1, &["restore", "--weights", text(weights), "--input", &cubes, "--out", text(&out)])
    };
    let network = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
    let state = network.state(Statistics::Running).unwrap();

    let mut incomplete = state.clone();
    incomplete.tensors.retain(|tensor| tensor.name != "up_tr64.ops.1.conv1.weight");
    let path = temporary.path().join("incomplete.safetensors");
    write_safetensors(&path, &incomplete).unwrap();
    assert_says(&restore(&path), &["incomplete.safetensors", "up_tr64.ops.1.conv1.weight", "missing"]);

    let mut misshapen = state.clone();
    let name = "down_tr128.ops.0.conv1.weight";
    misshapen.insert(NamedTensor::from_f32(name, &[4, 3, 3, 3, 3], &[0.0; 324]).unwrap());
    let path = temporary.path().join("misshapen.pt");
    write_pt(&path, &misshapen, PtLayout::StateDict).unwrap();
    assert_says(&restore(&path), &["misshapen.pt", name, "[4, 4, 3, 3, 3]", "[4, 3, 3, 3, 3]"]);

    let path = temporary.path().join("other.pt");
    write_pt(&path, &StateDict::default(), PtLayout::StateDict).unwrap();
    assert_says(&restore(&path), &["other.pt"]);

    let path = temporary.path().join("noise.pt");
    std::fs::write(&path, (0..5000u32).map(|i| ((i * 7919) >> 3) as u8).collect::<Vec<_>>()).unwrap();
    assert_says(&restore(&path), &["noise.pt"]);
    assert_says(&restore(&temporary.path().join("absent.pt")), &["absent.pt"]);
    assert!(!out.exists());

    // Training from weights of another width names the first tensor that differs.
    let path = temporary.path().join("narrow.safetensors");
    write_safetensors(&path, &state).unwrap();
    let run = temporary.path().join("run");
    let line = fail(
        1,
        &[
            "pretrain",
            "--cubes",
            &cubes,
            "--out",
            text(&run),
            "--width",
            "4",
            "--weights",
            text(&path),
            "--steps",
            "1",
        ],
    );
    assert_says(&line, &["narrow.safetensors", "down_tr64.ops.0.conv1.weight"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let temporary = tempfile::tempdir().unwrap();
    let cubes = small_cubes(temporary.path(), "cubes.npy", 6);
    let file = temporary.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let inside = file.join("run");
    let train = ["pretrain", "--cubes", &cubes, "--width", "2", "--steps", "1", "--out"];
    fn with<'a>(train: &[&'a str], out: &'a str) -> Vec<&'a str> {
        [train, &[out]].concat()
    }
    assert_says(&fail(1, &with(&train, text(&inside))), &["file"]);
    assert_says(&fail(1, &with(&train, text(&file))), &["file", "not a directory"]);

    let run = temporary.path().join("run");
    succeed(&with(&train, text(&run)));
    let before = std::fs::read(run.join("checkpoints/last.safetensors")).unwrap();
    assert_says(&fail(1, &with(&train, text(&run))), &["run", "--resume"]);
    assert_eq!(before, std::fs::read(run.join("checkpoints/last.safetensors")).unwrap());

    // A run of another configuration is not continued.
    let line = fail(1, &["pretrain", "--resume", "--out", text(&run), "--lr", "0.125", "--steps", "2"]);
    assert_says(&line, &["learning_rate"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("x");
    for arguments in [
        &["pretrain", "--out", text(&out)][..],
        &["pretrain", "--out", text(&out), "--cubes", "a.npy", "--volumes", "b"],
        &["cubes", "--volumes", "a", "--out", "b.npy", "--cube", "64x64"],
        &["cubes", "--volumes", "a", "--out", "b.npy", "--threads", "0"],
        &["selftest", "conv5d"],
        &["devices", "--device", "tpu"],
        &["nonsense"],
        &[],
    ] {
        let output = genesis_tests::genesis(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "genesis {arguments:?}: {error}");
    }
    assert_says(&fail(1, &["devices", "--device", "cuda:0"]), &["cuda:0"]);
    assert!(!out.exists());
}

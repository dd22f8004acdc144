//! S10: what is read is never overwritten, under whatever name it is given as the output too.

use genesis_fuzz::corpus;
use genesis_model::checkpoint::write_safetensors;
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use genesis_tests::trust::Tally;
use genesis_tests::{fail, genesis, small_cubes};
use genesis_train::preprocess::Preprocessing;
use genesis_train::task::{Task, TaskDescription};
use genesis_train::volume::{ElementType, Volume, affine, write_metaimage, write_nifti};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a folder with its bytes.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn network(folder: &Path) -> String {
    let config = UNetConfig { width: 2, ..UNetConfig::default() };
    let mut network = UNet3d::new(config).unwrap();
    network.initialise(Initialiser::Pytorch, 5).unwrap();
    let task = TaskDescription {
        task: Task::Segment,
        classes: ["background", "liver"].map(String::from).to_vec(),
        values: Vec::new(),
        inputs: None,
        channels: 1,
        patch: [16, 16, 8],
        preprocessing: Preprocessing::default(),
        network: config,
    };
    let mut state = network.state(Statistics::Running).unwrap();
    task.to_metadata(&mut state.metadata).unwrap();
    let path = folder.join("weights.safetensors");
    write_safetensors(&path, &state).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
#[cfg(unix)]
fn an_input_is_never_overwritten() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let voxels = (0..16 * 16 * 8).map(|i| (i % 200) as f32).collect();
    let scan = Volume::new(voxels, [16, 16, 8], affine::IDENTITY).unwrap();
    write_nifti(&folder.join("case_0001.nii"), &scan, ElementType::Int16).unwrap();
    write_metaimage(&folder.join("a.mhd"), &scan, ElementType::Int16).unwrap();
    let text = fs::read_to_string(folder.join("a.mhd")).unwrap().replace("a.zraw", "b.zraw");
    fs::write(folder.join("a.mhd"), text).unwrap();
    fs::rename(folder.join("a.zraw"), folder.join("b.zraw")).unwrap();
    let cubes = small_cubes(folder, "cubes.npy", 2);
    let weights = network(folder);
    for (link, target) in [
        ("link.nii", "case_0001.nii"),
        ("link.npy", "cubes.npy"),
        ("link.mhd", "a.mhd"),
        ("link.pt", "weights.safetensors"),
    ] {
        std::os::unix::fs::symlink(folder.join(target), folder.join(link)).unwrap();
    }
    fs::hard_link(folder.join("case_0001.nii"), folder.join("hard.nii")).unwrap();
    fs::hard_link(folder.join("cubes.npy"), folder.join("hard.npy")).unwrap();
    let before = content(folder);
    let mut tally = Tally::new(
        "S10",
        "the input named as the output, by a path, a link or its data file: refused, unchanged",
    );
    let scan = path("case_0001.nii");
    let predict = |out: &str| {
        ["predict", "--weights", &weights, "--input", &scan, "--out", out].map(String::from).to_vec()
    };
    let restore = |out: &str| {
        ["restore", "--weights", &weights, "--input", &cubes, "--out", out].map(String::from).to_vec()
    };
    let convert = |from: &str, to: &str| ["convert", from, to].map(String::from).to_vec();
    let dotted = format!("{}/./case_0001.nii", folder.display());
    let mut probabilities = predict(&path("labels.nii"));
    // Class 1 of `case.nii` would be written as case_0001.nii.
    probabilities.extend(["--probabilities".to_string(), path("case.nii")]);
    for arguments in [
        predict(&scan),
        predict(&dotted),
        predict(&path("link.nii")),
        predict(&path("hard.nii")),
        probabilities,
        restore(&cubes),
        restore(&path("link.npy")),
        restore(&path("hard.npy")),
        restore(&weights),
        convert(&scan, &scan),
        convert(&scan, &path("link.nii")),
        convert(&scan, &path("hard.nii")),
        convert(&path("a.mhd"), &path("link.mhd")),
        // The data of a.mhd lie in b.zraw, which b.mhd would bring along.
        convert(&path("a.mhd"), &path("b.mhd")),
        convert(&weights, &path("link.pt")),
        convert(&weights, &weights),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let line = fail(2, &arguments);
        let unchanged = content(folder) == before;
        tally.count(if line.contains("would replace") && unchanged {
            Ok(())
        } else {
            Err(format!("{arguments:?}: {line}, unchanged: {unchanged}"))
        });
    }
    tally.finish();
}

#[test]
fn results_appear_whole_and_inputs_stay() {
    let temporary = tempfile::tempdir().unwrap();
    let (input, out) = (temporary.path().join("in"), temporary.path().join("out"));
    fs::create_dir_all(&input).unwrap();
    fs::create_dir_all(&out).unwrap();
    for parser in ["nifti", "metaimage", "pt"] {
        for (name, bytes) in corpus::files(parser).unwrap() {
            fs::write(input.join(name), bytes).unwrap();
        }
    }
    let before = content(&input);
    let mut tally =
        Tally::new("S10", "a conversion, whole or failed: the input unchanged, no half-written file");
    for (source, bytes) in &before {
        let is_volume = genesis_train::volume::is_volume_name(source);
        for extension in if is_volume { &["nii.gz", "mha", "npy"][..] } else { &["safetensors", "pt"] } {
            let target = out.join(format!("{}.{extension}", source.file_name().unwrap().to_string_lossy()));
            let status = genesis(["convert".as_ref(), source.as_os_str(), target.as_os_str()]).status;
            let whole = !status.success() || super::read(&target).is_ok();
            let same = fs::read(source).unwrap() == *bytes;
            let unfinished =
                |path: &PathBuf| path.extension().is_some_and(|end| end == "partial" || end == "tmp");
            let rest = content(&out).into_keys().filter(unfinished).count();
            let kept = status.success() == target.exists();
            tally.count(if whole && same && rest == 0 && kept {
                Ok(())
            } else {
                Err(format!("{}", source.display()))
            });
        }
    }
    assert_eq!(content(&input), before);
    tally.finish();
}

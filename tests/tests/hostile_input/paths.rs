//! S6: names that lead elsewhere, or do something to a terminal.

use super::{one_line, read};
use genesis_fuzz::corpus;
use genesis_tests::trust::Tally;
use genesis_tests::{fail, genesis};
use genesis_train::finetune::Dataset;
use std::fs;
use std::path::Path;

fn mhd(data: &str) -> String {
    format!(
        "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {data}\n"
    )
}

/// The refusal of a file, checked to be one line about it.
fn refusal(path: &Path, part: &str) -> Result<(), String> {
    match read(path) {
        Ok(_) => Err(format!("{} was read", path.display())),
        Err(message) if message.contains(part) => one_line(&message, part),
        Err(message) => Err(format!("no {part:?} in {message}")),
    }
}

#[test]
fn no_name_in_a_file_leads_out_of_its_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let (outside, inside) = (temporary.path().join("secret.raw"), temporary.path().join("scans"));
    fs::write(&outside, [7; 8]).unwrap();
    fs::create_dir(&inside).unwrap();
    let mut tally = Tally::new("S6", "a name in a file that leads out of its folder: refused");
    let scan = inside.join("scan.mhd");
    for (name, part) in [
        ("../secret.raw", "leaves the folder"),
        ("../../../../../../etc/passwd", "leaves the folder"),
        ("./../secret.raw", "leaves the folder"),
        ("a/../../secret.raw", "leaves the folder"),
        (outside.to_str().unwrap(), "leaves the folder"),
        ("/etc/passwd", "leaves the folder"),
        ("..", "leaves the folder"),
        ("secret.raw\u{1b}[2J", "control characters"),
        ("%03d.raw", "one file per slice"),
    ] {
        fs::write(&scan, mhd(name)).unwrap();
        tally.count(refusal(&scan, part));
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&outside, inside.join("link.raw")).unwrap();
        fs::write(&scan, mhd("link.raw")).unwrap();
        tally.count(refusal(&scan, "leaves the folder"));
        // Data that lie where the header itself is linked to are the owner's own arrangement.
        let elsewhere = temporary.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("scan.mhd"), mhd("scan.raw")).unwrap();
        fs::write(elsewhere.join("scan.raw"), [1; 8]).unwrap();
        for name in ["scan.mhd", "scan.raw"] {
            let link = inside.join(format!("linked-{name}"));
            std::os::unix::fs::symlink(elsewhere.join(name), link).unwrap();
        }
        fs::write(elsewhere.join("scan.mhd"), mhd("linked-scan.raw")).unwrap();
        tally.count(read(&inside.join("linked-scan.mhd")).map(drop));
        // A pipe has no end that comes by itself.
        for name in ["pipe.nii", "pipe.pt"] {
            let pipe = inside.join(name);
            let made = std::process::Command::new("mkfifo").arg(&pipe).status();
            if made.is_ok_and(|status| status.success()) {
                tally.count(refusal(&pipe, "file"));
            }
        }
    }
    for (key, name) in [("image", "../../secret.nii"), ("label", "/etc/passwd"), ("image", "a/../../b.nii")] {
        let other = if key == "image" { "label" } else { "image" };
        let text = format!(
            "{{\"labels\": {{\"0\": \"b\", \"1\": \"a\"}}, \"training\": [{{\"{key}\": \"{name}\", \"{other}\": \"x.nii\"}}]}}"
        );
        fs::write(inside.join("dataset.json"), text).unwrap();
        tally.count(match Dataset::open(&inside) {
            Err(error) if error.to_string().contains("leads out of the folder") => Ok(()),
            other => Err(format!("{name}: {other:?}")),
        });
    }
    // Entries of an archive are found by name in memory, and nothing is unpacked to a disk.
    let archive = genesis_fuzz::mutate::pytorch_archive(b"\x80\x02}.");
    let slip: Vec<u8> = replace(&archive, b"archive/data/1", b"../../../slip1");
    let path = inside.join("slip.pt");
    fs::write(&path, slip).unwrap();
    tally.count(refusal(&path, "slip.pt"));
    let written = fs::read_dir(temporary.path()).unwrap().count();
    tally.count(if written <= 3 { Ok(()) } else { Err("something was unpacked") });
    tally.finish();
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

#[test]
fn names_and_values_do_nothing_to_a_terminal() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("a\nerror: b\u{1b}[31m\u{202e}c");
    fs::create_dir(&folder).unwrap();
    let mut tally =
        Tally::new("S6", "a line break, escape or turn of writing in a name or value: shown escaped");
    let shown = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        let forged = text.lines().any(|line| line.starts_with("error: b"));
        if bad.is_some() || forged { Err(format!("{bad:?} in {text:?}")) } else { Ok(()) }
    };
    let (_, scan) =
        corpus::files("nifti").unwrap().into_iter().find(|(name, _)| name == "valid-int16.nii").unwrap();
    let good = folder.join("scan.nii");
    fs::write(&good, &scan).unwrap();
    fs::write(folder.join("cut.nii"), &scan[..400]).unwrap();
    let weights = folder.join("weights.safetensors");
    let mut state = super::checkpoints::small_state();
    state.metadata.insert("note\u{1b}[2J".into(), "x\u{1b}]0;title\u{7}\nerror: b".into());
    state.tensors[0].name = "conv\u{1b}[31m.weight".into();
    genesis_model::checkpoint::write_safetensors(&weights, &state).unwrap();
    for name in ["scan.nii", "cut.nii", "weights.safetensors", "absent.nii"] {
        for more in [&[][..], &["--json"], &["--verbose"]] {
            let path = folder.join(name);
            let mut arguments = vec!["inspect", path.to_str().unwrap()];
            arguments.extend(more);
            let output = genesis(arguments);
            tally.count(
                shown(&output.stdout).and(shown(&output.stderr)).map_err(|cause| format!("{name}: {cause}")),
            );
        }
    }
    // A label and a case of a data set, a column and a path of a table.
    fs::write(
        folder.join("dataset.json"),
        r#"{"labels": {"0": "b", "1": "a", "..\/x\n\u001b[31m": 300}, "training": []}"#,
    )
    .unwrap();
    let run = folder.join("run");
    let line =
        fail(1, &["finetune", "segment", "--data", folder.to_str().unwrap(), "--out", run.to_str().unwrap()]);
    tally.count(shown(line.as_bytes()));
    let table = folder.join("table.csv");
    fs::write(&table, "path,label\n\"\u{1b}[31m\nerror: b.nii\",1\n").unwrap();
    let line =
        fail(1, &["finetune", "classify", "--data", table.to_str().unwrap(), "--out", run.to_str().unwrap()]);
    tally.count(shown(line.as_bytes()));
    tally.finish();
}

//! The commands on pages of the documentation, as they stand there, run on data the tests write: a page and the
//! program cannot part.

use crate::{program, workspace};
use genesis_model::checkpoint::write_safetensors;
use genesis_model::{Initialiser, Statistics, UNet3d, UNetConfig};
use std::path::Path;
use std::process::Command;

/// The commands in the `sh` blocks of a page below `docs/`, in order, each without `genesis` itself.
///
/// # Panics
/// A page that cannot be read or has no command; a line that is no `genesis` command.
pub fn commands(page: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(workspace().join("docs").join(page)).expect("a page");
    let (mut inside, mut commands, mut line) = (false, Vec::new(), String::new());
    for part in text.lines() {
        if part.starts_with("```") {
            inside = part == "```sh";
            continue;
        }
        if !inside || part.trim().is_empty() {
            continue;
        }
        match part.strip_suffix('\\') {
            Some(start) => line.push_str(start),
            None => {
                let words: Vec<String> =
                    (std::mem::take(&mut line) + part).split_whitespace().map(str::to_string).collect();
                assert_eq!(words[0], "genesis", "{page}: {words:?}");
                commands.push(words[1..].to_vec());
            }
        }
    }
    assert!(!commands.is_empty(), "{page} has no commands");
    commands
}

/// Runs a page's commands in a folder where its data lie, with `Genesis_Chest_CT.pt` beside them. `small` is
/// added to every fine-tuning; of a flag that is given twice the page's value goes.
///
/// # Panics
/// A command that fails.
pub fn follow(page: &str, folder: &Path, small: &str) {
    write_weights(folder);
    for mut arguments in commands(page) {
        if arguments[0] == "finetune" {
            let small: Vec<String> = small.split_whitespace().map(str::to_string).collect();
            for flag in small.iter().filter(|word| word.starts_with("--")) {
                if let Some(at) = arguments.iter().position(|word| word == flag) {
                    arguments.drain(at..at + 2);
                }
            }
            arguments.extend(small);
        }
        arguments.push("--quiet".to_string());
        let output = Command::new(program()).args(&arguments).current_dir(folder).output().expect("started");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{page}: genesis {}\n{error}", arguments.join(" "));
    }
}

/// Stands for the original's weights: random, of width 2, in PyTorch's format.
fn write_weights(folder: &Path) {
    let mut network = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).expect("a small network");
    network.initialise(Initialiser::Pytorch, 5).expect("a small network");
    let (native, original) = (folder.join("w.safetensors"), folder.join("Genesis_Chest_CT.pt"));
    let state = network.state(Statistics::Running).expect("a small network");
    write_safetensors(&native, &state).expect("a writable folder");
    let output = Command::new(program()).arg("convert").args([&native, &original]).output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(native).expect("a writable folder");
}

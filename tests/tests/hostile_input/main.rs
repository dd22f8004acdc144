//! Hostile input, tests S2 to S7 and S10 of the design (S1 is `fuzz/tests/fuzz_parsers.rs`): each ends with a line
//! for the table of `docs/trust.md`.

mod bombs;
mod checkpoints;
mod damage;
mod differential;
mod paths;
mod pickles;
mod untouched;

use genesis_model::checkpoint::{Checkpoint, read_checkpoint};
use genesis_train::volume::{Volume, read_volume};
use std::path::Path;

/// What a file holds, to tell whether damage changed it.
#[derive(Debug, PartialEq)]
enum Content {
    Volume(Box<Volume>),
    Tensors(genesis_model::checkpoint::StateDict),
}

/// Reads a volume or a checkpoint.
fn read(path: &Path) -> Result<Content, String> {
    if genesis_train::volume::is_volume_name(path) {
        return read_volume(path).map(|v| Content::Volume(Box::new(v))).map_err(|error| error.to_string());
    }
    let state = |read: Checkpoint| Content::Tensors(read.state);
    read_checkpoint(path).map(state).map_err(|error| error.to_string())
}

/// A message is one short line that names the file.
fn one_line(message: &str, name: &str) -> Result<(), String> {
    let hidden = message.chars().any(char::is_control);
    if hidden || message.len() > 2500 || !message.contains(name) || message.contains("internal error") {
        return Err(format!("the message {message:?} is not one line that names {name}"));
    }
    Ok(())
}

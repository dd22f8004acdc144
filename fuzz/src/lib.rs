//! Hostile bytes for every reader of files: one plain function for each parser, and two ways to run them.
//!
//! ```text
//! targets.rs     TARGETS: the one list of parsers; adding a format is one line there
//! volumes.rs checkpoints.rs tables.rs    the functions: write the bytes to a file, call the public reader
//! folder.rs      where the bytes become files: a folder in memory where the system has one
//! allocation.rs  the counting allocator, and what one call of a reader took
//! need.rs        what a reader may honestly take for these bytes
//! mutate.rs      bytes from bytes, by a seed
//! campaign.rs    many executions in this process, on stable Rust
//! ../libfuzzer   the same functions under `cargo fuzz` (nightly Rust, coverage-guided)
//! ```
//!
//! Any outcome is fine but these, which end a function with a panic: a panic of the reader, a result that
//! contradicts itself, a message that is not one short line naming the file. A campaign besides looks at memory
//! and time.

pub mod allocation;
pub mod campaign;
mod checkpoints;
pub mod corpus;
pub mod folder;
pub mod mutate;
pub mod need;
mod tables;
mod targets;
mod volumes;

pub use checkpoints::{pt, safetensors};
pub use tables::{annotations, candidates, config, dataset, finetune_config, predictions, splits};
pub use targets::{TARGETS, Target, target};
pub use volumes::{dicom, metaimage, nifti, npy, nrrd};

/// What a reader made of the bytes: a few words on what it read, or its message.
pub type Outcome = Result<String, String>;

/// The longest message a file may cause, in characters.
const LONGEST_MESSAGE: usize = 1500;

/// The message of an error about the file `name`.
///
/// # Panics
/// If it is not one short line of visible characters.
fn message(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let hidden = text.chars().find(|c| c.is_control());
    assert!(hidden.is_none(), "a message holds the control character {hidden:?}: {text:?}");
    assert!(text.chars().count() <= LONGEST_MESSAGE, "a message of {} characters: {text:?}", text.len());
    assert!(!text.is_empty(), "an empty message");
    text
}

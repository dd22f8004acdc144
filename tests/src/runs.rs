//! Run directories compared: what was computed, not when, where or by which command.

use genesis_model::checkpoint::{NamedTensor, read_safetensors};
use std::collections::BTreeMap;
use std::path::Path;

/// A checkpoint's tensors (weights, statistics, optimiser) and metadata, without its provenance.
#[derive(Debug, PartialEq)]
pub struct Trained {
    tensors: Vec<NamedTensor>,
    metadata: BTreeMap<String, String>,
}

/// Reads a checkpoint to compare it with another.
///
/// # Panics
/// If it cannot be read.
pub fn trained(path: impl AsRef<Path>) -> Trained {
    let (state, _) = read_safetensors(path).expect("a whole checkpoint");
    let mut metadata: BTreeMap<String, String> = state.metadata.into_iter().collect();
    metadata.remove(genesis_train::provenance::PROVENANCE_KEY);
    Trained { tensors: state.tensors, metadata }
}

/// `metrics.jsonl` without the parts that depend on the clock: step, split and loss of every line.
///
/// # Panics
/// If it cannot be read.
pub fn losses(run: &Path) -> Vec<(u64, String, String)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("a metrics file");
    let line = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let step = record["step"].as_u64().expect("a step");
        (step, record["split"].to_string(), record["loss"].to_string())
    };
    text.lines().map(line).collect()
}

/// In what a run differs from another that should be the same; `None` if in nothing.
pub fn difference(wanted: &Path, found: &Path) -> Option<String> {
    for name in ["checkpoints/last.safetensors", "checkpoints/best.safetensors"] {
        let state = |run: &Path| std::panic::catch_unwind(|| trained(run.join(name)));
        match (state(wanted), state(found)) {
            (Ok(wanted), Ok(found)) if wanted == found => {}
            (Ok(_), Ok(_)) => return Some(format!("{name} differs in {}", found.display())),
            _ => return Some(format!("{name} cannot be read in {}", found.display())),
        }
    }
    (losses(wanted) != losses(found)).then(|| format!("metrics.jsonl differs in {}", found.display()))
}

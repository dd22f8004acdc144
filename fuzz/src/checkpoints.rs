//! Checkpoints: safetensors, and PyTorch's three containers.

use std::path::Path;

use genesis_model::checkpoint::{Checkpoint, describe, read_checkpoint};
use genesis_model::{Classifier3d, UNet3d};
use genesis_train::task::TaskDescription;

use crate::allocation::measured;
use crate::{Outcome, folder, message};

/// `.safetensors`, with or without this program's checksum.
pub fn safetensors(data: &[u8]) -> Outcome {
    folder::with(|place| checkpoint(&folder::write(place, "weights.safetensors", data)))
}

/// `.pt`: zip, legacy or tar.
pub fn pt(data: &[u8]) -> Outcome {
    folder::with(|place| checkpoint(&folder::write(place, "weights.pt", data)))
}

fn checkpoint(path: &Path) -> Outcome {
    let result = measured(|| read_checkpoint(path));
    let described = measured(|| describe(path));
    match result {
        Ok(checkpoint) => {
            check(&checkpoint);
            let description = described.expect("a checkpoint that was read");
            assert_eq!(description.tensor_count, checkpoint.state.tensors.len());
            // A network is built of any state, or one line says why not.
            let network = measured(|| UNet3d::from_state(&checkpoint.state)).map(drop);
            let classifier = measured(|| Classifier3d::from_state(&checkpoint.state)).map(drop);
            let task = measured(|| TaskDescription::from_metadata(&checkpoint.state.metadata)).map(drop);
            let fit = |result: Result<(), String>| result.err().unwrap_or_else(|| "fits".into());
            Ok(format!(
                "{:?} {:?} {}; {}; {}",
                checkpoint.format,
                checkpoint.integrity,
                fit(network.map_err(|error| message(&error))),
                fit(classifier.map_err(|error| message(&error))),
                fit(task.map_err(|error| message(&error)))
            ))
        }
        Err(error) => {
            assert!(described.is_err(), "described, but not read");
            let text = message(&error);
            assert!(text.contains("weights"), "names no file: {text}");
            Err(text)
        }
    }
}

/// Every tensor has as many bytes as its shape and type say.
fn check(checkpoint: &Checkpoint) {
    let slots =
        checkpoint.optimizer.iter().flat_map(|state| &state.parameters).flat_map(|entry| &entry.slots);
    for tensor in checkpoint.state.tensors.iter().chain(slots) {
        assert_eq!(
            tensor.elements().checked_mul(tensor.dtype.size()),
            Some(tensor.bytes.len()),
            "{}",
            tensor.name
        );
        assert_eq!(tensor.to_f32().len(), tensor.elements());
    }
}

//! What is done about a step whose loss or gradient is not finite, and the file to reproduce it from.

use super::run_directory::RunDirectory;
use crate::{Error, Result};
use genesis_model::checkpoint::{NamedTensor, StateDict, write_safetensors};
use genesis_tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::str::FromStr;

/// So many steps in a row may be skipped; more, and it is the weights that are broken, not the data.
const MOST_SKIPPED: u64 = 20;

/// The policy for a step whose loss or gradient is not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNan {
    /// End the run; the last checkpoint stays.
    #[default]
    Stop,
    /// Leave the network as it was and go on with the next batch.
    Skip,
}

impl FromStr for OnNan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stop" => Ok(Self::Stop),
            "skip" => Ok(Self::Skip),
            _ => Err("use stop or skip".into()),
        }
    }
}

/// A step that came to nothing: the network and its optimiser are as they were before it.
#[derive(Clone, Debug, PartialEq)]
pub struct NotFinite {
    /// `loss` or `norm of the gradient`.
    pub what: &'static str,
    /// Its value.
    pub value: f64,
}

/// The batch of a step, kept to be written where the step fails. The tensors are shared, not copied.
pub struct KeptBatch {
    /// The step, counted from 0.
    pub step: u64,
    /// The tensors by name.
    pub tensors: Vec<(&'static str, Tensor)>,
}

/// Counts the steps that were skipped in a row, and writes their batches.
#[derive(Debug, Default)]
pub struct NanGuard {
    policy: OnNan,
    in_a_row: u64,
}

/// What the metadata of a dumped batch say.
#[derive(Serialize)]
struct Told<'a> {
    step: u64,
    what: &'a str,
    value: String,
    samples: &'a [String],
}

impl NanGuard {
    /// A guard that has seen nothing yet.
    pub fn new(policy: OnNan) -> Self {
        Self { policy, in_a_row: 0 }
    }

    /// A step went well.
    pub fn went_well(&mut self) {
        self.in_a_row = 0;
    }

    /// Writes the batch of a step that failed to `not-finite/step-NUMBER.safetensors` and tells whose it is; `Ok` if
    /// the run goes on with the next.
    ///
    /// # Errors
    /// The policy is to stop, or too many steps in a row failed; a directory that cannot be written.
    pub fn failed(
        &mut self,
        run: &RunDirectory,
        failure: &NotFinite,
        batch: &KeptBatch,
        samples: &[String],
    ) -> Result<()> {
        let NotFinite { what, value } = failure;
        let number = batch.step + 1;
        let path = dump(run, failure, batch, samples)?;
        let found = format!(
            "the {what} became {value} at step {number} (samples: {}); its batch is in {}",
            samples.join("; "),
            path.display()
        );
        self.in_a_row += 1;
        if self.policy == OnNan::Skip && self.in_a_row <= MOST_SKIPPED {
            tracing::warn!("{found}; the step is skipped");
            return Ok(());
        }
        let advice = match self.policy {
            OnNan::Skip => format!("{MOST_SKIPPED} steps before it were skipped: the weights are at fault"),
            OnNan::Stop => {
                "lower the learning rate (--lr), limit the gradient ([optimizer] clip_norm in the \
                            configuration), or pass over such batches (--resume --on-nan skip)"
                    .into()
            }
        };
        Err(Error::Work(format!("{found}. {advice}")))
    }
}

fn dump(run: &RunDirectory, failure: &NotFinite, batch: &KeptBatch, samples: &[String]) -> Result<PathBuf> {
    let folder = run.path("not-finite");
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let path = folder.join(format!("step-{:08}.safetensors", batch.step + 1));
    let mut state = StateDict::default();
    for (name, tensor) in &batch.tensors {
        let host = tensor.to_host()?;
        let tensor = NamedTensor::from_f32(*name, host.shape().dims(), host.as_slice());
        state.tensors.push(tensor.map_err(|error| Error::file(&path, error))?);
    }
    let told = Told { step: batch.step + 1, what: failure.what, value: failure.value.to_string(), samples };
    let text = serde_json::to_string(&told).map_err(|error| Error::file(&path, error))?;
    state.metadata.insert("genesis.not_finite".into(), text);
    write_safetensors(&path, &state)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_model::checkpoint::read_checkpoint;

    #[test]
    fn a_batch_is_written_with_its_samples_and_the_policy_decides() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory::open(&folder.path().join("run"), false).unwrap();
        let batch = KeptBatch {
            step: 6,
            tensors: vec![("input", Tensor::from_slice([2], &[f32::NAN, 1.0]).unwrap())],
        };
        let failure = NotFinite { what: "loss", value: f64::NAN };
        let samples = ["a.npy cube 3".to_string()];
        let error =
            NanGuard::new(OnNan::Stop).failed(&run, &failure, &batch, &samples).unwrap_err().to_string();
        for part in
            ["loss became NaN at step 7", "a.npy cube 3", "step-00000007.safetensors", "--on-nan skip"]
        {
            assert!(error.contains(part), "{error}");
        }
        let dumped = read_checkpoint(run.path("not-finite/step-00000007.safetensors")).unwrap().state;
        assert_eq!(dumped.tensors[0].to_f32()[1], 1.0);
        assert!(dumped.tensors[0].to_f32()[0].is_nan());
        assert!(dumped.metadata["genesis.not_finite"].contains("a.npy cube 3"));
        let mut guard = NanGuard::new(OnNan::Skip);
        (0..MOST_SKIPPED).for_each(|_| guard.failed(&run, &failure, &batch, &samples).unwrap());
        assert!(guard.failed(&run, &failure, &batch, &samples).unwrap_err().to_string().contains("20 steps"));
        guard.went_well();
        assert!(guard.failed(&run, &failure, &batch, &samples).is_ok());
    }
}

//! What a fine-tuned checkpoint is for: the one description that training writes and prediction reads.

use crate::preprocess::Preprocessing;
use crate::{Error, Result};
use genesis_model::{DIVISOR, UNetConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Metadata key of a checkpoint's [`TaskDescription`], as JSON.
pub const TASK_KEY: &str = "genesis.task";

/// The kinds of target tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A label for every voxel.
    Segment,
    /// A class for a whole cube or volume.
    Classify,
}

/// A target task, as it stands in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDescription {
    /// Its kind.
    pub task: Task,
    /// Names of the classes; the position is the label, so that a segmentation starts with the background.
    pub classes: Vec<String>,
    /// Channels of the input: 1 for CT, 4 for BraTS.
    pub channels: usize,
    /// Extents of the cubes the network was trained on, along x, y and z of the working grid.
    pub patch: [usize; 3],
    /// What is done to a volume first.
    pub preprocessing: Preprocessing,
    /// The network. With two classes it may have one output, the second class's logit (sigmoid); otherwise
    /// it has one for each class (softmax).
    pub network: UNetConfig,
}

impl TaskDescription {
    /// The description in a checkpoint's metadata; `None` where there is none, as in pre-trained weights.
    ///
    /// # Errors
    /// A description that cannot be read or contradicts itself.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let Some(text) = metadata.get(TASK_KEY) else { return Ok(None) };
        let description: Self = serde_json::from_str(text)
            .map_err(|error| Error::Work(format!("metadata {TASK_KEY}: {error}")))?;
        description.check().map_err(|error| Error::Work(format!("metadata {TASK_KEY}: {error}")))?;
        Ok(Some(description))
    }

    /// Writes the description into a checkpoint's metadata.
    ///
    /// # Errors
    /// As [`TaskDescription::check`].
    pub fn to_metadata(&self, metadata: &mut BTreeMap<String, String>) -> Result<()> {
        self.check()?;
        let text = serde_json::to_string(self).map_err(|error| Error::Work(error.to_string()))?;
        metadata.insert(TASK_KEY.into(), text);
        Ok(())
    }

    /// Refuses descriptions that contradict themselves.
    ///
    /// # Errors
    /// Fewer than two or more than 256 classes; a network of other channels or outputs; a patch whose
    /// extents do not divide by 8; preprocessing that means nothing.
    pub fn check(&self) -> Result<()> {
        let (classes, outputs) = (self.classes.len(), self.network.classes);
        if !(2..=256).contains(&classes) {
            return Err(Error::Work(format!("{classes} classes: 2 to 256 are possible")));
        }
        if self.task == Task::Segment && outputs != classes && !(outputs == 1 && classes == 2) {
            return Err(Error::Work(format!(
                "{outputs} outputs of the network do not fit {classes} classes"
            )));
        }
        if self.channels == 0 || self.channels != self.network.channels {
            return Err(Error::Work(format!(
                "{} channels, but the network takes {}",
                self.channels, self.network.channels
            )));
        }
        if self.patch.iter().any(|&extent| extent == 0 || extent % DIVISOR != 0) {
            return Err(Error::Work(format!(
                "patch {:?}: every extent must divide by {DIVISOR}",
                self.patch
            )));
        }
        self.preprocessing.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_comes_back_from_metadata_and_contradictions_do_not() {
        let description = TaskDescription {
            task: Task::Segment,
            classes: ["background", "liver", "tumour"].map(String::from).to_vec(),
            channels: 1,
            patch: [64, 64, 32],
            preprocessing: Preprocessing::default(),
            network: UNetConfig { classes: 3, ..UNetConfig::default() },
        };
        let mut metadata = BTreeMap::new();
        assert_eq!(TaskDescription::from_metadata(&metadata).expect("none"), None);
        description.to_metadata(&mut metadata).expect("consistent");
        assert_eq!(TaskDescription::from_metadata(&metadata).expect("read"), Some(description.clone()));
        type Change = fn(&mut TaskDescription);
        let changes: [Change; 5] = [
            |task| task.classes.truncate(2),
            |task| task.classes.truncate(1),
            |task| task.channels = 4,
            |task| task.patch[2] = 30,
            |task| task.preprocessing.spacing = Some([0.0; 3]),
        ];
        for change in changes {
            let mut wrong = description.clone();
            change(&mut wrong);
            assert!(wrong.to_metadata(&mut metadata).is_err());
            metadata.insert(TASK_KEY.into(), serde_json::to_string(&wrong).expect("JSON"));
            let error = TaskDescription::from_metadata(&metadata).expect_err("a contradiction");
            assert!(error.to_string().contains(TASK_KEY), "{error}");
        }
        // One output is enough for two classes.
        let mut binary = description;
        binary.classes.truncate(2);
        binary.network.classes = 1;
        assert!(binary.check().is_ok());
    }
}

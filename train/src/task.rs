//! What a fine-tuned checkpoint is for: the one description that training writes and prediction reads.

use crate::preprocess::Preprocessing;
use crate::{Error, Result};
use genesis_model::{DIVISOR, UNetConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Metadata key of a checkpoint's [`TaskDescription`], as JSON.
pub const TASK_KEY: &str = "genesis.task";

/// Metadata key under which checkpoints of earlier versions kept what is now [`TaskDescription::values`].
const EARLIER_LABELS_KEY: &str = "genesis.labels";

/// The kinds of target tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A label for every voxel.
    Segment,
    /// A class for a whole cube or volume.
    Classify,
}

/// Which channels of a scan the network's input is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// How many channels the data set's scans have.
    pub of: usize,
    /// The chosen ones, in the order of the input.
    pub channels: Vec<InputChannel>,
}

/// One channel of a scan that the network's input is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputChannel {
    /// Its number in the data set's scans, from 0.
    pub number: usize,
    /// Its name, where the data set names its channels (`FLAIR`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A target task, as it stands in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDescription {
    /// Its kind.
    pub task: Task,
    /// Names of the classes; the position is the label, so that a segmentation starts with the background.
    pub classes: Vec<String>,
    /// For each class the values of the data set's label maps that mean it, for the background `[0]`. Of a class
    /// of several values (`1+2+4=whole`) the first one is written into predictions. Empty, as in checkpoints of
    /// earlier versions and of classifications: the classes' own numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Vec<u8>>,
    /// Which channels of a scan the input is made of; `None`: of all, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
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
        let mut description: Self = serde_json::from_str(text)
            .map_err(|error| Error::Work(format!("metadata {TASK_KEY}: {error}")))?;
        if let (true, Some(text)) = (description.values.is_empty(), metadata.get(EARLIER_LABELS_KEY)) {
            description.values = earlier_values(text)?;
        }
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
    /// Fewer than two or more than 256 classes; values of other classes, of two classes or of none; a network of
    /// other channels or outputs; a patch whose extents do not divide by 8; preprocessing that means nothing.
    pub fn check(&self) -> Result<()> {
        let (classes, outputs) = (self.classes.len(), self.network.classes);
        if !(2..=256).contains(&classes) {
            return Err(Error::Work(format!("{classes} classes: 2 to 256 are possible")));
        }
        if outputs != classes && !(outputs == 1 && classes == 2) {
            return Err(Error::Work(format!(
                "{outputs} outputs of the network do not fit {classes} classes"
            )));
        }
        self.check_values()?;
        if let Some(inputs) = &self.inputs
            && (inputs.channels.len() != self.channels
                || inputs.channels.iter().any(|c| c.number >= inputs.of))
        {
            return Err(Error::Work(format!(
                "{} channels of {} are chosen for an input of {}",
                inputs.channels.len(),
                inputs.of,
                self.channels
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

    fn check_values(&self) -> Result<()> {
        if self.values.is_empty() {
            return Ok(());
        }
        if self.values.len() != self.classes.len() || self.values.iter().any(Vec::is_empty) {
            return Err(Error::Work(format!("{} classes need values each", self.classes.len())));
        }
        let mut seen = [false; 256];
        for &value in self.values.iter().flatten() {
            if std::mem::replace(&mut seen[usize::from(value)], true) {
                return Err(Error::Work(format!("the value {value} means two classes")));
            }
        }
        Ok(())
    }

    /// The value each class is written as into a label map: the first that means it in the data set, or
    /// with `numbers` (and where no values are known) the class's number.
    pub fn written_values(&self, numbers: bool) -> Vec<u8> {
        // `check` allows at most 256 classes.
        let number = |class: usize| class as u8;
        let value = |class: usize| self.values.get(class).and_then(|values| values.first()).copied();
        (0..self.classes.len())
            .map(|class| value(class).filter(|_| !numbers).unwrap_or_else(|| number(class)))
            .collect()
    }

    /// The volumes of a scan that the network's input is made of. `names` are the names of the scan's channels,
    /// as far as they are known.
    ///
    /// Channels are found by name where all those chosen have one that is among `names`, and by number in scans of
    /// as many channels as those of training had. A scan of just as many channels as were chosen is taken to hold
    /// nothing else.
    ///
    /// # Errors
    /// A scan of another number of channels.
    pub fn choose<T>(&self, scan: Vec<T>, names: &[String]) -> Result<Vec<T>> {
        let Some(Inputs { of, channels }) = &self.inputs else { return Ok(scan) };
        let named = |input: &InputChannel| {
            let name = input.name.as_ref()?;
            names.iter().position(|known| known.eq_ignore_ascii_case(name))
        };
        let by_name: Option<Vec<usize>> = channels.iter().map(named).collect();
        let by_number = || channels.iter().map(|input| input.number).collect();
        match by_name.or_else(|| (scan.len() == *of).then(by_number)) {
            Some(numbers) => take_channels(scan, &numbers).map_err(Error::Work),
            None if scan.len() == channels.len() => Ok(scan),
            None => {
                let label = |input: &InputChannel| match &input.name {
                    Some(name) => format!("{} ({name})", input.number),
                    None => input.number.to_string(),
                };
                let wanted: Vec<String> = channels.iter().map(label).collect();
                Err(Error::Work(format!(
                    "has {} channel(s), the network wants {}: {} of the {of} it was trained with",
                    scan.len(),
                    channels.len(),
                    wanted.join(", ")
                )))
            }
        }
    }
}

/// The channels of these numbers, in their order.
///
/// # Errors
/// A number that is too high, or there twice.
pub fn take_channels<T>(all: Vec<T>, numbers: &[usize]) -> Result<Vec<T>, String> {
    let count = all.len();
    let mut all: Vec<Option<T>> = all.into_iter().map(Some).collect();
    let take = |&number: &usize| {
        let highest = count.saturating_sub(1);
        all.get_mut(number)
            .and_then(Option::take)
            .ok_or_else(|| format!("channel {number} is wanted, but there are {count} (0 to {highest})"))
    };
    numbers.iter().map(take).collect()
}

/// The values of every class from the metadata of earlier versions.
fn earlier_values(text: &str) -> Result<Vec<Vec<u8>>> {
    #[derive(Deserialize)]
    struct Class {
        values: Vec<u8>,
    }
    #[derive(Deserialize)]
    struct Classes {
        foreground: Vec<Class>,
    }
    let classes: Classes = serde_json::from_str(text)
        .map_err(|error| Error::Work(format!("metadata {EARLIER_LABELS_KEY}: {error}")))?;
    Ok(std::iter::once(vec![0]).chain(classes.foreground.into_iter().map(|class| class.values)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_comes_back_from_metadata_and_contradictions_do_not() {
        let description = TaskDescription {
            task: Task::Segment,
            classes: ["background", "liver", "tumour"].map(String::from).to_vec(),
            values: vec![vec![0], vec![1], vec![4, 2]],
            inputs: Some(Inputs { of: 4, channels: vec![InputChannel { number: 3, name: None }] }),
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
        let changes: [Change; 9] = [
            |task| task.classes.truncate(2),
            |task| task.classes.truncate(1),
            |task| task.channels = 4,
            |task| task.patch[2] = 30,
            |task| task.values[2].clear(),
            |task| task.values[2][1] = 1,
            |task| task.values.truncate(2),
            |task| task.inputs.as_mut().expect("there").of = 3,
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
        binary.values.truncate(2);
        binary.network.classes = 1;
        assert!(binary.check().is_ok());
    }
    #[test]
    fn values_and_channels_are_those_of_the_data_set() {
        let mut task = TaskDescription {
            task: Task::Segment,
            classes: ["background", "oedema", "core"].map(String::from).to_vec(),
            values: vec![vec![0], vec![2], vec![4, 1]],
            inputs: Some(Inputs {
                of: 4,
                channels: vec![InputChannel { number: 3, name: Some("FLAIR".into()) }],
            }),
            channels: 1,
            patch: [16, 16, 16],
            preprocessing: Preprocessing::default(),
            network: UNetConfig { classes: 3, ..UNetConfig::default() },
        };
        assert_eq!(task.written_values(false), [0, 2, 4]);
        assert_eq!(task.written_values(true), [0, 1, 2]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
        let scan = || vec!['a', 'b', 'c', 'd'];
        assert_eq!(task.choose(scan(), &[]).expect("by number"), ['d']);
        assert_eq!(task.choose(scan(), &names(&["T1", "flair", "T2", "T1ce"])).expect("by name"), ['b']);
        assert_eq!(task.choose(vec!['a'], &[]).expect("nothing else"), ['a']);
        let line = task.choose(vec!['a', 'b'], &[]).expect_err("too few").to_string();
        assert!(line.contains("has 2 channel") && line.contains("3 (FLAIR) of the 4"), "{line}");
        task.inputs = None;
        assert_eq!(task.choose(scan(), &[]).expect("all"), scan());

        // Checkpoints of earlier versions: neither field, or the values under a key of their own.
        let mut metadata = BTreeMap::new();
        let mut json = serde_json::to_value(&task).expect("JSON");
        json.as_object_mut().expect("an object").retain(|key, _| key != "values" && key != "inputs");
        metadata.insert(TASK_KEY.to_string(), json.to_string());
        let earlier = TaskDescription::from_metadata(&metadata).expect("read").expect("there");
        assert_eq!((earlier.written_values(false), earlier.inputs), (vec![0, 1, 2], None));
        let labels = r#"{"foreground": [{"name": "a", "values": [5]}, {"name": "b", "values": [7, 6]}], "permitted": null}"#;
        metadata.insert(EARLIER_LABELS_KEY.to_string(), labels.to_string());
        let earlier = TaskDescription::from_metadata(&metadata).expect("read").expect("there");
        assert_eq!(earlier.written_values(false), [0, 5, 7]);
    }
}

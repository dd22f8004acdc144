//! From a folder to training and validation cases: found, shared out, read and checked.

use super::case::{CaseReader, CaseStore};
use super::classes::Classes;
use super::config::SegmentationConfig;
use super::layout::{CaseFiles, Dataset};
use crate::bad_volume::Skipped;
use crate::finetune::split::Split;
use crate::task::{InputChannel, Inputs};
use crate::volume::channel_count;
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// The cases of a run. Those that train come first in the store.
pub struct SegmentationCases {
    /// All of them.
    pub store: Arc<CaseStore>,
    /// Their names by use.
    pub split: Split,
    /// What is told apart.
    pub classes: Classes,
    /// Voxels of every class in the training cases, background first.
    pub voxels: Vec<u64>,
    /// Channels of every input.
    pub channels: usize,
    /// Which channels of a scan these are; `None` where a scan has only one.
    pub inputs: Option<Inputs>,
    /// The files of scans and label maps.
    pub files: Vec<PathBuf>,
    /// Cases that were passed over because they cannot be used.
    pub skipped: Vec<Skipped>,
}

impl SegmentationCases {
    /// Finds and shares out the cases a configuration names, and reads every one that is used, so that bad
    /// data are found before training begins.
    ///
    /// # Errors
    /// Whatever is wrong with the data, naming the file.
    pub fn open(config: &SegmentationConfig, threads: usize, quiet: bool) -> Result<Self> {
        let data = &config.data;
        let dataset = Dataset::open(&data.folder)?;
        let names: Vec<String> = dataset.cases.iter().map(|case| case.name.clone()).collect();
        let mut split = match &data.splits {
            Some(path) => {
                let split = Split::read(path, data.splits_key.as_deref())?;
                let missing = split.train.iter().chain(&split.valid).find(|name| !names.contains(name));
                if let Some(name) = missing {
                    let folder = data.folder.display();
                    return Err(Error::file(path, format!("lists case {name}, which is not in {folder}")));
                }
                split
            }
            None => {
                Split::draw(&names, data.held_out, config.seed).map_err(|e| Error::file(&data.folder, e))?
            }
        };
        split.keep_fraction(data.label_fraction, config.seed);
        let mut used: Vec<CaseFiles> = split
            .train
            .iter()
            .chain(&split.valid)
            .filter_map(|name| dataset.cases.iter().find(|case| case.name == *name).cloned())
            .collect();
        let classes = dataset.classes(&data.labels, &used, false)?;
        let chosen = dataset.channel_numbers(&data.channels)?;
        let reader = CaseReader {
            classes: classes.clone(),
            preprocessing: config.preprocessing.clone(),
            channels: chosen.clone(),
        };
        let bound = data.cache_mib.saturating_mul(1 << 20);
        let mut store = Arc::new(CaseStore::new(reader.clone(), used.clone(), bound));
        let looked = store.look_at_all("reading cases", threads, quiet, |case| Found {
            channels: case.channels,
            voxels: count(&case.labels, classes.count()),
        });
        let (mut found, mut skipped) = (Vec::new(), Vec::new());
        for (case, looked) in used.iter().zip(looked) {
            match looked {
                Ok(one) => found.push(one),
                Err(error) => {
                    skipped.push((case.name.clone(), data.on_bad_volume.pass_over(case.image(), error)?));
                }
            }
        }
        if !skipped.is_empty() {
            let is_good = |name: &String| !skipped.iter().any(|(bad, _)| bad == name);
            used.retain(|case| is_good(&case.name));
            split.train.retain(is_good);
            split.valid.retain(is_good);
            if split.train.is_empty() || split.valid.is_empty() {
                let first = &skipped[0].1.reason;
                let cause = format!(
                    "{} cases cannot be used and too few are left; the first: {first}",
                    skipped.len()
                );
                return Err(Error::file(&data.folder, cause));
            }
            store = Arc::new(CaseStore::new(reader, used.clone(), bound));
        }
        let (channels, voxels) = tally(&found, &split, &classes)?;
        let inputs = inputs(&dataset, chosen, channels)?;
        let files = used.into_iter().flat_map(|case| case.images.into_iter().chain([case.label])).collect();
        let skipped = skipped.into_iter().map(|(_, skipped)| skipped).collect();
        Ok(Self { store, split, classes, voxels, channels, inputs, files, skipped })
    }

    /// Number of training cases.
    pub fn train(&self) -> usize {
        self.split.train.len()
    }

    /// The numbers of the validation cases in the store.
    pub fn valid(&self) -> std::ops::Range<usize> {
        self.train()..self.store.count()
    }
}

/// Which channels of the data set's scans make the input.
fn inputs(dataset: &Dataset, chosen: Vec<usize>, channels: usize) -> Result<Option<Inputs>> {
    let files = dataset.cases.first().map_or(&[][..], |case| &case.images);
    let mut of = 0;
    for file in files {
        of += channel_count(file)?;
    }
    if of == 1 {
        return Ok(None);
    }
    let numbers = if chosen.is_empty() { (0..channels).collect() } else { chosen };
    let input = |number| InputChannel { number, name: dataset.channels.get(number).cloned() };
    Ok(Some(Inputs { of, channels: numbers.into_iter().map(input).collect() }))
}

/// What a first look at a case tells.
struct Found {
    channels: usize,
    voxels: Vec<u64>,
}

/// The number of channels, which is the same in every case, and the voxels of every class in the training cases.
fn tally(all: &[Found], split: &Split, classes: &Classes) -> Result<(usize, Vec<u64>)> {
    let mut channels = None;
    let mut voxels = vec![0; classes.count()];
    let names = split.train.iter().chain(&split.valid);
    for ((index, found), name) in all.iter().enumerate().zip(names) {
        let wanted = *channels.get_or_insert(found.channels);
        if found.channels != wanted {
            let first = &split.train[0];
            return Err(Error::Work(format!(
                "case {name} has {} channels, case {first} has {wanted}",
                found.channels
            )));
        }
        if index < split.train.len() {
            voxels.iter_mut().zip(&found.voxels).for_each(|(all, here)| *all += here);
        }
    }
    let missing: Vec<&str> = classes
        .foreground
        .iter()
        .zip(&voxels[1..])
        .filter(|(_, voxels)| **voxels == 0)
        .map(|(class, _)| class.name.as_str())
        .collect();
    if missing.len() == classes.foreground.len() {
        return Err(Error::Work(format!("no training case holds any voxel of {}", missing.join(", "))));
    }
    if !missing.is_empty() {
        tracing::warn!("no training case holds any voxel of {}", missing.join(", "));
    }
    Ok((channels.unwrap_or(1), voxels))
}

/// Voxels of every class.
fn count(labels: &[u8], classes: usize) -> Vec<u64> {
    let mut counts = [0; 256];
    labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
    counts[..classes].to_vec()
}

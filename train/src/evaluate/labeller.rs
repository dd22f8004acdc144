//! Where predicted labels come from: a network that is run, or files that are read.

use super::case::Labels;
use crate::evaluation::two_class_iou::TwoClassIou;
use crate::finetune::{CaseFiles, Class, Classes, Dataset, case_name, label_classes};
use crate::inference::{PredictionSettings, Segmenter};
use crate::preprocess::{Grid, Intensity};
use crate::training::checkpoint::CONFIG_KEY;
use crate::volume::{Volume, list_volumes};
use crate::{Error, Result};
use genesis_kernels::Context;
use genesis_model::checkpoint::{StateDict, read_checkpoint};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where predicted labels come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelSource {
    /// A fine-tuned network, run on every scan.
    Weights(PathBuf),
    /// A folder of label maps named like the cases.
    Predictions {
        /// The folder.
        folder: PathBuf,
        /// The label maps hold the numbers of the classes (0, 1, 2, …, as `genesis predict --class-numbers` writes
        /// them) and not the data set's values.
        class_numbers: bool,
    },
}

/// What gives the labels of a case.
pub enum Labeller {
    /// By network.
    Network {
        /// The network.
        segmenter: Box<Segmenter>,
        /// The cases its checkpoint says it was trained on.
        trained_on: Vec<String>,
    },
    /// By files.
    Files {
        /// The folder.
        folder: PathBuf,
        /// Its label maps by name without extension.
        files: BTreeMap<String, Vec<PathBuf>>,
        /// What their values mean.
        classes: Classes,
    },
}

impl Labeller {
    /// Opens the source, and says what the values of the data set's label maps mean: the classes `wanted` by
    /// the user, else those the checkpoint was trained on, else those of the data set.
    ///
    /// # Errors
    /// A checkpoint of no segmentation; a folder without label maps; classes that do not fit the network's.
    pub fn open(
        source: &LabelSource,
        dataset: &Dataset,
        wanted: &[String],
        cases: &[CaseFiles],
    ) -> Result<(Self, Classes)> {
        match source {
            LabelSource::Weights(path) => {
                let state = read_checkpoint(path)?.state;
                let segmenter = Box::new(Segmenter::from_state(path, &state)?);
                let classes = network_classes(path, &segmenter, dataset, wanted, cases)?;
                Ok((Self::Network { segmenter, trained_on: trained_on(&state) }, classes))
            }
            LabelSource::Predictions { folder, class_numbers } => {
                let reference = dataset.classes(wanted, cases, true)?;
                let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
                for path in list_volumes(folder)? {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    files.entry(case_name(&name).to_string()).or_default().push(path);
                }
                if files.is_empty() {
                    return Err(Error::file(
                        folder,
                        "holds no label map (.nii, .nii.gz, .hdr, .mhd, .mha, .nrrd, .nhdr)",
                    ));
                }
                let classes = if *class_numbers { numbered(&reference)? } else { reference.clone() };
                Ok((Self::Files { folder: folder.clone(), files, classes }, reference))
            }
        }
    }

    /// The volumes of a scan that labels are made from: those the network was trained on.
    ///
    /// # Errors
    /// A channel that is not there.
    pub fn choose(&self, volumes: Vec<Volume>, names: &[String]) -> Result<Vec<Volume>> {
        match self {
            Self::Network { segmenter, .. } => segmenter.task.choose(volumes, names),
            Self::Files { .. } => Ok(volumes),
        }
    }

    /// The intensities shown darkest and lightest, if they are known.
    pub fn window(&self) -> Option<(f32, f32)> {
        match self {
            Self::Network { segmenter, .. } => match segmenter.task.preprocessing.intensity {
                Intensity::Window { low, high } => Some((low as f32, high as f32)),
                _ => None,
            },
            Self::Files { .. } => None,
        }
    }

    /// The labels of a case on the grid of its scan, `volumes` being the scan's channels.
    ///
    /// # Errors
    /// A scan that does not fit the network; a label map that is missing, or not on the scan's grid.
    pub fn label(
        &mut self,
        cx: &Context,
        files: &CaseFiles,
        volumes: Vec<Volume>,
        reference: &[u8],
        settings: &PredictionSettings,
        done: impl FnMut(usize, usize),
    ) -> Result<Labels> {
        match self {
            Self::Network { segmenter, .. } => {
                let grid = Grid::new(&volumes[0], &segmenter.task.preprocessing)?;
                let binary = segmenter.task.classes.len() == 2;
                let real: Vec<bool> = match binary {
                    true => grid.to_oriented(reference.iter().map(|&class| class > 0).collect()),
                    false => Vec::new(),
                };
                let mut two_class = TwoClassIou::default();
                let found = segmenter
                    .segment(cx, volumes, settings, done, |x, plane| {
                        // With one output that is the foreground's probability, with two the second is.
                        let area = grid.oriented_size()[1] * grid.oriented_size()[2];
                        if binary {
                            two_class.add(&plane[plane.len() - area..], &real[x * area..][..area])?;
                        }
                        Ok(())
                    })
                    .map_err(|error| match error {
                        Error::Work(cause) => Error::file(files.image(), cause),
                        other => other,
                    })?;
                found.warn(files.image());
                Ok(Labels { predicted: found.labels, two_class_iou: binary.then_some(two_class) })
            }
            Self::Files { folder, files: maps, classes } => {
                let path = find(folder, maps, files)?;
                let grid = Grid::new(&volumes[0], &Default::default())?;
                Ok(Labels { predicted: label_classes(path, classes, &grid)?, two_class_iou: None })
            }
        }
    }
}

/// The label map named like the case, like its scan, or like its reference.
fn find<'a>(
    folder: &Path,
    maps: &'a BTreeMap<String, Vec<PathBuf>>,
    files: &CaseFiles,
) -> Result<&'a PathBuf> {
    let stem = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        case_name(&name).to_string()
    };
    let names = [files.name.clone(), stem(files.image()), stem(&files.label)];
    match names.iter().find_map(|name| maps.get(name)).map(Vec::as_slice) {
        Some([path]) => Ok(path),
        Some([first, second, ..]) => {
            Err(Error::file(second, format!("has the name of {}: one is needed", first.display())))
        }
        _ => Err(Error::file(folder, format!("holds no prediction of case {}", files.name))),
    }
}

/// The classes of a network, with the data set's values.
fn network_classes(
    path: &Path,
    segmenter: &Segmenter,
    dataset: &Dataset,
    wanted: &[String],
    cases: &[CaseFiles],
) -> Result<Classes> {
    let task = &segmenter.task;
    let names = &task.classes;
    let mut classes = if wanted.is_empty() && !task.values.is_empty() {
        let class =
            |(name, values): (&String, &Vec<u8>)| Class { name: name.clone(), values: values.clone() };
        Classes { foreground: names.iter().zip(&task.values).skip(1).map(class).collect(), permitted: None }
    } else {
        dataset.classes(wanted, cases, true)?
    };
    if classes.count() != names.len() {
        let all = names[1..].join(", ");
        let cause = format!(
            "the network tells {} classes apart ({all}), the data set {} ({}): name the data set's in the same \
             order by --labels",
            names.len() - 1,
            classes.foreground.len(),
            classes.names()[1..].join(", ")
        );
        return Err(Error::file(path, cause));
    }
    if let Some(labels) = &dataset.labels {
        classes.permitted = Some(labels.iter().map(|label| label.value).collect());
    }
    for (class, name) in classes.foreground.iter_mut().zip(&names[1..]) {
        class.name.clone_from(name);
    }
    Ok(classes)
}

/// Classes whose values are their numbers.
fn numbered(reference: &Classes) -> Result<Classes> {
    let number = |index: usize| {
        u8::try_from(index).map_err(|_| Error::Work(format!("class {index}: at most 255 can be numbered")))
    };
    let mut foreground = Vec::new();
    for (index, class) in reference.foreground.iter().enumerate() {
        foreground.push(Class { name: class.name.clone(), values: vec![number(index + 1)?] });
    }
    Ok(Classes { permitted: Some((0..=number(foreground.len())?).collect()), foreground })
}

/// The training cases a checkpoint names; none if it names none.
fn trained_on(state: &StateDict) -> Vec<String> {
    let config = state.metadata.get(CONFIG_KEY).and_then(|text| serde_json::from_str(text).ok());
    let names = |config: &serde_json::Value| -> Option<Vec<String>> {
        let list = config.get("cases")?.get("train")?.as_array()?;
        Some(list.iter().filter_map(|name| name.as_str().map(str::to_string)).collect())
    };
    config.as_ref().and_then(names).unwrap_or_default()
}

//! The layouts in which BraTS and LiTS are distributed.

use super::{CaseFiles, Dataset, NamedLabel, stem};
use crate::volume::list_volumes;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// BraTS's endings of the four sequences, until 2021 and since 2023, in one order.
const SEQUENCES: [(&str, [&str; 2]); 4] = [
    ("FLAIR", ["_flair", "-t2f"]),
    ("T1", ["_t1", "-t1n"]),
    ("T1ce", ["_t1ce", "-t1c"]),
    ("T2", ["_t2", "-t2w"]),
];
/// BraTS's endings of the label map.
const SEGMENTATIONS: [&str; 2] = ["_seg", "-seg"];

/// The case and the sequence that the name of one of BraTS's scans tells, extension aside: `x_flair` is `FLAIR` of `x`.
pub fn sequence_of(stem: &str) -> Option<(&str, &'static str)> {
    let found = |&(name, endings): &(&'static str, [&str; 2])| {
        endings.iter().find_map(|ending| stem.strip_suffix(ending)).map(|case| (case, name))
    };
    SEQUENCES.iter().find_map(found)
}

/// The name, extension aside, of another sequence of the case to which the scan `stem` belongs.
pub fn sequence_file(stem: &str, wanted: &str) -> Option<String> {
    let (_, wanted) = SEQUENCES.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
    let found =
        |(year, ending): (usize, &&str)| Some(format!("{}{}", stem.strip_suffix(ending)?, wanted[year]));
    SEQUENCES.iter().find_map(|(_, endings)| endings.iter().enumerate().find_map(found))
}

/// Whether a name, extension aside, is that of one of BraTS's label maps.
pub fn is_brats_segmentation(stem: &str) -> bool {
    SEGMENTATIONS.iter().any(|ending| stem.ends_with(ending))
}

/// The data set, if the files below `root` are named like those of BraTS or LiTS.
///
/// # Errors
/// A case that is not complete.
pub fn open(root: &Path) -> Result<Option<Dataset>> {
    let files: BTreeMap<PathBuf, String> = list_volumes(root)?
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = stem(&name).to_string();
            (path, name)
        })
        .collect();
    if let Some(dataset) = lits(root, &files)? {
        return Ok(Some(dataset));
    }
    brats(root, &files)
}

fn lits(root: &Path, files: &BTreeMap<PathBuf, String>) -> Result<Option<Dataset>> {
    let mut cases = Vec::new();
    for (path, name) in files {
        let Some(number) = name.strip_prefix("volume-") else { continue };
        let wanted = format!("segmentation-{number}");
        // Volumes come in several batches, the label maps sometimes in a folder of their own.
        let label = files.iter().find(|(_, name)| **name == wanted).map(|(path, _)| path.clone());
        let label = label.ok_or_else(|| Error::file(path, format!("has no label map {wanted}.nii")))?;
        cases.push(CaseFiles { name: name.clone(), images: vec![path.clone()], label });
    }
    let names = ["background", "liver", "tumour"];
    Ok((!cases.is_empty()).then(|| dataset(root, cases, &names, vec!["CT".into()])))
}

fn brats(root: &Path, files: &BTreeMap<PathBuf, String>) -> Result<Option<Dataset>> {
    let mut cases = Vec::new();
    let mut present: Option<Vec<usize>> = None;
    for (path, name) in files {
        let Some((year, case)) =
            SEGMENTATIONS.iter().enumerate().find_map(|(year, end)| Some((year, name.strip_suffix(end)?)))
        else {
            continue;
        };
        let beside = |ending: &str| {
            let wanted = format!("{case}{ending}");
            let in_folder = |other: &PathBuf| other.parent() == path.parent();
            files
                .iter()
                .find(|(other, name)| **name == wanted && in_folder(other))
                .map(|(path, _)| path.clone())
        };
        let found: Vec<(usize, PathBuf)> = (0..SEQUENCES.len())
            .filter_map(|index| Some((index, beside(SEQUENCES[index].1[year])?)))
            .collect();
        let here: Vec<usize> = found.iter().map(|(index, _)| *index).collect();
        let wanted = present.get_or_insert_with(|| here.clone());
        if here.is_empty() || *wanted != here {
            let names = |of: &[usize]| of.iter().map(|&i| SEQUENCES[i].0).collect::<Vec<_>>().join(", ");
            let cause =
                format!("case {case} has the sequences [{}], others [{}]", names(&here), names(wanted));
            return Err(Error::file(path, cause));
        }
        let images = found.into_iter().map(|(_, path)| path).collect();
        cases.push(CaseFiles { name: case.to_string(), images, label: path.clone() });
    }
    let channels = present.unwrap_or_default().into_iter().map(|i| SEQUENCES[i].0.to_string()).collect();
    // The values differ between the years (enhancing tumour is 4 or 3): what the label maps hold decides.
    let found = !cases.is_empty();
    Ok(found.then(|| Dataset { root: root.to_path_buf(), cases, labels: None, channels }))
}

fn dataset(root: &Path, cases: Vec<CaseFiles>, names: &[&str], channels: Vec<String>) -> Dataset {
    let label = |(value, name): (usize, &&str)| NamedLabel { value: value as u8, name: (*name).into() };
    let labels = Some(names.iter().enumerate().map(label).collect());
    Dataset { root: root.to_path_buf(), cases, labels, channels }
}

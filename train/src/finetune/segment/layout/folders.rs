//! Paired folders: images here, label maps of the same names there.

use super::{CaseFiles, stem};
use crate::volume::list_volumes;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folders of images and of label maps below `root`, if a known pair of names is there.
pub fn find(root: &Path) -> Option<(PathBuf, PathBuf)> {
    [("imagesTr", "labelsTr"), ("images", "labels"), ("images", "masks")]
        .into_iter()
        .map(|(images, labels)| (root.join(images), root.join(labels)))
        .find(|(images, labels)| images.is_dir() && labels.is_dir())
}

/// The volumes directly in a folder by their names without extension.
fn volumes(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for path in list_volumes(folder)? {
        if path.parent() != Some(folder) {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = found.insert(stem(&name).to_string(), path.clone()) {
            return Err(Error::file(
                &path,
                format!("has the name of {} but for the extension", other.display()),
            ));
        }
    }
    Ok(found)
}

/// The case and the channel that the name of an image file tells: `brain_0003` is channel 3 of `brain`.
fn channel(name: &str) -> Option<(&str, usize)> {
    let (case, digits) = name.rsplit_once('_')?;
    let is_channel = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_channel.then(|| digits.parse().ok()).flatten().map(|channel| (case, channel))
}

/// Pairs images with label maps of the same names.
///
/// # Errors
/// An image without a label map; a channel that is missing; no image at all.
pub fn pair(images: &Path, labels: &Path) -> Result<Vec<CaseFiles>> {
    let (scans, mut maps) = (volumes(images)?, volumes(labels)?);
    if scans.is_empty() {
        return Err(Error::file(images, "holds no volume (.nii, .nii.gz, .hdr, .mhd, .mha, DICOM series)"));
    }
    let mut cases: BTreeMap<String, BTreeMap<usize, PathBuf>> = BTreeMap::new();
    for (name, path) in scans {
        // A label map of the very same name says that the digits are part of it.
        let (case, channel) = match channel(&name) {
            Some((case, channel)) if !maps.contains_key(&name) => (case.to_string(), channel),
            _ => (name.clone(), 0),
        };
        if !maps.contains_key(&case) {
            return Err(Error::file(&path, format!("has no label map {}", labels.join(case).display())));
        }
        if let Some(other) = cases.entry(case.clone()).or_default().insert(channel, path.clone()) {
            let cause = format!("is channel {channel} of case {case}, and so is {}", other.display());
            return Err(Error::file(&path, cause));
        }
    }
    let mut result = Vec::with_capacity(cases.len());
    for (name, channels) in cases {
        let label = maps.remove(&name).unwrap_or_default();
        if let Some(missing) = (0..channels.len()).find(|channel| !channels.contains_key(channel)) {
            let cause = format!("case {name} has {} channels, but {missing} is missing", channels.len());
            return Err(Error::file(&label, cause));
        }
        result.push(CaseFiles { name, images: channels.into_values().collect(), label });
    }
    if let Some(path) = maps.values().next() {
        tracing::warn!(
            "{}: {} label maps have no image ({}, …)",
            labels.display(),
            maps.len(),
            path.display()
        );
    }
    Ok(result)
}

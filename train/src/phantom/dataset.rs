//! A collection of phantoms in the layout of the Medical Segmentation Decathlon.

use super::{Phantom, label};
use crate::error::{Error, Result};
use crate::volume::{ElementType, Volume, write_nifti};
use std::path::{Path, PathBuf};

/// Checks that `directory` can take a new collection: it must not exist or be empty.
pub(super) fn claim(directory: &Path) -> Result<()> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Error::file(
                    directory,
                    "the directory is not empty; choose a new one, or empty it first",
                ));
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io("use as a directory", directory)(e)),
    }
    for part in ["imagesTr", "labelsTr"] {
        let path = directory.join(part);
        std::fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
    }
    Ok(())
}

/// Writes phantoms as `imagesTr/phantom-0000.nii.gz`, `labelsTr/phantom-0000.nii.gz`, …, with
/// `dataset.json` (Medical Segmentation Decathlon) and `nodules.json` (centre, diameter and kind of
/// every nodule) beside them. `write(path, phantom, labels)` writes one volume: the label map when
/// `labels` is true, else the image. Phantoms are generated one at a time as the iterator is drawn.
///
/// Returns the paths of the images.
///
/// # Errors
/// When `directory` exists and is not empty or cannot be written, and whatever `phantoms` or
/// `write` return.
pub fn write_dataset(
    directory: &Path,
    phantoms: impl IntoIterator<Item = Result<Phantom>>,
    write: &mut dyn FnMut(&Path, &Phantom, bool) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    claim(directory)?;
    let mut images = Vec::new();
    let (mut training, mut nodules) = (Vec::new(), serde_json::Map::new());
    for (i, phantom) in phantoms.into_iter().enumerate() {
        let phantom = phantom?;
        let name = format!("phantom-{i:04}.nii.gz");
        let image = directory.join("imagesTr").join(&name);
        write(&image, &phantom, false)?;
        write(&directory.join("labelsTr").join(&name), &phantom, true)?;
        training.push(serde_json::json!({
            "image": format!("./imagesTr/{name}"),
            "label": format!("./labelsTr/{name}"),
        }));
        nodules.insert(format!("phantom-{i:04}"), serde_json::json!(phantom.nodules));
        images.push(image);
    }
    let labels: serde_json::Map<String, serde_json::Value> =
        label::NAMES.iter().enumerate().map(|(i, name)| (i.to_string(), (*name).into())).collect();
    let description = serde_json::json!({
        "name": "Genesis phantoms",
        "description": "Synthetic chest CT; no patient's data",
        "tensorImageSize": "3D",
        "modality": { "0": "CT" },
        "labels": labels,
        "numTraining": training.len(),
        "numTest": 0,
        "training": training,
        "test": [],
    });
    for (name, value) in [("dataset.json", description), ("nodules.json", nodules.into())] {
        let path = directory.join(name);
        std::fs::write(&path, format!("{value:#}\n")).map_err(Error::io("write", &path))?;
    }
    Ok(images)
}
/// Writes one phantom's image (int16 HU) or label map (uint8) as NIfTI.
///
/// # Errors
/// A file that cannot be written.
pub fn write_volume(path: &Path, phantom: &Phantom, labels: bool) -> Result<()> {
    let (voxels, element) = if labels {
        (phantom.labels.iter().map(|&v| f32::from(v)).collect(), ElementType::Uint8)
    } else {
        (phantom.hounsfield.iter().map(|&v| f32::from(v)).collect(), ElementType::Int16)
    };
    write_nifti(path, &Volume::new(voxels, phantom.size, phantom.affine())?, element)
}

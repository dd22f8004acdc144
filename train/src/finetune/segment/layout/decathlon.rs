//! `dataset.json`: of the Medical Segmentation Decathlon (Antonelli et al., Nature Communications 13,
//! 2022), and of nnU-Net (version 2 turns the labels around and lists no files).

use super::{CaseFiles, Dataset, NamedLabel, folders, stem};
use crate::text_file::{LONGEST_LIST, read_json};
use crate::{Error, Result};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// Reads the data set a `dataset.json` describes.
///
/// # Errors
/// A file that is not JSON or has no labels; a listed file that is missing or lies outside the folder.
pub fn open(root: &Path) -> Result<Dataset> {
    let path = root.join("dataset.json");
    let json = read_json(&path, LONGEST_LIST)?;
    let labels = labels(&json).map_err(|cause| Error::file(&path, cause))?;
    let names = json.get("channel_names").or_else(|| json.get("modality"));
    let channels = names.map(numbered).unwrap_or_default();
    let listed = json.get("training").and_then(Value::as_array).filter(|list| !list.is_empty());
    let cases = match (listed, folders::find(root)) {
        (Some(list), _) => {
            let case = |entry| case(root, entry).map_err(|cause| Error::file(&path, cause));
            list.iter().map(case).collect::<Result<_>>()?
        }
        (None, Some((images, maps))) => folders::pair(&images, &maps)?,
        (None, None) => return Err(Error::file(&path, "lists no training cases, and there is no imagesTr/")),
    };
    Ok(Dataset { root: root.to_path_buf(), cases, labels: Some(labels), channels })
}

/// The texts of an object keyed by 0, 1, 2, …
fn numbered(value: &Value) -> Vec<String> {
    let text = |index: usize| value.get(index.to_string())?.as_str().map(str::to_string);
    (0..).map_while(text).collect()
}

/// `{"0": "background", "1": "liver"}` or `{"background": 0, "liver": 1}`.
fn labels(json: &Value) -> Result<Vec<NamedLabel>, String> {
    let object = json.get("labels").and_then(Value::as_object).ok_or("has no labels")?;
    let mut labels = Vec::new();
    for (key, value) in object {
        let named = match value {
            Value::String(name) => key.parse().ok().map(|value| NamedLabel { value, name: name.clone() }),
            Value::Number(number) => number
                .as_u64()
                .and_then(|value| u8::try_from(value).ok())
                .map(|value| NamedLabel { value, name: key.clone() }),
            _ => None,
        };
        labels.push(named.ok_or_else(|| {
            format!(
                "the label \"{key}\": {value} is not a value from 0 to 255 with a name (regions are not read)"
            )
        })?);
    }
    labels.sort_by_key(|label| label.value);
    if labels.len() < 2 || labels[0].value != 0 {
        return Err("the labels must hold 0 (background) and at least one other".into());
    }
    if let Some(pair) = labels.windows(2).find(|pair| pair[0].value == pair[1].value) {
        return Err(format!("the label {} is given twice", pair[0].value));
    }
    Ok(labels)
}

/// One entry of `training`.
fn case(root: &Path, entry: &Value) -> Result<CaseFiles, String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let (Some(image), Some(label)) = (text("image"), text("label")) else {
        return Err(format!("a training case is not {{\"image\": …, \"label\": …}}: {entry}"));
    };
    let (image, label) = (within(root, image)?, within(root, label)?);
    let name = label.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = stem(&name).to_string();
    if !label.is_file() {
        return Err(format!("the label map {} of case {name} is missing", label.display()));
    }
    Ok(CaseFiles { name, images: images(&image)?, label })
}

/// The listed file, or nnU-Net's files of its channels.
fn images(image: &Path) -> Result<Vec<PathBuf>, String> {
    if image.is_file() {
        return Ok(vec![image.to_path_buf()]);
    }
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = name.split_at(stem(&name).len());
    let channel = |index: usize| image.with_file_name(format!("{stem}_{index:04}{extension}"));
    let channels: Vec<PathBuf> = (0..).map(channel).take_while(|path| path.is_file()).collect();
    if channels.is_empty() { Err(format!("the image {} is missing", image.display())) } else { Ok(channels) }
}

/// A path of the file, which must not lead out of the folder.
fn within(root: &Path, text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(format!("{text} leads out of the folder"));
    }
    Ok(root.join(path.components().filter(|part| matches!(part, Component::Normal(_))).collect::<PathBuf>()))
}

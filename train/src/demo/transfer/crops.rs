//! The data set: crops around the nodules of phantoms the network was not pre-trained on.

use super::{Transfer, TransferSettings};
use crate::finetune::CaseFiles;
use crate::phantom::{Phantom, PhantomConfig, generate, label};
use crate::report::file::write_atomically;
use crate::volume::{ElementType, Volume, write_nifti};
use crate::{Error, Result};
use genesis_tensor::random::{Purpose, Stream};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Number of the first phantom: pre-training's begin at 0.
const FIRST_PHANTOM: u64 = 1000;
/// Phantoms tried for one that shows a nodule.
const ATTEMPTS: u64 = 20;

/// The crops on disk, in the layout of the Medical Segmentation Decathlon.
pub struct Crops {
    /// Their folder.
    pub folder: PathBuf,
    /// `splits.json`; [`split_key`] leads to a run's part.
    pub splits: PathBuf,
    /// The crops of each labelled phantom.
    pub train: Vec<Vec<String>>,
    /// The crops of the validation phantoms.
    pub valid: Vec<String>,
    /// The crops of the test phantoms.
    pub test: Vec<CaseFiles>,
}

/// Leads to the cases of seed number `seed` with so many labelled phantoms.
pub fn split_key(seed: u64, labelled: usize) -> String {
    format!("seed-{}.phantoms-{labelled}", seed + 1)
}

/// Generates the phantoms and writes their crops with `dataset.json` and `splits.json`.
///
/// # Errors
/// A directory that cannot be written; phantoms that show no nodule.
pub fn make(transfer: &Transfer<'_>) -> Result<Crops> {
    let settings = transfer.settings;
    let folder = transfer.out.join("crops");
    for part in ["imagesTr", "labelsTr"] {
        let path = folder.join(part);
        std::fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
    }
    let labelled = settings.all_labelled();
    let count = labelled + settings.validation + settings.test;
    tracing::info!("cutting crops around the nodules of {count} further phantoms");
    let mut phantoms = Vec::new();
    let mut next = FIRST_PHANTOM;
    for number in 0..count {
        let end = next + ATTEMPTS;
        let names = loop {
            if next == end {
                let cause = format!("{ATTEMPTS} phantoms in a row show no nodule: larger ones are needed");
                return Err(Error::Work(cause));
            }
            let mut config = PhantomConfig::new(settings.phantom_size, transfer.seed, next);
            config.nodules = Some(settings.nodules);
            let phantom = generate(&config, transfer.threads)?;
            let crops = cut(&phantom, settings, Stream::new(transfer.seed, 0, next, Purpose::Cubes))?;
            next += 1;
            if !crops.is_empty() {
                break write(&folder, number, crops)?;
            }
        };
        phantoms.push(names);
    }
    let test: Vec<String> = phantoms.split_off(labelled + settings.validation).concat();
    let valid: Vec<String> = phantoms.split_off(labelled).concat();
    let splits = folder.join("splits.json");
    write_json(&splits, &shares(transfer, &phantoms, &valid, &test))?;
    describe(&folder, phantoms.iter().flatten().chain(&valid).chain(&test))?;
    let test = test.into_iter().map(|name| files(&folder, name)).collect();
    Ok(Crops { folder, splits, train: phantoms, valid, test })
}

/// Image and label map of a crop around every nodule. The nodule lies anywhere in the crop's middle half,
/// so that its place tells nothing.
fn cut(phantom: &Phantom, settings: &TransferSettings, mut stream: Stream) -> Result<Vec<[Volume; 2]>> {
    let (size, crop) = (phantom.size, settings.crop);
    let mut crops = Vec::new();
    for nodule in &phantom.nodules {
        let start: [usize; 3] = std::array::from_fn(|a| {
            let shift = stream.between(0, crop[a] / 2);
            let start = nodule.voxel[a].round() as usize + crop[a] / 4;
            start.saturating_sub(crop[a] / 2 + shift).min(size[a] - crop[a])
        });
        let mut affine = phantom.affine();
        for a in 0..3 {
            affine[a][3] += start[a] as f64 * phantom.spacing[a];
        }
        let (mut image, mut labels) = (Vec::new(), Vec::new());
        for x in start[0]..start[0] + crop[0] {
            for y in start[1]..start[1] + crop[1] {
                let first = (x * size[1] + y) * size[2] + start[2];
                let line = first..first + crop[2];
                image.extend(phantom.hounsfield[line.clone()].iter().map(|&value| f32::from(value)));
                labels.extend(phantom.labels[line].iter().map(|&l| f32::from(u8::from(l == label::NODULE))));
            }
        }
        if labels.contains(&1.0) {
            crops.push([Volume::new(image, crop, affine)?, Volume::new(labels, crop, affine)?]);
        }
    }
    Ok(crops)
}

fn write(folder: &Path, phantom: usize, crops: Vec<[Volume; 2]>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (number, [image, labels]) in crops.into_iter().enumerate() {
        let name = format!("phantom-{phantom:02}-nodule-{}", number + 1);
        let files = files(folder, name);
        write_nifti(&files.images[0], &image, ElementType::Int16)?;
        write_nifti(&files.label, &labels, ElementType::Uint8)?;
        names.push(files.name);
    }
    Ok(names)
}

fn files(folder: &Path, name: String) -> CaseFiles {
    let at = |part: &str| folder.join(part).join(format!("{name}.nii.gz"));
    CaseFiles { images: vec![at("imagesTr")], label: at("labelsTr"), name }
}

/// For every seed an order of the phantoms of its own; fewer are the first of more.
fn shares(transfer: &Transfer<'_>, train: &[Vec<String>], valid: &[String], test: &[String]) -> Value {
    let mut splits = Map::new();
    for seed in 0..transfer.settings.seeds {
        let mut order: Vec<&Vec<String>> = train.iter().collect();
        Stream::new(transfer.seed, 1, seed, Purpose::Order).shuffle(&mut order);
        for &labelled in &transfer.settings.labelled {
            let chosen: Vec<&String> = order[..labelled].iter().copied().flatten().collect();
            let split = json!({ "train": chosen, "val": valid, "test": test });
            let key = split_key(seed, labelled);
            if let Some((outer, inner)) = key.split_once('.') {
                let parts = splits.entry(outer).or_insert_with(|| json!({}));
                parts[inner] = split;
            }
        }
    }
    Value::Object(splits)
}

fn describe<'a>(folder: &Path, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let case = |name: &String| json!({ "image": format!("./imagesTr/{name}.nii.gz"), "label": format!("./labelsTr/{name}.nii.gz") });
    let training: Vec<Value> = names.map(case).collect();
    let description = json!({
        "name": "Nodules of Genesis phantoms",
        "description": "Crops of synthetic chest CT; no patient's data",
        "tensorImageSize": "3D",
        "modality": { "0": "CT" },
        "labels": { "0": "background", "1": "nodule" },
        "numTraining": training.len(),
        "numTest": 0,
        "training": training,
        "test": [],
    });
    write_json(&folder.join("dataset.json"), &description)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_atomically(path, format!("{value:#}\n").as_bytes())
}

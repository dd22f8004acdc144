//! One case on the working grid: the scan's channels, the class of every voxel, and where the
//! foreground lies.

use super::classes::Classes;
use super::layout::CaseFiles;
use crate::finetune::store::{Store, Stored};
use crate::preprocess::{Grid, Preprocessing};
use crate::task::take_channels;
use crate::volume::{Volume, read_channels, read_volume};
use crate::{Error, Result};
use genesis_tensor::parallel::ThreadPool;
use std::path::Path;

/// The most voxels of a class that are remembered to centre patches on, evenly spread over all.
const MOST_CENTRES: usize = 4096;

/// What every case of a data set is read by.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseReader {
    /// The classes.
    pub classes: Classes,
    /// What is done to a volume first.
    pub preprocessing: Preprocessing,
    /// The channels that are used, by their numbers in the files; empty: all.
    pub channels: Vec<usize>,
}

/// A case in memory.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Intensities `[C, X, Y, Z]`, z fastest.
    pub image: Vec<f32>,
    /// Number of channels C.
    pub channels: usize,
    /// The least intensity of each channel: what lies beyond the volume's faces.
    pub padding: Vec<f32>,
    /// The class of every voxel `[X, Y, Z]`.
    pub labels: Vec<u8>,
    /// Extents of the working grid.
    pub size: [usize; 3],
    /// Millimetres between its voxels.
    pub spacing: [f64; 3],
    /// For each foreground class the places of (at most [`MOST_CENTRES`] of) its voxels.
    pub centres: Vec<Vec<u32>>,
}

impl CaseReader {
    /// Reads a case and brings it to the working grid.
    ///
    /// # Errors
    /// A file that cannot be read or prepared; a label map on another grid than its scan; a label that is
    /// no whole number or not permitted; a channel that is not there. Each names the file.
    pub fn read(&self, pool: &ThreadPool, files: &CaseFiles) -> Result<Case> {
        let volumes = self.images(files)?;
        let image_path = files.image();
        let on_image = |error: Error| Error::file(image_path, error);
        let grid = Grid::new(&volumes[0], &self.preprocessing).map_err(on_image)?;
        let labels = label_classes(&files.label, &self.classes, &grid)?;
        let labels = grid.labels_forward(pool, &labels).map_err(|e| Error::file(&files.label, e))?;
        let channels = volumes.len();
        let prepared = self.preprocessing.apply_channels(pool, volumes).map_err(on_image)?;
        if prepared.replaced > 0 {
            tracing::warn!(
                "{}: {} voxels are not finite and were replaced",
                image_path.display(),
                prepared.replaced
            );
        }
        let size = grid.size();
        if u32::try_from(labels.len()).is_err() {
            return Err(Error::file(image_path, "has more voxels than training can address (2^32)"));
        }
        let least = |channel: &Vec<f32>| channel.iter().copied().fold(f32::INFINITY, f32::min);
        let padding = prepared.channels.iter().map(least).collect();
        Ok(Case {
            name: files.name.clone(),
            image: prepared.channels.concat(),
            channels,
            padding,
            centres: centres(&labels, self.classes.foreground.len()),
            labels,
            size,
            spacing: grid.spacing(),
        })
    }

    /// The channels of a scan as they were scanned, at least one.
    ///
    /// # Errors
    /// A file that cannot be read; a channel that is not there.
    pub(crate) fn images(&self, files: &CaseFiles) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for path in &files.images {
            volumes.extend(read_channels(path)?);
        }
        if !self.channels.is_empty() {
            volumes =
                take_channels(volumes, &self.channels).map_err(|cause| Error::file(files.image(), cause))?;
        }
        if volumes.is_empty() {
            return Err(Error::file(files.image(), "holds no volume"));
        }
        Ok(volumes)
    }
}

/// The class of every voxel of a label map, which must lie on the grid of its scan.
///
/// # Errors
/// A file that cannot be read or lies elsewhere; a label that is no whole number or not permitted.
pub(crate) fn label_classes(path: &Path, classes: &Classes, grid: &Grid) -> Result<Vec<u8>> {
    let volume = read_volume(path)?;
    if !grid.is_of(&volume) {
        let times = crate::training::times;
        let cause = if volume.size == grid.input_size() {
            "lies elsewhere in space than its image (another affine matrix)".to_string()
        } else {
            format!("has {} voxels, its image {}", times(volume.size), times(grid.input_size()))
        };
        return Err(Error::file(path, cause));
    }
    let table = classes.table();
    let mut labels = Vec::with_capacity(volume.voxels.len());
    for (place, &value) in volume.voxels.iter().enumerate() {
        let class = label_value(value).and_then(|value| table[usize::from(value)]);
        labels.push(class.ok_or_else(|| refusal(path, classes, &volume, place))?);
    }
    Ok(labels)
}

fn refusal(path: &Path, classes: &Classes, volume: &Volume, place: usize) -> Error {
    let [_, ny, nz] = volume.size;
    let at = format!("({}, {}, {})", place / (ny * nz), place / nz % ny, place % nz);
    let value = volume.voxels[place];
    let cause = match &classes.permitted {
        Some(all) if label_value(value).is_some() => {
            let all: Vec<String> = all.iter().map(u8::to_string).collect();
            format!("holds the label {value} at {at}; only {} are known", all.join(", "))
        }
        _ => format!("holds the label {value} at {at}: labels are whole numbers from 0 to 255"),
    };
    Error::file(path, cause)
}

/// The cases of a data set in memory.
pub type CaseStore = Store<Case>;

impl CaseStore {
    /// A store that holds at most `bound` bytes of cases, and always the one used last.
    pub fn new(reader: CaseReader, files: Vec<CaseFiles>, bound: usize) -> Self {
        Self::reading(files.len(), bound, move |pool, index| reader.read(pool, &files[index]))
    }
}

impl Stored for Case {
    fn bytes(&self) -> usize {
        4 * self.image.len() + self.labels.len() + self.centres.iter().map(|c| 4 * c.len()).sum::<usize>()
    }
}

/// The label a voxel holds, if it is one. A slope in the header may leave a trace of rounding.
fn label_value(value: f32) -> Option<u8> {
    let whole = value.round();
    ((value - whole).abs() < 1e-3 && (0.0..=255.0).contains(&whole)).then_some(whole as u8)
}

/// The values that occur in a label map, sorted.
///
/// # Errors
/// A file that cannot be read, or holds a value that is no label.
pub fn values_of(files: &CaseFiles) -> Result<Vec<u8>> {
    let volume = read_volume(&files.label)?;
    let mut present = [false; 256];
    for &value in &volume.voxels {
        let Some(label) = label_value(value) else {
            let cause = format!("holds the label {value}: labels are whole numbers from 0 to 255");
            return Err(Error::file(&files.label, cause));
        };
        present[usize::from(label)] = true;
    }
    Ok((0..=255).filter(|&value| present[usize::from(value)]).collect())
}

fn centres(labels: &[u8], classes: usize) -> Vec<Vec<u32>> {
    let mut counts = vec![0usize; classes];
    for &label in labels.iter().filter(|label| **label > 0) {
        counts[usize::from(label) - 1] += 1;
    }
    let mut seen = vec![0usize; classes];
    let mut centres: Vec<Vec<u32>> =
        counts.iter().map(|&count| Vec::with_capacity(count.min(MOST_CENTRES))).collect();
    for (place, &label) in labels.iter().enumerate().filter(|(_, label)| **label > 0) {
        let class = usize::from(label) - 1;
        let number = seen[class];
        seen[class] += 1;
        // Every voxel if they are few, else those at which the share of MOST_CENTRES steps up.
        let (count, wanted) = (counts[class], counts[class].min(MOST_CENTRES));
        if (number + 1) * wanted / count > number * wanted / count {
            centres[class].push(place as u32);
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::super::layout::NamedLabel;
    use super::*;
    use crate::preprocess::Intensity;
    use crate::volume::{ElementType, affine, write_nifti};

    fn write(path: &Path, size: [usize; 3], affine: affine::Affine, value: impl Fn(usize) -> f32) {
        let voxels = (0..size.iter().product()).map(value).collect();
        write_nifti(path, &Volume::new(voxels, size, affine).unwrap(), ElementType::Float32).unwrap();
    }

    fn reader() -> CaseReader {
        let label = |value: u8| NamedLabel { value, name: format!("l{value}") };
        let declared: Vec<NamedLabel> = (0..3).map(label).collect();
        let preprocessing =
            Preprocessing { intensity: Intensity::Window { low: 0.0, high: 100.0 }, ..Default::default() };
        CaseReader {
            classes: Classes::resolve(Some(&declared), &[], &[]).unwrap(),
            preprocessing,
            channels: Vec::new(),
        }
    }

    #[test]
    fn a_case_is_read_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (image, label) = (folder.path().join("i.nii.gz"), folder.path().join("l.nii.gz"));
        let files = CaseFiles { name: "c".into(), images: vec![image.clone()], label: label.clone() };
        let pool = ThreadPool::new(1);
        let size = [6, 5, 4];
        write(&image, size, affine::IDENTITY, |i| i as f32);
        write(&label, size, affine::IDENTITY, |i| (i == 7) as u8 as f32 + 2.0 * (i > 100) as u8 as f32);
        let case = reader().read(&pool, &files).unwrap();
        assert_eq!(
            (case.size, case.channels, case.centres[0].len(), case.centres[1].len()),
            (size, 1, 1, 19)
        );
        // The identity matrix is RAS, the working grid LPS: voxel and label move together.
        let place = case.centres[0][0] as usize;
        assert!(case.labels[place] == 1 && (case.image[place] - 0.07).abs() < 1e-6);
        assert_eq!(case.padding, [0.0]);

        let refused = |reader: &CaseReader, parts: &[&str]| {
            let line = reader.read(&pool, &files).unwrap_err().to_string();
            for part in parts {
                assert!(line.contains(part) && !line.contains('\n'), "\"{part}\" is missing in: {line}");
            }
        };
        let more = CaseReader { channels: vec![3], ..reader() };
        refused(&more, &["i.nii.gz", "channel 3"]);
        write(&label, size, affine::IDENTITY, |i| if i == 9 { 3.0 } else { 0.0 });
        refused(&reader(), &["l.nii.gz", "label 3 at (0, 2, 1)", "0, 1, 2"]);
        write(&label, size, affine::IDENTITY, |i| if i == 9 { 0.5 } else { 0.0 });
        refused(&reader(), &["l.nii.gz", "label 0.5", "whole numbers"]);
        write(&label, [6, 5, 3], affine::IDENTITY, |_| 0.0);
        refused(&reader(), &["l.nii.gz", "6x5x3", "6x5x4"]);
        let mut shifted = affine::IDENTITY;
        shifted[0][3] = 2.0;
        write(&label, size, shifted, |_| 0.0);
        refused(&reader(), &["l.nii.gz", "affine"]);
        write(&image, size, affine::IDENTITY, |_| f32::NAN);
        write(&label, size, affine::IDENTITY, |_| 0.0);
        refused(&reader(), &["i.nii.gz", "finite"]);
    }

    #[test]
    fn centres_are_spread_evenly_over_a_large_class() {
        let labels: Vec<u8> = (0..40_000).map(|i| (i % 2) as u8).collect();
        let centres = centres(&labels, 2);
        assert_eq!((centres[0].len(), centres[1].len()), (MOST_CENTRES, 0));
        assert!(centres[0].iter().all(|&place| labels[place as usize] == 1));
        assert!(centres[0][0] < 20 && centres[0][MOST_CENTRES - 1] > 39_980);
    }
}

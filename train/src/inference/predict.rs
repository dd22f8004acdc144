//! From a scan's files to a label file on its grid.

use super::{Connectivity, SegmentSettings, SlidingWindow, decide, keep_largest_component, segment_volume};
use crate::preprocess::{Grid, PlaneStream, zeros};
use crate::task::{TASK_KEY, Task, TaskDescription};
use crate::volume::{ReadOptions, Volume, Voxels, read_channels_with, refuse_to_replace, write_like};
use crate::{Error, Precision, Result};
use genesis_kernels::Context;
use genesis_model::checkpoint::{StateDict, read_checkpoint};
use genesis_model::{Statistics, UNet3d, wanted_statistics};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How scans are predicted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PredictionSettings {
    /// Overlap of neighbouring windows, in [0, 1).
    pub overlap: f64,
    /// Windows in one pass of the network.
    pub batch_size: usize,
    /// Average the results of all eight mirror images.
    pub flips: bool,
    /// Keep only the largest component of every class but the background.
    pub largest_component: Option<Connectivity>,
    /// The number format of activations.
    pub precision: Precision,
}

/// The files of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanFiles {
    /// The files, in the order of their channels.
    pub files: Vec<PathBuf>,
    /// How each is read: with a frame chosen, as one channel.
    pub options: ReadOptions,
    /// They are the channels the network wants and no others; otherwise these are chosen from what they hold.
    pub chosen: bool,
}

/// What a prediction is written to.
#[derive(Clone, Copy, Debug)]
pub struct PredictionFiles<'a> {
    /// The label map (`uint8`).
    pub labels: &'a Path,
    /// One volume for each class (`float32`), named as [`class_path`] says.
    pub probabilities: Option<&'a Path>,
    /// Labels are the numbers of the classes, 0, 1, 2, …, and not the data set's values.
    pub class_numbers: bool,
}

/// A fine-tuned network with what its checkpoint says about its task.
#[derive(Debug)]
pub struct Segmenter {
    network: UNet3d,
    statistics: Statistics,
    /// The task.
    pub task: TaskDescription,
}

/// What a predicted scan came to.
#[derive(Clone, Debug, Serialize)]
pub struct Prediction {
    /// The label file.
    pub out: PathBuf,
    /// Voxels along x, y and z.
    pub size: [usize; 3],
    /// Voxels of each class, in the order of their labels.
    pub voxels: Vec<usize>,
    /// Windows the network ran on.
    pub windows: usize,
    /// Seconds it took, reading and writing included.
    pub seconds: f64,
}

/// The labels of a scan on its own grid.
#[derive(Debug)]
pub struct Labelled {
    /// The class of every voxel `[X, Y, Z]`, z fastest.
    pub labels: Vec<u8>,
    /// From the scan's grid to the working grid and back.
    pub grid: Grid,
    /// Voxels of the scan that were not finite and were replaced.
    pub replaced: usize,
    /// Windows the network ran on.
    pub windows: usize,
}

impl Labelled {
    /// Warns of voxels that were replaced.
    pub fn warn(&self, path: &Path) {
        if self.replaced > 0 {
            let (count, path) = (self.replaced, path.display());
            tracing::warn!(
                "{path}: {count} voxels that are not finite count as the lowest or highest that is"
            );
        }
    }
}

impl Segmenter {
    /// Reads a checkpoint of a segmentation.
    ///
    /// # Errors
    /// A file that cannot be read, or whose metadata describes no segmentation or another network.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_state(path, &read_checkpoint(path)?.state)
    }

    /// The network of a checkpoint that was read from `path`.
    ///
    /// # Errors
    /// Metadata that describe no segmentation or another network.
    pub fn from_state(path: &Path, state: &StateDict) -> Result<Self> {
        let fail = |error: &dyn ToString| Error::file(path, error.to_string());
        let task = TaskDescription::from_metadata(&state.metadata).map_err(|error| fail(&error))?;
        if task.as_ref().is_some_and(|task| task.task == Task::Classify) {
            return Err(fail(&"holds a classifier: give it a table of candidates (.csv)"));
        }
        let task = task.ok_or_else(|| {
            fail(&format!(
                "holds no segmentation ({TASK_KEY} in its metadata says none): fine-tune it first with \
                 genesis finetune segment"
            ))
        })?;
        let network = UNet3d::from_state(state).map_err(|error| fail(&error))?;
        if network.config() != task.network {
            return Err(fail(&format!("{TASK_KEY} describes another network than its tensors make")));
        }
        let (statistics, _) = wanted_statistics(state);
        Ok(Self { network, statistics, task })
    }

    /// Labels a scan of these channels on its own grid. `plane(x, p)` sees the probabilities `[K, Y, Z]` of
    /// each plane of the [oriented scan](Grid::oriented_size), x rising, before components are removed;
    /// `done(windows, total)` reports progress.
    ///
    /// # Errors
    /// Channels that do not fit the network or each other; no finite voxel; memory; the receiver's.
    pub fn segment(
        &mut self,
        cx: &Context,
        volumes: Vec<Volume>,
        settings: &PredictionSettings,
        mut done: impl FnMut(usize, usize),
        mut plane: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<Labelled> {
        if volumes.len() != self.task.channels {
            let cause = format!("has {} channel(s), the network wants {}", volumes.len(), self.task.channels);
            return Err(Error::Work(cause));
        }
        let prepared = self.task.preprocessing.apply_channels(&cx.pool, volumes)?;
        let (grid, replaced, outputs) = (prepared.grid, prepared.replaced, self.task.network.classes);
        let [nx, ny, nz] = grid.oriented_size();
        let area = ny * nz;
        let mut labels: Vec<u8> = zeros(nx * area)?;
        let mut stream = PlaneStream::new(&grid, outputs);
        let mut windows = 0;
        let how = SegmentSettings {
            window: SlidingWindow { size: self.task.patch, overlap: settings.overlap },
            batch_size: settings.batch_size,
            flips: settings.flips,
            statistics: self.statistics,
            precision: settings.precision,
        };
        segment_volume(
            cx,
            &mut self.network,
            &prepared.channels,
            grid.size(),
            &how,
            |number, total| {
                windows = number;
                done(number, total);
            },
            |_, values| {
                stream.push(&cx.pool, values, |x, values| {
                    decide(values, outputs, &mut labels[x * area..][..area]);
                    plane(x, values)
                })
            },
        )?;
        drop(prepared.channels);
        if let Some(connectivity) = settings.largest_component {
            for class in 1..self.task.classes.len() {
                // At most 256 classes, as the description was checked for.
                keep_largest_component(&mut labels, [nx, ny, nz], class as u8, 0, connectivity);
            }
        }
        let labels = grid.from_oriented(labels);
        Ok(Labelled { labels, grid, replaced, windows })
    }

    /// Predicts one scan and writes its labels. `done(windows, total)` reports progress.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit the network; memory; a disk that refuses.
    pub fn predict(
        &mut self,
        cx: &Context,
        scan: &ScanFiles,
        out: PredictionFiles<'_>,
        settings: &PredictionSettings,
        done: impl FnMut(usize, usize),
    ) -> Result<Prediction> {
        let start = std::time::Instant::now();
        let PredictionFiles { labels: out, probabilities, class_numbers } = out;
        let first = scan.files.first().ok_or_else(|| Error::Work("a scan without files".into()))?;
        let outputs = self.task.network.classes;
        // A single output is the probability of class 1.
        let class_of = |output| if outputs == 1 { 1 } else { output };
        let of_classes =
            probabilities.iter().flat_map(|&path| (0..outputs).map(move |o| class_path(path, class_of(o))));
        for written in of_classes.chain([out.to_path_buf()]) {
            scan.files.iter().try_for_each(|file| refuse_to_replace(file, &written))?;
        }
        let mut volumes = Vec::new();
        for file in &scan.files {
            volumes.extend(read_channels_with(file, &scan.options)?);
        }
        let about = |error| match error {
            Error::Work(cause) => Error::file(first, cause),
            other => other,
        };
        if !scan.chosen {
            volumes = self.task.choose(volumes, &[]).map_err(about)?;
        }
        let mut spill = probabilities.map(|path| Spill::create(path, outputs)).transpose()?;
        let mut found = self
            .segment(cx, volumes, settings, done, |_, plane| {
                spill.as_mut().map_or(Ok(()), |spill| spill.push(plane))
            })
            .map_err(about)?;
        found.warn(first);
        let mut voxels = vec![0; self.task.classes.len()];
        found.labels.iter().for_each(|&label| voxels[usize::from(label)] += 1);
        let size = found.grid.input_size();
        let values = self.task.written_values(class_numbers);
        found.labels.iter_mut().for_each(|label| *label = values[usize::from(*label)]);
        write_like(first, out, size, Voxels::Labels(&found.labels))?;
        // A volume of probabilities takes memory enough.
        found.labels = Vec::new();
        if let (Some(spill), Some(path)) = (spill, probabilities) {
            let [nx, ny, nz] = found.grid.oriented_size();
            let mut spill = spill.finish(ny * nz)?;
            for output in 0..outputs {
                let values = found.grid.from_oriented(spill.class(output, nx)?);
                write_like(first, &class_path(path, class_of(output)), size, Voxels::Probabilities(&values))?;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok(Prediction { out: out.to_path_buf(), size, voxels, windows: found.windows, seconds })
    }
}

/// The file of one class's probabilities: `case.nii.gz` becomes `case_0002.nii.gz` for class 2.
pub fn class_path(path: &Path, class: usize) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (stem, extension) = split_extension(&name);
    path.with_file_name(format!("{stem}_{class:04}{extension}"))
}

/// `case.nii.gz` as `case` and `.nii.gz`.
pub fn split_extension(name: &str) -> (&str, &str) {
    let plain = name.len() - if name.to_ascii_lowercase().ends_with(".gz") { 3 } else { 0 };
    let end = name.get(..plain).and_then(|plain| plain.rfind('.')).unwrap_or(plain);
    (name.get(..end).unwrap_or(name), name.get(end..).unwrap_or_default())
}

/// Probabilities of the oriented volume, plane after plane `[K, Y, Z]`, in a file that is gone when this
/// is dropped.
struct Spill {
    file: BufWriter<File>,
    path: TemporaryPath,
    outputs: usize,
    bytes: Vec<u8>,
}

struct TemporaryPath(PathBuf);

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        // Best effort: a file that is left behind says by its name that it is partial.
        let _ = fs::remove_file(&self.0);
    }
}

struct Spilled {
    file: BufReader<File>,
    path: TemporaryPath,
    outputs: usize,
    area: usize,
}

impl Spill {
    fn create(beside: &Path, outputs: usize) -> Result<Self> {
        let name = beside.file_name().ok_or_else(|| Error::file(beside, "is not a file name"))?;
        let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        let path = beside.with_file_name(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).map_err(Error::io("create", &path))?;
        let file = BufWriter::with_capacity(1 << 18, file);
        Ok(Self { file, path: TemporaryPath(path), outputs, bytes: Vec::new() })
    }

    fn push(&mut self, plane: &[f32]) -> Result<()> {
        self.bytes.clear();
        self.bytes.extend(plane.iter().flat_map(|value| value.to_le_bytes()));
        self.file.write_all(&self.bytes).map_err(Error::io("write", &self.path.0))
    }

    fn finish(self, area: usize) -> Result<Spilled> {
        let Self { file, path, outputs, .. } = self;
        let file =
            file.into_inner().map_err(|error| error.into_error()).map_err(Error::io("write", &path.0))?;
        Ok(Spilled { file: BufReader::with_capacity(1 << 18, file), path, outputs, area })
    }
}

impl Spilled {
    /// One output's probabilities `[X, Y, Z]`.
    fn class(&mut self, output: usize, planes: usize) -> Result<Vec<f32>> {
        let mut values: Vec<f32> = zeros(planes * self.area)?;
        let mut bytes = vec![0u8; 4 * self.area];
        for (x, plane) in values.chunks_exact_mut(self.area).enumerate() {
            let offset = 4 * (x * self.outputs + output) as u64 * self.area as u64;
            self.file
                .seek(SeekFrom::Start(offset))
                .and_then(|_| self.file.read_exact(&mut bytes))
                .map_err(Error::io("read", &self.path.0))?;
            let words = bytes.as_chunks::<4>().0;
            plane.iter_mut().zip(words).for_each(|(value, word)| *value = f32::from_le_bytes(*word));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_stand_before_both_extensions() {
        for (name, wanted) in [
            ("a/case.nii.gz", "a/case_0002.nii.gz"),
            ("a/case.mha", "a/case_0002.mha"),
            ("a/case.v1.NII.GZ", "a/case.v1_0002.NII.GZ"),
            ("a/case", "a/case_0002"),
        ] {
            assert_eq!(class_path(Path::new(name), 2), Path::new(wanted));
        }
    }
}

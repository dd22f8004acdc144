//! From a table to training and validation cubes: chosen, cut and kept.

use super::config::ClassificationConfig;
use super::rows::Rows;
use crate::augment::AugmentationRecipe;
use crate::bad_volume::Skipped;
use crate::candidates::{CandidateTable, Cropper, Scan, TableSource};
use crate::finetune::store::{Store, Stored, in_parallel};
use crate::progress::Progress;
use crate::volume::channel_count;
use crate::{Error, Result};
use std::sync::Arc;

/// The most volumes in memory at a time while cubes are cut.
const MOST_VOLUMES: usize = 4;
/// Share of a cube's extent that is kept on each side, so that turned cubes show what lies around them.
const MARGIN: usize = 8;

/// A cube in memory.
#[derive(Clone, Debug)]
pub struct Cube {
    /// Intensities `[C, X, Y, Z]`, z fastest, the margin included.
    pub image: Vec<f32>,
    /// What each channel has beyond the volume's faces.
    pub padding: Vec<f32>,
    /// Voxels along x, y and z.
    pub size: [usize; 3],
    /// Millimetres between them.
    pub spacing: [f64; 3],
}

impl Stored for Cube {
    fn bytes(&self) -> usize {
        4 * (self.image.len() + self.padding.len())
    }
}

/// The cubes of a run. Those that train come first in the store.
pub struct ClassifiedCubes {
    /// All of them; those that train have a margin.
    pub store: Arc<Store<Cube>>,
    /// The rows that are used, in the order of the store.
    pub table: CandidateTable,
    /// Their numbers in the whole table.
    pub rows: Rows,
    /// Their classes.
    pub labels: Vec<usize>,
    /// Channels of every volume.
    pub channels: usize,
    /// Voxels on each side of the cubes that train.
    pub margin: [usize; 3],
    /// Volumes that were passed over because they cannot be used.
    pub skipped: Vec<Skipped>,
}

/// What came of opening the volumes of a table.
enum Opened {
    Whole(Box<ClassifiedCubes>),
    /// These cannot be used.
    Bad(Vec<Skipped>),
}

impl ClassifiedCubes {
    /// Reads the table, chooses rows and cuts every cube, so that bad data are found before training begins.
    ///
    /// # Errors
    /// Whatever is wrong with the data, naming the file.
    pub fn open(config: &ClassificationConfig, threads: usize, quiet: bool) -> Result<Self> {
        let mut skipped: Vec<Skipped> = Vec::new();
        loop {
            // Without bad volumes the rows have other numbers, hence once more from the start.
            match Self::without(config, &skipped, threads, quiet)? {
                Opened::Whole(cubes) => return Ok(Self { skipped, ..*cubes }),
                Opened::Bad(bad) => skipped.extend(bad),
            }
        }
    }

    fn without(
        config: &ClassificationConfig,
        skipped: &[Skipped],
        threads: usize,
        quiet: bool,
    ) -> Result<Opened> {
        let data = &config.data;
        let source = TableSource {
            file: data.file.clone(),
            volumes: data.volumes.clone(),
            skip_missing: data.skip_missing,
        };
        let whole = CandidateTable::read(&source, None)?;
        let count = whole.classes.len();
        if count < 2 {
            let cause = format!("holds {count} class(es) of labels, at least two are needed");
            return Err(Error::file(&data.file, cause));
        }
        let mut rows = Rows::choose(&whole, data, config.seed)?;
        let is_good = |&row: &usize| skipped.iter().all(|bad| bad.file != *whole.rows[row].path);
        rows.train.retain(is_good);
        rows.valid.retain(is_good);
        if let (Some(first), true) = (skipped.first(), rows.train.is_empty() || rows.valid.is_empty()) {
            let cause = format!(
                "{} volumes cannot be used and too few are left; the first: {}",
                skipped.len(),
                first.reason
            );
            return Err(Error::file(&data.file, cause));
        }
        let train = rows.train.len();
        let order: Vec<usize> = rows.train.iter().chain(&rows.valid).copied().collect();
        let table = whole.select(&order);
        let labels = table.labels()?;
        let mut present = vec![false; count];
        labels[..train].iter().for_each(|&label| present[label] = true);
        if let Some(class) = present.iter().position(|present| !present) {
            let name = &table.classes[class];
            return Err(Error::file(&data.file, format!("no training row is of class {name}")));
        }
        let channels = channel_count(&table.rows[0].path)?;
        let is_turned = turns(&config.augmentation);
        let margin = config.cube.map(|extent| if is_turned { extent / MARGIN } else { 0 });
        let valid = Cropper {
            preprocessing: config.preprocessing.clone(),
            extents: config.cube,
            channels,
            read: Default::default(),
        };
        let wide = std::array::from_fn(|axis| config.cube[axis] + 2 * margin[axis]);
        let croppers = [Cropper { extents: wide, ..valid.clone() }, valid];
        let bound = data.cache_mib.saturating_mul(1 << 20);
        let values = train * croppers[0].values() + (labels.len() - train) * croppers[1].values();
        if 4 * values > bound {
            tracing::warn!(
                "{} cubes take {} MiB, --cache holds {}: some volumes are read again and again, which is slow",
                labels.len(),
                (4 * values) >> 20,
                data.cache_mib
            );
        }
        let cut = Cutter { croppers, train, table: table.clone() };
        let one = cut.clone();
        let store = Store::reading(labels.len(), bound, move |pool, index| {
            let scan = one.cropper(index).open(pool, &one.table.rows[index].path)?;
            one.cut(&scan, index)
        });
        let volumes = table.by_volume();
        let progress = Progress::new("cutting cubes", volumes.len() as u64, quiet);
        let done = in_parallel(volumes.len(), threads.min(MOST_VOLUMES), &progress, |pool, number| {
            let (path, rows) = &volumes[number];
            let scan = cut.croppers[0].open(pool, path)?;
            rows.iter().try_for_each(|&row| {
                store.offer(row, cut.cut(&scan, row)?);
                Ok(())
            })
        });
        let mut bad = Vec::new();
        for ((path, _), done) in volumes.iter().zip(done) {
            if let Err(error) = done {
                bad.push(data.on_bad_volume.pass_over(path, error)?);
            }
        }
        if !bad.is_empty() {
            return Ok(Opened::Bad(bad));
        }
        let store = Arc::new(store);
        let skipped = Vec::new();
        Ok(Opened::Whole(Box::new(Self { store, table, rows, labels, channels, margin, skipped })))
    }

    /// Number of training cubes.
    pub fn train(&self) -> usize {
        self.rows.train.len()
    }

    /// The classes of the cubes that train.
    pub fn train_labels(&self) -> &[usize] {
        &self.labels[..self.train()]
    }

    /// The classes of the cubes that validate.
    pub fn valid_labels(&self) -> &[usize] {
        &self.labels[self.train()..]
    }

    /// Training cubes of every class.
    pub fn train_counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.table.classes.len()];
        self.train_labels().iter().for_each(|&label| counts[label] += 1);
        counts
    }
}

/// True if a recipe looks beyond the cube's faces.
fn turns(recipe: &AugmentationRecipe) -> bool {
    let AugmentationRecipe { rotation, scaling, elastic, .. } = recipe;
    [rotation.probability, scaling.probability, elastic.probability].iter().any(|chance| *chance > 0.0)
}

/// Cuts the cubes of a table whose first rows train.
#[derive(Clone)]
struct Cutter {
    /// For training and for validation; they differ in extents alone.
    croppers: [Cropper; 2],
    train: usize,
    table: CandidateTable,
}

impl Cutter {
    fn cropper(&self, row: usize) -> &Cropper {
        &self.croppers[usize::from(row >= self.train)]
    }

    fn cut(&self, scan: &Scan, row: usize) -> Result<Cube> {
        let (cropper, candidate) = (self.cropper(row), &self.table.rows[row]);
        let corner = scan.corner(candidate, cropper.extents).map_err(|error| match error {
            Error::Work(cause) => Error::file(&self.table.file, format!("line {}: {cause}", candidate.line)),
            other => other,
        })?;
        let mut image = vec![0.0; cropper.values()];
        scan.copy(corner, cropper.extents, &mut image);
        Ok(Cube { image, padding: scan.padding.clone(), size: cropper.extents, spacing: scan.spacing })
    }
}

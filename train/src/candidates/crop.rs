//! The cubes around candidates.

use super::table::{Candidate, CandidateTable};
use crate::preprocess::{Intensity, Preprocessing};
use crate::task::TaskDescription;
use crate::volume::{Affine, ReadOptions, affine, read_channels_with};
use crate::{Error, Result};
use genesis_tensor::parallel::ThreadPool;
use std::path::{Path, PathBuf};

/// How cubes are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Cropper {
    /// What is done to a volume first; its spacing is the cubes'.
    pub preprocessing: Preprocessing,
    /// Voxels of a cube along x, y and z of the working grid.
    pub extents: [usize; 3],
    /// Channels every volume must have.
    pub channels: usize,
    /// How volumes are read: with a frame chosen, as one channel.
    pub read: ReadOptions,
}

/// A volume on its working grid, from which cubes are cut.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The file.
    pub path: PathBuf,
    /// Intensities `[C, X, Y, Z]`, z fastest.
    pub image: Vec<f32>,
    /// Number of channels C.
    pub channels: usize,
    /// For each channel what lies beyond the volume's faces: a window's low value, which is 0; the
    /// channel's least intensity where intensities are scaled to mean and deviation.
    pub padding: Vec<f32>,
    /// Voxels along x, y and z.
    pub size: [usize; 3],
    /// Millimetres between them.
    pub spacing: [f64; 3],
    /// Voxel index to RAS millimetres.
    affine: Affine,
}

impl Cropper {
    /// Cubes as the network of a checkpoint wants them.
    pub fn of_task(task: &TaskDescription) -> Self {
        Self {
            preprocessing: task.preprocessing.clone(),
            extents: task.patch,
            channels: task.channels,
            read: ReadOptions::default(),
        }
    }

    /// Values of a cube, `C · X · Y · Z`.
    pub fn values(&self) -> usize {
        self.channels * self.extents.iter().product::<usize>()
    }

    /// Reads a volume and brings it to the working grid.
    ///
    /// # Errors
    /// A file that cannot be read or prepared, or has another number of channels; the file is named.
    pub fn open(&self, pool: &ThreadPool, path: &Path) -> Result<Scan> {
        let volumes = read_channels_with(path, &self.read)?;
        let channels = volumes.len();
        if channels != self.channels {
            return Err(Error::file(path, format!("has {channels} channels, {} are needed", self.channels)));
        }
        let prepared = self.preprocessing.apply_channels(pool, volumes);
        let mut prepared = prepared.map_err(|error| Error::file(path, error))?;
        if prepared.replaced > 0 {
            let count = prepared.replaced;
            tracing::warn!("{}: {count} voxels are not finite and were replaced", path.display());
        }
        let least = |channel: &Vec<f32>| match self.preprocessing.intensity {
            Intensity::Window { .. } | Intensity::Percentiles { .. } => 0.0,
            Intensity::ZScore { .. } => channel.iter().copied().fold(f32::INFINITY, f32::min),
        };
        let padding = prepared.channels.iter().map(least).collect();
        let image = match &mut prepared.channels[..] {
            [only] => std::mem::take(only),
            several => several.concat(),
        };
        let grid = prepared.grid;
        Ok(Scan {
            path: path.to_path_buf(),
            image,
            channels,
            padding,
            size: grid.size(),
            spacing: grid.spacing(),
            affine: *grid.affine(),
        })
    }

    /// The cube `[C, X, Y, Z]` of one candidate. To cut many, see [`Cropper::for_each`].
    ///
    /// # Errors
    /// As [`Cropper::open`] and [`Scan::corner`].
    pub fn crop(&self, pool: &ThreadPool, candidate: &Candidate) -> Result<Vec<f32>> {
        let scan = self.open(pool, &candidate.path)?;
        let corner = scan.corner(candidate, self.extents)?;
        let mut cube = vec![0.0; self.values()];
        scan.copy(corner, self.extents, &mut cube);
        Ok(cube)
    }

    /// Cuts the cube `[C, X, Y, Z]` of every row and calls `take(row, cube)`. Each volume is read once, one
    /// is in memory at a time, and rows come volume by volume, in the order of
    /// [`CandidateTable::by_volume`].
    ///
    /// # Errors
    /// As [`Cropper::open`] and [`Scan::corner`]; the receiver's.
    pub fn for_each(
        &self,
        pool: &ThreadPool,
        table: &CandidateTable,
        mut take: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut cube = vec![0.0; self.values()];
        for (path, rows) in table.by_volume() {
            let scan = self.open(pool, &path)?;
            for row in rows {
                let corner = scan.corner(&table.rows[row], self.extents).map_err(|error| match error {
                    Error::Work(cause) => {
                        let line = table.rows[row].line;
                        Error::file(&table.file, format!("line {line}: {cause}"))
                    }
                    other => other,
                })?;
                scan.copy(corner, self.extents, &mut cube);
                take(row, &cube)?;
            }
        }
        Ok(())
    }
}

impl Scan {
    /// The first voxel of a candidate's cube. The cube's centre, which along an even extent e lies between two
    /// voxels, is the candidate's place, or the volume's centre, to within half a voxel; a place on a voxel is
    /// the cube's voxel e/2. A cube may reach beyond the volume's faces.
    ///
    /// # Errors
    /// [`Error::Work`] for a place that is more than a voxel outside the volume, as it comes of coordinates
    /// that are RAS or of another scan.
    pub fn corner(&self, candidate: &Candidate, extents: [usize; 3]) -> Result<[i64; 3]> {
        let place = match candidate.position_mm {
            Some(position) => self.voxel(position),
            None => self.size.map(|extent| (extent as f64 - 1.0) / 2.0),
        };
        let inside = |axis: usize| (-1.5..self.size[axis] as f64 + 0.5).contains(&place[axis]);
        if let (Some([x, y, z]), false) = (candidate.position_mm, (0..3).all(inside)) {
            return Err(Error::Work(format!(
                "({x}, {y}, {z}) lies outside {}: places are LPS millimetres, as ITK and LUNA16 write them",
                self.path.display()
            )));
        }
        // A little less, so that rounding of the matrix does not move a cube by a voxel.
        Ok(std::array::from_fn(|axis| (place[axis] - extents[axis] as f64 / 2.0 - 1e-4).ceil() as i64))
    }

    /// The place in voxels of the working grid, between their centres too, of LPS millimetres.
    pub fn voxel(&self, [x, y, z]: [f64; 3]) -> [f64; 3] {
        affine::to_voxel(&self.affine, [-x, -y, z])
    }

    /// Copies the cube `[C, X, Y, Z]` that starts at `corner`; beyond the volume's faces it is padding.
    ///
    /// # Panics
    /// If `cube` has not the channels times the extents.
    pub fn copy(&self, corner: [i64; 3], extents: [usize; 3], cube: &mut [f32]) {
        let [nx, ny, nz] = self.size;
        assert_eq!(
            cube.len(),
            self.channels * extents.iter().product::<usize>(),
            "cube and extents disagree"
        );
        // The part along z that lies inside.
        let first = (-corner[2]).clamp(0, extents[2] as i64) as usize;
        let end = (nz as i64 - corner[2]).clamp(first as i64, extents[2] as i64) as usize;
        let mut rows = cube.chunks_exact_mut(extents[2]);
        for channel in 0..self.channels {
            let image = &self.image[channel * nx * ny * nz..][..nx * ny * nz];
            for x in (0..extents[0] as i64).map(|x| x + corner[0]) {
                for y in (0..extents[1] as i64).map(|y| y + corner[1]) {
                    let Some(row) = rows.next() else { return };
                    row.fill(self.padding[channel]);
                    if (0..nx as i64).contains(&x) && (0..ny as i64).contains(&y) && first < end {
                        let start = (x as usize * ny + y as usize) * nz + (corner[2] + first as i64) as usize;
                        row[first..end].copy_from_slice(&image[start..][..end - first]);
                    }
                }
            }
        }
    }
}

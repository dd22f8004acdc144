//! Writing cubes one after another, without holding them all.

use std::io::Write;
use std::path::Path;

use super::array::write_values;
use super::header::float32_header;
use crate::error::{Error, Result};
use genesis_model::checkpoint::AtomicFile;

/// Writes a `.npy` file `float32` `[N, X, Y, Z]` cube by cube; the file appears under its name when
/// [`finish`](Self::finish) is called, and never if it is not.
#[derive(Debug)]
pub struct CubeWriter {
    file: AtomicFile,
    size: [usize; 3],
    count: usize,
}

impl CubeWriter {
    /// Starts a file of cubes of the given size.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn create(path: &Path, size: [usize; 3]) -> Result<Self> {
        let mut file = AtomicFile::create(path)?;
        let header = Self::header(0, size);
        file.write_all(&header).map_err(Error::io("write", path))?;
        Ok(Self { file, size, count: 0 })
    }

    fn header(count: usize, [x, y, z]: [usize; 3]) -> Vec<u8> {
        float32_header(&[count, x, y, z])
    }

    /// The number of cubes so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a cube (z fastest).
    ///
    /// # Errors
    /// If it has another size, or the disk refuses.
    pub fn push(&mut self, cube: &[f32]) -> Result<()> {
        if cube.len() != self.size.iter().product::<usize>() {
            let cause =
                format!("a cube of {} voxels does not fit among cubes of {:?}", cube.len(), self.size);
            return Err(Error::file(self.file.target(), cause));
        }
        write_values(&mut self.file, cube).map_err(Error::io("write", self.file.target()))?;
        self.count += 1;
        Ok(())
    }

    /// Completes the file and gives it its name. Returns the number of cubes.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(mut self) -> Result<usize> {
        let header = Self::header(self.count, self.size);
        self.file.overwrite(0, &header).map_err(Error::io("write", self.file.target()))?;
        self.file.commit()?;
        Ok(self.count)
    }
}

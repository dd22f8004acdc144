//! Where a loader reads cubes: several memory-mapped files, a range of one, or memory in tests.

use crate::volume::CubeFile;
use crate::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A numbered set of cubes of one size, read from several threads.
pub trait CubeSource: Send + Sync {
    /// Number of cubes.
    fn count(&self) -> usize;
    /// Extents `[rows, cols, deps]` of every cube.
    fn size(&self) -> [usize; 3];
    /// Reads cube `index` into `out` (rows·cols·deps values in [0, 1]).
    ///
    /// # Errors
    /// A value that is not finite or lies outside [0, 1]; a file that cannot be read.
    fn read(&self, index: usize, out: &mut [f32]) -> Result<()>;
    /// Cube `index` in words: its file and its number there.
    fn name(&self, index: usize) -> String;
}

/// Cubes of several `.npy` files, in the order of the files. Nothing is read before it is needed.
pub struct CubeFiles {
    files: Vec<(PathBuf, CubeFile)>,
    /// Global index of each file's first cube.
    firsts: Vec<usize>,
    range: Range<usize>,
    size: [usize; 3],
}

impl CubeFiles {
    /// Opens files of cubes of one size.
    ///
    /// # Errors
    /// A file that cannot be read, holds no cube, or holds cubes of another size than the first.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut files: Vec<(PathBuf, CubeFile)> = Vec::new();
        let (mut firsts, mut total, mut size) = (Vec::new(), 0, None);
        for path in paths {
            let file = CubeFile::open(path)?;
            let wanted = *size.get_or_insert(file.size());
            if file.size() != wanted {
                let cause = format!(
                    "holds cubes of {} voxels, but the first file's have {}",
                    times(file.size()),
                    times(wanted)
                );
                return Err(Error::file(path, cause));
            }
            if file.count() == 0 {
                return Err(Error::file(path, "holds no cube"));
            }
            firsts.push(total);
            total += file.count();
            files.push((path.clone(), file));
        }
        let size = size.ok_or_else(|| Error::Usage("no file of cubes was given".into()))?;
        Ok(Self { files, firsts, range: 0..total, size })
    }

    /// The same files, restricted to a range of cubes.
    ///
    /// # Errors
    /// As [`CubeFiles::open`].
    pub fn part(paths: &[PathBuf], range: Range<usize>) -> Result<Self> {
        Ok(Self { range, ..Self::open(paths)? })
    }

    /// The file and the number within it of cube `index`.
    fn locate(&self, index: usize) -> (&Path, &CubeFile, usize) {
        let index = self.range.start + index;
        let file = self.firsts.partition_point(|&first| first <= index) - 1;
        let (path, cubes) = &self.files[file];
        (path, cubes, index - self.firsts[file])
    }
}

/// Extents as "64x64x32".
pub fn times(size: [usize; 3]) -> String {
    let [a, b, c] = size;
    format!("{a}x{b}x{c}")
}

impl CubeSource for CubeFiles {
    fn count(&self) -> usize {
        self.range.len()
    }

    fn size(&self) -> [usize; 3] {
        self.size
    }

    fn name(&self, index: usize) -> String {
        let (path, _, within) = self.locate(index);
        format!("{} cube {within}", path.display())
    }

    fn read(&self, index: usize, out: &mut [f32]) -> Result<()> {
        let (path, cubes, within) = self.locate(index);
        cubes.read(within, out)?;
        // Also false for NaN. A little slack, because float64 files may hold 1 + rounding.
        match out.iter().find(|value| !(-1e-3..=1.001).contains(*value)) {
            None => Ok(()),
            Some(value) => {
                let cause = format!("cube {within} holds {value}, cubes must be scaled to [0, 1]");
                Err(Error::file(path, cause))
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Cubes made in memory, for tests of what stands above.
    pub struct Memory {
        pub cubes: Vec<Vec<f32>>,
        pub size: [usize; 3],
        /// This cube cannot be read.
        pub broken: Option<usize>,
    }

    impl Memory {
        /// Cube `n` is a ramp that depends on `n`.
        pub fn ramps(count: usize, size: [usize; 3]) -> Self {
            let voxels: usize = size.iter().product();
            let cube =
                |n: usize| (0..voxels).map(|v| ((v * (n + 1)) % voxels) as f32 / voxels as f32).collect();
            Self { cubes: (0..count).map(cube).collect(), size, broken: None }
        }
    }

    impl CubeSource for Memory {
        fn count(&self) -> usize {
            self.cubes.len()
        }
        fn size(&self) -> [usize; 3] {
            self.size
        }
        fn name(&self, index: usize) -> String {
            format!("cube {index}")
        }
        fn read(&self, index: usize, out: &mut [f32]) -> Result<()> {
            if self.broken == Some(index) {
                return Err(Error::Work(format!("cube {index} is broken")));
            }
            out.copy_from_slice(&self.cubes[index]);
            Ok(())
        }
    }
}

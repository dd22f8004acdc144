//! Where a loader reads cubes: several memory-mapped files, a range of one, or memory in tests.

use crate::bad_volume::{OnBadVolume, Skipped};
use crate::volume::CubeFile;
use crate::workers::try_in_order;
use crate::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Cubes passed over that are told of one by one; a report has all.
const TOLD: usize = 5;

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
#[derive(Clone)]
pub struct CubeFiles {
    files: Arc<Vec<(PathBuf, CubeFile)>>,
    /// Number of each file's first cube over all files.
    firsts: Vec<usize>,
    /// The numbers of the cubes that count, in order.
    chosen: Vec<usize>,
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
        Ok(Self { files: Arc::new(files), firsts, chosen: (0..total).collect(), size })
    }

    /// These of the cubes alone.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        Self { chosen: self.chosen[range].to_vec(), ..self.clone() }
    }

    /// Reads every cube, on so many threads, and leaves out those with voxels that are not finite, or refuses the first
    /// of them.
    ///
    /// # Errors
    /// For [`OnBadVolume::Fail`] a cube that is not finite; for either policy one on another scale than [0, 1], a file
    /// that cannot be read, and no cube that is left.
    pub fn usable(self, policy: OnBadVolume, threads: usize) -> Result<(Self, Vec<Skipped>)> {
        let each = self.count().div_ceil(threads.max(1)).max(1);
        let bad = try_in_order(self.count().div_ceil(each), threads, |piece| {
            self.scan(piece * each..self.count().min((piece + 1) * each), policy)
        })?;
        let bad = bad.concat();
        let mut skipped = Vec::new();
        for &index in &bad {
            let error = self.not_finite(index);
            if skipped.len() < TOLD {
                tracing::warn!("passed over {error}");
            }
            skipped.push(Skipped { file: self.locate(index).0.to_path_buf(), reason: error.to_string() });
        }
        if bad.len() > TOLD {
            tracing::warn!("passed over {} cubes in all that are not finite", bad.len());
        }
        if let (Some(first), true) = (skipped.first(), bad.len() == self.count()) {
            return Err(Error::Work(format!("no cube can be used; the first: {}", first.reason)));
        }
        let mut bad = bad.into_iter().peekable();
        let good = (0..self.count()).filter(|index| bad.next_if_eq(index).is_none());
        let chosen = good.map(|index| self.chosen[index]).collect();
        // Mapped anew: what was read would count as this process's memory when a step asks how much it may take, though the
        // system can drop it.
        let paths: Vec<PathBuf> = self.files.iter().map(|(path, _)| path.clone()).collect();
        drop(self);
        Ok((Self { chosen, ..Self::open(&paths)? }, skipped))
    }

    /// The cubes of a range that are not finite, in order.
    fn scan(&self, range: Range<usize>, policy: OnBadVolume) -> Result<Vec<usize>> {
        let mut cube = vec![0.0; self.size.iter().product()];
        let mut bad = Vec::new();
        for index in range {
            match self.first_bad(index, &mut cube)? {
                None => {}
                Some(value) if value.is_finite() => return Err(self.off_scale(index, value)),
                Some(_) if policy == OnBadVolume::Fail => return Err(self.not_finite(index)),
                Some(_) => bad.push(index),
            }
        }
        Ok(bad)
    }

    /// Reads a cube; a voxel that is not finite, or else one outside of [0, 1].
    fn first_bad(&self, index: usize, out: &mut [f32]) -> Result<Option<f32>> {
        let (_, cubes, within) = self.locate(index);
        cubes.read(within, out)?;
        // Also false for NaN. A little slack, because float64 files may hold 1 + rounding.
        let bad = || out.iter().filter(|value| !(-1e-3..=1.001).contains(*value));
        Ok(bad().find(|value| !value.is_finite()).or_else(|| bad().next()).copied())
    }

    fn not_finite(&self, index: usize) -> Error {
        let (path, _, within) = self.locate(index);
        Error::file(path, format!("cube {within} holds voxels that are not finite (NaN or infinite)"))
    }

    fn off_scale(&self, index: usize, value: f32) -> Error {
        let (path, _, within) = self.locate(index);
        Error::file(path, format!("cube {within} holds {value}, cubes must be scaled to [0, 1]"))
    }

    /// The file and the number within it of cube `index`.
    fn locate(&self, index: usize) -> (&Path, &CubeFile, usize) {
        let number = self.chosen[index];
        let file = self.firsts.partition_point(|&first| first <= number) - 1;
        let (path, cubes) = &self.files[file];
        (path, cubes, number - self.firsts[file])
    }
}

/// Extents as "64x64x32".
pub fn times(size: [usize; 3]) -> String {
    let [a, b, c] = size;
    format!("{a}x{b}x{c}")
}

impl CubeSource for CubeFiles {
    fn count(&self) -> usize {
        self.chosen.len()
    }

    fn size(&self) -> [usize; 3] {
        self.size
    }

    fn name(&self, index: usize) -> String {
        let (path, _, within) = self.locate(index);
        format!("{} cube {within}", path.display())
    }

    fn read(&self, index: usize, out: &mut [f32]) -> Result<()> {
        match self.first_bad(index, out)? {
            None => Ok(()),
            Some(value) if value.is_finite() => Err(self.off_scale(index, value)),
            Some(_) => Err(self.not_finite(index)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::volume::CubeWriter;

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

    /// Cubes of 8 voxels, all `n / 100` in cube `n` but for one voxel of some.
    fn write(path: &Path, count: usize, odd: &[(usize, f32)]) {
        let mut writer = CubeWriter::create(path, [2; 3]).unwrap();
        for number in 0..count {
            let mut cube = [number as f32 / 100.0; 8];
            for (_, value) in odd.iter().filter(|(cube, _)| *cube == number) {
                cube[5] = *value;
            }
            writer.push(&cube).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn cubes_that_are_not_finite_are_left_out_or_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["a.npy", "b.npy"].map(|name| folder.path().join(name));
        write(&first, 5, &[(3, f32::NAN)]);
        write(&second, 4, &[(0, f32::INFINITY), (2, f32::NEG_INFINITY)]);
        let open = || CubeFiles::open(&[first.clone(), second.clone()]).unwrap();
        for threads in [0, 1, 2, 20] {
            let (cubes, skipped) = open().usable(OnBadVolume::Skip, threads).unwrap();
            let mut values = Vec::new();
            for index in 0..cubes.count() {
                let mut cube = [0.0; 8];
                cubes.read(index, &mut cube).unwrap();
                values.push((cube[0] * 100.0).round() as usize);
            }
            assert_eq!(values, [0, 1, 2, 4, 1, 3]);
            let reasons: Vec<&str> = skipped.iter().map(|skipped| skipped.reason.as_str()).collect();
            for (reason, part) in reasons.iter().zip(["a.npy: cube 3 ", "b.npy: cube 0 ", "b.npy: cube 2 "]) {
                assert!(reason.contains(part), "{reason}");
            }
            assert_eq!((reasons.len(), &skipped[2].file), (3, &second));
            assert!(cubes.part(4..6).name(1).ends_with("b.npy cube 3"));
            let error = open().usable(OnBadVolume::Fail, threads).err().unwrap().to_string();
            assert!(error.contains("a.npy: cube 3 ") && error.contains("not finite"), "{error}");
        }
        // Another scale is no single cube's fault.
        write(&second, 4, &[(1, -700.0)]);
        let error = open().usable(OnBadVolume::Skip, 2).err().unwrap().to_string();
        assert!(error.contains("b.npy: cube 1 holds -700, cubes must be scaled"), "{error}");
        write(&second, 1, &[(0, f32::NAN)]);
        let alone = CubeFiles::open(std::slice::from_ref(&second)).unwrap();
        let error = alone.usable(OnBadVolume::Skip, 2).err().unwrap().to_string();
        assert!(error.contains("no cube can be used") && error.contains("b.npy: cube 0"), "{error}");
    }
}

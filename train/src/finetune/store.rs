//! Cases in memory: read on first use, kept up to a bound, read again when they had to make room.

use super::segment::{Case, CaseFiles, CaseReader};
use crate::Result;
use genesis_tensor::parallel::ThreadPool;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The cases of a data set, by number, for any number of threads.
pub struct CaseStore {
    reader: CaseReader,
    files: Vec<CaseFiles>,
    /// Locked while a case is read, so that no two threads read the same one.
    slots: Vec<Mutex<Option<Arc<Case>>>>,
    usage: Mutex<Usage>,
    bound: usize,
}

#[derive(Default)]
struct Usage {
    bytes: usize,
    /// Cases held, the least recently used first, with their bytes.
    held: VecDeque<(usize, usize)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CaseStore {
    /// A store that holds at most `bound` bytes of cases, and always the one used last.
    pub fn new(reader: CaseReader, files: Vec<CaseFiles>, bound: usize) -> Self {
        let slots = files.iter().map(|_| Mutex::new(None)).collect();
        Self { reader, files, slots, usage: Mutex::default(), bound }
    }

    /// Number of cases.
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// What cases are read by.
    pub fn reader(&self) -> &CaseReader {
        &self.reader
    }

    /// Case `index`, read with the threads of `pool` if it is not held.
    ///
    /// # Errors
    /// As [`CaseReader::read`].
    pub fn get(&self, pool: &ThreadPool, index: usize) -> Result<Arc<Case>> {
        let mut slot = lock(&self.slots[index]);
        if let Some(case) = slot.as_ref() {
            let case = Arc::clone(case);
            let mut usage = lock(&self.usage);
            if let Some(at) = usage.held.iter().position(|(held, _)| *held == index)
                && let Some(entry) = usage.held.remove(at)
            {
                usage.held.push_back(entry);
            }
            return Ok(case);
        }
        let case = Arc::new(self.reader.read(pool, &self.files[index])?);
        *slot = Some(Arc::clone(&case));
        drop(slot);
        self.make_room(index, case.bytes());
        Ok(case)
    }

    fn make_room(&self, newest: usize, bytes: usize) {
        let mut usage = lock(&self.usage);
        usage.bytes += bytes;
        usage.held.push_back((newest, bytes));
        let mut passed = 0;
        while usage.bytes > self.bound && usage.held.len() > 1 + passed {
            let Some((index, bytes)) = usage.held.pop_front() else { return };
            // A slot in use is left alone: its thread may be waiting for the lock held here.
            match self.slots[index].try_lock() {
                Ok(mut slot) if index != newest => {
                    *slot = None;
                    usage.bytes -= bytes;
                }
                _ => {
                    usage.held.push_back((index, bytes));
                    passed += 1;
                }
            }
        }
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        lock(&self.usage).bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::Classes;
    use super::*;
    use crate::volume::{ElementType, Volume, affine, write_nifti};
    use std::path::Path;

    fn files(folder: &Path, count: usize) -> Vec<CaseFiles> {
        let write = |name: String, value: f32| {
            let path = folder.join(name);
            let volume = Volume::new(vec![value; 1000], [10, 10, 10], affine::IDENTITY).unwrap();
            write_nifti(&path, &volume, ElementType::Float32).unwrap();
            path
        };
        let case = |i: usize| CaseFiles {
            name: format!("c{i}"),
            images: vec![write(format!("i{i}.nii"), i as f32 * 100.0)],
            label: write(format!("l{i}.nii"), 0.0),
        };
        (0..count).map(case).collect()
    }

    #[test]
    fn a_bounded_store_reads_again_and_an_unbounded_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let pool = ThreadPool::new(1);
        let files = files(folder.path(), 4);
        let reader = CaseReader {
            classes: Classes::resolve(None, &["1".into()], &[]).unwrap(),
            preprocessing: Default::default(),
            channels: Vec::new(),
        };
        let small = CaseStore::new(reader.clone(), files.clone(), 11_000);
        let large = CaseStore::new(reader, files.clone(), usize::MAX);
        for round in 0..3 {
            for index in 0..4 {
                let (a, b) = (small.get(&pool, index).unwrap(), large.get(&pool, index).unwrap());
                assert_eq!((a.name.as_str(), &a.image), (format!("c{index}").as_str(), &b.image), "{round}");
                assert!(small.bytes() <= 11_000);
            }
        }
        assert_eq!(large.bytes(), 4 * 5000);
        files.iter().for_each(|case| std::fs::remove_file(&case.label).unwrap());
        assert!((0..4).all(|index| large.get(&pool, index).is_ok()));
        assert_eq!((0..4).filter(|&index| small.get(&pool, index).is_ok()).count(), 2);
    }

    #[test]
    fn threads_share_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let reader = CaseReader {
            classes: Classes::resolve(None, &["1".into()], &[]).unwrap(),
            preprocessing: Default::default(),
            channels: Vec::new(),
        };
        let store = CaseStore::new(reader, files(folder.path(), 5), 6_000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    let pool = ThreadPool::new(1);
                    for i in 0..40 {
                        let index = (i * (thread + 1) + thread) % 5;
                        assert_eq!(store.get(&pool, index).unwrap().name, format!("c{index}"));
                    }
                });
            }
        });
    }
}

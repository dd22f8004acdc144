//! A fingerprint of the data a run reads: paths, sizes and hashes.

use crate::volume::files_of;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes read in all, about: a run must not wait for a hash of terabytes.
const BUDGET: u64 = 2 << 30;
/// Bounds of the bytes of one file that are read.
const SAMPLE: std::ops::RangeInclusive<u64> = (48 << 10)..=(48 << 20);

/// All data of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFingerprint {
    /// Number of files.
    pub count: usize,
    /// Their size in all.
    pub bytes: u64,
    /// SHA-256 over sizes and hashes of all files in order, not over their places: moved data have the same.
    pub sha256: String,
    /// Of a larger file so many bytes are hashed: a third each at its beginning, middle and end.
    pub hashed_bytes_per_file: u64,
    /// The files.
    pub files: Vec<FileFingerprint>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFingerprint {
    /// Where it was.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its size and content, of a large file of three parts of it.
    pub sha256: String,
}

impl DataFingerprint {
    /// Reads the files (or a part of each, if they are large or many). A header stands for its data files too, a slice for
    /// its series, and a folder (a DICOM series) for the files in it, in the order of their names.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of(paths: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            if path.is_dir() {
                let mut inside = Vec::new();
                for entry in std::fs::read_dir(path).map_err(Error::io("read", path))? {
                    inside.push(entry.map_err(Error::io("read", path))?.path());
                }
                inside.retain(|path| path.is_file());
                inside.sort();
                files.extend(inside);
            } else {
                files.extend(files_of(path));
            }
        }
        let sample = (BUDGET / (files.len() as u64).max(1)).clamp(*SAMPLE.start(), *SAMPLE.end());
        Self::sampled(&files, sample)
    }

    fn sampled(paths: &[PathBuf], sample: u64) -> Result<Self> {
        let mut all = Sha256::new();
        let mut found = Self { count: paths.len(), hashed_bytes_per_file: sample, ..Self::default() };
        for path in paths {
            let file = fingerprint(path, sample).map_err(Error::io("read", path))?;
            all.update(file.bytes.to_le_bytes());
            all.update(&file.sha256);
            found.bytes += file.bytes;
            found.files.push(file);
        }
        found.sha256 = hexadecimal(&all.finalize());
        Ok(found)
    }

    /// The first difference in number, size or content, in words.
    pub fn first_change(&self, now: &Self) -> Option<String> {
        if self.sha256 == now.sha256 && self.count == now.count {
            return None;
        }
        if self.count != now.count {
            return Some(format!("{} files then, {} now", self.count, now.count));
        }
        let changed = self.files.iter().zip(&now.files).find(|(then, now)| then.sha256 != now.sha256);
        Some(changed.map_or("another sample is hashed".into(), |(_, now)| {
            format!("{} has another content", now.path.display())
        }))
    }
}

fn fingerprint(path: &Path, sample: u64) -> io::Result<FileFingerprint> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut hash = Sha256::new();
    hash.update(bytes.to_le_bytes());
    if bytes <= sample {
        part(&mut file, 0, bytes, &mut hash)?;
    } else {
        let third = sample / 3;
        for start in [0, (bytes - third) / 2, bytes - third] {
            part(&mut file, start, third, &mut hash)?;
        }
    }
    Ok(FileFingerprint { path: path.to_path_buf(), bytes, sha256: hexadecimal(&hash.finalize()) })
}

fn part(file: &mut File, start: u64, length: u64, hash: &mut Sha256) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    let mut rest = file.take(length);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match rest.read(&mut buffer)? {
            0 => return Ok(()),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{ElementType, Volume, write_volume};

    #[test]
    fn content_and_order_matter_and_places_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), b"one").unwrap();
        std::fs::write(path("b"), vec![7; 1000]).unwrap();
        let both = DataFingerprint::of(&[path("a"), path("b")]).unwrap();
        assert_eq!((both.count, both.bytes), (2, 1003));
        // sha256(3 as u64, little-endian, then "one"), by Python's hashlib.
        assert_eq!(both.files[0].sha256, "d87f6914ee2e62d4edfea922e8beb8bafe5d72c98c4637f9b786fc8adfb97b68");
        std::fs::rename(path("a"), path("moved")).unwrap();
        let moved = DataFingerprint::of(&[path("moved"), path("b")]).unwrap();
        assert_eq!((&moved.sha256, both.first_change(&moved)), (&both.sha256, None));
        let turned = DataFingerprint::of(&[path("b"), path("moved")]).unwrap();
        assert_ne!(turned.sha256, both.sha256);
        let fewer = DataFingerprint::of(&[path("b")]).unwrap();
        assert_eq!(both.first_change(&fewer).unwrap(), "2 files then, 1 now");
        // Of a large file only parts are read, among them its end.
        let before = DataFingerprint::sampled(&[path("b")], 300).unwrap();
        let mut content = vec![7; 1000];
        content[999] = 8;
        std::fs::write(path("b"), &content).unwrap();
        let after = DataFingerprint::sampled(&[path("b")], 300).unwrap();
        assert!(before.first_change(&after).unwrap().contains("b has another content"));
        // A header stands for its data file.
        let scan = folder.path().join("scan.mhd");
        let affine =
            [0, 1, 2, 3].map(|row| std::array::from_fn(|column| if row == column { 1.0 } else { 0.0 }));
        let of = |value| {
            let volume = Volume::new(vec![value; 8], [2, 2, 2], affine).unwrap();
            write_volume(&scan, &volume, ElementType::Float32).unwrap();
            DataFingerprint::of(std::slice::from_ref(&scan)).unwrap()
        };
        let (one, two) = (of(1.0), of(2.0));
        assert_eq!(one.count, 2);
        assert!(one.first_change(&two).unwrap().contains("scan.zraw has another content"));
        std::fs::remove_file(folder.path().join("scan.mhd")).unwrap();
        std::fs::remove_file(folder.path().join("scan.zraw")).unwrap();
        // A folder stands for its files.
        assert_eq!(DataFingerprint::of(&[folder.path().into()]).unwrap().count, 2);
        assert!(DataFingerprint::of(&[path("none")]).unwrap_err().to_string().contains("none"));
    }
}

//! The files of a run (see CLI contract, "A run directory").

use super::config::RunConfig;
use crate::{Error, Result};
use serde::Serialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A run directory, locked against a second process while this value lives.
#[derive(Debug)]
pub struct RunDirectory {
    root: PathBuf,
    resumed: bool,
    /// Held open for its lock; the system releases it however the process ends.
    _lock: File,
}

/// Last line of a run: `summary.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// `complete`: the run ended by itself.
    pub status: &'static str,
    /// Why it ended: `steps`, `epochs` or `patience`.
    pub reason: &'static str,
    /// The lowest validation loss.
    pub best_valid_loss: f64,
    /// The epoch that had it.
    pub best_epoch: u64,
    /// The validation loss at the end.
    pub last_valid_loss: f64,
    /// What leaving the deformed cubes as they are would give on the same pairs.
    pub identity_loss: f64,
    /// Epochs done.
    pub epochs: u64,
    /// Steps done.
    pub steps: u64,
    /// Wall time of this process in seconds.
    pub seconds: f64,
    /// Training samples per second, loading and validation excluded.
    pub samples_per_second: f64,
    /// Trainable values of the network.
    pub parameters: usize,
    /// Highest memory use of tensors in bytes.
    pub peak_memory_bytes: usize,
    /// Highest memory use of the process in bytes, where the system tells.
    pub peak_resident_bytes: Option<usize>,
}

impl RunDirectory {
    /// Creates a new run directory, or opens one to go on in.
    ///
    /// # Errors
    /// A directory that exists and is not empty without `resume`; one that cannot be written; one
    /// in use by another process.
    pub fn open(root: &Path, resume: bool) -> Result<Self> {
        if root.exists() && !root.is_dir() {
            return Err(Error::file(root, "is not a directory"));
        }
        let occupied = root.join("config.toml").exists();
        if occupied && !resume {
            let cause = "holds a run already: go on with it by --resume, or give another --out";
            return Err(Error::file(root, cause));
        }
        if !resume && root.is_dir() && has_other_files(root)? {
            return Err(Error::file(root, "is not empty: give another --out"));
        }
        if resume && !occupied {
            return Err(Error::file(root, "holds no run to go on with (no config.toml)"));
        }
        for folder in ["", "checkpoints", "samples"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        let path = root.join("run.lock");
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_path_buf(), resumed: resume, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::file(root, "another process is training here")),
            Err(fs::TryLockError::Error(source)) => Err(Error::Io { action: "lock", path, source }),
        }
    }

    /// True if the directory holds an earlier part of this run.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// A file or folder of the run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The newest state.
    pub fn last(&self) -> PathBuf {
        self.path("checkpoints/last.safetensors")
    }

    /// The state with the lowest validation loss.
    pub fn best(&self) -> PathBuf {
        self.path("checkpoints/best.safetensors")
    }

    /// The configuration a run was started with.
    ///
    /// # Errors
    /// An unreadable file.
    pub fn read_config(root: &Path) -> Result<RunConfig> {
        RunConfig::from_file(&root.join("config.toml"), None)
    }

    /// Writes `config.toml`, which reruns the run of this command (`pretrain`, …).
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn write_config(&self, command: &str, toml: &str) -> Result<()> {
        let text = format!("# Rerun: genesis {command} --config config.toml --out ANOTHER_DIRECTORY\n{toml}");
        crate::report::file::write_atomically(&self.path("config.toml"), text.as_bytes())
    }

    /// Writes `summary.json`, the last act of a run.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn write_summary(&self, summary: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(summary).map_err(|error| Error::Work(error.to_string()))?;
        crate::report::file::write_atomically(&self.path("summary.json"), format!("{text}\n").as_bytes())
    }
}

/// True if a folder holds anything but what a run that failed before its start leaves behind: such a
/// folder may be used again.
fn has_other_files(root: &Path) -> Result<bool> {
    for entry in fs::read_dir(root).map_err(Error::io("read", root))? {
        let name = entry.map_err(Error::io("read", root))?.file_name();
        if !["run.lock", "checkpoints", "samples", "cubes"].iter().any(|own| name == *own) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_directory_is_not_overwritten_and_not_shared() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        assert!(RunDirectory::open(&root, true).unwrap_err().to_string().contains("no run to go on with"));
        let run = RunDirectory::open(&root, false).unwrap();
        run.write_config("pretrain", "seed = 1\n").unwrap();
        assert!(RunDirectory::open(&root, false).unwrap_err().to_string().contains("--resume"));
        assert!(RunDirectory::open(&root, true).unwrap_err().to_string().contains("another process"));
        drop(run);
        assert!(RunDirectory::open(&root, true).is_ok());
        // What a failed start leaves is no obstacle, anything else is.
        std::fs::remove_file(root.join("config.toml")).unwrap();
        assert!(RunDirectory::open(&root, false).is_ok());
        std::fs::write(root.join("thesis.tex"), b"").unwrap();
        assert!(RunDirectory::open(&root, false).unwrap_err().to_string().contains("not empty"));
    }
}

//! The files of a run (see CLI contract, "A run directory").

use super::config::RunConfig;
use super::memory_plan::MemoryPlan;
use crate::{Error, Result};
use genesis_model::checkpoint::{Checkpoint, read_checkpoint};
use serde::Serialize;
use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A run directory, locked against a second process while this value lives.
#[derive(Debug)]
pub struct RunDirectory {
    root: PathBuf,
    resumed: bool,
    /// True after the last checkpoint was found damaged: it must not take the place of the one before it.
    last_is_damaged: Cell<bool>,
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
    /// What both were expected to be.
    #[serde(flatten)]
    pub plan: MemoryPlan,
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
        let lock = lock(root)?;
        for folder in ["", "checkpoints", "samples", "cubes"] {
            remove_unfinished(&root.join(folder));
        }
        Ok(Self { root: root.to_path_buf(), resumed: resume, last_is_damaged: Cell::new(false), _lock: lock })
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

    /// The state before the newest, for the case that the newest is damaged.
    pub fn previous(&self) -> PathBuf {
        self.path("checkpoints/previous.safetensors")
    }

    /// Lets the last checkpoint be the one before it as well; a new one is about to take its name. At every moment
    /// there is a last one.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn keep_previous(&self) -> Result<()> {
        let (last, previous) = (self.last(), self.previous());
        if !last.exists() || self.last_is_damaged.replace(false) {
            return Ok(());
        }
        let link = self.path("checkpoints/.previous.safetensors.tmp");
        let _ = fs::remove_file(&link);
        // Some file systems know no hard links.
        match fs::hard_link(&last, &link) {
            Ok(()) => fs::rename(&link, &previous).map_err(Error::io("replace", &previous)),
            Err(_) => fs::rename(&last, &previous).map_err(Error::io("replace", &previous)),
        }
    }

    /// The newest checkpoint that is whole: the last, or the one before it, of which a warning tells. `None` before
    /// the first was written.
    ///
    /// # Errors
    /// None of those that are there is whole.
    pub fn newest_checkpoint(&self) -> Result<Option<(PathBuf, Checkpoint)>> {
        let mut damage: Option<Error> = None;
        for path in [self.last(), self.previous()].into_iter().filter(|path| path.exists()) {
            match read_checkpoint(&path) {
                Ok(checkpoint) => {
                    if let Some(damage) = damage {
                        self.last_is_damaged.set(true);
                        tracing::warn!(
                            "{damage}; going on from the checkpoint before it, {}",
                            path.display()
                        );
                    }
                    return Ok(Some((path, checkpoint)));
                }
                Err(error) => {
                    damage = Some(match damage {
                        None => error.into(),
                        Some(first) => Error::Work(format!("{first}; and {error}")),
                    });
                }
            }
        }
        damage.map_or(Ok(None), Err)
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

/// Takes the lock of a run directory, in which the owner's process number stands.
fn lock(root: &Path) -> Result<File> {
    let path = root.join("run.lock");
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => {
            // Only for people: whether the directory is in use is decided by the lock alone.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            let owner = owner.trim().parse::<u32>().map_or(String::new(), |owner| format!(" ({owner})"));
            Err(Error::file(root, format!("another process{owner} is training here")))
        }
        Err(fs::TryLockError::Error(source)) => Err(Error::Io { action: "lock", path, source }),
    }
}

/// Removes what a killed process was writing. Best effort: it takes room and does no other harm.
fn remove_unfinished(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') && name.ends_with(".tmp") {
            let _ = fs::remove_file(path);
        }
    }
}

/// What a run makes before `config.toml`, by which it counts as begun.
const BEFORE_BEGINNING: [&str; 4] = ["checkpoints", "samples", "cubes", "run.lock"];

/// The same for files that might as well be a user's: they are a run's beside its `run.lock`, the first that is made.
const FILES_BEFORE_BEGINNING: [&str; 3] = ["data.json", "skipped.csv", "config.toml"];

/// True if a folder holds anything but what a run that ended before its start, by an error or a signal, leaves
/// behind: such a folder may be used again.
fn has_other_files(root: &Path) -> Result<bool> {
    let is_a_runs = root.join("run.lock").exists();
    for entry in fs::read_dir(root).map_err(Error::io("read", root))? {
        let name = entry.map_err(Error::io("read", root))?.file_name().to_string_lossy().into_owned();
        let is_early = BEFORE_BEGINNING.contains(&name.as_str());
        let is_early_file = is_a_runs
            && FILES_BEFORE_BEGINNING.iter().any(|file| {
                name == *file || name.starts_with(&format!(".{file}.")) && name.ends_with(".tmp")
            });
        if !is_early && !is_early_file {
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
        let unfinished = root.join(".data.json.4711-0.tmp");
        for name in ["data.json", "skipped.csv", ".data.json.4711-0.tmp"] {
            std::fs::write(root.join(name), b"").unwrap();
        }
        assert!(RunDirectory::open(&root, false).is_ok() && !unfinished.exists());
        // Without the lock that every run makes first they are somebody's.
        std::fs::remove_file(root.join("run.lock")).unwrap();
        assert!(RunDirectory::open(&root, false).unwrap_err().to_string().contains("not empty"));
        for name in ["data.json", "skipped.csv"] {
            std::fs::remove_file(root.join(name)).unwrap();
        }
        std::fs::write(root.join("thesis.tex"), b"").unwrap();
        assert!(RunDirectory::open(&root, false).unwrap_err().to_string().contains("not empty"));
    }
}

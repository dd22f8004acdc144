//! Where a checkpoint comes from: program, machine path, command and data, as metadata of the file itself.
//!
//! A run is one or several sessions, since it may be stopped and resumed; each leaves a line. `genesis inspect` shows
//! them. Nothing here decides what is computed.

mod fingerprint;

pub use fingerprint::{DataFingerprint, FileFingerprint};

use crate::training::{Execution, RunDirectory};
use crate::{Error, Result};
use genesis_kernels::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

/// Metadata key of the provenance, as JSON.
pub const PROVENANCE_KEY: &str = "genesis.provenance";
/// Sessions that are told of: the first and the latest ones of a run that was resumed more often.
const MOST_SESSIONS: usize = 16;
/// Files that a checkpoint lists by name; `data.json` in the run directory lists all.
const MOST_FILES: usize = 64;

/// One stretch of a run, from its start to its end or interruption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The program's version.
    pub version: String,
    /// The commit it was built from, `-modified` if files differed; `unknown` outside a repository.
    pub commit: String,
    /// `release` or `debug`, and optional features.
    pub features: Vec<String>,
    /// The instruction set or the card that computed.
    pub hardware: String,
    /// Compute threads.
    pub threads: usize,
    /// The run's seed.
    pub seed: u64,
    /// Seconds since 1970 by this machine's clock; negative before.
    pub started: i64,
    /// The command line.
    pub command: Vec<String>,
}

/// The sessions of a run and the data it was trained on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// From the first to the present one.
    pub sessions: Vec<Session>,
    /// Sessions between the first and the others that are left out.
    #[serde(default)]
    pub left_out: u64,
    /// The data.
    pub data: DataFingerprint,
}

impl Provenance {
    /// The provenance of a run that begins now. Empty, and left out of checkpoints, where no command line is known: a
    /// library caller's files depend on nothing but what was computed.
    pub fn new(execution: &Execution, cx: &Context, seed: u64) -> Self {
        if execution.command.is_empty() {
            return Self::default();
        }
        let hardware = cx.card.as_ref().map_or_else(|| cx.isa.to_string(), |card| card.found().name.clone());
        let mut features = vec![if cfg!(debug_assertions) { "debug" } else { "release" }.to_string()];
        features.extend(option_env!("GENESIS_FEATURES").map(String::from));
        Self {
            sessions: vec![Session {
                version: env!("CARGO_PKG_VERSION").into(),
                commit: option_env!("GENESIS_COMMIT").unwrap_or("unknown").into(),
                features,
                hardware,
                threads: cx.pool.threads(),
                seed,
                started: seconds_since_1970(SystemTime::now()),
                command: execution.command.clone(),
            }],
            left_out: 0,
            data: DataFingerprint::default(),
        }
    }

    /// Takes the fingerprint of the data, writes the whole list to `data.json`, and warns of files that are not what
    /// they were when the run began.
    ///
    /// # Errors
    /// A data file that cannot be read; a run directory that cannot be written.
    pub fn fingerprint(&mut self, run: &RunDirectory, files: &[PathBuf]) -> Result<()> {
        if self.sessions.is_empty() {
            return Ok(());
        }
        let path = run.path("data.json");
        let now = DataFingerprint::of(files)?;
        if run.is_resumed() && path.exists() {
            let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
            let before: DataFingerprint =
                serde_json::from_slice(&text).map_err(|error| Error::file(&path, error))?;
            if let Some(change) = before.first_change(&now) {
                tracing::warn!("the data are not what they were when the run began: {change}");
            }
        }
        let text = serde_json::to_string_pretty(&now).map_err(|error| Error::file(&path, error))?;
        crate::report::file::write_atomically(&path, format!("{text}\n").as_bytes())?;
        self.data = now;
        self.data.files.truncate(MOST_FILES);
        Ok(())
    }

    /// Puts the sessions that a checkpoint tells of before this one.
    pub fn follow(&mut self, metadata: &BTreeMap<String, String>) {
        let Some(mut earlier) = Self::from_metadata(metadata) else { return };
        if self.sessions.is_empty() {
            return;
        }
        earlier.sessions.append(&mut self.sessions);
        self.left_out = earlier.left_out;
        while earlier.sessions.len() > MOST_SESSIONS {
            earlier.sessions.remove(1);
            self.left_out += 1;
        }
        self.sessions = earlier.sessions;
    }

    /// What a checkpoint's metadata say, if anything that can be read.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Option<Self> {
        serde_json::from_str(metadata.get(PROVENANCE_KEY)?).ok()
    }

    /// Adds it to a checkpoint's metadata.
    ///
    /// # Errors
    /// Paths that are no text.
    pub fn to_metadata(&self, metadata: &mut BTreeMap<String, String>) -> Result<()> {
        if !self.sessions.is_empty() {
            let text = serde_json::to_string(self).map_err(|error| Error::Work(error.to_string()))?;
            metadata.insert(PROVENANCE_KEY.into(), text);
        }
        Ok(())
    }

    /// As lines for `genesis inspect`.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, session) in self.sessions.iter().enumerate() {
            if number == 1 && self.left_out > 0 {
                lines.push(format!("… {} sessions …", self.left_out));
            }
            let Session { version, commit, features, hardware, threads, seed, command, .. } = session;
            lines.push(format!(
                "{} genesis {version} ({commit}, {}), {hardware}, {threads} thread(s), seed {seed}: {}",
                if number == 0 { "trained by" } else { "resumed by" },
                features.join(", "),
                command.join(" ")
            ));
        }
        let DataFingerprint { count, bytes, sha256, files, .. } = &self.data;
        lines.push(format!("data: {count} files, {bytes} bytes, fingerprint {sha256}"));
        lines.extend(files.iter().take(8).map(|file| {
            format!(
                "  {} ({} bytes, {})",
                file.path.display(),
                file.bytes,
                &file.sha256[..file.sha256.len().min(16)]
            )
        }));
        if *count > 8 {
            lines.push(format!("  … and {} more", count - 8));
        }
        lines
    }
}

/// A clock may stand anywhere, also before 1970.
fn seconds_since_1970(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn session(threads: usize) -> Session {
        Session {
            version: "1".into(),
            commit: "abc".into(),
            features: vec!["release".into()],
            hardware: "avx2".into(),
            threads,
            seed: 7,
            started: 0,
            command: vec!["genesis".into(), "pretrain".into()],
        }
    }

    #[test]
    fn sessions_follow_each_other_and_long_runs_keep_the_first_and_the_latest() {
        let mut metadata = BTreeMap::new();
        for number in 0..40 {
            let mut provenance = Provenance { sessions: vec![session(number)], ..Provenance::default() };
            provenance.follow(&metadata);
            provenance.to_metadata(&mut metadata).unwrap();
        }
        let found = Provenance::from_metadata(&metadata).unwrap();
        assert_eq!((found.sessions.len(), found.left_out), (MOST_SESSIONS, 24));
        assert_eq!((found.sessions[0].threads, found.sessions[15].threads), (0, 39));
        let lines = found.lines().join("\n");
        assert!(lines.contains("… 24 sessions …") && lines.contains("seed 7: genesis pretrain"), "{lines}");
        // A library caller's checkpoints carry nothing.
        let mut none = BTreeMap::new();
        Provenance::default().to_metadata(&mut none).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn clocks_before_1970_and_after_2038_are_told_as_they_are() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(seconds_since_1970(epoch - Duration::from_secs(10)), -10);
        assert_eq!(seconds_since_1970(epoch + Duration::from_secs(1 << 33)), 1 << 33);
    }
}

//! The file of a trace: `{"displayTimeUnit": …, "traceEvents": [ … ]}`, one event a line.
//!
//! Every flush writes the events since the last one over the closing brackets and closes them again in
//! the same call, so that the file is valid JSON whenever the run stops. (Should a machine die within
//! that call: Perfetto reads a file whose array was never closed.)

use super::event::Event;
use crate::{Error, Result};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const HEAD: &str = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n\
    {\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,\"args\":{\"name\":\"genesis\"}}";
const TAIL: &str = "\n]}\n";

/// A trace file that is closed at every moment.
#[derive(Debug)]
pub struct TraceFile {
    path: PathBuf,
    file: File,
    /// Where the closing brackets stand.
    end: u64,
    waiting: Vec<u8>,
}

impl TraceFile {
    /// Creates or replaces a file, without events.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut trace = Self { path: path.to_path_buf(), file, end: 0, waiting: HEAD.into() };
        trace.flush()?;
        Ok(trace)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an event, in memory.
    pub fn push(&mut self, event: &Event) {
        self.waiting.extend_from_slice(b",\n");
        // Writing to memory does not fail, and an event holds nothing JSON cannot say.
        if serde_json::to_writer(&mut self.waiting, event).is_err() {
            self.waiting.extend_from_slice(b"{}");
        }
    }

    /// Brings the file up to date.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn flush(&mut self) -> Result<()> {
        let end = self.end + self.waiting.len() as u64;
        self.waiting.extend_from_slice(TAIL.as_bytes());
        self.file.seek(SeekFrom::Start(self.end)).map_err(Error::io("write", &self.path))?;
        self.file.write_all(&self.waiting).map_err(Error::io("write", &self.path))?;
        self.waiting.clear();
        self.end = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_file_is_valid_json_after_every_flush() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let read = || -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(&path).unwrap()).expect("valid JSON")
        };
        let mut file = TraceFile::create(&path).unwrap();
        let now = Instant::now();
        for round in 1..4 {
            file.push(&Event::span("step", now, now));
            file.flush().unwrap();
            let events = read()["traceEvents"].as_array().unwrap().clone();
            assert_eq!(events.len(), 1 + round);
            assert_eq!(
                (events[round]["ph"].as_str(), events[round]["name"].as_str()),
                (Some("X"), Some("step"))
            );
        }
        assert!(TraceFile::create(&folder.path().join("no/such/folder.json")).is_err());
    }
}

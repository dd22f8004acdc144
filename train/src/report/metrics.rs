//! `metrics.jsonl`: one JSON object a line, written while a run trains, read back by plots and tests.
//!
//! ```json
//! {"step":120,"epoch":3,"split":"train","loss":0.0213,"lr":1.0,"seconds":41.5,"samples_per_second":17.3}
//! ```
//!
//! JSON has no word for numbers that are not finite. They are written as the strings `"NaN"`,
//! `"Infinity"` and `"-Infinity"`, so that a diverged run stays visible in its file; Python's
//! `float()` reads all three. A line is written whole and flushed; a crash can at worst tear the last
//! one, which reading leaves out and resuming cuts off.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::write_atomically;
use crate::error::{Error, Result};

/// Which cubes a loss was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The cubes trained on.
    Train,
    /// The cubes held out for choosing the best epoch.
    Valid,
}

/// A number that survives JSON even when it is not finite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Number(pub f64);

/// How a [`Number`] stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Finite(f64),
    Word(String),
}

impl From<Number> for Written {
    fn from(Number(value): Number) -> Self {
        match value {
            value if value.is_finite() => Self::Finite(value),
            value if value.is_nan() => Self::Word("NaN".into()),
            value if value > 0.0 => Self::Word("Infinity".into()),
            _ => Self::Word("-Infinity".into()),
        }
    }
}

impl TryFrom<Written> for Number {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Finite(value) => Ok(Self(value)),
            Written::Word(word) => match word.as_str() {
                "NaN" => Ok(Self(f64::NAN)),
                "Infinity" => Ok(Self(f64::INFINITY)),
                "-Infinity" => Ok(Self(f64::NEG_INFINITY)),
                other => Err(format!("{other:?} is not a number")),
            },
        }
    }
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Optimiser steps taken so far.
    pub step: u64,
    /// The epoch the step belongs to, from 1.
    pub epoch: u64,
    /// Training or validation.
    pub split: Split,
    /// The loss; its mean over the validation cubes for [`Split::Valid`].
    pub loss: Number,
    /// The learning rate of the step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lr: Option<Number>,
    /// Wall seconds since the run began, over all its resumptions.
    pub seconds: Number,
    /// Cubes a second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub samples_per_second: Option<Number>,
    /// Further numbers by name, such as a validation Dice.
    #[serde(flatten)]
    pub more: BTreeMap<String, Number>,
}

/// Appends records to a `metrics.jsonl`.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
}

impl MetricsWriter {
    /// Starts a new, empty file for a fresh run, replacing an old one.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        write_atomically(path, b"")?;
        Self::open(path)
    }

    /// Goes on with the file of an interrupted run that continues from its checkpoint at `step`:
    /// lines after that step, and a torn last line, are cut off; `validated` says whether a validation
    /// at that step itself counts as done. A missing file is started.
    ///
    /// # Errors
    /// [`Error::File`] if a line other than the last cannot be read, [`Error::Io`] from the system.
    pub fn resume(path: &Path, step: u64, validated: bool) -> Result<Self> {
        truncate_to_step(path, step, validated)?;
        Self::open(path)
    }

    fn open(path: &Path) -> Result<Self> {
        let file =
            OpenOptions::new().append(true).create(true).open(path).map_err(Error::io("open", path))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Appends one line and hands it to the system at once, so that `tail -f` and a crash see it.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record).map_err(|cause| Error::file(&self.path, cause))?;
        line.push(b'\n');
        // One call for the whole line; `File` has no buffer of its own to flush.
        self.file.write_all(&line).map_err(Error::io("write", &self.path))
    }
}

/// Reads all records. A torn last line, as a crash leaves it, is left out.
///
/// # Errors
/// [`Error::File`] naming the line if any other line cannot be read, [`Error::Io`] from the system.
pub fn read_metrics(path: &Path) -> Result<Vec<Record>> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    Ok(parse(path, &bytes)?.into_iter().map(|(record, _)| record).collect())
}

/// Drops the records after `step`, without `validated` also a validation at it, and a torn last line; the others keep their bytes. The file is
/// rewritten in one step. A missing file is no error: there is nothing to drop.
///
/// # Errors
/// As [`read_metrics`].
pub fn truncate_to_step(path: &Path, step: u64, validated: bool) -> Result<()> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(Error::io("read", path)(cause)),
    };
    let mut kept = Vec::with_capacity(bytes.len());
    for (record, line) in parse(path, &bytes)? {
        let undone = !validated && record.step == step && record.split == Split::Valid;
        if record.step <= step && !undone {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    if kept == bytes { Ok(()) } else { write_atomically(path, &kept) }
}

/// Each record with the bytes of its line.
fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(Record, &'a [u8])>> {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // The last line is whatever follows the last line break: nothing, unless a write was cut short.
    let last = lines.iter().rposition(|line| !line.is_empty());
    let mut records = Vec::with_capacity(lines.len());
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(record) => records.push((record, *line)),
            Err(_) if Some(number) == last => {}
            Err(cause) => return Err(Error::file(path, format!("line {}: {cause}", number + 1))),
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, split: Split, loss: f64) -> Record {
        Record {
            step,
            epoch: step / 10 + 1,
            split,
            loss: Number(loss),
            lr: (split == Split::Train).then_some(Number(0.5)),
            seconds: Number(1.5),
            samples_per_second: None,
            more: BTreeMap::new(),
        }
    }

    fn write(path: &Path, records: &[Record]) {
        let mut writer = MetricsWriter::create(path).unwrap();
        for record in records {
            writer.write(record).unwrap();
        }
    }

    #[test]
    fn lines_have_the_contract_s_keys_in_its_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let mut first = record(7, Split::Train, 0.1);
        first.samples_per_second = Some(Number(12.0));
        first.more.insert("gradient_norm".into(), Number(2.5));
        write(&path, &[first.clone(), record(7, Split::Valid, 0.2)]);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"step":7,"epoch":1,"split":"train","loss":0.1,"lr":0.5,"seconds":1.5,"samples_per_second":12.0,"gradient_norm":2.5}"#
        );
        assert_eq!(lines[1], r#"{"step":7,"epoch":1,"split":"valid","loss":0.2,"seconds":1.5}"#);
        assert_eq!(read_metrics(&path).unwrap()[0], first);
    }

    #[test]
    fn losses_come_back_bit_for_bit_even_if_not_finite() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let losses = [1.0 / 3.0, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300];
        let records: Vec<_> = losses.iter().map(|&loss| record(1, Split::Train, loss)).collect();
        write(&path, &records);
        let back: Vec<_> =
            read_metrics(&path).unwrap().iter().map(|record| record.loss.0.to_bits()).collect();
        assert_eq!(back, losses.map(f64::to_bits));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#""loss":"NaN""#) && text.contains(r#""loss":"-Infinity""#), "{text}");
    }

    #[test]
    fn resuming_drops_later_steps_and_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let records: Vec<_> = (1..=6).map(|step| record(step, Split::Train, step as f64)).collect();
        write(&path, &records);
        let whole = std::fs::read(&path).unwrap();
        let torn = [whole.as_slice(), br#"{"step":2,"epoch":1,"spl"#].concat();
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), records);

        let mut writer = MetricsWriter::resume(&path, 4, true).unwrap();
        writer.write(&record(5, Split::Valid, 9.0)).unwrap();
        let back = read_metrics(&path).unwrap();
        assert_eq!(back[..4], records[..4]);
        assert_eq!(back[4..], [record(5, Split::Valid, 9.0)]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_last_line_torn_only_of_its_line_break_is_kept_and_mended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        write(&path, &[record(1, Split::Train, 1.0), record(2, Split::Train, 2.0)]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        truncate_to_step(&path, 2, true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        write(&path, &[record(1, Split::Train, 1.0)]);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"step\":oops}}\n{whole}")).unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl: line 2"), "{message}");
        assert!(MetricsWriter::resume(&path, 1, true).is_err());
        let word = whole.replace("1.0,\"lr\"", "\"much\",\"lr\"");
        std::fs::write(&path, format!("{word}{whole}")).unwrap();
        assert!(read_metrics(&path).is_err(), "{word}");
    }

    #[test]
    fn a_missing_file_is_started_on_resuming_and_refused_on_reading() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        assert!(read_metrics(&path).is_err());
        MetricsWriter::resume(&path, 3, true).unwrap();
        assert!(read_metrics(&path).unwrap().is_empty());
    }
}

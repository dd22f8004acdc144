//! TensorBoard event files, written directly: a run's scalars and sample pictures for
//! `tensorboard --logdir RUN`.
//!
//! A file is a sequence of TFRecords (length, masked CRC-32C of the length, data, masked CRC-32C of
//! the data), each holding one `Event` message of `tensorflow/core/util/event.proto`. Field numbers
//! below are from there and from `summary.proto`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::picture::Picture;
use crate::error::{Error, Result};

/// Writes one event file.
#[derive(Debug)]
pub struct TensorBoardWriter {
    path: PathBuf,
    file: File,
}

impl TensorBoardWriter {
    /// Starts a new event file `events.out.tfevents.…` in `directory`, which is created if missing.
    /// A resumed run gives the step of its checkpoint as `resumed_at`; TensorBoard then forgets what
    /// earlier files of the directory say about later steps.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be created or written.
    pub fn create(directory: &Path, resumed_at: Option<u64>) -> Result<Self> {
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Files are read in the order of their names: time first, a number against collisions last.
        let stem = format!("events.out.tfevents.{:010}.{:06}.genesis", now.as_secs(), now.subsec_micros());
        let mut number = 0;
        let (path, file) = loop {
            let path = directory.join(format!("{stem}.{number}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(cause) => return Err(Error::io("create", &path)(cause)),
            }
        };
        let mut writer = Self { path, file };
        writer.event(0, &Message::default().text(3, b"brain.Event:2"))?;
        if let Some(step) = resumed_at {
            // SessionLog (field 7) with status START: events from this step on are superseded.
            let start = Message::default().integer(1, 1);
            writer.event(step + 1, &Message::default().text(7, &start.0))?;
        }
        Ok(writer)
    }

    /// The file being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records one number under `tag`, such as `loss/train`, at an optimiser step.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> Result<()> {
        let value = Message::default().text(1, tag.as_bytes()).float(2, value);
        self.summary(step, &value)
    }

    /// Records a picture under `tag` at an optimiser step.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written, [`Error::Work`] if the picture is empty.
    pub fn image(&mut self, tag: &str, step: u64, picture: &Picture) -> Result<()> {
        const RGB: u64 = 3;
        let image = Message::default()
            .integer(1, picture.height() as u64)
            .integer(2, picture.width() as u64)
            .integer(3, RGB)
            .text(4, &picture.to_png()?);
        self.summary(step, &Message::default().text(1, tag.as_bytes()).text(4, &image.0))
    }

    /// An event with a summary (field 5) of one value (field 1 of the summary).
    fn summary(&mut self, step: u64, value: &Message) -> Result<()> {
        let summary = Message::default().text(1, &value.0);
        self.event(step, &Message::default().text(5, &summary.0))
    }

    fn event(&mut self, step: u64, what: &Message) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = encode_event(now.as_secs_f64(), step, what);
        // One call for the whole record; `File` has no buffer of its own to flush.
        self.file.write_all(&frame(&event)).map_err(Error::io("write", &self.path))
    }
}

/// An `Event`: wall time (field 1), step (field 2), then `what` happened.
fn encode_event(wall_seconds: f64, step: u64, what: &Message) -> Vec<u8> {
    let mut event = Message::default().double(1, wall_seconds).integer(2, step).0;
    event.extend_from_slice(&what.0);
    event
}

/// A TFRecord around `data`.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked_crc(&length).to_le_bytes());
    record.extend_from_slice(data);
    record.extend_from_slice(&masked_crc(data).to_le_bytes());
    record
}

/// TFRecord's mask, so that a CRC over data holding CRCs stays meaningful.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4), reflected, a table look-up a byte.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut remainder = index as u32;
            let mut bit = 0;
            while bit < 8 {
                remainder = (remainder >> 1) ^ if remainder & 1 == 1 { 0x82f6_3b78 } else { 0 };
                bit += 1;
            }
            table[index] = remainder;
            index += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// The fields of a protocol buffer message, in wire format.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A non-negative integer or an enum: wire type 0.
    fn integer(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A string, bytes or a nested message: wire type 2.
    fn text(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::Colour;
    use super::*;

    /// Vectors of RFC 3720, appendix B.4, and the common check value.
    #[test]
    fn crc32c_matches_the_standard() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Recorded with tensorboard from PyPI: `Event(wall_time=1.5, step=300, …).SerializeToString()`
    /// and the framing of its `RecordWriter`.
    #[test]
    fn records_match_tensorboard_s_own_bytes() {
        let value = Message::default().text(1, b"loss").float(2, 0.25);
        let summary = Message::default().text(1, &value.0);
        let event = encode_event(1.5, 300, &Message::default().text(5, &summary.0));
        assert_eq!(hexadecimal(&frame(&event)), EXPECTED_SCALAR);
        let version = encode_event(1.5, 300, &Message::default().text(3, b"brain.Event:2"));
        assert_eq!(hexadecimal(&frame(&version)), EXPECTED_VERSION);
    }

    const EXPECTED_SCALAR: &str =
        "1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e9908deed";
    const EXPECTED_VERSION: &str =
        "1b000000000000001a0d9e1309000000000000f83f10ac021a0d627261696e2e4576656e743a320a8dc5e4";

    /// The data of each record, after checking both sums.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[8..12], masked_crc(&bytes[..8]).to_le_bytes());
            let data = &bytes[12..12 + length];
            assert_eq!(bytes[12 + length..16 + length], masked_crc(data).to_le_bytes());
            records.push(data.to_vec());
            bytes = &bytes[16 + length..];
        }
        records
    }

    #[test]
    fn a_file_holds_version_restart_scalars_and_pictures() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = TensorBoardWriter::create(directory.path(), Some(41)).unwrap();
        let picture = Picture::new(6, 4, Colour(1, 2, 3));
        writer.scalar("loss/train", 42, f32::NAN).unwrap();
        writer.image("samples", 42, &picture).unwrap();
        let written = records(&fs::read(writer.path()).unwrap());
        assert_eq!(written.len(), 4);
        assert!(written[0].ends_with(b"brain.Event:2"));
        assert!(written[1].ends_with(&[2 << 3, 42, 7 << 3 | 2, 2, 1 << 3, 1]));
        assert!(written[2].ends_with(&f32::NAN.to_le_bytes()));
        assert!(written[3].ends_with(&picture.to_png().unwrap()));
        let second = TensorBoardWriter::create(directory.path(), None).unwrap();
        assert!(second.path() > writer.path());
        assert_eq!(records(&fs::read(second.path()).unwrap()).len(), 1);
    }
}

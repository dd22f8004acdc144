//! The bytes of a DICOM file, plain or deflated, of which nothing is promised that is not there.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::DeflateDecoder;

/// The most a deflated file may hold: beyond any image, and inflated within seconds.
const MAX_INFLATED: u64 = 1 << 30;

/// Deflate cannot expand more than this (258 bytes from 2 bits, RFC 1951).
const MAX_EXPANSION: u64 = 1032;

enum Stream {
    Plain(BufReader<File>),
    Inflated(Box<DeflateDecoder<BufReader<File>>>),
}

/// A place in the bytes of a file.
pub(super) struct Bytes {
    stream: Stream,
    position: u64,
    /// Where the bytes end; of a deflated file, where they must have ended.
    end: u64,
    /// Bytes that were looked at and given back.
    returned: Vec<u8>,
}

impl Bytes {
    /// Opens a file at its first byte.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        // A header of a slice fits; thousands of files are opened for theirs.
        let stream = Stream::Plain(BufReader::with_capacity(1 << 14, file));
        Ok(Self { stream, position: 0, end, returned: Vec::new() })
    }

    /// Goes on inflating from the present place (PS3.5, A.5); positions go on too.
    pub fn inflate(self) -> io::Result<Self> {
        let (position, stored) = (self.position, self.end.saturating_sub(self.position));
        let Stream::Plain(mut file) = self.stream else { return Ok(self) };
        file.seek(SeekFrom::Start(position))?;
        let stream = Stream::Inflated(Box::new(DeflateDecoder::new(file)));
        let most = stored.saturating_mul(MAX_EXPANSION).min(MAX_INFLATED);
        Ok(Self { stream, position, end: position + most, returned: Vec::new() })
    }

    /// Bytes from the start of the file (of what is inflated, behind the place where it began).
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The most bytes that can follow.
    pub fn remaining(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    /// Refuses a length that runs over the end.
    pub fn check(&self, length: u64, what: &dyn std::fmt::Display) -> Result<(), String> {
        if length > self.remaining() {
            return Err(format!(
                "is truncated or damaged: {what} declares {length} bytes, {} are left",
                self.remaining()
            ));
        }
        Ok(())
    }

    /// Fills as much of `buffer` as there is.
    pub fn fill_some(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        let mut filled = self.returned.len().min(buffer.len());
        for (target, byte) in buffer.iter_mut().zip(self.returned.drain(..filled)) {
            *target = byte;
        }
        while filled < buffer.len() {
            let part = &mut buffer[filled..];
            let count = match &mut self.stream {
                Stream::Plain(stream) => stream.read(part),
                Stream::Inflated(stream) => stream.read(part),
            };
            match count {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(format!("is damaged: byte {} cannot be read ({error})", self.position));
                }
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    /// Fills `buffer`; `what` names the part for the message.
    pub fn fill(&mut self, buffer: &mut [u8], what: &dyn std::fmt::Display) -> Result<(), String> {
        match self.fill_some(buffer)? == buffer.len() {
            true => Ok(()),
            false => Err(format!("is truncated within {what}")),
        }
    }

    /// Gives back bytes that were just filled.
    pub fn give_back(&mut self, bytes: &[u8]) {
        self.returned.splice(0..0, bytes.iter().copied());
        self.position -= bytes.len() as u64;
    }

    /// Passes over `length` bytes that [`check`](Self::check) let pass.
    pub fn skip(&mut self, length: u64, what: &dyn std::fmt::Display) -> Result<(), String> {
        let returned = (self.returned.len() as u64).min(length);
        self.returned.drain(..returned as usize);
        let rest = length - returned;
        let passed = match &mut self.stream {
            // `check` held the length to the file's, which fits an `i64`.
            Stream::Plain(stream) => stream.seek_relative(rest as i64).map(|()| rest),
            Stream::Inflated(stream) => io::copy(&mut stream.by_ref().take(rest), &mut io::sink()),
        };
        match passed {
            Ok(count) if count == rest => self.position += length,
            Ok(_) => return Err(format!("is truncated within {what}")),
            Err(error) => return Err(format!("is damaged: {what} cannot be read ({error})")),
        }
        Ok(())
    }

    /// Goes forward to a position noted before.
    pub fn go_to(&mut self, position: u64, what: &dyn std::fmt::Display) -> Result<(), String> {
        let length = position.checked_sub(self.position).ok_or("changed while it was read")?;
        self.check(length, what)?;
        self.skip(length, what)
    }
}

//! Voxels as numbers in ASCII.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// A number longer than this is taken for damage.
const MAX_LENGTH: usize = 512;

/// Turns numbers separated by blanks or commas into little-endian `f64`.
pub(super) struct Numbers<R> {
    text: BufReader<R>,
    /// The bytes of the number read last, and how many of them were taken.
    value: [u8; 8],
    taken: usize,
}

impl<R: Read> Numbers<R> {
    pub fn new(text: R) -> Self {
        Self { text: BufReader::with_capacity(1 << 16, text), value: [0; 8], taken: 8 }
    }

    /// The next number; `None` at the end.
    fn next(&mut self) -> io::Result<Option<f64>> {
        let mut word = Vec::new();
        loop {
            let bytes = self.text.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let is_between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
            let start = if word.is_empty() {
                bytes.iter().position(|byte| !is_between(byte)).unwrap_or(bytes.len())
            } else {
                0
            };
            let end = bytes[start..].iter().position(is_between).map(|length| start + length);
            word.extend_from_slice(&bytes[start..end.unwrap_or(bytes.len())]);
            let used = end.unwrap_or(bytes.len());
            self.text.consume(used);
            if word.len() > MAX_LENGTH {
                return Err(invalid(&word));
            }
            if end.is_some() && !word.is_empty() {
                break;
            }
        }
        if word.is_empty() {
            return Ok(None);
        }
        let value = std::str::from_utf8(&word).ok().and_then(|word| word.parse().ok());
        value.map(Some).ok_or_else(|| invalid(&word))
    }
}

fn invalid(word: &[u8]) -> io::Error {
    let shown = String::from_utf8_lossy(&word[..word.len().min(20)]).into_owned();
    io::Error::new(ErrorKind::InvalidData, format!("{shown:?} is not a number"))
}

impl<R: Read> Read for Numbers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.taken == 8 {
                let Some(value) = self.next()? else { break };
                (self.value, self.taken) = (value.to_le_bytes(), 0);
            }
            let count = (8 - self.taken).min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&self.value[self.taken..self.taken + count]);
            self.taken += count;
            filled += count;
        }
        Ok(filled)
    }
}

//! Files as streams of bytes: gzip recognised by content, checksums checked, sizes bounded.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bzip2::read::MultiBzDecoder;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::error::{Error, Result};

/// Deflate cannot expand more than this (258 bytes from 2 bits, RFC 1951), which bounds what a
/// compressed file of known length can hold.
const MAX_EXPANSION: u64 = 1032;

/// A compressed stream is believed to hold this many times its own length; it is read through once before memory is
/// reserved for more. CT and MR scans reach 2 to 5.
const BELIEVED_EXPANSION: u64 = 4;

/// Bytes of voxels that memory is reserved for whatever the length of the compressed stream: so few that, widened to
/// `f32`, they are less than a reader's buffers.
const BELIEVED_BYTES: u64 = 1 << 14;

/// Bytes that may follow the voxels in a compressed stream; more is taken for an attack or a wrong header.
const MAX_TRAILING: u64 = 1 << 20;

/// A file opened for reading, decompressed if its content says so.
pub(super) struct Input {
    path: PathBuf,
    stream: Box<dyn Read>,
    /// Length of the file on disk from where the stream starts.
    /// Where in the file that is.
    offset: u64,
    stored: u64,
    packing: Packing,
    taken: u64,
}

/// How the content is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zlib,
    /// bzip2 from this byte of the file on.
    Bzip2(u64),
}

/// Opens a regular file and gives its length.
pub(super) fn open_file(path: &Path) -> Result<(File, u64)> {
    let kind = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if kind.is_dir() {
        return Err(Error::file(path, "is a directory, a volume file is needed"));
    }
    // Opening a pipe would wait for its other end, and a device may never end.
    if !kind.is_file() {
        return Err(Error::file(path, "is no regular file"));
    }
    let file = File::open(path).map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    Ok((file, length))
}

impl Input {
    /// Opens a file that may be gzip (one or several members), whatever its name.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, _) = open_file(path)?;
        Self::from_file(path, file, 0, None, false)
    }

    /// An open file from `offset` on, taken as it is.
    pub fn raw(path: &Path, mut file: File, offset: u64) -> Result<Self> {
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        file.seek(SeekFrom::Start(offset)).map_err(Error::io("read", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            stream: Box::new(BufReader::with_capacity(1 << 17, file)),
            offset,
            stored: length.saturating_sub(offset),
            packing: Packing::None,
            taken: 0,
        })
    }

    /// The part of an open file from `offset` on, at most `limit` bytes; gzip is recognised, and zlib
    /// if `allow_zlib`.
    pub fn from_file(
        path: &Path,
        mut file: File,
        offset: u64,
        limit: Option<u64>,
        allow_zlib: bool,
    ) -> Result<Self> {
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let stored = length.saturating_sub(offset).min(limit.unwrap_or(u64::MAX));
        let mut magic = [0u8; 2];
        let mut found = 0;
        file.seek(SeekFrom::Start(offset)).map_err(Error::io("read", path))?;
        while found < 2 {
            match file.read(&mut magic[found..]) {
                Ok(0) => break,
                Ok(count) => found += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Io { action: "read", path: path.to_path_buf(), source }),
            }
        }
        file.seek(SeekFrom::Start(offset)).map_err(Error::io("read", path))?;
        let plain = BufReader::with_capacity(1 << 17, file.take(stored));
        let gzip = magic == [0x1f, 0x8b];
        // RFC 1950: method 8 in the low nibble, and the first two bytes divisible by 31.
        let zlib = allow_zlib && magic[0] & 0x0f == 8 && u16::from_be_bytes(magic) % 31 == 0;
        let stream: Box<dyn Read> = if gzip {
            Box::new(MultiGzDecoder::new(plain))
        } else if zlib {
            Box::new(ZlibDecoder::new(plain))
        } else {
            Box::new(plain)
        };
        let packing = match (gzip, zlib) {
            (true, _) => Packing::Gzip,
            (_, true) => Packing::Zlib,
            _ => Packing::None,
        };
        Ok(Self { path: path.to_path_buf(), stream, offset, stored, packing, taken: 0 })
    }

    /// An open bzip2 file (one or several members) from `offset` on.
    pub fn bzip2(path: &Path, file: File, offset: u64) -> Result<Self> {
        let plain = Self::raw(path, file, offset)?;
        // What is below has a buffer of its own; this one is what the decoder asks for.
        let stream = Box::new(MultiBzDecoder::new(BufReader::with_capacity(1 << 13, plain.stream)));
        Ok(Self { stream, packing: Packing::Bzip2(offset), ..plain })
    }

    /// True if the content is decompressed on the way.
    pub fn is_compressed(&self) -> bool {
        self.packing != Packing::None
    }

    /// Refuses, before any memory is reserved, a header that asks for more bytes than the file can hold.
    pub fn check_holds(&self, bytes: u64) -> Result<()> {
        let needed = self.taken.saturating_add(bytes);
        let cause = match self.packing {
            Packing::None if needed > self.stored => {
                format!("is truncated: the header asks for {needed} bytes, the file has {}", self.stored)
            }
            Packing::Gzip | Packing::Zlib if needed / MAX_EXPANSION > self.stored => format!(
                "is truncated: the header asks for {needed} bytes, more than {} compressed bytes can hold",
                self.stored
            ),
            Packing::Bzip2(offset) => {
                // A few bytes of bzip2 may stand for millions, so only unpacking tells.
                let (file, _) = open_file(&self.path)?;
                let mut trial = Self::bzip2(&self.path, file, offset)?;
                return trial.skip(needed, "the voxels");
            }
            Packing::Gzip | Packing::Zlib
                if needed > BELIEVED_BYTES && needed / BELIEVED_EXPANSION > self.stored =>
            {
                // Whether all of it is there, only unpacking tells.
                let (file, _) = open_file(&self.path)?;
                let zlib = self.packing == Packing::Zlib;
                let mut trial = Self::from_file(&self.path, file, self.offset, Some(self.stored), zlib)?;
                return trial.skip(needed, "the voxels");
            }
            _ => return Ok(()),
        };
        Err(Error::file(&self.path, cause))
    }

    /// Fills `buffer`; `what` names the part for the error message.
    pub fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<()> {
        self.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::file(&self.path, format!("is truncated within {what}")),
            _ => Error::file(&self.path, format!("is damaged: {what} cannot be read ({error})")),
        })
    }

    /// Skips `count` bytes.
    pub fn skip(&mut self, count: u64, what: &str) -> Result<()> {
        let skipped = io::copy(&mut self.by_ref().take(count), &mut io::sink()).map_err(|error| {
            Error::file(&self.path, format!("is damaged: {what} cannot be read ({error})"))
        })?;
        if skipped < count {
            return Err(Error::file(&self.path, format!("is truncated within {what}")));
        }
        Ok(())
    }

    /// Reads a compressed stream to its end, so that its checksum is compared: `rest` bytes that were not needed,
    /// then what the compressor left behind them.
    pub fn finish(mut self, rest: u64) -> Result<()> {
        if self.packing == Packing::None {
            return Ok(());
        }
        self.skip(rest, "the voxels")?;
        let rest = io::copy(&mut self.stream.by_ref().take(MAX_TRAILING + 1), &mut io::sink())
            .map_err(|error| Error::file(&self.path, format!("is damaged: {error}")))?;
        if rest > MAX_TRAILING {
            return Err(Error::file(
                &self.path,
                "holds far more data than its header says (the size in the header is wrong, or the file was made to harm)",
            ));
        }
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.taken += count as u64;
        Ok(count)
    }
}

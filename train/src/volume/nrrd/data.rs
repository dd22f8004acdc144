//! The stream of an NRRD file's voxels, out of one data file or several that follow one another.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::header::{DataFiles, Encoding, Header};
use super::text::Numbers;
use crate::error::{Error, Result};
use crate::volume::detached;
use crate::volume::input::{self, Input};

/// The voxels of all data files, decoded; of text, each a little-endian `f64`.
pub(super) struct Data<'a> {
    header: &'a Header,
    /// The data files, and where the voxels' part of each begins.
    files: Vec<(PathBuf, u64)>,
    /// Bytes of voxels in each file.
    share: u64,
    /// The file that is being read, with the bytes of its share that are left.
    current: Option<(Stream, u64)>,
    next: usize,
    /// Every file was found long enough.
    checked: bool,
}

enum Stream {
    Binary(Input),
    Text(Numbers<Input>),
}

impl<'a> Data<'a> {
    /// The data of the header at `path`, `bytes` long in all. Each file is looked at, before memory is reserved,
    /// for whether it can hold its share.
    ///
    /// # Errors
    /// A file that is missing, lies outside the header's folder, is truncated or not of its encoding.
    pub fn open(path: &Path, header: &'a Header, bytes: u64) -> Result<Self> {
        let (files, share) = match &header.data {
            DataFiles::Attached => (vec![(path.to_path_buf(), header.length as u64)], bytes),
            DataFiles::Detached { names, axes } => {
                let share = share(path, header, bytes, names.len() as u64, *axes)?;
                let file = |name: &String| Ok((detached::beside(path, "data file", name)?, 0));
                (names.iter().map(file).collect::<Result<Vec<_>>>()?, share)
            }
        };
        let mut data = Self { header, files, share, current: None, next: 0, checked: false };
        for (path, start) in &data.files {
            data.stream(path, *start)?;
        }
        data.checked = true;
        Ok(data)
    }

    /// True if the voxels are compressed.
    pub fn is_compressed(&self) -> bool {
        matches!(self.header.encoding, Encoding::Gzip | Encoding::Bzip2)
    }

    /// Opens one file at its first voxel and checks its length.
    fn stream(&self, path: &Path, start: u64) -> Result<Stream> {
        let (mut file, length) = input::open_file(path)?;
        let start = after_lines(path, &mut file, start, self.header.line_skip)?;
        let skip = u64::try_from(self.header.byte_skip);
        let start_of = |start: Option<u64>| {
            start.filter(|start| *start <= length).ok_or_else(|| {
                Error::file(
                    path,
                    format!("is truncated: it has {length} bytes, fewer than the header asks to skip"),
                )
            })
        };
        match self.header.encoding {
            Encoding::Raw => {
                let start = match skip {
                    Ok(skip) => start_of(start.checked_add(skip))?,
                    Err(_) => {
                        length.checked_sub(self.share).filter(|&place| place >= start).ok_or_else(|| {
                            let share = self.share;
                            Error::file(
                                path,
                                format!(
                                    "is truncated: {share} bytes of voxels are needed, the file has {length}"
                                ),
                            )
                        })?
                    }
                };
                let stream = Input::raw(path, file, start)?;
                stream.check_holds(self.share)?;
                Ok(Stream::Binary(stream))
            }
            Encoding::Text => {
                let skip =
                    skip.map_err(|_| Error::file(path, "byte skip is -1, which needs the encoding raw"))?;
                let start = start_of(start.checked_add(skip))?;
                // A digit and a blank for every number of 8 bytes, but for the last blank.
                let stream = Input::raw(path, file, start)?;
                stream.check_holds((self.share / 4).saturating_sub(1))?;
                Ok(Stream::Text(Numbers::new(stream)))
            }
            Encoding::Gzip | Encoding::Bzip2 => {
                let skip =
                    skip.map_err(|_| Error::file(path, "byte skip is -1, which needs the encoding raw"))?;
                let start = start_of(Some(start))?;
                let mut stream = if self.header.encoding == Encoding::Gzip {
                    Input::from_file(path, file, start, None, false)?
                } else {
                    Input::bzip2(path, file, start)?
                };
                if !stream.is_compressed() {
                    return Err(Error::file(
                        path,
                        "is damaged: the header says gzip, but its data are not gzip",
                    ));
                }
                if !self.checked {
                    // Of bzip2, this unpacks everything once.
                    stream.check_holds(skip.saturating_add(self.share))?;
                }
                stream.skip(skip, "the bytes before the voxels")?;
                Ok(Stream::Binary(stream))
            }
        }
    }

    /// Reads what was not needed of compressed files, so that their checksums are compared.
    ///
    /// # Errors
    /// A file that is damaged.
    pub fn finish(mut self, path: &Path) -> Result<()> {
        if !self.is_compressed() {
            return Ok(());
        }
        let damaged = |error: io::Error| Error::file(path, format!("is damaged: {error}"));
        io::copy(&mut self, &mut io::sink()).map_err(damaged)?;
        match self.current.take() {
            Some((Stream::Binary(input), left)) => input.finish(left),
            _ => Ok(()),
        }
    }
}

/// Bytes in each of `count` files that hold `bytes` together.
fn share(path: &Path, header: &Header, bytes: u64, count: u64, axes: Option<usize>) -> Result<u64> {
    let share = bytes / count;
    let axes = axes.unwrap_or(header.sizes.len() - usize::from(count > 1));
    // The product of all sizes was bounded, and each is at least 1.
    let behind: u64 = header.sizes[axes.min(header.sizes.len())..].iter().product();
    if behind != count {
        return Err(Error::file(
            path,
            format!("data file names {count} files, but the sizes {:?} need {behind}", header.sizes),
        ));
    }
    Ok(share)
}

/// The place behind `count` lines that begin at `start`.
fn after_lines(path: &Path, file: &mut File, start: u64, count: u64) -> Result<u64> {
    if count == 0 {
        return Ok(start);
    }
    file.seek(SeekFrom::Start(start)).map_err(Error::io("read", path))?;
    let mut place = start;
    let mut reader = BufReader::new(file);
    for _ in 0..count {
        let skipped = reader.skip_until(b'\n').map_err(Error::io("read", path))?;
        if skipped == 0 {
            return Err(Error::file(
                path,
                format!("is truncated: it has fewer than the {count} lines to skip"),
            ));
        }
        place += skipped as u64;
    }
    Ok(place)
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some((stream, left)) = &mut self.current else {
                let Some((path, start)) = self.files.get(self.next) else { return Ok(0) };
                self.current = Some((self.stream(path, *start).map_err(io::Error::other)?, self.share));
                self.next += 1;
                continue;
            };
            if *left > 0 {
                let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let count = match stream {
                    Stream::Binary(input) => input.read(&mut buffer[..wanted])?,
                    Stream::Text(numbers) => numbers.read(&mut buffer[..wanted])?,
                };
                *left -= count as u64;
                return Ok(count);
            }
            if self.next == self.files.len() {
                return Ok(0);
            }
            if let Some((Stream::Binary(input), _)) = self.current.take() {
                input.finish(0).map_err(io::Error::other)?;
            }
        }
    }
}

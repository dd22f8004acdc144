//! Pixels of one frame after another, as intensities.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::bytes::Bytes;
use super::header::{Header, Numbers, Pixels};
use super::transfer::Compression;
use super::{jpeg, jpeg2000, run_length};
use crate::volume::element::{ByteOrder, ElementType};

/// How one pixel is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The number format, as wide as BitsAllocated.
    pub element: ElementType,
    /// BitsStored.
    bits: u32,
    /// Bits below them, which are none of the pixel.
    shift: u32,
}

impl Stored {
    /// What a header says of a pixel.
    ///
    /// # Errors
    /// Bits that do not fit one another, or are not read.
    pub fn of(header: &Header) -> Result<Self, String> {
        let float = |element: ElementType| Self { element, bits: 8 * element.bytes() as u32, shift: 0 };
        match header.numbers {
            Numbers::Float => return Ok(float(ElementType::Float32)),
            Numbers::Double => return Ok(float(ElementType::Float64)),
            Numbers::Integer => {}
        }
        let element = match (header.bits_allocated, header.signed) {
            (8, false) => ElementType::Uint8,
            (8, true) => ElementType::Int8,
            (16, false) => ElementType::Uint16,
            (16, true) => ElementType::Int16,
            (32, false) => ElementType::Uint32,
            (32, true) => ElementType::Int32,
            (bits, _) => return Err(format!("has BitsAllocated {bits}; 8, 16 and 32 are read")),
        };
        let (allocated, stored, high) = (header.bits_allocated, header.bits_stored, header.high_bit);
        if stored == 0 || stored > allocated || high >= allocated || high + 1 < stored {
            return Err(format!(
                "is damaged: BitsAllocated {allocated}, BitsStored {stored} and HighBit {high} do not fit one another"
            ));
        }
        Ok(Self { element, bits: stored.into(), shift: (high + 1 - stored).into() })
    }

    /// The number in the lowest bits of `word`.
    pub fn number(self, word: u64) -> i64 {
        let top = 64 - self.bits;
        let word = (word >> self.shift) << top;
        match self.element.integer_range() {
            Some((low, _)) if low < 0.0 => (word as i64) >> top,
            _ => (word >> top) as i64,
        }
    }

    /// Intensities of little- or big-endian pixels, scaled in double precision.
    fn decode(self, bytes: &[u8], order: ByteOrder, scaling: (f64, f64), out: &mut [f32]) {
        if self.bits == 8 * self.element.bytes() as u32 {
            let scaling = (scaling != (1.0, 0.0)).then_some(scaling);
            return self.element.decode(bytes, order, scaling, out);
        }
        let (slope, intercept) = scaling;
        for (value, pixel) in out.iter_mut().zip(bytes.chunks_exact(self.element.bytes())) {
            let add = |word: u64, &byte: &u8| word << 8 | u64::from(byte);
            let word = match order {
                ByteOrder::Little => pixel.iter().rev().fold(0, add),
                ByteOrder::Big => pixel.iter().fold(0, add),
            };
            *value = (self.number(word) as f64 * slope + intercept) as f32;
        }
    }
}

/// Refuses pixels that are not there, before memory is reserved for them.
///
/// # Errors
/// Too few of them; a compression that is not read.
pub(super) fn check(header: &Header) -> Result<(), String> {
    let stored = Stored::of(header)?;
    let plane = u64::from(header.rows) * u64::from(header.columns);
    if plane == 0 {
        return Err(format!("has {} rows and {} columns", header.rows, header.columns));
    }
    let all = plane * u64::from(header.frames);
    let compression = header.transfer.compression()?;
    // What a byte can hold at most: pairs of bytes that stand for 128 (PackBits), two bits for the 64 pixels of an even
    // block (JPEG), next to none for an even image (JPEG 2000). Decoders reserve memory for the size they are told, so
    // large frames must show more for it.
    let small = plane <= 1 << 20;
    let (name, most) = match compression {
        Compression::RunLength => ("run lengths", 64),
        Compression::Jpeg => ("JPEG", if small { 256 } else { 64 }),
        Compression::Jpeg2000 => ("JPEG 2000", if small { 4096 } else { 64 }),
        Compression::None | Compression::Encapsulated => ("pixels", 1),
    };
    match (&header.pixels, compression) {
        (Some(Pixels::Native { length, .. }), Compression::None) => {
            let needed = all * stored.element.bytes() as u64;
            let frame = plane * stored.element.bytes() as u64;
            if *length < needed || *length >= needed + frame {
                let (rows, columns, frames) = (header.rows, header.columns, header.frames);
                return Err(format!(
                    "is truncated or damaged: PixelData has {length} bytes, {frames} x {rows} rows x {columns} columns \
                     take {needed}"
                ));
            }
            Ok(())
        }
        (Some(Pixels::Fragments { fragments, .. }), compression) if compression != Compression::None => {
            let bytes: u64 = fragments.iter().map(|&(_, length)| u64::from(length)).sum();
            if bytes.saturating_mul(most) < all {
                return Err(format!(
                    "is truncated or damaged: {bytes} bytes of {name} cannot hold {all} pixels"
                ));
            }
            Ok(())
        }
        _ => Err(format!("is damaged: its pixels are not written as {} says", header.transfer)),
    }
}

/// The frames of one file.
pub(super) struct Frames<'a> {
    header: &'a Header,
    stored: Stored,
    compression: Compression,
    file: File,
    /// The pixels of a deflated file.
    inflated: Option<Vec<u8>>,
    /// The fragments of each frame.
    ranges: Vec<Range<usize>>,
    raw: Vec<u8>,
    pixels: Vec<u8>,
}

impl<'a> Frames<'a> {
    /// Opens a file whose header passed [`check`].
    ///
    /// # Errors
    /// Fragments that cannot be told apart into frames; a file that cannot be read any more.
    pub fn open(path: &Path, header: &'a Header) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("cannot be read: {error}");
        let file = File::open(path).map_err(cannot)?;
        let (mut inflated, mut ranges) = (None, Vec::new());
        match &header.pixels {
            Some(Pixels::Native { position, length, .. }) if header.transfer.is_deflated() => {
                inflated = Some(inflate(path, *position, *length)?);
            }
            Some(Pixels::Fragments { offsets, fragments }) => {
                ranges = frame_ranges(&file, header, offsets, fragments)?;
            }
            _ => {}
        }
        let (stored, compression) = (Stored::of(header)?, header.transfer.compression()?);
        Ok(Self { header, stored, compression, file, inflated, ranges, raw: Vec::new(), pixels: Vec::new() })
    }

    /// Reads frame `index` into `out` (rows · columns, columns fastest), scaled.
    ///
    /// # Errors
    /// Pixels that end early or cannot be decompressed.
    pub fn read(&mut self, index: usize, scaling: (f64, f64), out: &mut [f32]) -> Result<(), String> {
        let size = out.len() * self.stored.element.bytes();
        let mut order = ByteOrder::Little;
        match &self.header.pixels {
            Some(Pixels::Native { position, words, .. }) => {
                let first = index * size;
                if let Some(inflated) = &self.inflated {
                    let bytes = inflated.get(first..first + size).ok_or("is truncated within its pixels")?;
                    self.stored.decode(bytes, order, scaling, out);
                    return Ok(());
                }
                self.pixels.resize(size, 0);
                read_at(&mut self.file, position + first as u64, &mut self.pixels)?;
                if self.header.coding.big_endian {
                    order = ByteOrder::Big;
                    // Bytes in words of 16 bits change places with the words' byte order (PS3.5, D.3).
                    if self.stored.element.bytes() == 1 && *words && size.is_multiple_of(2) {
                        self.pixels.as_chunks_mut::<2>().0.iter_mut().for_each(|word| word.reverse());
                    }
                }
            }
            Some(Pixels::Fragments { fragments, .. }) => {
                let range = self.ranges.get(index).cloned().unwrap_or(0..0);
                self.raw.clear();
                for &(position, length) in fragments.get(range).unwrap_or_default() {
                    let start = self.raw.len();
                    self.raw.resize(start + length as usize, 0);
                    read_at(&mut self.file, position, &mut self.raw[start..])?;
                }
                self.decompress(out.len())?;
            }
            None => return Err("has no pixels".to_owned()),
        }
        if self.pixels.len() < size {
            return Err(format!("is damaged: a frame has {} bytes, {size} are needed", self.pixels.len()));
        }
        self.stored.decode(&self.pixels[..size], order, scaling, out);
        Ok(())
    }

    /// From `raw` to little-endian `pixels`.
    fn decompress(&mut self, count: usize) -> Result<(), String> {
        let (rows, columns, width) = (self.header.rows, self.header.columns, self.stored.element.bytes());
        self.pixels.clear();
        match self.compression {
            Compression::RunLength => run_length::decode(&self.raw, count, width, &mut self.pixels),
            Compression::Jpeg => jpeg::decode(&self.raw, columns, rows, width, &mut self.pixels),
            Compression::Jpeg2000 => jpeg2000::decode(&self.raw, columns, rows, width, &mut self.pixels),
            Compression::None | Compression::Encapsulated => {
                std::mem::swap(&mut self.raw, &mut self.pixels);
                Ok(())
            }
        }
    }
}

fn read_at(file: &mut File, position: u64, buffer: &mut [u8]) -> Result<(), String> {
    file.seek(SeekFrom::Start(position))
        .and_then(|_| file.read_exact(buffer))
        .map_err(|error| format!("is truncated or damaged: its pixels cannot be read ({error})"))
}

/// The pixels of a deflated file, which were counted when its header was read.
fn inflate(path: &Path, position: u64, length: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Bytes::open(path).map_err(cannot)?;
    super::data_set::pass_file_meta(&mut bytes)?;
    let mut bytes = bytes.inflate().map_err(cannot)?;
    bytes.go_to(position, &"the data set")?;
    let mut pixels = Vec::new();
    pixels
        .try_reserve_exact(length as usize)
        .map_err(|_| format!("not enough memory for {length} bytes of pixels"))?;
    pixels.resize(length as usize, 0);
    bytes.fill(&mut pixels, &"PixelData")?;
    Ok(pixels)
}

/// Which fragments make which frame (PS3.5, A.4).
fn frame_ranges(
    file: &File,
    header: &Header,
    offsets: &[u64],
    fragments: &[(u64, u32)],
) -> Result<Vec<Range<usize>>, String> {
    let frames = header.frames as usize;
    if frames == 1 {
        return Ok(std::iter::once(0..fragments.len()).collect());
    }
    if frames == fragments.len() {
        return Ok((0..frames).map(|index| index..index + 1).collect());
    }
    let unclear =
        || format!("is damaged: {} fragments cannot be told apart into {frames} frames", fragments.len());
    // The table counts from the head of the first fragment; without one, a frame begins where a JPEG stream does.
    let mut starts = Vec::new();
    let first = fragments.first().map_or(0, |&(position, _)| position);
    let mut file = file.try_clone().map_err(|error| format!("cannot be read: {error}"))?;
    for (index, &(position, length)) in fragments.iter().enumerate() {
        let begins = if offsets.is_empty() {
            let mut magic = [0u8; 2];
            length >= 2
                && read_at(&mut file, position, &mut magic).is_ok()
                && [[0xFF, 0xD8], [0xFF, 0x4F]].contains(&magic)
        } else {
            offsets.contains(&(position - first))
        };
        if begins {
            starts.push(index);
        }
        if starts.len() > frames {
            return Err(unclear());
        }
    }
    if starts.len() != frames || starts.first() != Some(&0) {
        return Err(unclear());
    }
    let ends = starts.iter().copied().skip(1).chain([fragments.len()]);
    Ok(starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_cut_out_of_their_word_and_get_their_sign() {
        let unsigned = Stored { element: ElementType::Uint16, bits: 12, shift: 0 };
        assert_eq!(unsigned.number(0xF830), 0x830);
        let signed = Stored { element: ElementType::Int16, bits: 12, shift: 0 };
        assert_eq!(
            (signed.number(0xF830), signed.number(0x0830), signed.number(0x07FF)),
            (-2000, -2000, 2047)
        );
        let high = Stored { element: ElementType::Int16, bits: 12, shift: 4 };
        assert_eq!((high.number(0x8301), high.number(0x7FFF)), (-2000, 2047));
        let word = Stored { element: ElementType::Int32, bits: 31, shift: 0 };
        assert_eq!(word.number(0x7FFF_FFFF), -1);
        let mut out = [0.0; 2];
        signed.decode(&[0xF8, 0x30, 0x00, 0x01], ByteOrder::Big, (0.5, 1.0), &mut out);
        assert_eq!(out, [-999.0, 1.5]);
    }
}

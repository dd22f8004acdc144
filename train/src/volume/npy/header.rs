//! The header of a `.npy` file.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::volume::element::{ByteOrder, ElementType};

/// NumPy itself refuses headers longer than 10 000 characters.
const MAX_HEADER: usize = 1 << 16;

/// The most axes an array of NumPy has.
const MOST_AXES: usize = 64;

/// What the header of a `.npy` file says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// Sizes along the axes.
    pub shape: Vec<usize>,
    /// Product of the sizes.
    pub count: usize,
    /// Number format.
    pub element: ElementType,
    /// Byte order.
    pub byte_order: ByteOrder,
    /// True if the first axis is the fastest.
    pub fortran_order: bool,
    /// Where the values start in the file.
    pub offset: usize,
}

impl Header {
    /// Reads a header, leaving `stream` at the first value.
    ///
    /// # Errors
    /// If this is no `.npy` header, or one of an array that is not of real numbers.
    pub fn read(path: &Path, stream: &mut dyn Read) -> Result<Self> {
        let truncated = |_| Error::file(path, "is not a NumPy file, or is truncated within the header");
        let mut start = [0u8; 8];
        stream.read_exact(&mut start).map_err(truncated)?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(Error::file(path, "is not a NumPy file: it does not start with \\x93NUMPY"));
        }
        let (length, before) = match start[6] {
            1 => {
                let mut length = [0u8; 2];
                stream.read_exact(&mut length).map_err(truncated)?;
                (usize::from(u16::from_le_bytes(length)), 10)
            }
            2 | 3 => {
                let mut length = [0u8; 4];
                stream.read_exact(&mut length).map_err(truncated)?;
                (u32::from_le_bytes(length) as usize, 12)
            }
            version => {
                return Err(Error::file(path, format!("has the unknown NumPy format version {version}")));
            }
        };
        if length > MAX_HEADER {
            return Err(Error::file(
                path,
                format!("has a NumPy header of {length} bytes, which cannot be right"),
            ));
        }
        let mut text = vec![0u8; length];
        stream.read_exact(&mut text).map_err(truncated)?;
        let text = std::str::from_utf8(&text)
            .map_err(|_| Error::file(path, "the NumPy header is damaged (not text)"))?;
        parse(text, before + length).map_err(|cause| Error::file(path, cause))
    }

    /// Length of all values in bytes; checked when the header was parsed.
    pub fn bytes(&self) -> usize {
        self.count * self.element.bytes()
    }

    /// `"[14240, 64, 64, 32]"`.
    pub fn shape_text(&self) -> String {
        format!("{:?}", self.shape)
    }
}

fn parse(text: &str, offset: usize) -> Result<Header, String> {
    let damaged = |key: &str| format!("the NumPy header is damaged: {key} is missing or unreadable");
    let descr = value(text, "descr").ok_or_else(|| damaged("descr"))?;
    if descr.starts_with('[') {
        return Err("holds records of several fields, an array of plain numbers is needed".to_owned());
    }
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(|| damaged("descr"))?;
    let descr = descr[1..].split(quote).next().unwrap_or_default();
    let (element, byte_order) = element(descr)?;
    let order = value(text, "fortran_order").ok_or_else(|| damaged("fortran_order"))?;
    let fortran_order = if order.starts_with("True") {
        true
    } else if order.starts_with("False") {
        false
    } else {
        return Err(damaged("fortran_order"));
    };
    let shape = value(text, "shape")
        .and_then(|rest| rest.strip_prefix('('))
        .and_then(|rest| rest.split_once(')'))
        .ok_or_else(|| damaged("shape"))?
        .0;
    let shape: Vec<usize> = shape
        .split(',')
        // NumPy for Python 2 wrote long integers as 64L.
        .map(|size| size.trim().trim_end_matches('L'))
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().map_err(|_| damaged("shape")))
        .collect::<Result<_, _>>()?;
    if shape.len() > MOST_AXES {
        return Err(format!(
            "the header asks for an array of {} axes, NumPy has at most {MOST_AXES}",
            shape.len()
        ));
    }
    let count = shape
        .iter()
        .try_fold(1usize, |product, &n| product.checked_mul(n))
        .filter(|count| count.checked_mul(8).is_some_and(|bytes| bytes < isize::MAX as usize))
        .ok_or_else(|| format!("the header asks for an array of shape {shape:?}, which cannot exist"))?;
    Ok(Header { shape, count, element, byte_order, fortran_order, offset })
}

/// The text after `'key':`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    ['\'', '"'].into_iter().find_map(|quote| {
        let pattern = format!("{quote}{key}{quote}");
        let rest = text[text.find(&pattern)? + pattern.len()..].trim_start();
        Some(rest.strip_prefix(':')?.trim_start())
    })
}

fn element(descr: &str) -> Result<(ElementType, ByteOrder), String> {
    let (order, kind) = match descr.as_bytes().first() {
        Some(b'<' | b'|' | b'=') => (ByteOrder::Little, &descr[1..]),
        Some(b'>') => (ByteOrder::Big, &descr[1..]),
        _ => (ByteOrder::Little, descr),
    };
    let element = match kind {
        "u1" | "b1" => ElementType::Uint8,
        "i1" => ElementType::Int8,
        "u2" => ElementType::Uint16,
        "i2" => ElementType::Int16,
        "u4" => ElementType::Uint32,
        "i4" => ElementType::Int32,
        "u8" => ElementType::Uint64,
        "i8" => ElementType::Int64,
        "f2" => ElementType::Float16,
        "f4" => ElementType::Float32,
        "f8" => ElementType::Float64,
        _ => {
            return Err(format!(
                "holds values of NumPy type {descr:?}, real numbers of 8 to 64 bits are needed"
            ));
        }
    };
    Ok((element, order))
}

/// A little-endian `f32` C-order header, padded with spaces to a multiple of 64 bytes with room for a
/// first size of any number of digits, so that it can be overwritten once that size is known.
pub(super) fn float32_header(shape: &[usize]) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let dictionary =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{comma}), }}", sizes.join(", "));
    let growth = 20 - sizes.first().map_or(0, String::len).min(20);
    // 10 bytes before the text, 1 for the line end.
    let total = (10 + dictionary.len() + growth + 1).next_multiple_of(64);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    // The shapes written here have few axes, far from the 65 535 characters of version 1.
    bytes.extend_from_slice(&((total - 10) as u16).to_le_bytes());
    bytes.extend_from_slice(dictionary.as_bytes());
    bytes.resize(total - 1, b' ');
    bytes.push(b'\n');
    bytes
}

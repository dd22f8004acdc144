//! The text header of an NRRD file.

use super::geometry::{self, Geometry};
use crate::volume::element::{ByteOrder, ElementType};

/// How the voxels are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Raw,
    /// Numbers in ASCII, separated by blanks.
    Text,
    Gzip,
    Bzip2,
}

/// Where the voxels are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DataFiles {
    /// In the same file, after the empty line that ends the header.
    Attached,
    /// In files of these names, which follow one another; each holds this many axes, or by default all of them (one
    /// file) or all but the slowest (several).
    Detached { names: Vec<String>, axes: Option<usize> },
}

/// The fields that matter.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// Size, frames and place in the world.
    pub geometry: Geometry,
    /// Sizes of all axes, the fastest first.
    pub sizes: Vec<u64>,
    /// Number format.
    pub element: ElementType,
    /// Byte order of the voxels.
    pub byte_order: ByteOrder,
    /// How they are encoded.
    pub encoding: Encoding,
    /// Lines to skip in each data file.
    pub line_skip: u64,
    /// Bytes to skip after them, of what is decompressed; -1: the voxels are at the very end.
    pub byte_skip: i64,
    /// Where the voxels are.
    pub data: DataFiles,
    /// Length of the header in bytes, with the empty line that ends it.
    pub length: usize,
}

/// The most axes, as in teem (`NRRD_DIM_MAX`).
const MAX_AXES: usize = 16;

/// The most data files; as many as a scan has slices, with room for thousands of frames.
const MAX_FILES: u64 = 1 << 16;

impl Header {
    /// Parses the start of a file.
    ///
    /// # Errors
    /// The cause in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Lines { fields, list, length, complete } = lines(bytes)?;
        // Names may be written with or without blanks, in any case of letters.
        let find = |name: &str| {
            let wanted = name.replace(' ', "");
            fields.iter().find(|field| field.name == wanted).map(|field| field.value.as_str())
        };
        let needed = |name: &str| find(name).ok_or_else(|| format!("the header has no field {name:?}"));
        let dimension: usize = number("dimension", needed("dimension")?)?;
        let sizes: Vec<u64> = needed("sizes")?
            .split_whitespace()
            .map(|word| number("sizes", word))
            .collect::<Result<_, _>>()?;
        if sizes.len() != dimension || !(1..=MAX_AXES).contains(&dimension) {
            return Err(format!("dimension is {dimension}, but there are {} sizes", sizes.len()));
        }
        let element = element(needed("type")?)?;
        let encoding = encoding(needed("encoding")?)?;
        let byte_order = match find("endian").map(str::to_ascii_lowercase).as_deref() {
            Some("little") => ByteOrder::Little,
            Some("big") => ByteOrder::Big,
            None if element.bytes() == 1 || encoding == Encoding::Text => ByteOrder::Little,
            None => return Err("the header has no field \"endian\"".to_owned()),
            Some(other) => return Err(format!("endian is {other:?}, neither little nor big")),
        };
        let skip = |name: &str| find(name).map_or(Ok(0), |text| number::<i64>(name, text));
        let (line_skip, byte_skip) = (skip("line skip")?, skip("byte skip")?);
        let line_skip = u64::try_from(line_skip).map_err(|_| format!("line skip is {line_skip}"))?;
        if byte_skip < -1 {
            return Err(format!("byte skip is {byte_skip}"));
        }
        let data = match find("data file") {
            Some(text) => data_files(text, &list, dimension)?,
            None if complete => DataFiles::Attached,
            None => {
                return Err(
                    "the NRRD header is damaged: no empty line ends it, and it names no data file".to_owned()
                );
            }
        };
        Ok(Self {
            geometry: geometry::parse(&sizes, &find)?,
            sizes,
            element,
            byte_order,
            encoding,
            line_skip,
            byte_skip,
            data,
            length,
        })
    }
}

/// A field: its name in small letters without blanks, and its value.
struct Field {
    name: String,
    value: String,
}

struct Lines {
    fields: Vec<Field>,
    /// The lines behind `data file: LIST`.
    list: Vec<String>,
    length: usize,
    /// An empty line ends the header.
    complete: bool,
}

/// The field a line holds; `None` for comments, keys of the user, and the magic.
pub(super) fn field(line: &str) -> Option<(String, &str)> {
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.split_once(':')?;
    // `key:=value` is the user's.
    if value.starts_with('=') {
        return None;
    }
    Some((name.trim().to_ascii_lowercase().replace(' ', ""), value.trim()))
}

fn lines(bytes: &[u8]) -> Result<Lines, String> {
    match bytes.get(..8) {
        Some([b'N', b'R', b'R', b'D', b'0', b'0', b'0', b'1'..=b'5']) => {}
        Some([b'N', b'R', b'R', b'D', b'0', b'0', version @ ..]) => {
            let version = String::from_utf8_lossy(version).escape_debug().to_string();
            return Err(format!("is of NRRD version {version}, versions 1 to 5 are read"));
        }
        _ => return Err("is not NRRD: it does not start with NRRD000 and a version".to_owned()),
    }
    let mut result = Lines { fields: Vec::new(), list: Vec::new(), length: bytes.len(), complete: false };
    let (mut position, mut listing) = (0, false);
    while position < bytes.len() {
        let end = bytes[position..].iter().position(|&byte| byte == b'\n');
        let line = &bytes[position..end.map_or(bytes.len(), |end| position + end)];
        position = end.map_or(bytes.len(), |end| position + end + 1);
        // Comments and keys may be of any encoding; the fields that matter are ASCII.
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        if listing {
            if !line.trim().is_empty() {
                result.list.push(line.trim().to_owned());
            }
        } else if line.is_empty() {
            if end.is_some() {
                (result.length, result.complete) = (position, true);
            }
            return Ok(result);
        } else if let Some((name, value)) = field(line) {
            listing = name == "datafile" && value.split_whitespace().next() == Some("LIST");
            if !result.fields.iter().any(|field| field.name == name) {
                result.fields.push(Field { name, value: value.to_owned() });
            }
        }
    }
    Ok(result)
}

pub(super) fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("{name} holds {:?}, which is not a number of its kind", text.trim()))
}

/// One file, `LIST [axes]` with the names that follow, or a `printf` pattern `slice%03d.raw 1 90 1 [axes]`.
fn data_files(text: &str, list: &[String], dimension: usize) -> Result<DataFiles, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let axes = |word: Option<&&str>| -> Result<Option<usize>, String> {
        let axes = word.map(|word| number::<usize>("data file", word)).transpose()?;
        match axes {
            Some(axes) if axes == 0 || axes > dimension => {
                Err(format!("data file has {axes} axes in each file, of {dimension}"))
            }
            axes => Ok(axes),
        }
    };
    let (names, axes) = match words[..] {
        [] => return Err("data file names no file".to_owned()),
        ["LIST"] | ["LIST", _] => (list.to_vec(), axes(words.get(1))?),
        [pattern, first, last, step] | [pattern, first, last, step, _] if pattern.contains('%') => {
            let [first, last, step] = [first, last, step].map(|word| number::<i64>("data file", word));
            (pattern_names(pattern, first?, last?, step?)?, axes(words.get(4))?)
        }
        _ => return Ok(DataFiles::Detached { names: vec![text.to_owned()], axes: None }),
    };
    if names.is_empty() || names.len() as u64 > MAX_FILES {
        return Err(format!("data file lists {} files, 1 to {MAX_FILES} are read", names.len()));
    }
    Ok(DataFiles::Detached { names, axes })
}

/// The names of a `printf` pattern with one `%d`, `%3d` or `%03d`.
fn pattern_names(pattern: &str, first: i64, last: i64, step: i64) -> Result<Vec<String>, String> {
    let refuse = || format!("data file has the pattern {pattern:?}; one %d, %3d or %03d is read");
    let (before, rest) = pattern.split_once('%').ok_or_else(refuse)?;
    let (width, after) = rest.split_once('d').ok_or_else(refuse)?;
    if after.contains('%') || width.len() > 3 || !width.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse());
    }
    let (zeros, width) = (width.starts_with('0'), width.parse().unwrap_or(0));
    let count = match last.checked_sub(first).and_then(|span| span.checked_div(step)) {
        Some(steps @ 0..) if (steps as u64) < MAX_FILES && step != 0 => steps,
        _ => return Err(format!("data file counts from {first} to {last} by {step}")),
    };
    Ok((0..=count)
        .map(|index| {
            let number = first + index * step;
            if zeros {
                format!("{before}{number:0width$}{after}")
            } else {
                format!("{before}{number:width$}{after}")
            }
        })
        .collect())
}

fn encoding(name: &str) -> Result<Encoding, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "raw" => Encoding::Raw,
        "txt" | "text" | "ascii" => Encoding::Text,
        "gz" | "gzip" => Encoding::Gzip,
        "bz2" | "bzip2" => Encoding::Bzip2,
        other => return Err(format!("the encoding {other:?} is not read (raw, ascii, gzip and bzip2 are)")),
    })
}

/// The spellings of teem's `nrrdType`.
fn element(name: &str) -> Result<ElementType, String> {
    let words: Vec<&str> = name.split_whitespace().collect();
    Ok(match words.join(" ").to_ascii_lowercase().as_str() {
        "signed char" | "int8" | "int8_t" => ElementType::Int8,
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => ElementType::Uint8,
        "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => {
            ElementType::Int16
        }
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => ElementType::Uint16,
        "int" | "signed int" | "int32" | "int32_t" => ElementType::Int32,
        "uint" | "unsigned int" | "uint32" | "uint32_t" => ElementType::Uint32,
        "longlong"
        | "long long"
        | "long long int"
        | "signed long long"
        | "signed long long int"
        | "int64"
        | "int64_t" => ElementType::Int64,
        "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => {
            ElementType::Uint64
        }
        "float" => ElementType::Float32,
        "double" => ElementType::Float64,
        // The format's definition: "char" alone does not say whether it has a sign.
        other => return Err(format!("the type {other:?} is not read (real numbers of 8 to 64 bits are)")),
    })
}

/// The format's name of a number format, if it has one.
pub(super) fn element_name(element: ElementType) -> Option<&'static str> {
    Some(match element {
        ElementType::Uint8 => "unsigned char",
        ElementType::Int8 => "signed char",
        ElementType::Uint16 => "unsigned short",
        ElementType::Int16 => "short",
        ElementType::Uint32 => "unsigned int",
        ElementType::Int32 => "int",
        ElementType::Uint64 => "unsigned long long int",
        ElementType::Int64 => "long long int",
        ElementType::Float32 => "float",
        ElementType::Float64 => "double",
        ElementType::Float16 => return None,
    })
}

//! The text header of a MetaImage file.

use crate::volume::affine::{self, Affine};
use crate::volume::element::{ByteOrder, ElementType};
use crate::volume::frames::Frames;

/// Where the voxels are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum DataFile {
    /// In the same file, right after the header.
    Local,
    /// In a file of this name, relative to the header's folder.
    Other(String),
}

/// The fields that matter.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// Voxels along x, y and z.
    pub size: [u64; 3],
    /// The volumes: those of a fourth dimension, or the channels of a voxel.
    pub frames: Frames,
    /// Number format.
    pub element: ElementType,
    /// Byte order of the voxels.
    pub byte_order: ByteOrder,
    /// True for zlib or gzip data.
    pub compressed: bool,
    /// Length of the compressed data, if given.
    pub compressed_size: Option<u64>,
    /// Bytes before the voxels in the data file; -1: the voxels are at the very end.
    pub header_size: i64,
    /// Where the voxels are.
    pub data_file: DataFile,
    /// Voxel index to RAS millimetres.
    pub affine: Affine,
    /// Length of the header text in bytes, with its last line end.
    pub length: usize,
}

impl Header {
    /// Parses the start of a file, up to and with the line `ElementDataFile`.
    ///
    /// # Errors
    /// The cause in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (fields, length) = fields(bytes)?;
        let find = |names: &[&str]| {
            names.iter().find_map(|name| fields.iter().find(|(key, _)| key == name).map(|(_, value)| *value))
        };
        if let Some(kind) = find(&["ObjectType"]).filter(|kind| *kind != "Image") {
            return Err(format!("is a MetaIO file, but its ObjectType is {kind}, not Image"));
        }
        let size_text = find(&["DimSize"]).ok_or("the header has no DimSize")?;
        let sizes: Vec<u64> = numbers("DimSize", size_text)?;
        let dimensions = match find(&["NDims"]) {
            Some(text) => number::<usize>("NDims", text)?,
            None => sizes.len(),
        };
        if dimensions != sizes.len() || !(1..=10).contains(&dimensions) {
            return Err(format!("NDims is {dimensions}, but DimSize is {size_text}"));
        }
        let further: Vec<u64> = sizes.iter().skip(3).copied().filter(|&n| n != 1).collect();
        let channels = find(&["ElementNumberOfChannels"])
            .map_or(Ok(1), |text| number::<u64>("ElementNumberOfChannels", text))?;
        let frames = match further[..] {
            [] if channels > 0 => Frames { count: channels, axis: if channels == 1 { 3 } else { 0 } },
            [count] if channels == 1 && count > 0 => Frames { count, axis: 3 },
            _ => {
                return Err(format!(
                    "holds volumes in more than one way (DimSize {size_text}, {channels} channels per voxel), \
                     one dimension beyond the third is read, or channels"
                ));
            }
        };
        for (name, neutral) in
            [("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)]
        {
            if let Some(text) = find(&[name])
                && number::<f64>(name, text)? != neutral
            {
                return Err(format!(
                    "{name} is {text}; programs disagree on whether it applies (ITK ignores it), so scale the voxels first"
                ));
            }
        }
        if !flag("BinaryData", find(&["BinaryData"]), true)? {
            return Err("stores its voxels as text (BinaryData = False), only binary data is read".to_owned());
        }
        let big_endian =
            flag("BinaryDataByteOrderMSB", find(&["BinaryDataByteOrderMSB", "ElementByteOrderMSB"]), false)?;
        Ok(Self {
            size: std::array::from_fn(|axis| sizes.get(axis).copied().unwrap_or(1)),
            frames,
            element: element(find(&["ElementType"]).ok_or("the header has no ElementType")?)?,
            byte_order: if big_endian { ByteOrder::Big } else { ByteOrder::Little },
            compressed: flag("CompressedData", find(&["CompressedData"]), false)?,
            compressed_size: find(&["CompressedDataSize"])
                .map(|text| number::<f64>("CompressedDataSize", text))
                .transpose()?
                // Old ITK versions wrote this number in scientific notation, some wrote 0.
                .filter(|size| (1.0..1e15).contains(size))
                .map(|size| size as u64),
            header_size: match find(&["HeaderSize"]) {
                Some(text) => number("HeaderSize", text)?,
                None => 0,
            },
            data_file: match find(&["ElementDataFile"]).unwrap_or_default() {
                "LOCAL" | "Local" | "local" => DataFile::Local,
                "" => return Err("ElementDataFile names no file".to_owned()),
                list if list.split_whitespace().next() == Some("LIST") || list.contains('%') => {
                    return Err("spreads its voxels over one file per slice (ElementDataFile = LIST or a \
                                pattern), only one data file is read"
                        .to_owned());
                }
                name => DataFile::Other(name.to_owned()),
            },
            affine: world(dimensions, &find)?,
            length,
        })
    }
}

/// A key and its value.
type Field<'a> = (&'a str, &'a str);

/// Splits the text into `key = value` pairs; also gives the number of bytes used.
fn fields(bytes: &[u8]) -> Result<(Vec<Field<'_>>, usize), String> {
    let mut fields = Vec::new();
    let mut position = 0;
    while let Some(end) = bytes[position..].iter().position(|&byte| byte == b'\n') {
        let line = &bytes[position..position + end];
        position += end + 1;
        let line = std::str::from_utf8(line).map_err(|_| not_metaimage(fields.is_empty()))?.trim();
        if line.is_empty() {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| not_metaimage(fields.is_empty()))?;
        fields.push((key.trim(), value.trim()));
        if key.trim() == "ElementDataFile" {
            return Ok((fields, position));
        }
    }
    // The last line of a .mhd may lack its line end.
    if let Ok(rest) = std::str::from_utf8(&bytes[position..])
        && let Some((key, value)) = rest.split_once('=')
        && key.trim() == "ElementDataFile"
    {
        fields.push(("ElementDataFile", value.trim()));
        return Ok((fields, bytes.len()));
    }
    Err(not_metaimage(fields.is_empty()))
}

fn not_metaimage(at_start: bool) -> String {
    if at_start {
        "is not MetaImage: it does not start with lines of the form key = value".to_owned()
    } else {
        "the MetaImage header is damaged or has no ElementDataFile".to_owned()
    }
}

fn number<T: std::str::FromStr>(key: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{key} is {text:?}, not a number"))
}

fn numbers<T: std::str::FromStr>(key: &str, text: &str) -> Result<Vec<T>, String> {
    text.split_whitespace().map(|word| number(key, word)).collect()
}

fn flag(key: &str, value: Option<&str>, default: bool) -> Result<bool, String> {
    // MetaIO looks at the first letter only.
    match value.map(|text| text.chars().next().unwrap_or(' ').to_ascii_lowercase()) {
        None => Ok(default),
        Some('t' | 'y' | '1') => Ok(true),
        Some('f' | 'n' | '0') => Ok(false),
        Some(_) => Err(format!("{key} is {:?}, neither True nor False", value.unwrap_or_default())),
    }
}

fn element(name: &str) -> Result<ElementType, String> {
    Ok(match name {
        "MET_UCHAR" => ElementType::Uint8,
        "MET_CHAR" | "MET_ASCII_CHAR" => ElementType::Int8,
        "MET_USHORT" => ElementType::Uint16,
        "MET_SHORT" => ElementType::Int16,
        // MetaIO's LONG has 4 bytes on every platform.
        "MET_UINT" | "MET_ULONG" => ElementType::Uint32,
        "MET_INT" | "MET_LONG" => ElementType::Int32,
        "MET_ULONG_LONG" => ElementType::Uint64,
        "MET_LONG_LONG" => ElementType::Int64,
        "MET_FLOAT" => ElementType::Float32,
        "MET_DOUBLE" => ElementType::Float64,
        other => return Err(format!("ElementType {other} is not read (real numbers are)")),
    })
}

/// The affine matrix in RAS from spacing, matrix and offset in LPS. Row i of `TransformMatrix` is the
/// direction of voxel axis i.
fn world<'a>(dimensions: usize, find: &impl Fn(&[&str]) -> Option<&'a str>) -> Result<Affine, String> {
    let list = |names: &[&str], wanted: usize| -> Result<Option<Vec<f64>>, String> {
        let Some(text) = find(names) else { return Ok(None) };
        let values: Vec<f64> = numbers(names[0], text)?;
        if values.len() != wanted {
            return Err(format!("{} has {} numbers, {wanted} are needed", names[0], values.len()));
        }
        Ok(Some(values))
    };
    let spacing = list(&["ElementSpacing", "ElementSize"], dimensions)?;
    let matrix = list(&["TransformMatrix", "Rotation", "Orientation"], dimensions * dimensions)?;
    let offset = list(&["Offset", "Position", "Origin"], dimensions)?;
    let mut affine = affine::IDENTITY;
    let used = dimensions.min(3);
    for row in 0..3 {
        for axis in 0..3 {
            let inside = row < used && axis < used;
            let direction = match &matrix {
                Some(matrix) if inside => matrix[axis * dimensions + row],
                _ => f64::from(u8::from(row == axis)),
            };
            let length = if axis < used { spacing.as_ref().map_or(1.0, |s| s[axis]) } else { 1.0 };
            affine[row][axis] = direction * length;
        }
        affine[row][3] = offset.as_ref().filter(|_| row < used).map_or(0.0, |offset| offset[row]);
    }
    affine::check(&affine)?;
    Ok(affine::turn_lps_ras(&affine))
}

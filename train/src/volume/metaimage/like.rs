//! MetaImage files with another file's header.

use std::io::Read;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::header::Header;
use super::write::{element_name, store};
use crate::error::{Error, Result};
use crate::volume::affine::file_error;
use crate::volume::element::ByteOrder;
use crate::volume::like::check_size;
use crate::volume::{Voxels, input};

/// Lines that say how voxels are stored, which the new file says for itself.
const STORAGE: [&str; 14] = [
    "BinaryData",
    "BinaryDataByteOrderMSB",
    "ElementByteOrderMSB",
    "CompressedData",
    "CompressedDataSize",
    "HeaderSize",
    "ElementType",
    "ElementNumberOfChannels",
    "ElementDataFile",
    "ElementMin",
    "ElementMax",
    "ElementToIntensityFunctionSlope",
    "ElementToIntensityFunctionOffset",
    "Modality",
];

/// Writes voxels under the header lines of `input`, word for word except for those of [`STORAGE`].
///
/// # Errors
/// An input that cannot be read; a size its header does not have; a disk that refuses.
pub(in crate::volume) fn write_like(
    input: &Path,
    path: &Path,
    size: [usize; 3],
    voxels: Voxels<'_>,
) -> Result<()> {
    let (file, _) = input::open_file(input)?;
    let mut start = Vec::new();
    file.take(super::read::MAX_HEADER).read_to_end(&mut start).map_err(Error::io("read", input))?;
    let header = Header::parse(&start).map_err(file_error(input))?;
    check_size(input, header.size, size)?;
    let mut text = String::new();
    // The header was parsed, so it is text of lines `key = value`.
    for line in String::from_utf8_lossy(&start[..header.length]).lines() {
        let key = line.split('=').next().unwrap_or_default().trim();
        if !key.is_empty() && !STORAGE.contains(&key) {
            text += line.trim_end();
            text.push('\n');
        }
    }
    let element = element_name(voxels.element())
        .ok_or_else(|| Error::file(path, format!("MetaImage cannot store {}", voxels.element().name())))?;
    let mut compressed = Vec::new();
    let mut encoder = ZlibEncoder::new(&mut compressed, Compression::new(4));
    voxels.write(path, &mut encoder, size, ByteOrder::Little)?;
    encoder.finish().map_err(Error::io("write", path))?;
    store(path, &compressed, |data| {
        format!(
            "{text}BinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = True\n\
             CompressedDataSize = {}\nElementType = {element}\nElementDataFile = {data}\n",
            compressed.len()
        )
    })
}

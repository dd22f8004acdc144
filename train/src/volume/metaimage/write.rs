//! Writing MetaImage files.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::error::{Error, Result};
use crate::volume::{ElementType, Volume, affine, planes};
use genesis_model::checkpoint::AtomicFile;

/// Writes a compressed MetaImage: one file if the name ends in `.mha`; for `.mhd`, the header and
/// beside it `.zraw` with the voxels. Integer formats round to the nearest integer.
///
/// # Errors
/// If a value does not fit `stored`, MetaImage has no such number format (half precision), or the
/// disk refuses.
pub fn write_metaimage(path: &Path, volume: &Volume, stored: ElementType) -> Result<()> {
    let element = element_name(stored)
        .ok_or_else(|| Error::file(path, format!("MetaImage cannot store {} voxels", stored.name())))?;
    let mut compressed = Vec::new();
    let mut encoder = ZlibEncoder::new(&mut compressed, Compression::new(4));
    planes::write(path, &mut encoder, volume, stored)?;
    encoder.finish().map_err(Error::io("write", path))?;
    store(path, &compressed, |data_name| header_text(volume, element, compressed.len(), data_name))
}

/// Writes header and compressed voxels: into one file for `.mha`, else the voxels into `.zraw`, whose
/// name `header` is given.
///
/// # Errors
/// A name that is not UTF-8; a disk that refuses.
pub(super) fn store(path: &Path, compressed: &[u8], header: impl Fn(&str) -> String) -> Result<()> {
    let local = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mha"));
    let data_path = path.with_extension("zraw");
    let data_name = match data_path.file_name().map(|name| name.to_str()) {
        _ if local => "LOCAL",
        Some(Some(name)) => name,
        _ => return Err(Error::file(path, "the name must be UTF-8, since the header of a .mhd holds it")),
    };
    let mut file = AtomicFile::create(path)?;
    file.write_all(header(data_name).as_bytes()).map_err(Error::io("write", path))?;
    if local {
        file.write_all(compressed).map_err(Error::io("write", path))?;
    } else {
        // The data first: a header never points to a file that is not there.
        let mut data = AtomicFile::create(&data_path)?;
        data.write_all(compressed).map_err(Error::io("write", &data_path))?;
        data.commit()?;
    }
    Ok(file.commit()?)
}

pub(super) fn element_name(stored: ElementType) -> Option<&'static str> {
    Some(match stored {
        ElementType::Uint8 => "MET_UCHAR",
        ElementType::Int8 => "MET_CHAR",
        ElementType::Uint16 => "MET_USHORT",
        ElementType::Int16 => "MET_SHORT",
        ElementType::Uint32 => "MET_UINT",
        ElementType::Int32 => "MET_INT",
        ElementType::Uint64 => "MET_ULONG_LONG",
        ElementType::Int64 => "MET_LONG_LONG",
        ElementType::Float32 => "MET_FLOAT",
        ElementType::Float64 => "MET_DOUBLE",
        ElementType::Float16 => return None,
    })
}

fn header_text(volume: &Volume, element: &str, compressed_size: usize, data_name: &str) -> String {
    let join = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    let lengths = affine::spacing(&volume.affine);
    let lps = affine::turn_lps_ras(&volume.affine);
    let mut matrix = Vec::with_capacity(9);
    for axis in 0..3 {
        for row in 0..3 {
            matrix.push(lps[row][axis] / lengths[axis]);
        }
    }
    let offset = lps.map(|row| row[3]);
    let [x, y, z] = volume.size;
    format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
         CompressedData = True\nCompressedDataSize = {compressed_size}\nTransformMatrix = {}\n\
         Offset = {}\nCenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\nElementSpacing = {}\n\
         DimSize = {x} {y} {z}\nElementType = {element}\nElementDataFile = {data_name}\n",
        join(&matrix),
        join(&offset[..3]),
        join(&lengths),
    )
}

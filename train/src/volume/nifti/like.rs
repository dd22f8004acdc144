//! NIfTI files with another file's header.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::read::raw_header;
use crate::error::{Error, Result};
use crate::volume::element::ByteOrder;
use crate::volume::like::check_size;
use crate::volume::{ElementType, Voxels};
use genesis_model::checkpoint::AtomicFile;

/// Writes voxels under the header of `input`, in its version and byte order; only what describes the
/// voxels' own format and their number is changed.
///
/// # Errors
/// An input that cannot be read; a size the header does not have; a disk that refuses.
pub(in crate::volume) fn write_like(
    input: &Path,
    path: &Path,
    size: [usize; 3],
    voxels: Voxels<'_>,
) -> Result<()> {
    let (mut bytes, header) = raw_header(input)?;
    let (found, _) = header.size_and_volumes().map_err(|cause| Error::file(input, cause))?;
    check_size(input, found, size)?;
    let order = header.byte_order;
    let mut put = |offset: usize, little: &[u8]| {
        let target = &mut bytes[offset..offset + little.len()];
        target.copy_from_slice(little);
        if order == ByteOrder::Big {
            target.reverse();
        }
    };
    let (code, bits) = if voxels.element() == ElementType::Uint8 { (2i16, 8i16) } else { (16, 32) };
    let dimensions = header.dimensions.len().min(3);
    if header.version == 1 {
        put(40, &(dimensions as i16).to_le_bytes());
        // Further dimensions, the intent and its parameters, limits for display: not those of a label map.
        (dimensions + 1..8).for_each(|axis| put(40 + 2 * axis, &1i16.to_le_bytes()));
        [56, 60, 64, 124, 128, 140, 144].into_iter().for_each(|offset| put(offset, &[0; 4]));
        put(68, &[0; 2]);
        put(70, &code.to_le_bytes());
        put(72, &bits.to_le_bytes());
        put(108, &352f32.to_le_bytes());
        put(112, &1f32.to_le_bytes());
        put(116, &0f32.to_le_bytes());
        bytes[344..348].copy_from_slice(b"n+1\0");
    } else {
        put(12, &code.to_le_bytes());
        put(14, &bits.to_le_bytes());
        put(16, &(dimensions as i64).to_le_bytes());
        (dimensions + 1..8).for_each(|axis| put(16 + 8 * axis, &1i64.to_le_bytes()));
        [80, 88, 96, 192, 200].into_iter().for_each(|offset| put(offset, &[0; 8]));
        put(168, &544i64.to_le_bytes());
        put(176, &1f64.to_le_bytes());
        put(184, &0f64.to_le_bytes());
        put(504, &[0; 4]);
        bytes[4..12].copy_from_slice(b"n+2\0\r\n\x1a\n");
    }
    // No extension follows.
    bytes.extend([0; 4]);
    let mut file = AtomicFile::create(path)?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        let mut encoder = GzEncoder::new(&mut file, Compression::new(4));
        encoder.write_all(&bytes).map_err(Error::io("write", path))?;
        voxels.write(path, &mut encoder, size, order)?;
        encoder.finish().map_err(Error::io("write", path))?;
    } else {
        file.write_all(&bytes).map_err(Error::io("write", path))?;
        voxels.write(path, &mut file, size, order)?;
    }
    Ok(file.commit()?)
}

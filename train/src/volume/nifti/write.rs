//! Writing NIfTI-1 files.

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::error::{Error, Result};
use crate::volume::{ElementType, Volume, affine, planes};
use genesis_model::checkpoint::AtomicFile;

/// Writes a NIfTI-1 file: gzip if the name ends in `.gz`, single file always.
///
/// The affine matrix goes into the sform, and into the qform too unless it is sheared. Values are
/// stored as they are, without a slope; integer formats round to the nearest integer.
///
/// # Errors
/// If a size exceeds 32 767 (the format's limit), a value does not fit `stored`, NIfTI has no such
/// number format (half precision), or the disk refuses. Nothing is left behind then.
pub fn write_nifti(path: &Path, volume: &Volume, stored: ElementType) -> Result<()> {
    let header = header_bytes(path, volume, stored)?;
    let mut file = AtomicFile::create(path)?;
    let compress = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    if compress {
        // Level 6 costs three times as much and saves a few per cent on CT.
        let mut encoder = GzEncoder::new(&mut file, Compression::new(4));
        encoder.write_all(&header).map_err(Error::io("write", path))?;
        planes::write(path, &mut encoder, volume, stored)?;
        encoder.finish().map_err(Error::io("write", path))?;
    } else {
        let write: io::Result<()> = file.write_all(&header);
        write.map_err(Error::io("write", path))?;
        planes::write(path, &mut file, volume, stored)?;
    }
    Ok(file.commit()?)
}

fn data_type(stored: ElementType) -> Option<i16> {
    Some(match stored {
        ElementType::Uint8 => 2,
        ElementType::Int16 => 4,
        ElementType::Int32 => 8,
        ElementType::Float32 => 16,
        ElementType::Float64 => 64,
        ElementType::Int8 => 256,
        ElementType::Uint16 => 512,
        ElementType::Uint32 => 768,
        ElementType::Int64 => 1024,
        ElementType::Uint64 => 1280,
        ElementType::Float16 => return None,
    })
}

/// 348 bytes of header and 4 that say that no extension follows.
fn header_bytes(path: &Path, volume: &Volume, stored: ElementType) -> Result<[u8; 352]> {
    let code = data_type(stored)
        .ok_or_else(|| Error::file(path, format!("NIfTI cannot store {} voxels", stored.name())))?;
    let mut bytes = [0u8; 352];
    let mut put = |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
    put(0, &348i32.to_le_bytes());
    // Required by ANALYZE readers.
    put(38, b"r");
    put(40, &3i16.to_le_bytes());
    for axis in 0..7 {
        let size = volume.size.get(axis).copied().unwrap_or(1);
        let size = i16::try_from(size).map_err(|_| {
            Error::file(path, format!("NIfTI-1 allows 32767 voxels along an axis, not {size}"))
        })?;
        put(42 + 2 * axis, &size.to_le_bytes());
    }
    put(70, &code.to_le_bytes());
    put(72, &((stored.bytes() * 8) as i16).to_le_bytes());
    let quaternion = affine::to_quaternion(&volume.affine);
    let qfac = quaternion.map_or(1.0, |(_, qfac)| qfac);
    let lengths = affine::spacing(&volume.affine);
    for (i, value) in [qfac, lengths[0], lengths[1], lengths[2], 1.0, 1.0, 1.0, 1.0].iter().enumerate() {
        put(76 + 4 * i, &(*value as f32).to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes());
    // Millimetres.
    put(123, &[2]);
    put(148, concat!("genesis ", env!("CARGO_PKG_VERSION")).as_bytes());
    let space = volume.source.space_code.clamp(1, 4).to_le_bytes();
    if let Some((components, _)) = quaternion {
        put(252, &space);
        for axis in 0..3 {
            put(256 + 4 * axis, &(components[axis] as f32).to_le_bytes());
            put(268 + 4 * axis, &(volume.affine[axis][3] as f32).to_le_bytes());
        }
    }
    put(254, &space);
    for row in 0..3 {
        for column in 0..4 {
            put(280 + 16 * row + 4 * column, &(volume.affine[row][column] as f32).to_le_bytes());
        }
    }
    put(344, b"n+1\0");
    Ok(bytes)
}

//! From the order of volume files (x fastest) to the order of [`Volume`](super::Volume) (z fastest),
//! and back, a few planes at a time.

use std::io::{Read, Write};
use std::path::Path;

use super::element::{ByteOrder, ElementType};
use super::{MAX_VOXELS, Volume};
use crate::error::{Error, Result};

/// Planes handled together: 16 `f32` along z fill one 64-byte cache line.
pub(super) const PLANES: usize = 16;

/// The number of voxels of a volume of this size, checked.
///
/// # Errors
/// If a size is 0 or the number exceeds [`MAX_VOXELS`].
pub(super) fn voxel_count(path: &Path, size: [u64; 3]) -> Result<u64> {
    let [x, y, z] = size;
    if size.contains(&0) {
        return Err(Error::file(path, format!("a size of {x}x{y}x{z} holds no voxel")));
    }
    match x.checked_mul(y).and_then(|plane| plane.checked_mul(z)) {
        Some(count) if count <= MAX_VOXELS => Ok(count),
        _ => Err(Error::file(
            path,
            format!("the header asks for {x}x{y}x{z} voxels, more than the {MAX_VOXELS} that are read"),
        )),
    }
}

/// Zeroed memory for `count` voxels.
///
/// # Errors
/// If the system has not that much memory.
pub(super) fn allocate(path: &Path, count: usize) -> Result<Vec<f32>> {
    let mut voxels = Vec::new();
    voxels.try_reserve_exact(count).map_err(|_| {
        Error::file(path, format!("not enough memory for its {count} voxels ({} MiB)", count >> 18))
    })?;
    voxels.resize(count, 0.0);
    Ok(voxels)
}

/// How the voxels lie in a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Voxels along x, y and z; x is the fastest in the stream.
    pub size: [usize; 3],
    /// Stored number format.
    pub element: ElementType,
    /// Stored byte order.
    pub byte_order: ByteOrder,
    /// `(slope, intercept)` to apply.
    pub scaling: Option<(f64, f64)>,
}

/// Reads all voxels of a stream whose size was checked, into z-fastest order.
///
/// # Errors
/// If the stream ends early or is damaged.
pub(super) fn read(path: &Path, stream: &mut dyn Read, layout: &Layout) -> Result<Vec<f32>> {
    let [nx, ny, nz] = layout.size;
    let plane = nx * ny;
    let mut voxels = allocate(path, plane * nz)?;
    // A group of planes is never larger than the volume, whose memory was just granted.
    let depth = PLANES.min(nz);
    let mut bytes = vec![0u8; plane * depth * layout.element.bytes()];
    let mut values = vec![0f32; plane * depth];
    for first in (0..nz).step_by(PLANES) {
        let depth = PLANES.min(nz - first);
        let bytes = &mut bytes[..plane * depth * layout.element.bytes()];
        let values = &mut values[..plane * depth];
        stream.read_exact(bytes).map_err(|error| {
            let cause = if error.kind() == std::io::ErrorKind::UnexpectedEof {
                format!("is truncated: the voxels end within plane {} to {} of {nz}", first, first + depth)
            } else {
                format!("is damaged: the voxels cannot be read ({error})")
            };
            Error::file(path, cause)
        })?;
        layout.element.decode(bytes, layout.byte_order, layout.scaling, values);
        place(&mut voxels, layout.size, first, values);
    }
    Ok(voxels)
}

/// Puts whole planes, x fastest, into a volume, z fastest, as its planes from `first` on.
pub(super) fn place(voxels: &mut [f32], [nx, ny, nz]: [usize; 3], first: usize, planes: &[f32]) {
    let plane = nx * ny;
    let depth = planes.len() / plane;
    for y in 0..ny {
        for x in 0..nx {
            let target = (x * ny + y) * nz + first;
            for z in 0..depth {
                voxels[target + z] = planes[z * plane + y * nx + x];
            }
        }
    }
}

/// Writes all voxels, x fastest, little-endian.
///
/// # Errors
/// If a value does not fit the number format, or the disk is full.
pub(super) fn write(
    path: &Path,
    stream: &mut dyn Write,
    volume: &Volume,
    element: ElementType,
) -> Result<()> {
    let [nx, ny, nz] = volume.size;
    let plane = nx * ny;
    let mut values = vec![0f32; plane * PLANES.min(nz)];
    let mut bytes = Vec::new();
    for first in (0..nz).step_by(PLANES) {
        let depth = PLANES.min(nz - first);
        for y in 0..ny {
            for x in 0..nx {
                let source = (x * ny + y) * nz + first;
                for z in 0..depth {
                    values[z * plane + y * nx + x] = volume.voxels[source + z];
                }
            }
        }
        bytes.clear();
        element.encode(&values[..plane * depth], &mut bytes).map_err(|value| {
            Error::file(path, format!("the voxel value {value} cannot be stored as {}", element.name()))
        })?;
        stream.write_all(&bytes).map_err(Error::io("write", path))?;
    }
    Ok(())
}

/// Writes voxels of `B` bytes each, x fastest; `voxel(i)` gives the bytes of the one at `i` (z fastest).
///
/// # Errors
/// If the disk is full.
pub(super) fn write_bytes<const B: usize>(
    path: &Path,
    stream: &mut dyn Write,
    [nx, ny, nz]: [usize; 3],
    voxel: impl Fn(usize) -> [u8; B],
) -> Result<()> {
    let plane = nx * ny;
    let mut bytes = vec![0u8; plane * PLANES.min(nz) * B];
    for first in (0..nz).step_by(PLANES) {
        let depth = PLANES.min(nz - first);
        for y in 0..ny {
            for x in 0..nx {
                let source = (x * ny + y) * nz + first;
                for z in 0..depth {
                    let target = (z * plane + y * nx + x) * B;
                    bytes[target..target + B].copy_from_slice(&voxel(source + z));
                }
            }
        }
        stream.write_all(&bytes[..plane * depth * B]).map_err(Error::io("write", path))?;
    }
    Ok(())
}

//! From the order of volume files (x fastest) to the order of [`Volume`](super::Volume) (z fastest),
//! and back, a few planes at a time.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;

use super::element::{ByteOrder, ElementType};
use super::frames::Frames;
use super::{MAX_VOXELS, Volume};
use crate::error::{Error, Result};

/// Planes handled together: 16 `f32` along z fill one 64-byte cache line.
pub(super) const PLANES: usize = 16;

/// Values of a group of planes of all frames, unless one plane has more.
const MAX_GROUP: usize = 1 << 24;

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

/// The bytes that the voxels of all frames take in a file, after a check that those wanted are not too many.
///
/// # Errors
/// A size of 0; more than [`MAX_VOXELS`] voxels, or more bytes than any file has.
pub(super) fn stored_bytes(
    path: &Path,
    size: [u64; 3],
    frames: Frames,
    wanted: &Range<u64>,
    element: ElementType,
) -> Result<u64> {
    let count = voxel_count(path, size)?;
    let [x, y, z] = size;
    // Also bounds the number of frames read, since each has a voxel.
    voxel_count(path, [x, y, z.saturating_mul(wanted.end - wanted.start)])?;
    count.checked_mul(frames.count).and_then(|all| all.checked_mul(element.bytes() as u64)).ok_or_else(|| {
        Error::file(path, format!("the header asks for {} volumes of {x}x{y}x{z} voxels", frames.count))
    })
}

/// How the voxels lie in a stream.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Voxels along x, y and z; x is the fastest in the stream.
    pub size: [usize; 3],
    /// Stored number format.
    pub element: ElementType,
    /// Stored byte order.
    pub byte_order: ByteOrder,
    /// `(slope, intercept)` to apply.
    pub scaling: Option<(f64, f64)>,
    /// The volumes of the file.
    pub frames: Frames,
    /// The numbers of those that are read.
    pub wanted: Range<u64>,
}

impl Layout {
    fn volume_bytes(&self) -> u64 {
        self.size.iter().product::<usize>() as u64 * self.element.bytes() as u64
    }

    /// Bytes of voxels in the stream behind those that [`read`] takes.
    pub fn rest(&self) -> u64 {
        match self.frames.axis {
            3 => (self.frames.count - self.wanted.end) * self.volume_bytes(),
            _ => 0,
        }
    }
}

/// Reads the wanted volumes of a stream whose size was checked, each into z-fastest order.
///
/// # Errors
/// If the stream ends early or is damaged.
pub(super) fn read(path: &Path, stream: &mut dyn Read, layout: &Layout) -> Result<Vec<Vec<f32>>> {
    let [nx, ny, _] = layout.size;
    let Frames { count, axis } = layout.frames;
    if axis == 3 {
        let before = layout.wanted.start * layout.volume_bytes();
        let skipped = io::copy(&mut stream.take(before), &mut io::sink())
            .map_err(|error| Error::file(path, format!("is damaged: the voxels cannot be read ({error})")))?;
        if skipped < before {
            return Err(Error::file(path, format!("is truncated before frame {}", layout.wanted.start)));
        }
        let mut volumes = Vec::new();
        for _ in layout.wanted.clone() {
            volumes.append(&mut read_slabs(path, stream, layout, 1, 0..1, [1, nx, 0])?);
        }
        return Ok(volumes);
    }
    // At least one byte of the file stands for each, so the numbers fit.
    let count = count as usize;
    let steps = match axis {
        0 => [count, nx * count, 1],
        1 => [1, nx * count, nx],
        _ => [1, nx, nx * ny],
    };
    read_slabs(path, stream, layout, count, layout.wanted.start as usize..layout.wanted.end as usize, steps)
}

/// Reads slabs, each one plane of all `count` frames, and keeps the frames in `kept`. `steps` are the distances
/// in a slab between neighbours along x, along y, and between frames.
fn read_slabs(
    path: &Path,
    stream: &mut dyn Read,
    layout: &Layout,
    count: usize,
    kept: Range<usize>,
    [along_x, along_y, along_frames]: [usize; 3],
) -> Result<Vec<Vec<f32>>> {
    let [nx, ny, nz] = layout.size;
    let slab = nx * ny * count;
    let mut volumes =
        kept.clone().map(|_| allocate(path, nx * ny * nz)).collect::<Result<Vec<Vec<f32>>>>()?;
    // Many planes of many frames would take more memory than the volumes that are kept.
    let group = PLANES.min(nz).min((MAX_GROUP / slab).max(1));
    let mut values = allocate(path, slab * group)?;
    let mut bytes = vec![0u8; slab * group * layout.element.bytes()];
    for first in (0..nz).step_by(group) {
        let depth = group.min(nz - first);
        let bytes = &mut bytes[..slab * depth * layout.element.bytes()];
        let values = &mut values[..slab * depth];
        stream.read_exact(bytes).map_err(|error| {
            let cause = if error.kind() == io::ErrorKind::UnexpectedEof {
                format!("is truncated: the voxels end within plane {} to {} of {nz}", first, first + depth)
            } else {
                format!("is damaged: the voxels cannot be read ({error})")
            };
            Error::file(path, cause)
        })?;
        layout.element.decode(bytes, layout.byte_order, layout.scaling, values);
        for (voxels, frame) in volumes.iter_mut().zip(kept.clone()) {
            place_slabs(
                voxels,
                layout.size,
                first,
                &values[frame * along_frames..],
                [slab, along_y, along_x],
            );
        }
    }
    Ok(volumes)
}

/// Puts whole planes, x fastest, into a volume, z fastest, as its planes from `first` on.
pub(super) fn place(voxels: &mut [f32], size: [usize; 3], first: usize, planes: &[f32]) {
    let [nx, ny, _] = size;
    place_slabs(voxels, size, first, planes, [nx * ny, nx, 1]);
}

/// [`place`] for values that do not follow each other: `steps` are the distances between neighbours along z, y and x.
/// As many planes are placed as `planes` has whole steps along z.
fn place_slabs(
    voxels: &mut [f32],
    [nx, ny, nz]: [usize; 3],
    first: usize,
    planes: &[f32],
    [along_z, along_y, along_x]: [usize; 3],
) {
    // The last slab may lack what belongs to other frames behind it.
    let depth = planes.len().div_ceil(along_z);
    for y in 0..ny {
        for x in 0..nx {
            let target = (x * ny + y) * nz + first;
            let source = y * along_y + x * along_x;
            for z in 0..depth {
                voxels[target + z] = planes[z * along_z + source];
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

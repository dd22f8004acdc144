//! Results beside the scan they belong to: written with the geometry of another file, bit by bit.

use std::io::Write;
use std::path::Path;

use super::element::ByteOrder;
use super::files::{Kind, kind};
use super::{
    ElementType, ReadOptions, Volume, channel_count, metaimage, nifti, nrrd, planes, read_volume_with,
    write_volume,
};
use crate::error::{Error, Result};

/// Voxels of a result, z fastest.
#[derive(Clone, Copy, Debug)]
pub enum Voxels<'a> {
    /// Labels, stored as `uint8`.
    Labels(&'a [u8]),
    /// Probabilities, stored as `float32`.
    Probabilities(&'a [f32]),
}

impl Voxels<'_> {
    /// The stored number format.
    pub fn element(&self) -> ElementType {
        match self {
            Self::Labels(_) => ElementType::Uint8,
            Self::Probabilities(_) => ElementType::Float32,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Probabilities(values) => values.len(),
        }
    }

    /// Writes all of them, x fastest.
    pub(super) fn write(
        &self,
        path: &Path,
        stream: &mut dyn Write,
        size: [usize; 3],
        order: ByteOrder,
    ) -> Result<()> {
        match self {
            Self::Labels(labels) => planes::write_bytes(path, stream, size, |i| [labels[i]]),
            Self::Probabilities(values) => planes::write_bytes(path, stream, size, |i| match order {
                ByteOrder::Little => values[i].to_le_bytes(),
                ByteOrder::Big => values[i].to_be_bytes(),
            }),
        }
    }
}

/// Writes voxels of `size` on the grid of the file `input`. In the same format, every header field of the
/// geometry is copied as it stands (sform, qform, voxel sizes, units; TransformMatrix, Offset,
/// ElementSpacing, space directions and whatever else the header says); another format, and MetaImage and NRRD
/// files of several volumes, get the affine matrix.
///
/// # Errors
/// Another number of voxels; an input whose header cannot be read any more; a name that no format
/// is written under; a disk that refuses.
pub fn write_like(input: &Path, path: &Path, size: [usize; 3], voxels: Voxels<'_>) -> Result<()> {
    if voxels.len() != size.iter().product::<usize>() {
        return Err(Error::file(path, format!("{} voxels do not fill {size:?}", voxels.len())));
    }
    match (kind(input), kind(path)) {
        (Some(Kind::Nifti | Kind::NiftiPair), Some(Kind::Nifti)) => {
            nifti::write_like(input, path, size, voxels)
        }
        // A header of several volumes is not that of one.
        (Some(Kind::MetaImage), Some(Kind::MetaImage)) if channel_count(input)? == 1 => {
            metaimage::write_like(input, path, size, voxels)
        }
        (Some(Kind::Nrrd), Some(Kind::Nrrd)) if channel_count(input)? == 1 => {
            nrrd::write_like(input, path, size, voxels)
        }
        _ => {
            let values = match voxels {
                Voxels::Labels(labels) => labels.iter().map(|&label| f32::from(label)).collect(),
                Voxels::Probabilities(values) => values.to_vec(),
            };
            let place = read_volume_with(input, &ReadOptions::frame(Some(0)))?;
            let (affine, source) = (place.affine, place.source);
            let mut volume = Volume::new(values, size, affine)?;
            volume.source = source;
            write_volume(path, &volume, voxels.element())
        }
    }
}

/// That the header of `input`, which was read before, still has the size of the result.
///
/// # Errors
/// A file that was changed meanwhile.
pub(super) fn check_size(input: &Path, found: [u64; 3], size: [usize; 3]) -> Result<()> {
    if found == size.map(|extent| extent as u64) {
        return Ok(());
    }
    Err(Error::file(input, format!("has {found:?} voxels now, not {size:?}")))
}

//! Reading NIfTI files.

use std::path::{Path, PathBuf};

use super::header::{self, Header, NIFTI1_LENGTH, NIFTI2_LENGTH};
use crate::error::{Error, Result};
use crate::volume::affine::file_error;
use crate::volume::frames::{Frames, Wanted};
use crate::volume::input::Input;
use crate::volume::planes::{self, Layout};
use crate::volume::{Format, Source, Volume};

/// Number of volumes in a file; only its header is read.
///
/// # Errors
/// A file that cannot be read, or is not NIfTI.
pub(in crate::volume) fn frame_count(path: &Path) -> Result<u64> {
    let (_, header) = raw_header(path)?;
    let (_, volumes) = header.size_and_volumes().map_err(|cause| Error::file(path, cause))?;
    Ok(volumes)
}

/// Reads the wanted volumes of a `.nii`, `.nii.gz`, `.hdr` or `.img` file (of a pair, either may be named).
///
/// # Errors
/// If the file is damaged, truncated, or holds something other than real-valued volumes on one grid; as
/// [`Wanted::of`].
pub(in crate::volume) fn read(path: &Path, wanted: Wanted) -> Result<Vec<Volume>> {
    let header_path = companion(path, "img", "hdr").unwrap_or_else(|| path.to_path_buf());
    let mut input = Input::open(&header_path)?;
    let header = parse(&header_path, &mut input)?;
    let fail = |cause: String| Error::file(path, cause);
    let (size, count) = header.size_and_volumes().map_err(fail)?;
    let element = header.element().map_err(fail)?;
    let scaling = header.scaling().map_err(fail)?;
    let (affine, affine_from, space_code) = header.affine().map_err(fail)?;
    let wanted = wanted.of(path, count)?;
    let frames = Frames { count, axis: 3 };
    let bytes = planes::stored_bytes(path, size, frames, &wanted, element)?;
    let offset = header.data_offset().map_err(fail)?;
    if header.single_file && header.voxel_offset == 0.0 {
        tracing::warn!("{}: vox_offset is 0; voxels are taken from byte {offset} on", path.display());
    }

    if header.single_file {
        // `offset` is past the header, as `data_offset` checked.
        let extensions = offset - header_length(&header);
        input.check_holds(extensions.saturating_add(bytes))?;
        input.skip(extensions, "the header extensions")?;
    } else {
        let data_path = companion(&header_path, "hdr", "img").ok_or_else(|| {
            Error::file(path, "is one half of a pair, and the file .img with the voxels is missing")
        })?;
        input = Input::open(&data_path)?;
        input.check_holds(offset.saturating_add(bytes))?;
        input.skip(offset, "the bytes before the voxels")?;
    }
    // `stored_bytes` bounded the product, so each size fits.
    let size = size.map(|n| n as usize);
    let first = wanted.start;
    let layout = Layout { size, element, byte_order: header.byte_order, scaling, frames, wanted };
    let source = Source {
        format: if header.version == 1 { Format::Nifti1 } else { Format::Nifti2 },
        element,
        byte_order: header.byte_order,
        compressed: input.is_compressed(),
        scaling,
        affine_from,
        space_code,
        frames: count,
        frame: 0,
    };
    let voxels = planes::read(path, &mut input, &layout)?;
    input.finish(layout.rest())?;
    Ok(Volume::of_file(voxels, size, affine, &source, first))
}

/// The fixed header of a file as it stands there, with its version and byte order.
///
/// # Errors
/// A file that cannot be read or is not NIfTI.
pub(super) fn raw_header(path: &Path) -> Result<(Vec<u8>, Header)> {
    let header_path = companion(path, "img", "hdr").unwrap_or_else(|| path.to_path_buf());
    let mut input = Input::open(&header_path)?;
    raw(&header_path, &mut input)
}

fn header_length(header: &Header) -> u64 {
    (if header.version == 1 { NIFTI1_LENGTH } else { NIFTI2_LENGTH }) as u64
}

fn parse(path: &Path, input: &mut Input) -> Result<Header> {
    raw(path, input).map(|(_, header)| header)
}

fn raw(path: &Path, input: &mut Input) -> Result<(Vec<u8>, Header)> {
    let mut bytes = vec![0u8; NIFTI2_LENGTH];
    input.fill(&mut bytes[..4], "the header")?;
    let Some((version, byte_order)) = header::sniff([bytes[0], bytes[1], bytes[2], bytes[3]]) else {
        return Err(Error::file(path, "is not NIfTI: it does not start with a header length of 348 or 540"));
    };
    let length = if version == 1 { NIFTI1_LENGTH } else { NIFTI2_LENGTH };
    input.fill(&mut bytes[4..length], "the header")?;
    bytes.truncate(length);
    let header = Header::parse(&bytes, version, byte_order).map_err(file_error(path))?;
    Ok((bytes, header))
}

/// For `x.img` (also `x.img.gz`), the existing `x.hdr` or `x.hdr.gz`, in either case of letters; and
/// the other way round. `None` if `path` does not end in `from` or its partner does not exist.
pub(in crate::volume) fn companion(path: &Path, from: &str, to: &str) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let lower = name.to_ascii_lowercase();
    let stem_length = lower
        .strip_suffix(".gz")
        .unwrap_or(&lower)
        .strip_suffix(from)
        .filter(|stem| stem.ends_with('.'))?
        .len();
    let stem = name.get(..stem_length)?;
    let upper = to.to_ascii_uppercase();
    [to.to_owned(), format!("{to}.gz"), upper.clone(), format!("{upper}.GZ")]
        .into_iter()
        .map(|extension| path.with_file_name(format!("{stem}{extension}")))
        .find(|candidate| candidate.is_file())
}

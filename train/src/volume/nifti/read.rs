//! Reading NIfTI files.

use std::path::{Path, PathBuf};

use super::header::{self, Header, NIFTI1_LENGTH, NIFTI2_LENGTH};
use crate::error::{Error, Result};
use crate::volume::affine::file_error;
use crate::volume::input::Input;
use crate::volume::planes::{self, Layout};
use crate::volume::{Format, Source, Volume, affine};

/// Reads a `.nii`, `.nii.gz`, `.hdr` or `.img` file (of a pair, either may be named).
///
/// # Errors
/// If the file is damaged, truncated, or holds something other than one real-valued volume.
pub(in crate::volume) fn read(path: &Path) -> Result<Volume> {
    let mut volumes = read_with(path, |header| Ok((header.size()?, 1)))?;
    volumes.pop().ok_or_else(|| Error::file(path, "holds no volume"))
}

/// Reads every volume of a 3D or 4D file.
///
/// # Errors
/// As [`read`].
pub(in crate::volume) fn read_channels(path: &Path) -> Result<Vec<Volume>> {
    read_with(path, Header::size_and_volumes)
}

/// Number of volumes in a 3D or 4D file; only its header is read.
///
/// # Errors
/// A file that cannot be read, or is not NIfTI.
pub(in crate::volume) fn channel_count(path: &Path) -> Result<usize> {
    let (_, header) = raw_header(path)?;
    let (_, volumes) = header.size_and_volumes().map_err(|cause| Error::file(path, cause))?;
    usize::try_from(volumes).map_err(|_| Error::file(path, format!("holds {volumes} volumes")))
}

fn read_with(
    path: &Path,
    size_of: impl Fn(&Header) -> Result<([u64; 3], u64), String>,
) -> Result<Vec<Volume>> {
    let header_path = companion(path, "img", "hdr").unwrap_or_else(|| path.to_path_buf());
    let mut input = Input::open(&header_path)?;
    let header = parse(&header_path, &mut input)?;
    let fail = |cause: String| Error::file(path, cause);
    let (size, volumes) = size_of(&header).map_err(fail)?;
    let element = header.element().map_err(fail)?;
    let scaling = header.scaling().map_err(fail)?;
    let (affine, affine_from, space_code) = header.affine().map_err(fail)?;
    let [x, y, z] = size;
    planes::voxel_count(path, size)?;
    let count = planes::voxel_count(path, [x, y, z.saturating_mul(volumes)])?;
    let offset = header.data_offset().map_err(fail)?;

    let bytes = count * element.bytes() as u64;
    if header.single_file {
        // `offset` is past the header, as `data_offset` checked.
        let extensions = offset - header_length(&header);
        input.check_holds(extensions + bytes)?;
        input.skip(extensions, "the header extensions")?;
    } else {
        let data_path = companion(&header_path, "hdr", "img").ok_or_else(|| {
            Error::file(path, "is one half of a pair, and the file .img with the voxels is missing")
        })?;
        input = Input::open(&data_path)?;
        input.check_holds(offset + bytes)?;
        input.skip(offset, "the bytes before the voxels")?;
    }
    // `voxel_count` bounded the product, so each size fits.
    let size = size.map(|n| n as usize);
    let layout = Layout { size, element, byte_order: header.byte_order, scaling };
    let compressed = input.is_compressed();
    let source = Source {
        format: if header.version == 1 { Format::Nifti1 } else { Format::Nifti2 },
        element,
        byte_order: header.byte_order,
        compressed,
        scaling,
        affine_from,
        space_code,
    };
    let mut result = Vec::new();
    for _ in 0..volumes {
        let voxels = planes::read(path, &mut input, &layout)?;
        let spacing = affine::spacing(&affine);
        result.push(Volume { voxels, size, spacing, affine, source: source.clone() });
    }
    input.finish()?;
    Ok(result)
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

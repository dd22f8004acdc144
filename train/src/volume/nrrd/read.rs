//! Reading NRRD files.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::data::Data;
use super::header::{DataFiles, Encoding, Header};
use crate::error::{Error, Result};
use crate::volume::affine::file_error;
use crate::volume::detached;
use crate::volume::element::{ByteOrder, ElementType};
use crate::volume::frames::Wanted;
use crate::volume::input;
use crate::volume::planes::{self, Layout};
use crate::volume::{Format, Source, Volume};

/// A header longer than this is taken for damage; those of diffusion scans list every gradient.
const MAX_HEADER: u64 = 1 << 20;

/// The data files of a `.nhdr`, as far as its header can be read and they may be read; a `.nrrd` has none.
pub(in crate::volume) fn data_files(path: &Path) -> Vec<PathBuf> {
    match header(path).map(|(_, header)| header.data) {
        Ok(DataFiles::Detached { names, .. }) => {
            names.iter().filter_map(|name| detached::beside(path, "data file", name).ok()).collect()
        }
        _ => Vec::new(),
    }
}

/// Number of volumes in a file; only its header is read.
///
/// # Errors
/// A file that cannot be read or is not NRRD.
pub(in crate::volume) fn frame_count(path: &Path) -> Result<u64> {
    Ok(header(path)?.1.geometry.frames.count)
}

/// The header, and the bytes it was read from.
///
/// # Errors
/// A file that cannot be read or is not NRRD.
pub(super) fn header(path: &Path) -> Result<(Vec<u8>, Header)> {
    let (file, _) = input::open_file(path)?;
    let mut start = Vec::new();
    file.take(MAX_HEADER).read_to_end(&mut start).map_err(Error::io("read", path))?;
    let header = Header::parse(&start).map_err(file_error(path))?;
    Ok((start, header))
}

/// Reads the wanted volumes of a `.nrrd` file, or of a `.nhdr` file and its data files.
///
/// # Errors
/// If header or data are damaged, truncated, or of a kind that is not read; if a data file lies outside the
/// header's folder; as [`Wanted::of`].
pub(in crate::volume) fn read(path: &Path, wanted: Wanted) -> Result<Vec<Volume>> {
    let (_, header) = header(path)?;
    let geometry = &header.geometry;
    let wanted = wanted.of(path, geometry.frames.count)?;
    // Text is turned into double precision on the way.
    let (element, byte_order) = match header.encoding {
        Encoding::Text => (ElementType::Float64, ByteOrder::Little),
        _ => (header.element, header.byte_order),
    };
    let bytes = planes::stored_bytes(path, geometry.size, geometry.frames, &wanted, element)?;
    let mut data = Data::open(path, &header, bytes)?;
    let first = wanted.start;
    let layout = Layout {
        // `stored_bytes` bounded the product, so each size fits.
        size: geometry.size.map(|n| n as usize),
        element,
        byte_order,
        scaling: None,
        frames: geometry.frames,
        wanted,
    };
    let source = Source {
        format: Format::Nrrd,
        element: header.element,
        byte_order: header.byte_order,
        compressed: data.is_compressed(),
        scaling: None,
        affine_from: geometry.affine_from,
        space_code: 1,
        frames: geometry.frames.count,
        frame: 0,
    };
    let voxels = planes::read(path, &mut data, &layout)?;
    data.finish(path)?;
    if let Some(assumed) = &geometry.assumed {
        tracing::warn!("{}: {assumed}", path.display());
    }
    Ok(Volume::of_file(voxels, layout.size, geometry.affine, &source, first))
}

//! Reading MetaImage files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::header::{DataFile, Header};
use crate::error::{Error, Result};
use crate::volume::affine::file_error;
use crate::volume::frames::Wanted;
use crate::volume::input::{self, Input};
use crate::volume::planes::{self, Layout};
use crate::volume::{Format, Source, Volume, detached};

/// A header longer than this is taken for damage.
pub(super) const MAX_HEADER: u64 = 1 << 16;

/// The file of voxels beside a `.mhd`, as far as its header can be read and names one in its folder.
pub(in crate::volume) fn data_file(path: &Path) -> Option<PathBuf> {
    match open(path).ok()?.1.data_file {
        DataFile::Local => None,
        DataFile::Other(name) => detached::beside(path, "ElementDataFile", &name).ok(),
    }
}

/// Number of volumes in a file; only its header is read.
///
/// # Errors
/// A file that cannot be read or is not MetaImage.
pub(in crate::volume) fn frame_count(path: &Path) -> Result<u64> {
    Ok(open(path)?.1.frames.count)
}

fn open(path: &Path) -> Result<(File, Header)> {
    let (file, _) = input::open_file(path)?;
    let mut start = Vec::new();
    (&file).take(MAX_HEADER).read_to_end(&mut start).map_err(Error::io("read", path))?;
    let header = Header::parse(&start).map_err(file_error(path))?;
    Ok((file, header))
}

/// Reads the wanted volumes of a `.mha` file, or of a `.mhd` file and its data file.
///
/// # Errors
/// If header or data are damaged, truncated, or of a kind that is not read; if the data file lies
/// outside the header's folder; as [`Wanted::of`].
pub(in crate::volume) fn read(path: &Path, wanted: Wanted) -> Result<Vec<Volume>> {
    let (file, header) = open(path)?;
    let wanted = wanted.of(path, header.frames.count)?;
    let bytes = planes::stored_bytes(path, header.size, header.frames, &wanted, header.element)?;

    let (data_path, file, text_length) = match &header.data_file {
        DataFile::Local => (path.to_path_buf(), file, header.length as u64),
        DataFile::Other(name) => {
            let data_path = detached::beside(path, "ElementDataFile", name)?;
            let (file, _) = input::open_file(&data_path)?;
            (data_path, file, 0)
        }
    };
    let length = file.metadata().map_err(Error::io("read", &data_path))?.len();
    let offset = match header.header_size {
        0 => text_length,
        skip @ 1.. => skip as u64,
        -1 if header.compressed => {
            return Err(Error::file(path, "HeaderSize is -1, which needs uncompressed data"));
        }
        -1 => length.checked_sub(bytes).ok_or_else(|| {
            let cause = format!("is truncated: {bytes} bytes of voxels are needed, the file has {length}");
            Error::file(&data_path, cause)
        })?,
        other => return Err(Error::file(path, format!("HeaderSize is {other}"))),
    };
    if offset > length {
        return Err(Error::file(
            &data_path,
            format!("is truncated: the voxels start at byte {offset} of {length}"),
        ));
    }
    let mut stream = if header.compressed {
        if let Some(size) = header.compressed_size.filter(|&size| size > length - offset) {
            return Err(Error::file(
                &data_path,
                format!("is truncated: CompressedDataSize is {size}, {} bytes are there", length - offset),
            ));
        }
        let stream = Input::from_file(&data_path, file, offset, header.compressed_size, true)?;
        if !stream.is_compressed() {
            return Err(Error::file(
                &data_path,
                "is damaged: the header says CompressedData, but this is neither zlib nor gzip",
            ));
        }
        stream
    } else {
        Input::raw(&data_path, file, offset)?
    };
    stream.check_holds(bytes)?;
    let first = wanted.start;
    let layout = Layout {
        // `stored_bytes` bounded the product, so each size fits.
        size: header.size.map(|n| n as usize),
        element: header.element,
        byte_order: header.byte_order,
        scaling: None,
        frames: header.frames,
        wanted,
    };
    let voxels = planes::read(&data_path, &mut stream, &layout)?;
    stream.finish(layout.rest())?;
    let source = Source {
        format: Format::MetaImage,
        element: header.element,
        byte_order: header.byte_order,
        compressed: header.compressed,
        scaling: None,
        affine_from: "TransformMatrix, ElementSpacing and Offset",
        space_code: 1,
        frames: header.frames.count,
        frame: 0,
    };
    Ok(Volume::of_file(voxels, layout.size, header.affine, &source, first))
}

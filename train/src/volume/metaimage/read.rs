//! Reading MetaImage files.

use std::io::Read;
use std::path::{Component, Path};

use super::header::{DataFile, Header};
use crate::error::{Error, Result};
use crate::volume::affine::file_error;
use crate::volume::input::{self, Input};
use crate::volume::planes::{self, Layout};
use crate::volume::{Format, Source, Volume, affine};

/// A header longer than this is taken for damage.
pub(super) const MAX_HEADER: u64 = 1 << 16;

/// Reads a `.mha` file, or a `.mhd` file and its data file.
///
/// # Errors
/// If header or data are damaged, truncated, or of a kind that is not read; if the data file lies
/// outside the header's folder.
pub(in crate::volume) fn read(path: &Path) -> Result<Volume> {
    let (file, _) = input::open_file(path)?;
    let mut start = Vec::new();
    (&file).take(MAX_HEADER).read_to_end(&mut start).map_err(Error::io("read", path))?;
    let header = Header::parse(&start).map_err(file_error(path))?;
    let count = planes::voxel_count(path, header.size)?;
    let bytes = count * header.element.bytes() as u64;

    let (data_path, file, text_length) = match &header.data_file {
        DataFile::Local => (path.to_path_buf(), file, header.length as u64),
        DataFile::Other(name) => {
            // A header from elsewhere must not make this program read arbitrary files.
            let relative = Path::new(name);
            let inside =
                relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if !inside || relative.as_os_str().is_empty() {
                return Err(Error::file(
                    path,
                    format!("ElementDataFile is {name:?}, which leaves the folder of the header"),
                ));
            }
            let data_path = path.with_file_name(relative);
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
    let layout = Layout {
        // `voxel_count` bounded the product, so each size fits.
        size: header.size.map(|n| n as usize),
        element: header.element,
        byte_order: header.byte_order,
        scaling: None,
    };
    let voxels = planes::read(&data_path, &mut stream, &layout)?;
    stream.finish()?;
    let source = Source {
        format: Format::MetaImage,
        element: header.element,
        byte_order: header.byte_order,
        compressed: header.compressed,
        scaling: None,
        affine_from: "TransformMatrix, ElementSpacing and Offset",
        space_code: 1,
    };
    let spacing = affine::spacing(&header.affine);
    Ok(Volume { voxels, size: layout.size, spacing, affine: header.affine, source })
}

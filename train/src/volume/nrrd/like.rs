//! NRRD files with another file's header.

use std::path::Path;

use super::header::field;
use super::read;
use super::write::store;
use crate::error::Result;
use crate::volume::Voxels;
use crate::volume::element::ByteOrder;
use crate::volume::like::check_size;

/// Fields that say how voxels are stored or what they are, which the new file says for itself.
const STORAGE: [&str; 14] = [
    "type",
    "blocksize",
    "encoding",
    "endian",
    "datafile",
    "lineskip",
    "byteskip",
    "content",
    "min",
    "max",
    "oldmin",
    "oldmax",
    "sampleunits",
    "number",
];

/// Writes voxels under the header lines of `input`, word for word except for the fields of [`STORAGE`].
///
/// # Errors
/// An input that cannot be read; a size its header does not have; a disk that refuses.
pub(in crate::volume) fn write_like(
    input: &Path,
    path: &Path,
    size: [usize; 3],
    voxels: Voxels<'_>,
) -> Result<()> {
    let (start, header) = read::header(input)?;
    check_size(input, header.geometry.size, size)?;
    let (mut fields, mut keys) = (String::new(), String::new());
    for line in String::from_utf8_lossy(&start[..header.length]).lines().skip(1) {
        let line = line.trim_end();
        match field(line) {
            // The names of a list follow, to the end of the header.
            Some((name, value)) if name == "datafile" && value.starts_with("LIST") => break,
            Some((name, _)) if STORAGE.contains(&name.as_str()) => {}
            Some(_) => fields += &format!("{line}\n"),
            None if line.starts_with('#') || line.contains(":=") => keys += &format!("{line}\n"),
            None => {}
        }
    }
    store(path, voxels.element(), &fields, &keys, |stream| {
        voxels.write(path, stream, size, ByteOrder::Little)
    })
}

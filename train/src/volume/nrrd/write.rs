//! Writing NRRD files.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::header::element_name;
use crate::error::{Error, Result};
use crate::volume::{Affine, ElementType, Volume, affine, planes};
use genesis_model::checkpoint::AtomicFile;

/// Writes a gzip NRRD: one file if the name ends in `.nrrd`; for `.nhdr`, the header and beside it `.raw.gz` with
/// the voxels. Integer formats round to the nearest integer.
///
/// # Errors
/// If a value does not fit `stored`, NRRD has no such number format (half precision), or the disk refuses.
pub fn write_nrrd(path: &Path, volume: &Volume, stored: ElementType) -> Result<()> {
    let [x, y, z] = volume.size;
    let fields =
        format!("dimension: 3\nsizes: {x} {y} {z}\nkinds: domain domain domain\n{}", place(&volume.affine));
    store(path, stored, &fields, "", |stream| planes::write(path, stream, volume, stored))
}

/// Space, directions and origin of a matrix, in LPS.
fn place(matrix: &Affine) -> String {
    let lps = affine::turn_lps_ras(matrix);
    let column = |axis: usize| format!("({},{},{})", lps[0][axis], lps[1][axis], lps[2][axis]);
    let directions = [0, 1, 2].map(column).join(" ");
    format!("space: left-posterior-superior\nspace directions: {directions}\nspace origin: {}\n", column(3))
}

/// Writes a header of the given fields (without those that tell how voxels are stored) and `keys` of the user, and
/// what `voxels` writes, compressed.
///
/// # Errors
/// As [`write_nrrd`]; a name that is not UTF-8.
pub(super) fn store(
    path: &Path,
    stored: ElementType,
    fields: &str,
    keys: &str,
    voxels: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let element = element_name(stored)
        .ok_or_else(|| Error::file(path, format!("NRRD cannot store {} voxels", stored.name())))?;
    let attached = path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("nhdr"));
    let header = format!("NRRD0004\ntype: {element}\n{fields}endian: little\nencoding: gzip\n");
    let mut file = AtomicFile::create(path)?;
    let mut write = |text: String| file.write_all(text.as_bytes()).map_err(Error::io("write", path));
    if attached {
        write(format!("{header}{keys}\n"))?;
        let mut encoder = GzEncoder::new(&mut file, Compression::new(4));
        voxels(&mut encoder)?;
        encoder.finish().map_err(Error::io("write", path))?;
    } else {
        let data_path = path.with_extension("raw.gz");
        let name = data_path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            Error::file(path, "the name must be UTF-8, since the header of a .nhdr holds it")
        })?;
        write(format!("{header}{keys}data file: {name}\n"))?;
        // The data first: a header never points to a file that is not there.
        let mut data = AtomicFile::create(&data_path)?;
        let mut encoder = GzEncoder::new(&mut data, Compression::new(4));
        voxels(&mut encoder)?;
        encoder.finish().map_err(Error::io("write", &data_path))?;
        data.commit()?;
    }
    Ok(file.commit()?)
}

//! What a checkpoint of PyTorch before 0.1.10, a tar archive, unfolds to, before it is interpreted.
//!
//! Four entries count. `sys_info` and `pickle` are a pickle each. `storages` and `tensors` begin with one of how many
//! there are; a pickle then describes each, and values follow it (of a storage its elements, of a tensor its extents);
//! a pickle of views ends the storages. [`pickle_size`](super::pickle_size) walks over all of them: where each begins
//! is found as `pytorch-reader` finds it, so that nothing lies where only one of the two looks.

use super::pickle_size::Walk;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// The most axes that a tensor may have.
const MOST_AXES: u64 = 64;
/// Bytes of what ends an archive.
const END: usize = 2 * 512;

/// Whether a file that starts like this is a tar archive.
pub(super) fn is_tar(start: &[u8]) -> bool {
    start.get(257..262) == Some(b"ustar")
}

/// Refuses an archive that unpacks to more than its own size (sparse files do), and pickles that unfold to more objects,
/// all together, than one of a zip archive may.
///
/// # Errors
/// The cause in words.
pub(super) fn check(path: &Path, file_len: u64) -> Result<(), String> {
    let damaged = |error: std::io::Error| format!("damaged: {error}");
    let mut archive = tar::Archive::new(BufReader::new(File::open(path).map_err(damaged)?));
    let (mut unpacked, mut total) = (0_u64, 0);
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        unpacked = unpacked.saturating_add(entry.size());
        if unpacked > file_len {
            return Err(format!("damaged: {file_len} bytes claim to hold entries of {unpacked}"));
        }
        let name = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        let pickles = match name.trim_start_matches("./") {
            "sys_info" | "pickle" => |walk: &mut Walk<'_>| walk.pickle().map(drop),
            "storages" => storages,
            "tensors" => tensors,
            _ => continue,
        };
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(damaged)?;
        let mut walk = Walk::over(&bytes, total);
        pickles(&mut walk)?;
        total = walk.total;
    }
    match is_ended(path, file_len).map_err(damaged)? {
        true => Ok(()),
        false => Err("damaged: cut off before the archive's end".into()),
    }
}

/// Whether an archive has the two blocks of zeros that end it: without them it was cut, though nothing of its entries may
/// be missing, which the crate lets pass.
fn is_ended(path: &Path, file_len: u64) -> std::io::Result<bool> {
    let mut end = [1; END];
    let Some(start) = file_len.checked_sub(END as u64) else { return Ok(false) };
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut end)?;
    Ok(file_len.is_multiple_of(512) && end == [0; END])
}

/// Walks over an entry `storages`, to its end or to where the interpreter meets an error.
fn storages(walk: &mut Walk<'_>) -> Result<(), String> {
    let mut whole = walk.pickle()?;
    while whole {
        whole = walk.pickle()?;
        let bytes = match walk.classes[..] {
            // The views.
            [] => return Ok(()),
            [class] => element_bytes(class),
            _ => return Err("refused: one of its storages has several types".into()),
        };
        let length = bytes.zip(walk.number(8)).and_then(|(bytes, count)| count.checked_mul(bytes));
        let values = length.and_then(|length| walk.take(usize::try_from(length).ok()?));
        whole &= values.is_some();
    }
    Ok(())
}

/// Walks over an entry `tensors` in the same way.
fn tensors(walk: &mut Walk<'_>) -> Result<(), String> {
    let mut whole = walk.pickle()?;
    while whole {
        whole = walk.pickle()?;
        // The number of axes, four bytes of nothing; extents, strides and an offset.
        let axes = walk.number(4).filter(|&axes| axes <= MOST_AXES);
        let rest = axes.and_then(|axes| walk.take(4 + 8 * (2 * axes as usize + 1)));
        whole &= rest.is_some();
    }
    Ok(())
}

/// Bytes of an element of `torch.<class>`; `None` for what the interpreter refuses.
fn element_bytes(class: &[u8]) -> Option<u64> {
    match class {
        b"DoubleStorage" | b"LongStorage" => Some(8),
        b"FloatStorage" | b"IntStorage" => Some(4),
        b"HalfStorage" | b"BFloat16Storage" | b"ShortStorage" => Some(2),
        b"CharStorage" | b"ByteStorage" | b"BoolStorage" => Some(1),
        _ => None,
    }
}

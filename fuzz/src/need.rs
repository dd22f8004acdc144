//! What a reader may honestly take for given bytes: the size of the content times a bound of the format.

use std::io::Read;

use bzip2::read::MultiBzDecoder;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// Beyond this a packed stream is not unpacked to be measured.
const MOST_UNPACKED: u64 = 256 << 20;

/// Unpacking bzip2 takes four bytes for each of a block of up to 900 kB (its manual, "memory management"), whatever
/// the block holds: as much as so many bytes of voxels, at five each.
const BZIP2_WORKING: u64 = 4 * 900_000 / 5;

/// Bytes of a volume's content once unpacked, by its first bytes.
pub fn unpacked(data: &[u8]) -> u64 {
    if data.starts_with(&[0x1f, 0x8b]) { count(MultiGzDecoder::new(data)) } else { data.len() as u64 }
}

/// Bytes of a MetaImage's content once unpacked.
pub fn metaimage(data: &[u8]) -> u64 {
    let Some(length) = metaimage_header(data) else { return data.len() as u64 };
    let voxels = &data[length..];
    let packed = count(MultiGzDecoder::new(voxels)).max(count(ZlibDecoder::new(voxels)));
    length as u64 + packed.max(voxels.len() as u64)
}

/// Length of a MetaImage header: up to the end of the line `ElementDataFile`.
pub fn metaimage_header(data: &[u8]) -> Option<usize> {
    let at = data.windows(15).position(|window| window == b"ElementDataFile")?;
    let end = data[at..].iter().position(|&byte| byte == b'\n').map_or(data.len(), |end| at + end + 1);
    Some(end)
}

/// Bytes of an NRRD's content once unpacked: what follows the empty line after its header.
pub fn nrrd(data: &[u8]) -> u64 {
    let blank = |separator: &[u8]| data.windows(separator.len()).position(|window| window == separator);
    let Some(at) = blank(b"\n\n").map(|at| at + 2).or_else(|| blank(b"\r\n\r\n").map(|at| at + 4)) else {
        return data.len() as u64;
    };
    let voxels = &data[at..];
    let packed = count(MultiGzDecoder::new(voxels)).max(count(MultiBzDecoder::new(voxels)));
    let working = if voxels.starts_with(b"BZh") { BZIP2_WORKING } else { 0 };
    at as u64 + packed.max(voxels.len() as u64) + working
}

/// The bytes themselves.
pub fn plain(data: &[u8]) -> u64 {
    data.len() as u64
}

fn count(stream: impl Read) -> u64 {
    let (mut stream, mut total) = (stream.take(MOST_UNPACKED), 0);
    let mut buffer = [0; 1 << 14];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        total += count as u64;
    }
    total
}

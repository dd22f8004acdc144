//! Bytes from bytes: what a seed says is changed, the same every time.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Inputs do not grow beyond this, so that an execution stays short.
const LONGEST: usize = 1 << 16;

/// A generator of numbers (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % (end as u64).max(1)) as usize
    }

    /// One of a list; `None` where it is empty.
    pub fn one_of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }
}

/// Integers at which sizes and counts go wrong.
const EXTREMES: [u64; 20] = [
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Changes `data` once, twice, four or eight times; `other` lends parts.
pub fn mutate(random: &mut Random, data: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    for _ in 0..1 << random.below(4) {
        change(random, data, other, words);
    }
    data.truncate(LONGEST);
}

fn change(random: &mut Random, data: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    // Headers come first and decide most: half of all places are among the first 512 bytes.
    let near = if random.below(2) == 0 { data.len().min(512) } else { data.len() };
    let at = random.below(near);
    match random.below(12) {
        0 | 1 if !data.is_empty() => data[at] ^= 1 << random.below(8),
        2 if !data.is_empty() => data[at] = random.bits() as u8,
        3 | 4 => {
            let value =
                EXTREMES[random.below(EXTREMES.len())].wrapping_add(random.below(3) as u64).wrapping_sub(1);
            let length = [2, 4, 8][random.below(3)];
            let mut bytes = value.to_le_bytes()[..length].to_vec();
            if random.below(2) == 0 {
                bytes.reverse();
            }
            overwrite(data, at, &bytes);
        }
        5 => {
            if let Some(word) = random.one_of(words) {
                overwrite(data, at, word);
            }
        }
        6 | 7 => {
            if let Some(word) = random.one_of(words) {
                data.splice(at..at, word.iter().copied());
            }
        }
        8 => {
            // A splice: the rest comes from another file.
            let from = random.below(other.len());
            data.truncate(at);
            data.extend(other.iter().skip(from));
        }
        9 => data.truncate(at),
        10 => {
            let end = (at + 1 + random.below(64)).min(data.len());
            let part = data[at.min(end)..end].to_vec();
            let most = 1 << random.below(8);
            let times = 1 + random.below(most);
            for _ in 0..times {
                data.splice(at..at, part.iter().copied());
                if data.len() > LONGEST {
                    break;
                }
            }
        }
        _ => {
            let end = (at + 1 + random.below(16)).min(data.len());
            data.drain(at.min(end)..end);
        }
    }
}

fn overwrite(data: &mut [u8], at: usize, bytes: &[u8]) {
    for (target, source) in data.iter_mut().skip(at).zip(bytes) {
        *target = *source;
    }
}

/// The bytes in gzip; packed bytes are unpacked first.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// A pickle in the archive that PyTorch puts around it, with two storages; other bytes as they are.
pub fn pytorch_archive(data: &[u8]) -> Vec<u8> {
    if data.first() != Some(&0x80) {
        return data.to_vec();
    }
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let storage: Vec<u8> = (0..64).collect();
    for (name, bytes) in [
        ("archive/data.pkl", data),
        ("archive/byteorder", b"little"),
        ("archive/data/0", &storage),
        ("archive/data/1", &storage[..16]),
        ("archive/version", b"3\n"),
    ] {
        if archive.start_file(name, options).is_err() || archive.write_all(bytes).is_err() {
            return data.to_vec();
        }
    }
    archive.finish().map_or_else(|_| data.to_vec(), std::io::Cursor::into_inner)
}

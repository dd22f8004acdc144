//! What the tests of this module share: test files, checksums, and the shared data set.

use std::path::PathBuf;

use super::{Affine, ElementType, Volume, affine};

/// The shared data set, if this machine has it: `$GENESIS_DATA`, or `../shared/data` beside the
/// workspace. Says so aloud if not.
pub fn shared_data() -> Option<PathBuf> {
    let folder = std::env::var_os("GENESIS_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    if folder.join("volumes.json").is_file() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no data set in {} (set GENESIS_DATA)", folder.display());
    None
}

/// SHA-256 (FIPS 180-4) in hexadecimal.
pub fn sha256(message: &[u8]) -> String {
    // The fractional parts of the cube roots of the first 64 primes and the square roots of the first 8.
    let primes: Vec<u64> = (2..).filter(|n| (2..*n).all(|d| n % d != 0)).take(64).collect();
    let root = |prime: u64, power: u32| {
        // floor(prime^(1/power) * 2^32), by bisection in integers.
        let (mut low, mut high) = (0u128, 1u128 << 37);
        while high - low > 1 {
            let middle = (low + high) / 2;
            let limit = u128::from(prime) << (32 * power).min(96);
            let value = if power == 2 { middle * middle } else { middle * middle * middle };
            if value <= limit { low = middle } else { high = middle }
        }
        low as u32
    };
    let k: Vec<u32> = primes.iter().map(|&p| root(p, 3)).collect();
    let mut hash: Vec<u32> = primes[..8].iter().map(|&p| root(p, 2)).collect();
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((message.len() + 9).next_multiple_of(64) - 8, 0);
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    for block in padded.as_chunks::<64>().0 {
        let mut w: Vec<u32> = block.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word)).collect();
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w.push(w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1));
        }
        let mut v = hash.clone();
        for i in 0..64 {
            let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let t1 = v[7].wrapping_add(s1).wrapping_add(choice).wrapping_add(k[i]).wrapping_add(w[i]);
            let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(t1);
            v[0] = t1.wrapping_add(s0).wrapping_add(majority);
        }
        for (h, v) in hash.iter_mut().zip(v) {
            *h = h.wrapping_add(v);
        }
    }
    hash.iter().map(|word| format!("{word:08x}")).collect()
}

#[test]
fn sha256_gives_the_published_digest() {
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/// The voxels as little-endian `f32` with x fastest, the order of the recorded checksums.
pub fn bytes_x_fastest(volume: &Volume) -> Vec<u8> {
    let [nx, ny, nz] = volume.size;
    let mut bytes = Vec::with_capacity(4 * volume.voxels.len());
    for z in 0..nz {
        for y in 0..ny {
            for x in 0..nx {
                bytes.extend_from_slice(&volume.voxels[volume.index([x, y, z])].to_le_bytes());
            }
        }
    }
    bytes
}

/// An affine matrix that is oblique, anisotropic and left-handed.
pub fn oblique_affine() -> Affine {
    let mut affine = affine::from_quaternion([0.1, -0.2, 0.3], [0.5, 0.75, 2.0], -1.0, [10.0, -20.0, 30.5])
        .expect("a valid quaternion");
    // As it will be after storage in single precision.
    affine.iter_mut().flatten().for_each(|value| *value = f64::from(*value as f32));
    affine
}

/// A volume whose voxels are all different small integers.
pub fn counting_volume(size: [usize; 3]) -> Volume {
    let voxels = (0..size.iter().product::<usize>()).map(|i| i as f32 - 30.0).collect();
    Volume::new(voxels, size, oblique_affine()).expect("valid")
}

/// Whether two matrices agree to single precision.
pub fn assert_affine(found: &Affine, wanted: &Affine, what: &str) {
    for (a, b) in found.iter().flatten().zip(wanted.iter().flatten()) {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{what}: {found:?} instead of {wanted:?}");
    }
}

/// The values 0, 1, … 59 in file order.
pub fn counting_data(element: ElementType, big_endian: bool) -> Vec<u8> {
    let values: Vec<f32> = (0..60).map(|i| i as f32).collect();
    let mut bytes = Vec::new();
    element.encode(&values, &mut bytes).expect("small numbers");
    if big_endian {
        bytes.chunks_mut(element.bytes()).for_each(<[u8]>::reverse);
    }
    bytes
}

/// That a volume of 3×4×5 voxels holds these values.
pub fn assert_counting(volume: &Volume) {
    assert_eq!(volume.size, [3, 4, 5]);
    for x in 0..3 {
        for y in 0..4 {
            for z in 0..5 {
                assert_eq!(volume.voxels[volume.index([x, y, z])], (x + 3 * (y + 4 * z)) as f32);
            }
        }
    }
}

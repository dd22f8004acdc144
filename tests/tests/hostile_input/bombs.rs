//! S4: small files that ask for much. Each is inspected by the program, which must refuse it with one line, and by
//! a process of its own here, whose peak memory is read.

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use genesis_fuzz::mutate::pytorch_archive;
use genesis_tests::fail;
use genesis_tests::trust::Tally;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Most memory a process may hold at its peak: 64 MB.
const MOST_RESIDENT: u64 = 64_000_000;

/// Names the bomb to the child process.
const FILE: &str = "GENESIS_TESTS_BOMB";

/// A NIfTI-1 header of `uint8` voxels.
fn nifti(size: [i16; 3], offset: f32) -> Vec<u8> {
    let mut header = vec![0u8; 352];
    header[0..4].copy_from_slice(&348i32.to_le_bytes());
    for (axis, extent) in [3, size[0], size[1], size[2], 1, 1, 1, 1].into_iter().enumerate() {
        header[40 + 2 * axis..][..2].copy_from_slice(&extent.to_le_bytes());
        header[76 + 4 * axis..][..4].copy_from_slice(&1f32.to_le_bytes());
    }
    header[70..72].copy_from_slice(&2i16.to_le_bytes());
    header[72..74].copy_from_slice(&8i16.to_le_bytes());
    header[108..112].copy_from_slice(&offset.to_le_bytes());
    header[344..348].copy_from_slice(b"n+1\0");
    header
}

fn gzip(start: &[u8], megabytes_of_zeros: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(start).unwrap();
    (0..megabytes_of_zeros).for_each(|_| encoder.write_all(&[0; 1 << 20]).unwrap());
    encoder.finish().unwrap()
}

fn zlib(megabytes_of_zeros: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    (0..megabytes_of_zeros).for_each(|_| encoder.write_all(&[0; 1 << 20]).unwrap());
    encoder.finish().unwrap()
}

fn metaimage(size: &str, rest: &str) -> Vec<u8> {
    format!("ObjectType = Image\nNDims = 3\nDimSize = {size}\nElementType = MET_UCHAR\n{rest}").into_bytes()
}

fn npy(shape: &str) -> Vec<u8> {
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

fn safetensors(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

/// PyTorch's archive with the size of its last entry changed in the central directory.
fn zip_that_claims(compressed: u32, size: u32) -> Vec<u8> {
    let mut archive = pytorch_archive(b"\x80\x02}.");
    let entry = archive.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    archive[entry + 20..entry + 24].copy_from_slice(&compressed.to_le_bytes());
    archive[entry + 24..entry + 28].copy_from_slice(&size.to_le_bytes());
    archive
}

/// Name, content, and what the refusal says.
fn bombs() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let million: String = (0..1_000_000)
        .map(|n| format!("\"{n:x}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}},"))
        .collect();
    let million = format!("{{{}}}", million.trim_end_matches(','));
    let nested = pytorch_archive(b"\x80\x02}.");
    let memo: Vec<u8> =
        (0..200u8).flat_map(|n| [b'0', b']', b'(', b'h', n, b'h', n, b'e', b'q', n + 1]).collect();
    vec![
        ("gzip-behind.nii.gz", gzip(&[nifti([3, 4, 5], 352.0), vec![0; 60]].concat(), 512), "far more data"),
        ("gzip-claims.nii.gz", gzip(&nifti([1290, 1290, 1290], 352.0), 64), "truncated"),
        ("gzip-offset.nii.gz", gzip(&nifti([3, 4, 5], 1e9), 64), "truncated"),
        ("no-voxels.nii", nifti([1000, 1000, 1000], 352.0), "truncated"),
        ("no-voxels.mha", metaimage("1000 1000 1000", "ElementDataFile = LOCAL\n"), "truncated"),
        (
            "packed.mhd",
            metaimage("3 4 5", "CompressedData = True\nElementDataFile = packed.zraw\n"),
            "far more data",
        ),
        ("no-voxels.npy", npy("(1000, 1000, 1000)"), "truncated"),
        ("wide.npy", npy(&format!("({})", "1, ".repeat(20_000))), "axes"),
        ("archive.npy", nested.clone(), "not a NumPy file"),
        ("header-2-63.safetensors", vec![0, 0, 0, 0, 0, 0, 0, 0x80, b'{'], "neither safetensors"),
        ("header-2-31.safetensors", vec![0, 0, 0, 0x80, 0, 0, 0, 0, b'{', b'}'], "a header of"),
        ("million.safetensors", safetensors(&million), "beyond"),
        ("deep.safetensors", safetensors(&format!("{{\"a\":{}", "[".repeat(4_000_000))), "header"),
        ("claims-4-gib.pt", zip_that_claims(u32::MAX - 1, u32::MAX - 1), "damaged"),
        ("nested.pt", pytorch_archive(&[b"\x80\x02X\xff\xff\0\0", &nested[..]].concat()), "nested.pt"),
        ("memo.pt", pytorch_archive(&[b"\x80\x02](K\x01eq\0", &memo[..], b"."].concat()), "memo bomb"),
        ("deep.pt", pytorch_archive(&[&b"\x80\x02"[..], &b"]".repeat(3_000_000)].concat()), "deep.pt"),
    ]
}

#[test]
fn bombs_are_refused_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("packed.zraw"), zlib(512)).unwrap();
    let mut tally = Tally::new("S4", "a small file that asks for much: one line, peak memory below 64 MB");
    let mut most = (0, String::new());
    for (name, bytes, part) in bombs() {
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let start = Instant::now();
        let line = fail(1, &["inspect", path.to_str().unwrap()]);
        let seconds = start.elapsed().as_secs_f64();
        let resident = peak(&path);
        println!(
            "{name}: {} bytes, {seconds:.2} s, peak {:.1} MB: {line}",
            bytes.len(),
            resident as f64 / 1e6
        );
        most = most.max((resident, name.to_string()));
        tally.count(if !line.contains(part) || !line.contains(name.split('.').next().unwrap_or_default()) {
            Err(format!("{name}: {line:?} does not say {part:?}"))
        } else if resident > MOST_RESIDENT {
            Err(format!("{name}: {resident} bytes of memory"))
        } else {
            Ok(())
        });
    }
    println!("most memory: {:.1} MB ({})", most.0 as f64 / 1e6, most.1);
    tally.finish();
}

/// Peak resident bytes of a process that does nothing but read the file.
fn peak(file: &Path) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bombs::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let peak = text.lines().find_map(|line| line.split("peak resident bytes: ").nth(1)?.trim().parse().ok());
    peak.unwrap_or_else(|| panic!("{}: {text}\n{}", file.display(), String::from_utf8_lossy(&output.stderr)))
}

#[test]
#[ignore = "a process of its own, started by the test above"]
fn child() {
    let Some(file) = std::env::var_os(FILE).map(PathBuf::from) else { return };
    super::read(&file).expect_err("a bomb");
    let peak = genesis_tensor::memory::peak_resident_bytes().expect("the system tells");
    println!("\npeak resident bytes: {peak}");
}

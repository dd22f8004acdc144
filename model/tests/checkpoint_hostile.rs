//! Broken and hostile files: each gives one clear line that names the file and the cause.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use genesis_model::checkpoint::{
    Format, NamedTensor, PtLayout, StateDict, describe, read_checkpoint, write_pt, write_safetensors,
};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The message that reading `bytes` gives, after checks every message has to pass.
fn message(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.pt");
    fs::write(&path, bytes).unwrap();
    let message = read_checkpoint(&path).expect_err("should be refused").to_string();
    assert!(message.contains("weights.pt"), "no file name in {message:?}");
    assert!(!message.contains('\n') && message.len() < 1000, "{message:?}");
    message
}

fn refused(bytes: &[u8], cause: &str) {
    let message = message(bytes);
    assert!(message.contains(cause), "wanted {cause:?} in {message:?}");
}

/// A zip archive of stored entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A tar archive of such entries.
fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// What PyTorch before 0.1.10 wrote of one tensor `w` of four floats, each entry of the archive preceded by a pickle
/// of its own if `before` names it.
fn old_pytorch(before: (&str, &[u8])) -> Vec<u8> {
    let float = |kind: &str| [b"ctorch\n", kind.as_bytes(), b"\nt."].concat();
    let storage =
        [b"\x80\x02(K\x05U\x03cpu", &float("FloatStorage")[..], &4_u64.to_le_bytes(), &[0; 16]].concat();
    let extents = [1_u64, 4, 1, 0].map(u64::to_le_bytes).concat();
    let tensor = [b"\x80\x02(K\x07K\x05", &float("FloatTensor")[..], &extents].concat();
    let entry = |name: &str, rest: &[u8]| [if before.0 == name { before.1 } else { b"" }, rest].concat();
    let with_count = |name: &str, rest: &[u8]| [b"K\x01.", &entry(name, rest)[..]].concat();
    tar(&[
        ("sys_info", &entry("sys_info", &[b"\x80\x02}", &text("little_endian")[..], b"\x88s."].concat())),
        ("pickle", &entry("pickle", &dictionary(&[&text("7")[..], b"Q"].concat()))),
        ("tensors", &with_count("tensors", &tensor)),
        ("storages", &[with_count("storages", &storage), entry("views", b"\x80\x02].")].concat()),
    ])
}

/// A PyTorch archive around a pickle, with one storage of 16 bytes.
fn pytorch(pickle: &[u8]) -> Vec<u8> {
    archive(&[
        ("archive/data.pkl", pickle),
        ("archive/byteorder", b"little"),
        ("archive/data/0", &[0; 16]),
        ("archive/version", b"3\n"),
    ])
}

/// BINUNICODE.
fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A float tensor in storage `key` of `declared` elements with four values given as opcodes.
fn tensor(key: &str, declared: &[u8], size: &[u8], stride: &[u8]) -> Vec<u8> {
    [
        &b"ctorch._utils\n_rebuild_tensor_v2\n(("[..],
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text(key),
        &text("cpu"),
        declared,
        b"tQK\0(",
        size,
        b"t(",
        stride,
        b"t\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

/// A state dict with the entry `w`.
fn dictionary(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}(", &text("w")[..], value, b"u."].concat()
}

fn good_state() -> StateDict {
    let values: Vec<f32> = (0..40).map(|i| i as f32).collect();
    let mut state = StateDict::default();
    state.insert(NamedTensor::from_f32("conv.weight", &[4, 10], &values).unwrap());
    state.insert(NamedTensor::from_f32("conv.bias", &[4], &values[..4]).unwrap());
    state.insert(NamedTensor::from_i64("bn.num_batches_tracked", 7));
    state.metadata.insert("epoch".to_string(), "3".to_string());
    state
}

fn good_file(name: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    match name.ends_with(".pt") {
        true => write_pt(&path, &good_state(), PtLayout::StateDict).unwrap(),
        false => write_safetensors(&path, &good_state()).unwrap(),
    }
    (directory, path)
}

#[test]
fn the_crafted_parts_are_sound() {
    // Otherwise the tests below would pass for the wrong reason.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    fs::write(&path, pytorch(&dictionary(&tensor("0", b"K\x04", b"K\x04", b"K\x01")))).unwrap();
    assert_eq!(read_checkpoint(&path).unwrap().state.get("w").unwrap().to_f32(), [0.0; 4]);
}

#[test]
fn pickles_of_a_tar_archive_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    fs::write(&path, old_pytorch(("", b""))).unwrap();
    let checkpoint = read_checkpoint(&path).unwrap();
    assert_eq!(checkpoint.format, Format::PytorchTar);
    assert_eq!(checkpoint.state.get("w").unwrap().to_f32(), [0.0; 4]);
    // One byte an object, without any memo; and lists that double twenty times.
    let list = [b"\x80\x02(", &b"N".repeat(500_001)[..], b"t."].concat();
    let mut memo = b"\x80\x02](K\x01eq\0".to_vec();
    for round in 0..20 {
        memo.extend(b"0](");
        memo.extend([b'h', round, b'h', round, b'e', b'q', round + 1]);
    }
    memo.push(b'.');
    for bomb in [&list, &memo] {
        for entry in ["sys_info", "pickle", "tensors", "storages", "views"] {
            refused(&old_pytorch((entry, bomb)), "memo bomb");
        }
    }
    // The bound is one for all entries together.
    let half = [b"\x80\x02(", &b"N".repeat(300_000)[..], b"t."].concat();
    let twice = tar(&[("sys_info", &half), ("pickle", &half), ("tensors", b"K\0."), ("storages", b"K\0.].")]);
    refused(&twice, "memo bomb");
    // Values are passed over by the type that the interpreter takes, of which there must be no doubt.
    let types = b"\x80\x02(K\x05U\x03cpuctorch\nByteStorage\n0ctorch\nDoubleStorage\nt.";
    let entries: [(&str, &[u8]); 4] = [
        ("sys_info", &[b"\x80\x02}", &text("little_endian")[..], b"\x88s."].concat()),
        ("pickle", b"\x80\x02}."),
        ("tensors", b"K\0."),
        ("storages", &[b"K\x01.", &types[..], &[0; 8], b"]."].concat()),
    ];
    refused(&tar(&entries), "several types");
    // A sparse file of two gigabytes of nothing.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_path("pickle").unwrap();
    header.set_size(0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.realsize = *b"16000000000\0";
    gnu.sparse[0].offset = *b"16000000000\0";
    gnu.sparse[0].numbytes = *b"00000000000\0";
    header.set_cksum();
    refused(&[header.as_bytes(), &[0; 1024][..]].concat(), "claim to hold entries of");
}

#[test]
fn files_of_other_kinds() {
    refused(b"", "is empty (0 bytes)");
    refused(b"GIF89a and so on", "is neither safetensors nor a PyTorch checkpoint");
    refused(
        b"\x89HDF\r\n\x1a\n",
        "Keras keeps weights (.h5), which is not read: take the original's weights for PyTorch",
    );
    refused(b"\x93NUMPY\x01\0", "is a NumPy array");
    refused(&archive(&[("word/document.xml", b"<xml/>")]), "a zip archive but no PyTorch file");
    refused(&archive(&[]), "a zip archive but no PyTorch file");
    refused(b"\x80\x02}.", "is a bare pickle, which holds no tensors");
    refused(b"\x80\x02}", "not a usable PyTorch checkpoint");
    refused(&pytorch(b"\x80\x02]."), "its content is not a dictionary");
    refused(&pytorch(b"\x80\x02}."), "holds no tensors");
    refused(&pytorch(&[b"\x80\x02}(", &text("lr")[..], b"K\x01u."].concat()), "holds no state dict");

    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.pt");
    let error = read_checkpoint(&missing).unwrap_err().to_string();
    assert!(error.starts_with("cannot open ") && error.contains("missing.pt"), "{error}");
    let error = describe(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("is not a file"), "{error}");
}

#[test]
fn random_bytes_never_pass() {
    // A simple generator (Knuth's MMIX); every tenth file starts like a pickle, a zip archive or
    // a safetensors header.
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 56) as u8
    };
    for round in 0..600 {
        let length = 1 + usize::from(next()) * 4;
        let mut bytes: Vec<u8> = (0..length).map(|_| next()).collect();
        let start: &[u8] = match round % 10 {
            0 => b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
            1 => b"PK\x03\x04",
            2 => b"\x40\0\0\0\0\0\0\0{",
            3 => b"\x80\x02}(X\x01\0\0\0w",
            _ => b"",
        };
        bytes.splice(..start.len().min(length), start.iter().copied());
        message(&bytes);
    }
}

#[test]
fn python_objects_are_refused_by_name() {
    let system = [b"cposix\nsystem\n(", &text("echo owned > /tmp/owned")[..], b"tR"].concat();
    for (pickle, name) in [
        (dictionary(&system), "posix.system"),
        ([b"\x80\x02", &system[..], b"."].concat(), "posix.system"),
        (dictionary(b"cbuiltins\neval\n"), "builtins.eval"),
        (dictionary(b"](c__builtin__\nexec\n(tRe"), "__builtin__.exec"),
        (dictionary(b"cos\nsystem\n)\x81"), "os.system"),
    ] {
        let message = message(&pytorch(&pickle));
        let wanted = format!("refused: its pickle asks for the Python object {name}");
        assert!(message.contains(&wanted), "wanted {wanted:?} in {message:?}");
    }
    // Beside good weights it is refused too, and so is a call that swallows a tensor.
    let good = tensor("0", b"K\x04", b"K\x04", b"K\x01");
    let beside = [&good[..], &text("extra"), &system].concat();
    refused(&pytorch(&dictionary(&beside)), "posix.system");
    refused(
        &pytorch(&dictionary(&[b"csubprocess\nPopen\n(", &good[..], b"tR"].concat())),
        "subprocess.Popen",
    );
}

#[test]
fn memo_bombs_are_refused() {
    // Each round doubles a list through the memo: 2^40 items in the end.
    let mut bomb = b"\x80\x02](K\x01eq\0".to_vec();
    for round in 0..40 {
        bomb.extend(b"0]("); // drop, start a list of
        bomb.extend([b'h', round, b'h', round, b'e', b'q', round + 1]);
    }
    bomb.push(b'.');
    refused(&pytorch(&bomb), "memo bomb");
    let deep = [b"\x80\x02", &b"]".repeat(50_000)[..], &b"a".repeat(49_999), b"."].concat();
    refused(&pytorch(&deep), "nesting");
}

#[test]
fn sizes_that_do_not_fit() {
    let four = b"K\x04";
    refused(&pytorch(&dictionary(&tensor("1", four, four, b"K\x01"))), "data/1");
    refused(&pytorch(&dictionary(&tensor("0", four, b"K\x05", b"K\x01"))), "storage");
    refused(&pytorch(&dictionary(&tensor("0", b"K\x05", b"K\x05", b"K\x01"))), "tensor 'w'");
    refused(&pytorch(&dictionary(&tensor("0", four, four, b"J\xff\xff\xff\xff"))), "stride");
    // One value expanded to 2^30: asks for 4 GiB from a file of a few hundred bytes.
    let expanded = tensor("0", four, b"J\0\0\0\x40", b"K\0");
    refused(&pytorch(&dictionary(&expanded)), "is more than the file's");
    // Many names for one storage.
    let mut pickle = b"\x80\x02}(".to_vec();
    for index in 0..3 {
        pickle.extend([text(&index.to_string()), tensor("0", four, b"K\x80", b"K\0")].concat());
    }
    pickle.extend(b"u.");
    let file = pytorch(&pickle);
    assert!(file.len() > 512 && file.len() < 3 * 512, "{} bytes", file.len());
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("x"), &file).unwrap();
    assert_eq!(read_checkpoint(directory.path().join("x")).unwrap().state.tensors.len(), 3);
    let mut pickle = b"\x80\x02}(".to_vec();
    let shown = tensor("0", four, b"J\0\x08\0\0", b"K\0");
    for index in 0..100 {
        pickle.extend([text(&index.to_string()), shown.clone()].concat());
    }
    pickle.extend(b"u.");
    refused(&pytorch(&pickle), "unfold to 819200 bytes");
}

#[test]
fn archives_that_claim_more_than_they_hold() {
    let (_directory, path) = good_file("good.pt");
    let good = fs::read(&path).unwrap();
    // Sizes in the central directory entry of data/0: compressed at 20, uncompressed at 24.
    let entry = good.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let mut bomb = good.clone();
    bomb[entry + 20..entry + 28].fill(0x7f);
    refused(&bomb, "damaged");
    // Compressed entries can claim any size; PyTorch writes none.
    let mut compressed = good;
    compressed[entry + 10] = 8;
    refused(&compressed, "is compressed, which PyTorch never does");
}

#[test]
fn safetensors_headers_that_lie() {
    let file = |header: &str, data: usize| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    };
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    refused(&file(&one("F32", "[2]", "[0,8]"), 7), "cut short: its header asks for");
    refused(&file(&one("F32", "[2]", "[0,8]"), 9), "too long: its header asks for");
    refused(&file(&one("F32", "[3]", "[0,8]"), 8), "not a valid safetensors header");
    refused(&file(&one("F32", "[2]", "[4,12]"), 12), "not a valid safetensors header");
    refused(&file(&one("F32", "[4611686018427387904,4]", "[0,8]"), 8), "not a valid safetensors header");
    refused(&file(&one("F32", "[-1]", "[0,8]"), 8), "not a valid safetensors header");
    refused(&file(&one("F4", "[2]", "[0,1]"), 1), "tensor w: type F4 is not supported");
    refused(&file("{", 0), "not a valid safetensors header");
    refused(&file(&format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000)), 0), "safetensors header");
    // 2^31 bytes of header in a file of a dozen: refused before an allocation.
    refused(b"\0\0\0\x80\0\0\0\0{}      ", "a header of 2147483648 bytes in a file of 16");
}

#[test]
fn every_cut_is_noticed() {
    for name in ["good.safetensors", "good.pt"] {
        let (_directory, path) = good_file(name);
        let good = fs::read(&path).unwrap();
        for length in 0..good.len() {
            message(&good[..length]);
        }
    }
}

/// Reading with each single bit flipped: either refused or, where the flip changed nothing that
/// counts (padding, an archive's time stamps), read as the same state.
fn flips(path: &Path) -> (usize, usize) {
    let good = fs::read(path).unwrap();
    let flipped_path = path.with_extension("flipped");
    let (mut refused, mut harmless) = (0, 0);
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&flipped_path, flipped).unwrap();
        match read_checkpoint(&flipped_path) {
            Err(_) => refused += 1,
            Ok(read) => {
                let mut wanted = good_state();
                if path.extension().is_some_and(|extension| extension == "pt") {
                    wanted.metadata.clear();
                } else {
                    wanted.tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.size()));
                }
                assert_eq!(read.state, wanted, "bit {bit} of {}", path.display());
                harmless += 1;
            }
        }
    }
    (refused, harmless)
}

#[test]
fn every_flipped_bit_of_safetensors_is_noticed() {
    let (_directory, path) = good_file("good.safetensors");
    let (refused, harmless) = flips(&path);
    // Harmless: a bit of a padding space that turns it into another blank.
    assert!(refused > 0 && harmless * 100 < refused, "{refused} refused, {harmless} harmless");
}

#[test]
fn every_flipped_bit_of_an_archive_is_noticed() {
    let (_directory, path) = good_file("good.pt");
    let (refused, harmless) = flips(&path);
    assert!(refused > harmless / 4, "{refused} refused, {harmless} harmless");
}

#[test]
fn changed_bytes_of_a_legacy_file_never_panic() {
    // This container has no checksum, so a changed value passes; nothing may do worse than that.
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/members_legacy.pt");
    let good = fs::read(fixture).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("changed.pt");
    let mut refused = 0;
    for position in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = good.clone();
            changed[position] ^= change;
            fs::write(&path, changed).unwrap();
            match read_checkpoint(&path) {
                Ok(read) => assert!(read.state.byte_len() <= 4 * good.len()),
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains("changed.pt") && !message.contains('\n'), "{message:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > good.len(), "{refused} refused");
    for length in 0..good.len() {
        message(&good[..length]);
    }
}

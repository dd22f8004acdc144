//! Headers and files made here; what pynrrd and SimpleITK write is among the recorded files of `oracle.rs`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bzip2::write::BzEncoder;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::volume::test_support::{assert_affine, assert_counting, counting_data, counting_volume};
use crate::volume::{
    ELEMENT_TYPES, ElementType, ReadOptions, Volume, Voxels, affine, channel_count, read_channels,
    read_volume, read_volume_with, write_like,
};

const BASE: &str = "NRRD0004\n# a comment\ntype: short\ndimension: 3\nsizes: 3 4 5\nendian: little\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn written(folder: &Path, name: &str, header: &str, data: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, [header.as_bytes(), data].concat()).expect("write");
    path
}

/// Reads `header` with an empty line and `data` as a `.nrrd` file.
fn attached(folder: &Path, header: &str, data: &[u8]) -> crate::Result<Volume> {
    read_volume(&written(folder, "test.nrrd", &format!("{header}\n"), data))
}

#[test]
fn every_spelling_byte_order_and_encoding_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    for (names, element) in [
        (&["signed char", "int8", "int8_t"][..], ElementType::Int8),
        (&["uchar", "unsigned char", "uint8", "uint8_t"], ElementType::Uint8),
        (&["short", "short int", "signed short", "signed short int", "int16", "int16_t"], ElementType::Int16),
        (&["ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"], ElementType::Uint16),
        (&["int", "signed int", "int32", "int32_t"], ElementType::Int32),
        (&["uint", "unsigned int", "uint32", "uint32_t"], ElementType::Uint32),
        (
            &["longlong", "long long", "long long int", "signed long long", "int64", "int64_t"],
            ElementType::Int64,
        ),
        (
            &["ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"],
            ElementType::Uint64,
        ),
        (&["float"], ElementType::Float32),
        (&["double"], ElementType::Float64),
    ] {
        for (index, name) in names.iter().enumerate() {
            let big = index % 2 == 1;
            let bytes = counting_data(element, big);
            let head = BASE.replace("short", name).replace("little", if big { "big" } else { "little" });
            let text = (0..60).map(|value| format!("{value}\n")).collect::<String>().into_bytes();
            let halves = [gzip(&bytes[..17]), gzip(&bytes[17..])].concat();
            for (encoding, data) in [
                ("raw", bytes.clone()),
                ("gzip", gzip(&bytes)),
                ("gz", halves),
                ("bzip2", bzip2(&bytes)),
                ("bz2", [bzip2(&bytes[..17]), bzip2(&bytes[17..])].concat()),
                ("ascii", text.clone()),
                ("txt", text),
            ] {
                let volume = attached(folder.path(), &format!("{head}encoding: {encoding}\n"), &data)
                    .unwrap_or_else(|error| panic!("{name}, {encoding}: {error}"));
                assert_counting(&volume);
                assert_eq!(volume.source.element, element);
                assert_eq!(volume.source.compressed, encoding.contains('z'));
            }
        }
    }
    // One byte has no order, and text neither.
    let head = BASE.replace("endian: little\n", "").replace("short", "uchar");
    assert_counting(
        &attached(
            folder.path(),
            &format!("{head}encoding: raw\n"),
            &counting_data(ElementType::Uint8, false),
        )
        .expect("valid"),
    );
}

#[test]
fn data_files_are_read_with_what_is_skipped() {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path();
    let bytes = counting_data(ElementType::Int16, false);
    fs::create_dir(root.join("sub")).expect("folder");
    let read = |fields: &str| {
        // CRLF, and no end of the last line.
        let text = format!("{BASE}{fields}").replace('\n', "\r\n");
        read_volume(&written(root, "a.nhdr", &text, &[])).unwrap_or_else(|error| panic!("{fields}: {error}"))
    };
    written(root, "a.raw", "", &bytes);
    written(root, "sub/b with space.raw", "one\ntwo\nxyz", &bytes);
    written(root, "c.raw", "whatever", &bytes);
    written(root, "d.raw.gz", "a line\n", &gzip(&[b"123", &bytes[..]].concat()));
    assert_counting(&read("encoding: raw\ndata file: a.raw"));
    assert_counting(&read("encoding: raw\nline skip: 2\nbyte skip: 3\ndata file: sub/b with space.raw"));
    assert_counting(&read("encoding: raw\nbyteskip: -1\ndatafile: ./c.raw"));
    // Lines are skipped before, bytes after decompression.
    assert_counting(&read("encoding: gzip\nlineskip: 1\nbyte skip: 3\ndata file: d.raw.gz"));
    // One file for each slice, or for each two.
    for (z, slice) in bytes.chunks(24).enumerate() {
        written(root, &format!("slice{:03}.raw", z + 7), "", slice);
        written(root, &format!("slice{z}.gz"), "", &gzip(slice));
        let text: Vec<String> =
            slice.as_chunks().0.iter().map(|&word| i16::from_le_bytes(word).to_string()).collect();
        written(root, &format!("slice {z}.txt"), &text.join(", "), &[]);
    }
    assert_counting(&read("encoding: raw\ndata file: slice%03d.raw 7 11 1"));
    assert_counting(&read("encoding: raw\ndata file: slice%03d.raw 7 11 1 2"));
    assert_counting(&read(
        "encoding: gzip\ndata file: LIST\nslice0.gz\nslice1.gz\nslice2.gz\nslice3.gz\nslice4.gz",
    ));
    let texts = (0..5).map(|z| format!("\nslice {z}.txt")).collect::<String>();
    assert_counting(&read(&format!("encoding: ascii\ndata file: LIST 2{texts}")));
    let named = read("encoding: raw\ndata file: a.raw");
    assert_eq!((named.source.affine_from, named.spacing), ("nothing (1 mm assumed)", [1.0; 3]));
}

#[test]
fn the_world_is_turned_to_ras() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = counting_data(ElementType::Int16, false);
    let lps = [[-0.5, 0.0, 0.0, -1.0], [0.0, 0.0, -2.0, -2.0], [0.0, 0.6, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]];
    let fields = "space directions: (0.5,0,0) (0, 0, 0.6) (0,2,0)\nspace origin: (1,2,3)\nencoding: raw\n";
    let of_signs = |x: f64, y: f64| {
        let mut matrix: crate::volume::Affine = lps;
        matrix[0] = lps[0].map(|value| value * x + 0.0);
        matrix[1] = lps[1].map(|value| value * y + 0.0);
        matrix
    };
    for (space, wanted) in [
        ("space: left-posterior-superior", lps),
        ("space: LPS", lps),
        ("space: RAS", of_signs(-1.0, -1.0)),
        ("space: right-anterior-superior", of_signs(-1.0, -1.0)),
        ("space: left-anterior-superior", of_signs(1.0, -1.0)),
        ("space: scanner-xyz", lps),
        ("space dimension: 3", lps),
    ] {
        let volume = attached(folder.path(), &format!("{BASE}{space}\n{fields}"), &bytes).expect(space);
        assert_counting(&volume);
        assert_affine(&volume.affine, &wanted, space);
    }
    // The middle of the first voxel, half a voxel behind where the axis starts.
    let minimums = "spacings: 1 2 4\naxis mins: 10 20 30\ncenters: cell cell node\nencoding: raw\n";
    let volume = attached(folder.path(), &format!("{BASE}{minimums}"), &bytes).expect("valid");
    assert_eq!([0, 1, 2].map(|row| volume.affine[row][3]), [-10.5, -21.0, 30.0]);
    assert_eq!((volume.source.affine_from, volume.spacing), ("spacings only", [1.0, 2.0, 4.0]));
    // A plane in space stands upright on its third axis.
    let plane = BASE.replace("dimension: 3\nsizes: 3 4 5", "dimension: 2\nsizes: 12 5");
    let fields = "space: RAS\nspace directions: (0,0,2) (3,0,0)\nencoding: raw\n";
    let volume = attached(folder.path(), &format!("{plane}{fields}"), &bytes).expect("valid");
    assert_eq!((volume.size, volume.spacing), ([12, 5, 1], [2.0, 3.0, 1.0]));
    assert!((affine::determinant(&volume.affine) - 6.0).abs() < 1e-12);
}

#[test]
fn the_axis_that_is_not_spatial_holds_frames_wherever_it_stands() {
    let folder = tempfile::tempdir().expect("folder");
    let value = |x: usize, y: usize, z: usize, frame: usize| (x + 3 * (y + 4 * (z + 5 * frame))) as i16;
    for place in 0..4 {
        let mut sizes = vec![3usize, 4, 5];
        sizes.insert(place, 2);
        let mut bytes = Vec::new();
        for index in 0..120 {
            let mut rest = index;
            let mut at: Vec<usize> = sizes.iter().map(|&size| (rest % size, rest /= size).0).collect();
            let frame = at.remove(place);
            bytes.extend(value(at[0], at[1], at[2], frame).to_le_bytes());
        }
        let per_axis = |word: &str, other: &str| {
            let mut words = vec![word; 3];
            words.insert(place, other);
            words.join(" ")
        };
        let numbers: Vec<String> = sizes.iter().map(usize::to_string).collect();
        let base = BASE.replace("dimension: 3", "dimension: 4").replace("3 4 5", &numbers.join(" "));
        let mut directions = vec!["(1,0,0)", "(0,1,0)", "(0,0,2)"];
        directions.insert(place, "none");
        let by_directions = format!("space: LPS\nspace directions: {}\n", directions.join(" "));
        let by_kinds = format!("kinds: {}\n", per_axis("domain", "list"));
        let old = by_directions.replace("none", "(nan,nan,nan)");
        for meaning in [by_directions, by_kinds, old] {
            for (encoding, data) in [("raw", bytes.clone()), ("gzip", gzip(&bytes)), ("bzip2", bzip2(&bytes))]
            {
                let header = format!("{base}{meaning}encoding: {encoding}\n\n");
                let path = written(folder.path(), "f.nrrd", &header, &data);
                assert_eq!(channel_count(&path).expect("valid"), 2);
                let message = read_volume(&path).expect_err("two").to_string();
                assert!(message.contains("holds 2 volumes"), "{message}");
                assert_counting(&read_volume_with(&path, &ReadOptions::frame(Some(0))).expect("valid"));
                let both = read_channels(&path).expect("valid");
                assert!(both[0].voxels.iter().zip(&both[1].voxels).all(|(a, b)| a + 60.0 == *b));
                assert_eq!(both[1], read_volume_with(&path, &ReadOptions::frame(Some(1))).expect("valid"));
                assert!(read_volume_with(&path, &ReadOptions::frame(Some(2))).is_err());
            }
        }
    }
}

#[test]
fn hostile_and_unsupported_headers_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = counting_data(ElementType::Int16, false);
    let secret = written(folder.path(), "secret.raw", "", &bytes);
    let inside = folder.path().join("in");
    fs::create_dir(&inside).expect("folder");
    let refuse = |header: &str, data: &[u8], part: &str| {
        let message = attached(&inside, header, data).expect_err(header).to_string();
        assert!(message.contains(part) && !message.contains('\n'), "{message:?} should say {part:?}");
    };
    let with = |lines: &str| format!("{BASE}encoding: raw\n{lines}");
    for name in ["../secret.raw", secret.to_str().expect("UTF-8"), "x/../../secret.raw"] {
        refuse(&with(&format!("data file: {name}\n")), &[], "leaves the folder");
        refuse(&with(&format!("data file: LIST 3\n{name}\n")), &[], "leaves the folder");
    }
    refuse(&with("data file: .\n"), &[], "which is a directory");
    refuse(&with(&format!("data file: {}\n", "d".repeat(3000))), &[], "a name of 3000 bytes");
    refuse(&with("data file: ../s%03d.raw 1 5 1\n"), &[], "leaves the folder");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&secret, inside.join("linked.raw")).expect("link");
        refuse(&with("data file: linked.raw\n"), &[], "leaves the folder of the header by a link");
    }
    refuse(&with("data file: absent.raw\n"), &[], "absent.raw");
    refuse(&with("data file:\n"), &[], "no file");
    refuse(&with("data file: LIST\n"), &[], "lists 0 files");
    refuse(&with("data file: s%d.raw 0 9999999999 1\n"), &[], "counts from 0");
    refuse(&with("data file: s%d.raw 0 5 0\n"), &[], "counts from 0");
    refuse(&with("data file: s%s.raw 0 5 1\n"), &[], "pattern");
    refuse(&with("data file: s%d.raw 0 2 1\n"), &[], "need 5");
    refuse(&with(""), &bytes[1..], "truncated");
    refuse(&with("byte skip: 1\n"), &bytes, "truncated");
    refuse(&with("byte skip: 9223372036854775807\n"), &bytes, "truncated");
    refuse(&with("byte skip: -2\n"), &bytes, "byte skip");
    refuse(&with("line skip: -1\n"), &bytes, "line skip");
    refuse(&with("line skip: 1000000\n"), &bytes, "lines to skip");
    refuse(&format!("{BASE}encoding: gzip\nbyte skip: -1\n"), &gzip(&bytes), "needs the encoding raw");
    let packed = format!("{BASE}encoding: gzip\n");
    refuse(&packed, &bytes, "not gzip");
    for (encoding, data) in [("gzip", gzip(&bytes)), ("bzip2", bzip2(&bytes))] {
        let header = format!("{BASE}encoding: {encoding}\n");
        for length in [0, 1, data.len() / 2, data.len() - 1] {
            refuse(&header, &data[..length], "");
        }
        let mut damaged = data.clone();
        let place = data.len() / 2;
        damaged[place] ^= 1;
        refuse(&header, &damaged, "");
    }
    let text = format!("{BASE}encoding: ascii\n");
    refuse(&text, b"1 2 3", "truncated");
    refuse(&text, &b"1 ".repeat(59), "truncated");
    refuse(&text, &b"x ".repeat(60), "is not a number");
    refuse(&text, &b"1".repeat(5000), "is not a number");
    // 2 MB behind the volume, packed small.
    let mut bomb = bytes.clone();
    bomb.resize(2 << 20, 0);
    refuse(&packed, &gzip(&bomb), "far more data");
    refuse(&format!("{BASE}encoding: bz2\n"), &bzip2(&bomb), "far more data");
    // 2 GB of voxels asked for, a few bytes there.
    for encoding in ["raw", "gzip", "bzip2", "ascii"] {
        let header = format!("{BASE}encoding: {encoding}\n").replace("3 4 5", "1000 1000 1000");
        let data = match encoding {
            "gzip" => gzip(&bytes),
            "bzip2" => bzip2(&bytes),
            _ => bytes.clone(),
        };
        refuse(&header, &data, "truncated");
    }
    for (sizes, part) in [
        ("99999999 99999999 99999999", "more than"),
        ("0 4 5", "holds no voxel"),
        ("3 4", "2 sizes"),
        ("3 4 -5", "not a number"),
    ] {
        refuse(&with("").replace("3 4 5", sizes), &bytes, part);
    }
    let many = with("").replace("dimension: 3\nsizes: 3 4 5", "dimension: 5\nsizes: 3 4 5 2 2");
    refuse(&many, &bytes, "axes beyond three");
    let frames =
        with("").replace("dimension: 3\nsizes: 3 4 5", "dimension: 4\nsizes: 3 4 5 18446744073709551615");
    refuse(&frames, &bytes, "holds 18446744073709551615 volumes");
    refuse(&with("space: 3D-left-handed\n"), &bytes, "3d-left-handed");
    refuse(&with("space dimension: 7\n"), &bytes, "space dimension is 7");
    refuse(&with("space: LPS\nspace directions: (1,0,0) (0,1,0)\n"), &bytes, "2 entries");
    refuse(&with("space: LPS\nspace directions: (1,0,0) (1,0,0) (0,0,1)\n"), &bytes, "singular");
    refuse(&with("space: LPS\nspace directions: (1,0) (0,1) (1,1)\n"), &bytes, "vectors of 2");
    refuse(&with("space: LPS\nspace directions: 1 0 0\n"), &bytes, "vectors look like");
    refuse(&with("space: LPS\nspace directions: none none none\n"), &bytes, "no spatial axis");
    refuse(&with("spacings: 1 2\n"), &bytes, "2 entries");
    refuse(&with("kinds: domain\n"), &bytes, "1 entries");
    for (name, part) in [("char", "\"char\""), ("block", "block"), ("half", "half")] {
        refuse(&with("").replace("short", name), &bytes, part);
    }
    refuse(&format!("{BASE}encoding: hex\n"), &bytes, "hex");
    refuse(&with("").replace("little", "middle"), &bytes, "middle");
    refuse(&with("").replace("endian: little\n", ""), &bytes, "endian");
    for field in ["type", "dimension", "sizes", "encoding"] {
        let without: String = with("")
            .lines()
            .filter(|line| !line.starts_with(field))
            .map(|line| format!("{line}\n"))
            .collect();
        refuse(&without, &bytes, &format!("no field {field:?}"));
    }
    refuse(&with("").replace("NRRD0004", "NRRD0009"), &bytes, "version");
    refuse("P6 a picture", &bytes, "not NRRD");
    let path = written(&inside, "cut.nrrd", BASE, &[]);
    assert!(read_volume(&path).is_err());
}

#[test]
fn truncated_files_are_refused_at_every_length() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = counting_data(ElementType::Int16, false);
    for (encoding, data) in [("raw", bytes.clone()), ("gzip", gzip(&bytes)), ("bzip2", bzip2(&bytes))] {
        let whole = [format!("{BASE}encoding: {encoding}\n\n").as_bytes(), &data].concat();
        for length in 0..whole.len() {
            let path = written(folder.path(), "t.nrrd", "", &whole[..length]);
            let message = read_volume(&path).expect_err("cut").to_string();
            assert!(message.contains("t.nrrd") && !message.contains('\n'), "{length}: {message}");
        }
    }
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().expect("folder");
    let mut volume = counting_volume([3, 4, 21]);
    volume.voxels.iter_mut().for_each(|value| *value = value.rem_euclid(120.0));
    for element in ELEMENT_TYPES.into_iter().filter(|&element| element != ElementType::Float16) {
        for name in ["w.nrrd", "w.nhdr"] {
            let path = folder.path().join(name);
            write_nrrd(&path, &volume, element).expect("written");
            let back = read_volume(&path).expect("valid");
            assert_eq!((&back.voxels, back.source.element), (&volume.voxels, element));
            assert_eq!(back.affine, volume.affine, "{name}: shortest decimals give the same bits");
        }
    }
    assert!(folder.path().join("w.raw.gz").is_file());
    assert!(write_nrrd(&folder.path().join("x.nhdr"), &volume, ElementType::Float16).is_err());
    volume.voxels[3] = f32::NAN;
    assert!(write_nrrd(&folder.path().join("x.nhdr"), &volume, ElementType::Int16).is_err());
    let left: Vec<_> = fs::read_dir(folder.path()).expect("list").collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn results_keep_the_header_of_their_scan() {
    let folder = tempfile::tempdir().expect("folder");
    let fields = "space: RAS\nspace directions: (0.1,0,0) (0,0.2,0) (0,0,0.3)\nspace origin: (1,2,3)\n\
                  encoding: raw\nmin: 7\ncontent: CT\nPatient:=of 3D Slicer\n";
    let scan = written(
        folder.path(),
        "scan.nrrd",
        &format!("{BASE}{fields}\n"),
        &counting_data(ElementType::Int16, false),
    );
    let labels: Vec<u8> = (0..60).collect();
    let probabilities: Vec<f32> = (0..60).map(|value| value as f32 / 64.0).collect();
    for name in ["labels.nrrd", "labels.nhdr"] {
        let path = folder.path().join(name);
        write_like(&scan, &path, [3, 4, 5], Voxels::Labels(&labels)).expect("written");
        let back = read_volume(&path).expect("valid");
        assert_eq!(back.affine, read_volume(&scan).expect("valid").affine);
        assert!(back.voxels.iter().zip(&labels).all(|(a, b)| *a == f32::from(*b)));
        assert_eq!(back.source.element, ElementType::Uint8);
        let text = String::from_utf8_lossy(&fs::read(&path).expect("read")).into_owned();
        assert!(text.contains("space directions: (0.1,0,0) (0,0.2,0) (0,0,0.3)\n"), "{text}");
        assert!(
            text.contains("Patient:=of 3D Slicer\n") && !text.contains("min: 7") && !text.contains("content")
        );
        write_like(&scan, &path, [3, 4, 5], Voxels::Probabilities(&probabilities)).expect("written");
        assert_eq!(read_volume(&path).expect("valid").voxels, probabilities);
    }
    assert!(write_like(&scan, &folder.path().join("x.nrrd"), [3, 5, 4], Voxels::Labels(&labels)).is_err());
    // A film's header is not that of a label map.
    let film = BASE.replace("dimension: 3\nsizes: 3 4 5", "dimension: 4\nsizes: 3 4 5 2");
    let twice = counting_data(ElementType::Int16, false).repeat(2);
    let film =
        written(folder.path(), "film.nrrd", &format!("{film}encoding: raw\nspacings: 1 2 3 nan\n\n"), &twice);
    let path = folder.path().join("of-film.nrrd");
    write_like(&film, &path, [3, 4, 5], Voxels::Labels(&labels)).expect("written");
    assert_eq!(read_volume(&path).expect("valid").spacing, [1.0, 2.0, 3.0]);
}

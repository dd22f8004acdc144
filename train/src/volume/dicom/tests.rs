//! Series made by `tests/oracle/record_dicom.py` and what SimpleITK or pydicom read from them; refusals; harm.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::read;
use crate::error::Error;
use crate::volume::test_support::{assert_affine, shared_data};
use crate::volume::{Affine, ReadOptions, Volume, convert, describe, is_volume, list_volumes, read_volume};

fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/dicom"))
}

fn refusal(path: &Path) -> String {
    match read_volume(path) {
        Ok(volume) => panic!("{} was read as {:?}", path.display(), volume.size),
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n') && !line.contains("SECRET"), "{line}");
            line
        }
    }
}

fn expected() -> BTreeMap<String, Value> {
    let text = fs::read_to_string(fixtures().join("expected.json")).expect("recorded");
    serde_json::from_str(&text).expect("JSON")
}

fn recorded(entry: &Value) -> (Vec<usize>, Vec<f64>, Affine) {
    let size = serde_json::from_value(entry["size"].clone()).expect("size");
    let voxels = serde_json::from_value(entry["voxels"].clone()).expect("voxels");
    (size, voxels, serde_json::from_value(entry["affine_ras"].clone()).expect("affine"))
}

#[test]
fn every_series_has_the_recorded_voxels_and_place() {
    let expected = expected();
    assert!(expected.len() >= 30, "{}", expected.len());
    for (name, entry) in &expected {
        let volume = read_volume(&fixtures().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (size, voxels, affine) = recorded(entry);
        assert_eq!(volume.size.to_vec(), size, "{name}");
        assert_affine(&volume.affine, &affine, name);
        for (index, (found, wanted)) in volume.voxels.iter().zip(&voxels).enumerate() {
            // The standard lets decoders of JPEG with loss differ by one.
            let tolerance = if name == "jpeg_baseline" { 1.0 } else { 0.0 };
            assert!(
                (f64::from(*found) - wanted).abs() <= tolerance,
                "{name}: voxel {index} is {found}, recorded {wanted}"
            );
        }
    }
}

#[test]
fn any_file_of_a_series_means_the_series() {
    let folder = fixtures().join("shuffled");
    let whole = read_volume(&folder).expect("a series");
    for name in ["IM0001", "IM0004"] {
        assert!(is_volume(&folder.join(name)));
        assert_eq!(read_volume(&folder.join(name)).expect("a series"), whole);
    }
    let two = fixtures().join("two_series");
    assert_eq!(read_volume(&two.join("a1.dcm")).expect("a series").size[2], 4);
    assert_eq!(read_volume(&two.join("b2.dcm")).expect("a series").size[2], 3);
    let line = refusal(&two);
    for part in ["2 DICOM series", "a0.dcm (CT \"two_series\", 4 slices of 8x6)", "b0.dcm (CT", "3 slices"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn what_is_no_even_grid_or_no_plain_value_is_refused_by_name() {
    let cases: [(&str, &[&str]); 10] = [
        ("tilt", &["tilted by 12.00 degrees", "gantry"]),
        ("missing", &["a slice is missing between 2.dcm and 4.dcm", "5.000 mm apart, others 2.500 mm"]),
        ("duplicate", &["two slices at one place: 3.dcm and 4.dcm"]),
        ("times", &["4 slices at 2 places, 2 at each"]),
        ("multi_frame_placeless", &["1.dcm", "has 4 frames, but places of 0"]),
        ("modality_table", &["1.dcm", "ModalityLUTSequence"]),
        ("spacing_differs", &["2.dcm has another PixelSpacing than 1.dcm"]),
        ("jpeg_ls", &["1.dcm", "JPEG-LS Lossless (1.2.840.10008.1.2.4.80), is not read"]),
        ("jpeg_restarts", &["1.dcm", "lossless with restarts"]),
        ("beside/report.dcm", &["is a structured report"]),
    ];
    for (name, parts) in cases {
        let line = refusal(&fixtures().join(name));
        assert!(line.contains(name) && parts.iter().all(|part| line.contains(part)), "{line}");
    }
    assert!(refusal(&fixtures().join("beside/scout.dcm")).contains("localiser"));
    assert!(refusal(&fixtures().join("beside/capture.dcm")).contains("secondary capture"));
    let empty = tempfile::tempdir().expect("folder");
    assert!(!is_volume(empty.path()));
    assert!(refusal(empty.path()).contains("folder without DICOM"));
}

#[test]
fn what_lies_beside_a_series_is_left_out() {
    let folder = fixtures().join("beside");
    let volume = read_volume(&folder).expect("one series");
    assert_eq!(volume.voxels, read_volume(&fixtures().join("explicit")).expect("the same slices").voxels);
    assert_eq!(list_volumes(&folder).expect("listed"), std::slice::from_ref(&folder));
    // A single slice is a volume where it is asked for.
    let single = read_volume(&folder.join("single.dcm")).expect("a slice");
    assert_eq!((single.size[2], single.spacing[2]), (1, 5.0));
}

#[test]
fn listings_name_each_series_once_beside_other_formats() {
    let root = tempfile::tempdir().expect("folder");
    let copy = |from: &str, to: &str| {
        let to = root.path().join(to);
        fs::create_dir_all(&to).expect("folder");
        for entry in fs::read_dir(fixtures().join(from)).expect("fixtures") {
            let path = entry.expect("entry").path();
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    };
    copy("shuffled", "patient/ct");
    copy("two_series", "patient/mixed");
    copy("beside", "patient/beside");
    convert(
        &root.path().join("patient/ct/IM0002"),
        &root.path().join("patient/ct/scan.nii.gz"),
        &ReadOptions::default(),
    )
    .expect("written");
    fs::write(root.path().join("patient/notes"), "text").expect("written");
    let listed = list_volumes(root.path()).expect("listed");
    let names: Vec<String> = listed
        .iter()
        .map(|path| path.strip_prefix(root.path()).expect("inside").to_string_lossy().into_owned())
        .collect();
    let wanted = [
        "patient/beside",
        "patient/ct",
        "patient/ct/scan.nii.gz",
        "patient/mixed/a0.dcm",
        "patient/mixed/b0.dcm",
    ];
    assert_eq!(names, wanted);
    for path in &listed {
        read_volume(path).unwrap_or_else(|error| panic!("{error}"));
    }
    let copied = read_volume(&root.path().join("patient/ct/scan.nii.gz")).expect("a copy");
    let original = read_volume(&root.path().join("patient/ct")).expect("a series");
    assert_eq!(copied.voxels, original.voxels);
    assert_eq!(copied.source.element.name(), "int16");
    assert_affine(&copied.affine, &original.affine, "converted");
}

#[test]
fn a_description_tells_the_series_and_nothing_of_the_patient() {
    let description =
        describe(&fixtures().join("per_slice_rescale"), &ReadOptions::default()).expect("a series");
    let text = description.to_string();
    for part in
        ["DICOM", "PT \"per_slice_rescale\", 4 slices in 4 files", "slope 0.25 to 1, intercept 0 to 0, slice"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.contains("Explicit VR Little Endian (1.2.840.10008.1.2.1), MONOCHROME2"), "{text}");
    assert!(text.lines().count() < 24, "one screen");
    let json = serde_json::to_string(&description).expect("JSON");
    assert!(!text.contains("SECRET") && !json.contains("SECRET"));
    let padded = describe(&fixtures().join("padding"), &ReadOptions::default()).expect("a series");
    assert_eq!(padded.series.expect("a series").padding, Some(-2000));
    assert!(padded.slope == 1.0 && padded.intercept == -1024.0);
}

/// One file in a folder of its own.
fn alone(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("1.dcm");
    fs::write(&path, content).expect("written");
    (folder, path)
}

/// The volume of one file, or the refusal, which must be one line.
fn outcome(path: &Path) -> Option<Volume> {
    match read_volume(path) {
        Ok(volume) => Some(volume),
        Err(Error::File { cause, .. }) => {
            assert!(!cause.contains('\n'), "{cause}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// The pixels come last: without a byte of them there is no volume, and with all there is the right one.
#[test]
fn no_truncation_gives_a_wrong_volume() {
    for (name, file) in [
        ("explicit", "1.dcm"),
        ("implicit", "1.dcm"),
        ("deflated", "1.dcm"),
        ("rle", "1.dcm"),
        ("jpeg_lossless_1", "1.dcm"),
        ("jpeg_2000", "1.dcm"),
        ("multi_frame", "1.dcm"),
        ("multi_frame_undefined", "1.dcm"),
    ] {
        let content = fs::read(fixtures().join(name).join(file)).expect("fixture");
        let (_folder, path) = alone(&content);
        let whole = outcome(&path).expect("a volume");
        for length in 0..content.len() {
            fs::write(&path, &content[..length]).expect("written");
            if let Some(volume) = outcome(&path) {
                assert_eq!(volume, whole, "{name} cut to {length} of {} bytes", content.len());
                assert!(length + 16 > content.len(), "{name} cut to {length} of {} bytes", content.len());
            }
        }
    }
}

#[test]
fn flipped_bits_of_a_header_end_in_a_volume_or_one_line() {
    for name in
        ["explicit", "implicit", "multi_frame_undefined", "jpeg_lossless_1", "jpeg_2000", "rle", "deflated"]
    {
        let content = fs::read(fixtures().join(name).join("1.dcm")).expect("fixture");
        let (_folder, path) = alone(&content);
        // All bits behind the preamble of the smaller files take too long: each byte gets one, in turn.
        for byte in 128..content.len() {
            let mut flipped = content.clone();
            flipped[byte] ^= 1 << (byte % 8);
            fs::write(&path, &flipped).expect("written");
            outcome(&path);
        }
    }
}

#[test]
fn a_damaged_slice_is_named_and_refuses_its_series() {
    let root = tempfile::tempdir().expect("folder");
    for entry in fs::read_dir(fixtures().join("explicit")).expect("fixtures") {
        let path = entry.expect("entry").path();
        fs::copy(&path, root.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    let victim = root.path().join("3.dcm");
    let content = fs::read(&victim).expect("a slice");
    for length in [0, 100, 200, content.len() / 2, content.len() - 1] {
        fs::write(&victim, &content[..length]).expect("cut");
        for asked in [root.path().to_path_buf(), root.path().join("1.dcm")] {
            let line = refusal(&asked);
            assert!(line.contains("3.dcm"), "{length}: {line}");
        }
        assert_eq!(list_volumes(root.path()).expect("listed").len(), 1, "{length}");
    }
}

/// Explicit little-endian elements.
fn element(group: u16, number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = [group.to_le_bytes(), number.to_le_bytes()].concat();
    bytes.extend(vr);
    bytes.extend((value.len() as u16).to_le_bytes());
    bytes.extend(value);
    bytes
}

/// A file with a good beginning and `rest` behind it.
fn begun(rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    bytes.extend(element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0"));
    bytes.extend(element(8, 0x60, b"CS", b"CT"));
    bytes.extend(element(0x20, 0xE, b"UI", b"1.2"));
    bytes.extend(element(0x20, 0x32, b"DS", b"0\\0\\0 "));
    bytes.extend(element(0x20, 0x37, b"DS", b"1\\0\\0\\0\\1\\0 "));
    bytes.extend(rest);
    bytes
}

fn image(rows: u16, columns: u16) -> Vec<u8> {
    let mut bytes = element(0x28, 2, b"US", &[1, 0]);
    bytes.extend(element(0x28, 0x10, b"US", &rows.to_le_bytes()));
    bytes.extend(element(0x28, 0x11, b"US", &columns.to_le_bytes()));
    bytes.extend(element(0x28, 0x30, b"DS", b"1\\1 "));
    for (number, value) in [(0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0)] {
        bytes.extend(element(0x28, number, b"US", &[value, 0]));
    }
    bytes
}

#[test]
fn lengths_that_are_not_there_are_refused_before_memory_is_reserved() {
    let huge = 0xF000_0000u32.to_le_bytes();
    let head = |group: [u8; 4], vr: &[u8; 2]| [&group[..], vr, &[0, 0], &huge].concat();
    let pixels = head([0xE0, 0x7F, 0x10, 0], b"OW");
    let private = head([0x29, 0, 0x10, 0x10], b"OB");
    let wanted = head([0x28, 0, 4, 0], b"UT");
    let sequence = head([0, 0x52, 0x30, 0x92], b"SQ");
    let fragment =
        [&[0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 255, 255, 255, 255, 0xFE, 0xFF, 0, 0xE0][..], &huge]
            .concat();
    for rest in [&pixels, &private, &wanted, &sequence, &fragment] {
        let (_folder, path) = alone(&begun(&[image(4, 4), rest.clone()].concat()));
        let line = refusal(&path);
        assert!(line.contains("declares 4026531840 bytes"), "{line}");
    }
    // Rows and columns ask for 8 GiB, the pixels are two bytes; then run lengths and JPEG of a few bytes.
    let two = [&[0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0, 2, 0, 0, 0, 1, 1][..]].concat();
    let (_folder, path) = alone(&begun(&[image(65535, 65535), two].concat()));
    assert!(refusal(&path).contains("PixelData has 2 bytes"));
    for syntax in ["5", "4.70", "4.90"] {
        let mut uid = format!("1.2.840.10008.1.2.{syntax}").into_bytes();
        uid.resize(uid.len().next_multiple_of(2), 0);
        let named = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0");
        let mut content = begun(&[image(65535, 65535), fragment[..16].to_vec()].concat());
        content.splice(132..132 + named.len(), element(2, 0x10, b"UI", &uid));
        content.extend([
            0, 0, 0, 0, 0xFE, 0xFF, 0, 0xE0, 4, 0, 0, 0, 1, 2, 3, 4, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0,
        ]);
        let (_folder, path) = alone(&content);
        assert!(refusal(&path).contains("cannot hold 4294836225 pixels"), "{}", refusal(&path));
    }
}

/// Streams changed at random: a decoder that is not ours must not panic, nor take memory or time without end.
#[test]
fn changed_streams_end_in_pixels_or_one_line() {
    let mut state = 7u64;
    let mut next = |below: usize| {
        // Knuth's multiplier; the upper bits are random enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let rounds =
        if std::env::var_os("GENESIS_TRUST").is_some_and(|value| value == "long") { 100_000 } else { 400 };
    for (name, start) in [
        ("jpeg_2000", &[0xFF, 0x4F][..]),
        ("jpeg_lossless_7", &[0xFF, 0xD8]),
        ("jpeg_baseline", &[0xFF, 0xD8]),
    ] {
        let whole = fs::read(fixtures().join(name).join("1.dcm")).expect("fixture");
        let at = whole.windows(start.len()).rposition(|part| part == start).expect("a stream");
        for _ in 0..rounds {
            let mut raw = whole[at..].to_vec();
            for _ in 0..1 + next(4) {
                let place = next(raw.len());
                raw[place] = next(256) as u8;
            }
            let mut pixels = Vec::new();
            let outcome = match name {
                "jpeg_2000" => super::jpeg2000::decode(&raw, 35, 33, 2, &mut pixels),
                "jpeg_baseline" => super::jpeg::decode(&raw, 8, 6, 1, &mut pixels),
                _ => super::jpeg::decode(&raw, 8, 6, 2, &mut pixels),
            };
            if let Err(line) = outcome {
                assert!(!line.contains('\n'), "{line}");
            }
        }
    }
}

#[test]
fn nesting_and_endless_lists_are_bounded() {
    let open = [
        &[0x29u8, 0, 0x10, 0x10, b'S', b'Q', 0, 0, 255, 255, 255, 255][..],
        &[0xFE, 0xFF, 0, 0xE0, 255, 255, 255, 255],
    ]
    .concat();
    let (_folder, path) = alone(&begun(&open.repeat(10_000)));
    assert!(refusal(&path).contains("nested more than 32 deep"));
    // Four million elements of no length, in 34 MB.
    let (_folder, path) = alone(&begun(&element(0x29, 0x10, b"LO", b"").repeat((1 << 22) + 1)));
    assert!(refusal(&path).contains("more than 4194304 elements"));
    let frames = element(0x28, 8, b"IS", b"4000000000");
    let (_folder, path) = alone(&begun(&[image(1, 1), frames].concat()));
    assert!(refusal(&path).contains("NumberOfFrames"));
}

#[test]
fn a_deflated_bomb_is_refused_where_it_ends_too_early_and_where_it_never_ends() {
    use std::io::Write;
    let inflated = |rest: &[u8], zeros: usize| {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        let mut data_set = begun(rest).split_off(132 + 8 + 20);
        data_set.extend(vec![0; zeros]);
        encoder.write_all(&data_set).expect("in memory");
        let mut content = vec![0; 128];
        content.extend(b"DICM");
        content.extend(element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1.99"));
        content.extend(encoder.finish().expect("in memory"));
        content
    };
    let pixels = |length: u32| [&[0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0][..], &length.to_le_bytes()].concat();
    // Declared: 2 GB, more than the bytes can hold. Then: 16 MB, of which 1 MB is there.
    let (_folder, path) = alone(&inflated(&[image(32768, 32768), pixels(1 << 31)].concat(), 1000));
    assert!(refusal(&path).contains("declares 2147483648 bytes"));
    let (_folder, path) = alone(&inflated(&[image(4096, 2048), pixels(1 << 24)].concat(), 1 << 20));
    assert!(refusal(&path).contains("truncated"));
    let (_folder, path) = alone(&inflated(&[image(4, 4), pixels(32)].concat(), 1 << 24));
    assert_eq!(read(&path).expect("what was asked for").0.voxels, [0.0; 16]);
}

#[test]
fn real_series_tell_what_their_scanners_wrote() {
    let Some(data) = shared_data() else { return };
    let description =
        describe(&data.join("lung-ct/LIDC-IDRI-0314_dicom"), &ReadOptions::default()).expect("a series");
    let text = description.to_string();
    assert!(text.contains("16 slices in 16 files") && text.contains("slope 1, intercept -1000"), "{text}");
    let single = read_volume(&data.join("readers/dicom/CT_small.dcm")).expect("a slice");
    assert_eq!((single.size, single.spacing[2]), ([128, 128, 1], 5.0));
    // Two series of a slice each.
    assert!(refusal(&data.join("readers/dicom")).contains("2 DICOM series"));
    assert_eq!(list_volumes(&data.join("readers/dicom")).expect("listed"), Vec::<PathBuf>::new());
}

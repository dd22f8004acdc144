//! Headers and files made here; the readings of ITK are recorded where they matter.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::*;
use crate::volume::test_support::{assert_affine, assert_counting, counting_data, counting_volume};
use crate::volume::{
    ELEMENT_TYPES, ElementType, ReadOptions, Volume, read_channels, read_volume, read_volume_with,
};

const BASE: &str = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 3 4 5\n";

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// Reads `header` followed by `data` as a `.mha` file.
fn local(folder: &Path, header: &str, data: &[u8]) -> crate::Result<Volume> {
    let path = folder.join("test.mha");
    fs::write(&path, [header.as_bytes(), data].concat()).expect("write");
    read_volume(&path)
}

#[test]
fn every_type_byte_order_and_packing_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, element) in [
        ("MET_UCHAR", ElementType::Uint8),
        ("MET_CHAR", ElementType::Int8),
        ("MET_USHORT", ElementType::Uint16),
        ("MET_SHORT", ElementType::Int16),
        ("MET_UINT", ElementType::Uint32),
        ("MET_INT", ElementType::Int32),
        ("MET_ULONG", ElementType::Uint32),
        ("MET_LONG", ElementType::Int32),
        ("MET_ULONG_LONG", ElementType::Uint64),
        ("MET_LONG_LONG", ElementType::Int64),
        ("MET_FLOAT", ElementType::Float32),
        ("MET_DOUBLE", ElementType::Float64),
    ] {
        for big_endian in [false, true] {
            let msb = if big_endian { "True" } else { "False" };
            let bytes = counting_data(element, big_endian);
            let head = format!("{BASE}BinaryDataByteOrderMSB = {msb}\nElementType = {name}\n");
            let plain = format!("{head}ElementDataFile = LOCAL\n");
            assert_counting(&local(folder.path(), &plain, &bytes).expect("plain"));
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(&bytes).expect("in memory");
            for packed in [zlib(&bytes), gzip.finish().expect("in memory")] {
                for size in [String::new(), format!("CompressedDataSize = {}\n", packed.len())] {
                    let text = format!("{head}CompressedData = True\n{size}ElementDataFile = LOCAL\n");
                    let volume = local(folder.path(), &text, &packed).expect("packed");
                    assert_counting(&volume);
                    assert!(volume.source.compressed);
                }
            }
        }
    }
}

#[test]
fn separate_data_files_and_header_sizes_are_read() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = counting_data(ElementType::Int16, false);
    let path = folder.path().join("a.mhd");
    fs::create_dir(folder.path().join("sub")).expect("folder");
    for (size, before, name) in [("0", 0, "a.raw"), ("7", 7, "sub/b with space.raw"), ("-1", 11, "./c.raw")] {
        // CRLF, and no end of the last line.
        let text = format!("{BASE}ElementType = MET_SHORT\nHeaderSize = {size}\nElementDataFile = {name}")
            .replace('\n', "\r\n");
        fs::write(&path, text).expect("write");
        fs::write(folder.path().join(name), [&vec![9u8; before][..], &bytes].concat()).expect("write");
        assert_counting(&read_volume(&path).expect("valid"));
    }
}

#[test]
fn the_matrix_is_turned_from_lps_to_ras() {
    let folder = tempfile::tempdir().expect("folder");
    // Written by SimpleITK 2.5.7: rotation by 0.3 about z, spacing 0.5 0.6 0.7, origin 1 2 3; the affine is
    // nibabel's of the same image written by SimpleITK as NIfTI.
    let text = format!(
        "{BASE}ElementType = MET_UCHAR\nTransformMatrix = 0.95533648912560598 0.29552020666133955 0 \
         -0.29552020666133955 0.95533648912560598 0 0 0 1\nOffset = 1 2 3\n\
         ElementSpacing = 0.5 0.6 0.7\nElementDataFile = LOCAL\n"
    );
    let volume = local(folder.path(), &text, &counting_data(ElementType::Uint8, false)).expect("valid");
    let wanted = [
        [-0.47766823, 0.17731212, 0.0, -1.0],
        [-0.14776009, -0.57320189, 0.0, -2.0],
        [0.0, 0.0, 0.69999999, 3.0],
        [0.0, 0.0, 0.0, 1.0],
    ];
    assert_affine(&volume.affine, &wanted, "SimpleITK");
    assert_eq!(volume.orientation_code(), "LPS");
}

#[test]
fn hostile_and_unsupported_headers_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = counting_data(ElementType::Int16, false);
    fs::write(folder.path().join("secret.raw"), &bytes).expect("write");
    fs::create_dir(folder.path().join("in")).expect("folder");
    let inside = folder.path().join("in");
    let refuse = |text: &str, data: &[u8], part: &str| {
        let message = local(&inside, text, data).expect_err(text).to_string();
        assert!(message.contains(part) && !message.contains('\n'), "{message:?} should say {part:?}");
    };
    let with = |lines: &str| format!("{BASE}ElementType = MET_SHORT\n{lines}\n");
    let absolute = folder.path().join("secret.raw");
    for name in ["../secret.raw", absolute.to_str().expect("UTF-8"), "x/../../secret.raw"] {
        refuse(&with(&format!("ElementDataFile = {name}")), &[], "leaves the folder");
    }
    for name in [".", "./"] {
        refuse(&with(&format!("ElementDataFile = {name}")), &[], "which is a directory");
    }
    refuse(&with(&format!("ElementDataFile = {}", "d".repeat(3000))), &[], "a name of 3000 bytes");
    refuse(&with("ElementDataFile = d\u{1}"), &[], "control characters");
    refuse(&with("ElementDataFile = LIST"), &[], "one file per slice");
    refuse(&with("ElementDataFile = LIST 2D"), &[], "one file per slice");
    refuse(&with("ElementDataFile = s%03d.raw 1 5 1"), &[], "one file per slice");
    refuse(&with("ElementDataFile = absent.raw"), &[], "absent.raw");
    refuse(&with("ElementDataFile ="), &[], "no file");
    refuse(&with("ElementDataFile = LOCAL"), &bytes[1..], "truncated");
    refuse(&with("HeaderSize = 4000\nElementDataFile = LOCAL"), &bytes, "truncated");
    refuse(&with("HeaderSize = -1\nCompressedData = True\nElementDataFile = LOCAL"), &bytes, "HeaderSize");
    refuse(&with("HeaderSize = -2\nElementDataFile = LOCAL"), &bytes, "HeaderSize");
    refuse(&with("CompressedData = True\nElementDataFile = LOCAL"), &bytes, "neither zlib nor gzip");
    refuse(&with("CompressedData = maybe\nElementDataFile = LOCAL"), &bytes, "neither True nor False");
    let packed = zlib(&bytes);
    let compressed = with("CompressedData = True\nElementDataFile = LOCAL");
    refuse(&compressed, &packed[..packed.len() - 20], "");
    let mut damaged = packed.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    refuse(&compressed, &damaged, "damaged");
    refuse(
        &with("CompressedData = True\nCompressedDataSize = 9999\nElementDataFile = LOCAL"),
        &packed,
        "truncated",
    );
    refuse(
        &with("BinaryData = False\nElementDataFile = LOCAL").replacen("BinaryData = True\n", "", 1),
        &bytes,
        "text",
    );
    refuse(&with("ElementNumberOfChannels = 0\nElementDataFile = LOCAL"), &bytes, "0 channels");
    let many = [&bytes[..], &bytes, &bytes].concat();
    refuse(&with("ElementNumberOfChannels = 3\nElementDataFile = LOCAL"), &many, "holds 3 volumes");
    refuse(&with("ElementNumberOfChannels = 3\nElementDataFile = LOCAL"), &bytes, "holds 3 volumes");
    refuse(&with("ElementToIntensityFunctionSlope = 2\nElementDataFile = LOCAL"), &bytes, "Slope");
    refuse(&with("TransformMatrix = 1 0 0 0 1 0\nElementDataFile = LOCAL"), &bytes, "6 numbers");
    refuse(&with("TransformMatrix = 1 0 0 1 0 0 0 0 1\nElementDataFile = LOCAL"), &bytes, "singular");
    refuse(&with("ElementSpacing = 1 one 1\nElementDataFile = LOCAL"), &bytes, "not a number");
    let local_data = "ElementDataFile = LOCAL\n";
    refuse(&format!("{BASE}ElementType = MET_SHORT_ARRAY\n{local_data}"), &bytes, "MET_SHORT_ARRAY");
    refuse(&format!("{BASE}{local_data}"), &bytes, "no ElementType");
    refuse(BASE, &[], "no ElementDataFile");
    refuse("", &[], "not MetaImage");
    refuse("\u{1}binary", &bytes, "not MetaImage");
    for (size, part) in [
        ("1000 1000 1000", "truncated"),
        ("99999999 99999999 99999999", "more than"),
        ("0 4 5", "holds no voxel"),
        ("3 4", "NDims"),
        ("3 4 -5", "not a number"),
    ] {
        let text = with(local_data).replace("DimSize = 3 4 5", &format!("DimSize = {size}"));
        refuse(&text, &bytes, part);
    }
    let four = with(local_data).replace("NDims = 3", "NDims = 4").replace("3 4 5", "3 4 5 2");
    refuse(&four, &bytes, "holds 2 volumes");
    refuse(
        &four.replace("BinaryData", "ElementNumberOfChannels = 2\nBinaryData"),
        &bytes,
        "more than one way",
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, inside.join("linked.raw")).expect("link");
        refuse(&with("ElementDataFile = linked.raw"), &[], "leaves the folder of the header by a link");
    }
}

#[test]
fn frames_and_channels_are_chosen_by_number() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("test.mha");
    let text = format!("{BASE}ElementType = MET_SHORT\nElementDataFile = LOCAL\n");
    let volume = |offset: i16| (0..60).map(move |number| number + offset);
    let bytes = |values: Vec<i16>| values.into_iter().flat_map(i16::to_le_bytes).collect::<Vec<u8>>();
    let following = bytes(volume(0).chain(volume(100)).collect());
    let together = bytes(volume(0).flat_map(|value| [value, value + 100]).collect());
    let four = text.replace("NDims = 3", "NDims = 4").replace("3 4 5", "3 4 5 2");
    let channels = text.replace("BinaryData", "ElementNumberOfChannels = 2\nBinaryData");
    for (text, data) in [(&four, following), (&channels, together)] {
        for packed in [false, true] {
            let (text, data) = if packed {
                (text.replace("DimSize", "CompressedData = True\nDimSize"), zlib(&data))
            } else {
                (text.clone(), data.clone())
            };
            fs::write(&path, [text.as_bytes(), &data].concat()).expect("write");
            assert!(read_volume(&path).expect_err("two").to_string().contains("holds 2 volumes"));
            assert_counting(&read_volume_with(&path, &ReadOptions::frame(Some(0))).expect("valid"));
            let both = read_channels(&path).expect("valid");
            assert!(both[0].voxels.iter().zip(&both[1].voxels).all(|(a, b)| a + 100.0 == *b));
            assert_eq!(both[1], read_volume_with(&path, &ReadOptions::frame(Some(1))).expect("valid"));
            let message = read_volume_with(&path, &ReadOptions::frame(Some(2))).expect_err("two").to_string();
            assert!(message.contains("no frame 2"), "{message}");
            if packed {
                // The checksum stands behind the frames that were not asked for.
                let mut damaged = [text.as_bytes(), &data].concat();
                *damaged.last_mut().expect("not empty") ^= 1;
                fs::write(&path, damaged).expect("write");
                assert!(read_volume_with(&path, &ReadOptions::frame(Some(0))).is_err());
            }
        }
    }
}

#[test]
fn a_fourth_dimension_of_one_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let text = format!(
        "{}ElementType = MET_SHORT\nTransformMatrix = 1 0 0 0 0 -1 0 0 0 0 1 0 0 0 0 1\n\
         Offset = 1 2 3 4\nElementSpacing = 2 3 4 5\nElementDataFile = LOCAL\n",
        BASE.replace("NDims = 3", "NDims = 4").replace("3 4 5", "3 4 5 1")
    );
    let volume = local(folder.path(), &text, &counting_data(ElementType::Int16, false)).expect("valid");
    assert_counting(&volume);
    assert_eq!(volume.orientation_code(), "LAS");
    assert_eq!(volume.spacing, [2.0, 3.0, 4.0]);
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().expect("folder");
    let mut volume = counting_volume([3, 4, 21]);
    volume.voxels.iter_mut().for_each(|value| *value = value.rem_euclid(120.0));
    for element in ELEMENT_TYPES.into_iter().filter(|&element| element != ElementType::Float16) {
        for name in ["w.mha", "w.mhd"] {
            let path = folder.path().join(name);
            write_metaimage(&path, &volume, element).expect("written");
            let back = read_volume(&path).expect("valid");
            assert_eq!((&back.voxels, back.source.element), (&volume.voxels, element));
            assert_affine(&back.affine, &volume.affine, name);
        }
    }
    assert!(folder.path().join("w.zraw").is_file());
    assert!(write_metaimage(&folder.path().join("x.mhd"), &volume, ElementType::Float16).is_err());
    assert!(!folder.path().join("x.mhd").exists());
}

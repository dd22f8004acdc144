//! Files made here, byte by byte, and the `nifti` crate as a second reader.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ::nifti::{NiftiObject, RandomAccessNiftiVolume, ReaderOptions};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::volume::test_support::{assert_affine, counting_volume, oblique_affine};
use crate::volume::{
    ByteOrder, ELEMENT_TYPES, ElementType, Format, MAX_VOXELS, ReadOptions, Volume, affine, channel_count,
    read_channels, read_volume, read_volume_with,
};

const SIZE: [usize; 3] = [3, 4, 5];

/// A file in the making: fields are put into a header by offset, in the file's byte order.
struct File {
    order: ByteOrder,
    version: u8,
    header: Vec<u8>,
    data: Vec<u8>,
}

impl File {
    /// A valid file of `element` with the values 0, 1, 2, … in file order and an oblique sform.
    fn new(version: u8, order: ByteOrder, element: ElementType) -> Self {
        let header = vec![0; if version == 1 { 352 } else { 544 }];
        let mut file = Self { order, version, header, data: Vec::new() };
        let values: Vec<f32> = (0..60).map(|i| i as f32).collect();
        element.encode(&values, &mut file.data).expect("small numbers");
        if order == ByteOrder::Big {
            file.data.chunks_mut(element.bytes()).for_each(<[u8]>::reverse);
        }
        let code = match element {
            ElementType::Uint8 => 2i16,
            ElementType::Int16 => 4,
            ElementType::Int32 => 8,
            ElementType::Float32 => 16,
            ElementType::Float64 => 64,
            ElementType::Int8 => 256,
            ElementType::Uint16 => 512,
            ElementType::Uint32 => 768,
            ElementType::Int64 => 1024,
            _ => 1280,
        };
        let bits = (element.bytes() * 8) as i16;
        let rows = oblique_affine();
        if version == 1 {
            file.put(0, 348i32.to_le_bytes());
            for (i, size) in [3i16, 3, 4, 5, 1, 1, 1, 1].into_iter().enumerate() {
                file.put(40 + 2 * i, size.to_le_bytes());
            }
            file.put(70, code.to_le_bytes());
            file.put(72, bits.to_le_bytes());
            for i in 0..8 {
                file.put(76 + 4 * i, 1f32.to_le_bytes());
            }
            file.put(108, 352f32.to_le_bytes());
            file.put(254, 1i16.to_le_bytes());
            for row in 0..3 {
                for column in 0..4 {
                    file.put(280 + 16 * row + 4 * column, (rows[row][column] as f32).to_le_bytes());
                }
            }
            file.header[344..348].copy_from_slice(b"n+1\0");
        } else {
            file.put(0, 540i32.to_le_bytes());
            file.header[4..12].copy_from_slice(b"n+2\0\r\n\x1a\n");
            file.put(12, code.to_le_bytes());
            file.put(14, bits.to_le_bytes());
            for (i, size) in [3i64, 3, 4, 5, 1, 1, 1, 1].into_iter().enumerate() {
                file.put(16 + 8 * i, size.to_le_bytes());
                file.put(104 + 8 * i, 1f64.to_le_bytes());
            }
            file.put(168, 544i64.to_le_bytes());
            file.put(348, 1i32.to_le_bytes());
            for row in 0..3 {
                for column in 0..4 {
                    file.put(400 + 32 * row + 8 * column, rows[row][column].to_le_bytes());
                }
            }
        }
        file
    }

    fn little() -> Self {
        Self::new(1, ByteOrder::Little, ElementType::Int16)
    }

    /// Puts a little-endian number at an offset, turned to the file's byte order.
    fn put<const N: usize>(&mut self, offset: usize, mut bytes: [u8; N]) {
        if self.order == ByteOrder::Big {
            bytes.reverse();
        }
        self.header[offset..offset + N].copy_from_slice(&bytes);
    }

    fn scale(&mut self, slope: f64, intercept: f64) {
        if self.version == 1 {
            self.put(112, (slope as f32).to_le_bytes());
            self.put(116, (intercept as f32).to_le_bytes());
        } else {
            self.put(176, slope.to_le_bytes());
            self.put(184, intercept.to_le_bytes());
        }
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.header[..], &self.data].concat()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("write");
    path
}

/// Checks that voxel number i of the file has the value `i * slope + intercept`.
fn assert_values(volume: &Volume, slope: f64, intercept: f64) {
    assert_eq!(volume.size, SIZE);
    for x in 0..3 {
        for y in 0..4 {
            for z in 0..5 {
                let number = x + 3 * (y + 4 * z);
                let wanted = (number as f64 * slope + intercept) as f32;
                assert_eq!(volume.voxels[volume.index([x, y, z])], wanted);
            }
        }
    }
}

/// The refusal of a file, which must be one line naming it.
fn refusal(folder: &Path, bytes: &[u8]) -> String {
    let path = written(folder, "refused.nii", bytes);
    let message = read_volume(&path).expect_err("must be refused").to_string();
    assert!(message.contains("refused.nii") && !message.contains('\n'), "{message}");
    message
}

#[test]
fn channels_of_a_four_dimensional_file_come_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("four.nii");
    let volume = counting_volume(SIZE);
    write_nifti(&path, &volume, ElementType::Float32).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // A second volume, every voxel one larger, and a header that says 4 dimensions with 2 volumes.
    let second: Vec<u8> = bytes[352..]
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|&value| (f32::from_le_bytes(value) + 1.0).to_le_bytes())
        .collect();
    bytes.extend(second);
    bytes[40..42].copy_from_slice(&4i16.to_le_bytes());
    bytes[48..50].copy_from_slice(&2i16.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let channels = read_channels(&path).unwrap();
    assert_eq!(channels.len(), 2);
    assert_eq!(channels[0].voxels, volume.voxels);
    assert!(channels[1].voxels.iter().zip(&volume.voxels).all(|(a, b)| *a == b + 1.0));
    assert_eq!(channels[0].affine, channels[1].affine);
    let message = read_volume(&path).unwrap_err().to_string();
    assert!(message.contains("holds 2 volumes") && message.contains("--frame, 0 to 1"), "{message}");
    assert_eq!(channel_count(&path).unwrap(), 2);
    let second = read_volume_with(&path, &ReadOptions::frame(Some(1))).unwrap();
    assert_eq!(second, channels[1]);
    assert_eq!((second.source.frames, second.source.frame), (2, 1));
    let message = read_volume_with(&path, &ReadOptions::frame(Some(2))).unwrap_err().to_string();
    assert!(message.contains("no frame 2: its 2 frames are numbered 0 to 1"), "{message}");
    fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    assert!(read_channels(&path).unwrap_err().to_string().contains("truncated"));
}

#[test]
fn every_type_byte_order_scaling_and_packing_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    for version in [1, 2] {
        for element in ELEMENT_TYPES.into_iter().filter(|&element| element != ElementType::Float16) {
            for order in [ByteOrder::Little, ByteOrder::Big] {
                for (slope, intercept, wanted) in [
                    (0.0, 0.0, (1.0, 0.0)),
                    (1.0, 0.0, (1.0, 0.0)),
                    (0.5, -1024.0, (0.5, -1024.0)),
                    (f64::NAN, f64::NAN, (1.0, 0.0)),
                    (f64::INFINITY, 3.0, (1.0, 0.0)),
                ] {
                    let mut file = File::new(version, order, element);
                    file.scale(slope, intercept);
                    for packed in [false, true] {
                        let bytes = if packed { gzip(&file.bytes()) } else { file.bytes() };
                        // The name deliberately says nothing about the packing.
                        let path = written(folder.path(), "a.NII", &bytes);
                        let volume = read_volume(&path).expect("valid");
                        assert_values(&volume, wanted.0, wanted.1);
                        assert_affine(&volume.affine, &oblique_affine(), "sform");
                        assert_eq!(volume.source.element, element);
                        assert_eq!(volume.source.byte_order, order);
                        assert_eq!(volume.source.compressed, packed);
                        assert_eq!(volume.source.scaling.is_some(), wanted != (1.0, 0.0));
                        let format = if version == 1 { Format::Nifti1 } else { Format::Nifti2 };
                        assert_eq!(volume.source.format, format);
                    }
                }
            }
        }
    }
}

#[test]
fn pairs_are_read_by_either_name_packed_or_not() {
    let folder = tempfile::tempdir().expect("folder");
    let mut file = File::little();
    file.header[344..348].copy_from_slice(b"ni1\0");
    file.put(108, 0f32.to_le_bytes());
    let header = written(folder.path(), "pair.hdr", &file.header[..348]);
    let message = read_volume(&header).expect_err("no voxels").to_string();
    assert!(message.contains(".img"), "{message}");
    let image = written(folder.path(), "pair.img.gz", &gzip(&file.data));
    assert_values(&read_volume(&header).expect("valid"), 1.0, 0.0);
    assert_values(&read_volume(&image).expect("valid"), 1.0, 0.0);
    fs::remove_file(&image).expect("remove");
    let image = written(folder.path(), "pair.img", &file.data[1..]);
    assert!(read_volume(&image).expect_err("one byte short").to_string().contains("truncated"));
}

#[test]
fn gzip_of_several_members_is_read_and_damage_is_noticed() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = File::little().bytes();
    let members = [gzip(&bytes[..400]), gzip(&bytes[400..])].concat();
    assert_values(&read_volume(&written(folder.path(), "m.nii.gz", &members)).expect("valid"), 1.0, 0.0);
    let whole = gzip(&bytes);
    for place in [whole.len() - 8, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        assert!(refusal(folder.path(), &damaged).contains("damaged"), "checksum or length");
    }
    for length in [0, 3, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        refusal(folder.path(), &whole[..length]);
    }
}

#[test]
fn names_and_zero_offsets_do_not_mislead() {
    let folder = tempfile::tempdir().expect("folder");
    let plain = File::little().bytes();
    for name in ["a.nii", "a.nii.gz", "a.NII.GZ", "a.Nii.Gz"] {
        for bytes in [plain.clone(), gzip(&plain)] {
            assert_values(&read_volume(&written(folder.path(), name, &bytes)).expect(name), 1.0, 0.0);
        }
    }
    for version in [1, 2] {
        let mut file = File::new(version, ByteOrder::Big, ElementType::Int16);
        // Single precision in NIfTI-1, an integer in NIfTI-2: zero is zero.
        if version == 1 {
            file.put(108, [0; 4])
        } else {
            file.put(168, [0; 8])
        }
        assert_values(&read_volume(&written(folder.path(), "z.nii", &file.bytes())).expect("zero"), 1.0, 0.0);
    }
    // 2048 x 2048 x 1024 and 65535 x 65535 x 65535 voxels with a few bytes of data.
    for (sizes, part) in
        [([2048i64, 2048, 1024], "more than"), ([65535; 3], "more than"), ([1024; 3], "truncated")]
    {
        let mut file = File::new(2, ByteOrder::Little, ElementType::Int16);
        for (axis, size) in sizes.into_iter().enumerate() {
            file.put(24 + 8 * axis, size.to_le_bytes());
        }
        let message = refusal(folder.path(), &file.bytes());
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn truncated_files_are_refused_at_every_length() {
    let folder = tempfile::tempdir().expect("folder");
    for version in [1, 2] {
        let bytes = File::new(version, ByteOrder::Big, ElementType::Int16).bytes();
        for length in 0..bytes.len() {
            let message = refusal(folder.path(), &bytes[..length]);
            assert!(message.contains("truncated"), "{length}: {message}");
        }
    }
}

#[test]
fn hostile_headers_are_refused_without_reserving_memory() {
    let folder = tempfile::tempdir().expect("folder");
    let refuse = |change: &dyn Fn(&mut File), packed: bool, part: &str| {
        let mut file = File::little();
        change(&mut file);
        let bytes = if packed { gzip(&file.bytes()) } else { file.bytes() };
        let message = refusal(folder.path(), &bytes);
        assert!(message.contains(part), "{message:?} should say {part:?}");
    };
    let sizes = |sizes: [i16; 4]| {
        move |file: &mut File| {
            for (i, size) in sizes.into_iter().enumerate() {
                file.put(40 + 2 * i, size.to_le_bytes());
            }
        }
    };
    for packed in [false, true] {
        // 10⁹ voxels with 120 bytes of data.
        refuse(&sizes([3, 1000, 1000, 1000]), packed, "truncated");
        refuse(&sizes([3, 32767, 32767, 32767]), packed, &MAX_VOXELS.to_string());
        refuse(&sizes([3, 3, 0, 5]), packed, "size of 0");
        refuse(&sizes([3, 3, -4, 5]), packed, "size of -4");
        refuse(&sizes([0, 3, 4, 5]), packed, "0 dimensions");
        refuse(&sizes([9, 3, 4, 5]), packed, "9 dimensions");
    }
    refuse(
        &|file| {
            file.put(40, 4i16.to_le_bytes());
            file.put(48, 2i16.to_le_bytes());
        },
        false,
        "holds 2 volumes",
    );
    refuse(
        &|file| {
            for (i, size) in [5i16, 3, 4, 5, 2, 2].into_iter().enumerate() {
                file.put(40 + 2 * i, size.to_le_bytes());
            }
        },
        false,
        "more than one dimension beyond the third (size 3x4x5x2x2)",
    );
    for (code, part) in
        [(128i16, "colours"), (2304, "colours"), (32, "complex"), (1536, "128-bit"), (1, "bits"), (99, "99")]
    {
        refuse(&|file| file.put(70, code.to_le_bytes()), false, part);
    }
    for offset in [1e30f32, f32::NAN, 100.0, 352.5, -352.0] {
        refuse(&|file| file.put(108, offset.to_le_bytes()), false, "vox_offset");
    }
    refuse(&|file| file.put(108, 1e9f32.to_le_bytes()), false, "truncated");
    refuse(&|file| file.put(108, 1e9f32.to_le_bytes()), true, "truncated");
    refuse(&|file| file.header[344..348].fill(0), false, "ANALYZE");
    refuse(&|file| file.put(0, 349i32.to_le_bytes()), false, "not NIfTI");
    refuse(&|file| file.put(280, f32::NAN.to_le_bytes()), false, "not finite");
    refuse(&|file| file.header[280..328].fill(0), false, "singular");
    refuse(&|file| file.scale(1.0, f64::NAN), false, "scl_inter");
    let quaternion = |file: &mut File| {
        file.put(254, 0i16.to_le_bytes());
        file.put(252, 1i16.to_le_bytes());
        file.put(256, 5f32.to_le_bytes());
    };
    refuse(&quaternion, false, "quaternion");
    // 64 MB of zeros behind the volume, packed into 64 KB.
    let mut bomb = File::little().bytes();
    bomb.resize(64 << 20, 0);
    assert!(refusal(folder.path(), &gzip(&bomb)).contains("far more data"));
}

#[test]
fn the_affine_follows_nibabels_rule() {
    let folder = tempfile::tempdir().expect("folder");
    let read = |change: &dyn Fn(&mut File)| {
        let mut file = File::little();
        change(&mut file);
        read_volume(&written(folder.path(), "a.nii", &file.bytes())).expect("valid")
    };
    let no_sform = |file: &mut File| {
        file.put(254, 0i16.to_le_bytes());
        for (i, value) in [-1f32, 2.0, -3.0, 0.0].into_iter().enumerate() {
            file.put(76 + 4 * i, value.to_le_bytes());
        }
    };
    // Recorded: nibabel.Nifti1Header.get_base_affine() for shape (3, 4, 5), zooms (2, 3, 1).
    let volume = read(&no_sform);
    let wanted = [[-2.0, 0.0, 0.0, 2.0], [0.0, 3.0, 0.0, -4.5], [0.0, 0.0, 1.0, -2.0], [0.0, 0.0, 0.0, 1.0]];
    assert_affine(&volume.affine, &wanted, "voxel size");
    assert_eq!((volume.source.affine_from, volume.source.space_code), ("voxel size only", 2));
    let volume = read(&|file| {
        no_sform(file);
        file.put(252, 3i16.to_le_bytes());
        for (i, value) in [0.1f32, -0.2, 0.3, 10.0, 20.0, 30.0].into_iter().enumerate() {
            file.put(256 + 4 * i, value.to_le_bytes());
        }
    });
    // Recorded: nibabel.Nifti1Header.get_qform() of the same fields.
    let wanted = [
        [1.47999997, -1.78925139, 0.31094474, 10.0],
        [1.03283426, 2.39999996, 0.30547238, 20.0],
        [0.86188949, 0.1964171, -0.9, 30.0],
        [0.0, 0.0, 0.0, 1.0],
    ];
    assert_eq!((volume.source.affine_from, volume.source.space_code), ("qform", 3));
    assert_affine(&volume.affine, &wanted, "qform");
}

#[test]
fn what_is_written_is_read_back_by_us_and_by_the_nifti_crate() {
    let folder = tempfile::tempdir().expect("folder");
    // More planes than are handled together, and not a multiple of them.
    let mut volume = counting_volume([3, 4, 21]);
    volume.voxels.iter_mut().for_each(|value| *value = value.rem_euclid(120.0));
    for element in ELEMENT_TYPES.into_iter().filter(|&element| element != ElementType::Float16) {
        for name in ["w.nii", "w.nii.gz"] {
            let path = folder.path().join(name);
            write_nifti(&path, &volume, element).expect("written");
            let back = read_volume(&path).expect("valid");
            assert_eq!(back.voxels, volume.voxels);
            assert_eq!(back.source.element, element);
            assert_affine(&back.affine, &volume.affine, "sform");
            let theirs = ReaderOptions::new().read_file(&path).expect("valid for the crate");
            assert_eq!(theirs.header().qform_code, 1);
            for (x, y, z) in [(0, 0, 0), (2, 3, 20), (1, 2, 16)] {
                let value = theirs.volume().get_f32(&[x as u16, y as u16, z as u16]).expect("inside");
                assert_eq!(value, volume.voxels[volume.index([x, y, z])]);
            }
            // With the sform switched off, the qform must say the same.
            if name == "w.nii" {
                let mut bytes = fs::read(&path).expect("read");
                bytes[254..256].fill(0);
                let by_qform = read_volume(&written(folder.path(), "q.nii", &bytes)).expect("valid");
                assert_eq!(by_qform.source.affine_from, "qform");
                assert_affine(&by_qform.affine, &volume.affine, "qform");
            }
        }
    }
}

#[test]
fn a_refused_write_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let mut volume = counting_volume(SIZE);
    let path = folder.path().join("w.nii.gz");
    assert!(write_nifti(&path, &volume, ElementType::Uint8).is_err(), "negative values");
    assert!(write_nifti(&path, &volume, ElementType::Float16).is_err(), "no such type");
    volume.voxels[3] = f32::NAN;
    assert!(write_nifti(&path, &volume, ElementType::Int16).is_err(), "NaN");
    let long = Volume::new(vec![0.0; 40_000], [40_000, 1, 1], affine::IDENTITY).expect("valid");
    assert!(write_nifti(&path, &long, ElementType::Uint8).is_err(), "too long an axis");
    assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 0);
    write_nifti(&path, &volume, ElementType::Float32).expect("NaN is fine as floating point");
}

//! The `npyz` crate as a second reader and writer, and damaged files.

use std::fs;
use std::path::{Path, PathBuf};

use npyz::WriterBuilder;

use super::*;
use crate::volume::{ByteOrder, ELEMENT_TYPES, ElementType, read_volume};

const SHAPE: [usize; 4] = [3, 4, 5, 2];

/// A `.npy` file with a header written here and the values 0, 1, 2, … in file order.
fn file(shape: &str, element: ElementType, order: ByteOrder, fortran: bool, count: usize) -> Vec<u8> {
    let kind = match element {
        ElementType::Float16 | ElementType::Float32 | ElementType::Float64 => 'f',
        _ if element.integer_range().is_some_and(|(low, _)| low < 0.0) => 'i',
        _ => 'u',
    };
    let sign = if order == ByteOrder::Big { '>' } else { '<' };
    let fortran = if fortran { "True" } else { "False" };
    let descr = format!("{sign}{kind}{}", element.bytes());
    let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let mut data = Vec::new();
    element.encode(&values, &mut data).expect("small numbers");
    if order == ByteOrder::Big {
        data.chunks_mut(element.bytes()).for_each(<[u8]>::reverse);
    }
    let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    [with_header(&text), data].concat()
}

fn with_header(text: &str) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((text.len() + 1) as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(b'\n');
    bytes
}

fn written(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("bat_32_s_64x64x32_0.npy");
    fs::write(&path, bytes).expect("write");
    path
}

#[test]
fn every_type_and_order_is_read_whole_and_cube_by_cube() {
    let folder = tempfile::tempdir().expect("folder");
    for element in ELEMENT_TYPES {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for fortran in [false, true] {
                let path = written(folder.path(), &file("(3, 4, 5, 2)", element, order, fortran, 120));
                let array = read_npy(&path).expect("valid");
                let cubes = CubeFile::open(&path).expect("valid");
                assert_eq!((array.shape, cubes.count(), cubes.size()), (SHAPE.to_vec(), 3, [4, 5, 2]));
                let mut cube = vec![0.0; cubes.voxels()];
                for n in 0..3 {
                    cubes.read(n, &mut cube).expect("inside");
                    for (i, &value) in cube.iter().enumerate() {
                        let (x, y, z) = (i / 10, i / 2 % 5, i % 2);
                        let c_order = ((n * 4 + x) * 5 + y) * 2 + z;
                        let wanted = if fortran { n + 3 * (x + 4 * (y + 5 * z)) } else { c_order };
                        assert_eq!(value, wanted as f32);
                        assert_eq!(array.values[c_order], wanted as f32);
                    }
                }
                assert!(cubes.read(3, &mut cube).is_err());
                assert!(cubes.read(0, &mut cube[1..]).is_err());
            }
        }
    }
}

#[test]
fn the_npyz_crate_reads_what_we_write_and_we_what_it_writes() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.npy");
    let values: Vec<f32> = (0..120).map(|i| i as f32 * 0.5).collect();
    for shape in [vec![120], vec![3, 4, 5, 2], vec![1, 1, 120]] {
        write_npy(&path, &shape, &values).expect("written");
        let bytes = fs::read(&path).expect("read");
        assert_eq!((bytes.len() - 480) % 64, 0, "values are aligned to 64 bytes");
        let theirs = npyz::NpyFile::new(&bytes[..]).expect("valid");
        assert_eq!(theirs.shape(), shape.iter().map(|&n| n as u64).collect::<Vec<_>>());
        assert_eq!(theirs.into_vec::<f32>().expect("f32"), values);
        assert_eq!(read_npy(&path).expect("valid").values, values);
    }
    for order in [npyz::Order::C, npyz::Order::Fortran] {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(&[3, 4, 5, 2]).order(order);
        let mut writer = options.writer(&mut bytes).begin_nd().expect("in memory");
        writer.extend((0..120).map(f64::from)).expect("in memory");
        writer.finish().expect("in memory");
        let array = read_npy(&written(folder.path(), &bytes)).expect("valid");
        let first = if order == npyz::Order::C { [0.0, 1.0, 2.0] } else { [0.0, 60.0, 3.0 * 4.0] };
        assert_eq!((array.shape, &array.values[..3]), (SHAPE.to_vec(), &first[..]));
    }
    assert!(write_npy(&path, &[7], &values).is_err());
}

#[test]
fn cubes_are_streamed_to_a_file_that_appears_at_the_end() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("cubes.npy");
    let mut writer = CubeWriter::create(&path, [4, 5, 2]).expect("created");
    // More than nine, so that the number takes more digits than the 0 written first.
    let cube: Vec<f32> = (0..40).map(|i| i as f32 / 40.0).collect();
    for _ in 0..123 {
        writer.push(&cube).expect("written");
    }
    assert!(writer.push(&cube[1..]).is_err());
    assert!(!path.exists());
    assert_eq!(writer.finish().expect("finished"), 123);
    let file = CubeFile::open(&path).expect("valid");
    assert_eq!(file.shape(), [123, 4, 5, 2]);
    let mut last = vec![0.0; 40];
    file.read(122, &mut last).expect("inside");
    assert_eq!(last, cube);
    let bytes = fs::read(&path).expect("read");
    assert_eq!(npyz::NpyFile::new(&bytes[..]).expect("valid").shape(), [123, 4, 5, 2]);
    drop(CubeWriter::create(&folder.path().join("b.npy"), [4, 5, 2]).expect("created"));
    assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
}

#[test]
fn damaged_and_hostile_files_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let whole = file("(3, 4, 5, 2)", ElementType::Float64, ByteOrder::Little, false, 120);
    for length in 0..whole.len() {
        let path = written(folder.path(), &whole[..length]);
        for message in [
            CubeFile::open(&path).expect_err("truncated").to_string(),
            read_npy(&path).expect_err("truncated").to_string(),
        ] {
            assert!(message.contains("truncated"), "{length}: {message}");
        }
    }
    let header = |descr: &str, order: &str, shape: &str| {
        with_header(&format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"))
    };
    for (bytes, part) in [
        (header("'<f4'", "False", "(1000000000, 64, 64, 32)"), "truncated"),
        (header("'<f4'", "False", "(99999999999, 99999999999, 9, 9)"), "cannot exist"),
        (header("'<f4'", "False", "(99999999999999999999, 1, 1, 1)"), "shape"),
        (header("'<f4'", "False", "(-1, 4, 5, 2)"), "shape"),
        (header("'<f4'", "False", "((((((((((1"), "shape"),
        (header("'<f4'", "Maybe", "(3, 4, 5, 2)"), "fortran_order"),
        (header("'<f4'", "False", "(0, 4, 5, 2)"), "no cube"),
        (header("'<f4'", "False", "(4, 5)"), "[N, X, Y, Z]"),
        (header("'|O'", "False", "(3, 4, 5, 2)"), "'|O'".trim_matches('\'')),
        (header("'<c8'", "False", "(3, 4, 5, 2)"), "c8"),
        (header("[('a', '<f4')]", "False", "(3, 4, 5, 2)"), "records"),
        (with_header("{}"), "descr"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "header of"),
        (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "version"),
        (b"not a NumPy file".to_vec(), "not a NumPy file"),
    ] {
        let path = written(folder.path(), &bytes);
        let message = CubeFile::open(&path).expect_err(part).to_string();
        assert!(message.contains(part) && !message.contains('\n'), "{message:?} should say {part:?}");
    }
}

#[test]
fn a_three_dimensional_array_is_a_volume_and_one_cube() {
    let folder = tempfile::tempdir().expect("folder");
    let path = written(folder.path(), &file("(4, 5, 6)", ElementType::Int16, ByteOrder::Little, false, 120));
    let volume = read_volume(&path).expect("valid");
    assert_eq!(
        (volume.size, volume.voxels[119], volume.orientation_code().as_str()),
        ([4, 5, 6], 119.0, "LPS")
    );
    let cubes = CubeFile::open(&path).expect("valid");
    assert_eq!((cubes.count(), cubes.size()), (1, [4, 5, 6]));
    let path =
        written(folder.path(), &file("(3, 4, 5, 2)", ElementType::Int16, ByteOrder::Little, false, 120));
    assert!(read_volume(&path).expect_err("many").to_string().contains("--frame"));
}

//! Whole `.npy` arrays in memory.

use std::io::Write;
use std::path::Path;

use super::header::{Header, float32_header};
use crate::error::{Error, Result};
use crate::volume::element::{ByteOrder, ElementType};
use crate::volume::frames::Wanted;
use crate::volume::input::Input;
use crate::volume::{Format, MAX_VOXELS, Source, Volume, affine, planes};
use genesis_model::checkpoint::AtomicFile;

/// An array of any shape, as `f32` in C order (last axis fastest).
#[derive(Clone, Debug, PartialEq)]
pub struct NpyArray {
    /// Sizes along the axes.
    pub shape: Vec<usize>,
    /// The values, C order.
    pub values: Vec<f32>,
    /// The stored number format.
    pub element: ElementType,
    /// The stored byte order.
    pub byte_order: ByteOrder,
}

/// Reads an array of real numbers (any integer, `float16`, `float32`, `float64`; either byte order;
/// C or Fortran order).
///
/// # Errors
/// If the file is no `.npy`, is truncated, holds more than 2³¹ values, or values that are not real
/// numbers.
pub fn read_npy(path: &Path) -> Result<NpyArray> {
    let mut input = Input::open(path)?;
    let header = Header::read(path, &mut input)?;
    if header.count as u64 > MAX_VOXELS {
        return Err(Error::file(
            path,
            format!(
                "an array of shape {} is more than the {MAX_VOXELS} values read at once",
                header.shape_text()
            ),
        ));
    }
    input.check_holds(header.bytes() as u64)?;
    let mut values = planes::allocate(path, header.count)?;
    let size = header.element.bytes();
    let mut bytes = vec![0u8; size * values.len().min(1 << 16)];
    for chunk in values.chunks_mut(1 << 16) {
        let bytes = &mut bytes[..chunk.len() * size];
        input.fill(bytes, "its values")?;
        header.element.decode(bytes, header.byte_order, None, chunk);
    }
    input.finish(0)?;
    if header.fortran_order && header.shape.len() > 1 {
        values = from_fortran_order(&values, &header.shape);
    }
    Ok(NpyArray { shape: header.shape, values, element: header.element, byte_order: header.byte_order })
}

/// Reorders values stored with the first axis fastest to the last axis fastest.
fn from_fortran_order(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    let mut index = vec![0usize; shape.len()];
    let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[..axis].iter().product()).collect();
    let mut position = 0;
    for _ in 0..values.len() {
        out.push(values[position]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            position += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            position -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

/// Writes an array as little-endian `float32` in C order.
///
/// # Errors
/// If `values` is not of the given shape, or the disk refuses.
pub fn write_npy(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
    if shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n)) != Some(values.len()) {
        return Err(Error::file(path, format!("{} values are no array of shape {shape:?}", values.len())));
    }
    let mut file = AtomicFile::create(path)?;
    file.write_all(&float32_header(shape)).map_err(Error::io("write", path))?;
    write_values(&mut file, values).map_err(Error::io("write", path))?;
    Ok(file.commit()?)
}

/// Writes values as little-endian bytes.
pub(super) fn write_values(file: &mut AtomicFile, values: &[f32]) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * values.len().min(1 << 16));
    for chunk in values.chunks(1 << 16) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
        file.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads an array `[X, Y, Z]`, or `[N, X, Y, Z]` of N frames, as volumes of 1 mm voxels, since a `.npy` file has
/// no geometry. Further leading axes multiply the frames.
pub(in crate::volume) fn read_volumes(path: &Path, wanted: Wanted) -> Result<Vec<Volume>> {
    let array = read_npy(path)?;
    let (count, size) = frames_of(path, &array.shape)?;
    let wanted = wanted.of(path, count)?;
    // 1 mm voxels, and no change of axes by `to_canonical`.
    let mut matrix = affine::IDENTITY;
    matrix[0][0] = -1.0;
    matrix[1][1] = -1.0;
    let source = Source {
        format: Format::Numpy,
        element: array.element,
        byte_order: array.byte_order,
        affine_from: "nothing (1 mm assumed)",
        frames: count,
        ..Source::default()
    };
    let each = size.iter().product::<usize>();
    let voxels = if count == 1 {
        vec![array.values]
    } else {
        let range = wanted.start as usize * each..wanted.end as usize * each;
        array.values[range].chunks_exact(each).map(<[f32]>::to_vec).collect()
    };
    Ok(Volume::of_file(voxels, size, matrix, &source, wanted.start))
}

/// How many volumes a file holds; only its header is read.
pub(in crate::volume) fn frame_count(path: &Path) -> Result<u64> {
    let header = Header::read(path, &mut Input::open(path)?)?;
    Ok(frames_of(path, &header.shape)?.0)
}

/// The number of volumes and the size of each in an array of this shape.
fn frames_of(path: &Path, shape: &[usize]) -> Result<(u64, [usize; 3])> {
    let [leading @ .., x, y, z] = shape else {
        return Err(Error::file(path, format!("has shape {shape:?}, a volume needs [X, Y, Z]")));
    };
    if shape.contains(&0) {
        return Err(Error::file(path, format!("has shape {shape:?}, which holds no voxel")));
    }
    // The header was read, so the product is that of values in memory.
    Ok((leading.iter().map(|&n| n as u64).product(), [*x, *y, *z]))
}

/// Writes a volume as `float32` `[X, Y, Z]`; its geometry is lost.
pub(in crate::volume) fn write_volume(path: &Path, volume: &Volume) -> Result<()> {
    write_npy(path, &volume.size, &volume.voxels)
}

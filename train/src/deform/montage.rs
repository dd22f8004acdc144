//! A picture of cubes beside their deformed versions.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use crate::error::{Error, Result};

/// Pixels per voxel.
const SCALE: usize = 2;
/// Voxel-sized pixels between planes and between cubes.
const GAP: usize = 4;
const BACKGROUND: u8 = 40;

/// An 8-bit grey image.
struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    /// Draws one plane with its upper left corner at voxel-sized pixel (left, top).
    fn plane(
        &mut self,
        [left, top]: [usize; 2],
        [width, height]: [usize; 2],
        value: impl Fn(usize, usize) -> f32,
    ) {
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            let grey = (value(column, row).clamp(0.0, 1.0) * 255.0).round() as u8;
            for y in 0..SCALE {
                let start = ((top + row) * SCALE + y) * self.width + (left + column) * SCALE;
                self.pixels[start..start + SCALE].fill(grey);
            }
        }
    }
}

/// Writes a PNG with one line per cube: the three central planes (across the third, second and first
/// axis; the first axis runs to the right, the second down, the third up) of the original, then those
/// of the deformed cube. Both arrays are `[N, rows, cols, deps]` in C order, intensities in `[0, 1]`.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_montage(path: &Path, size: [usize; 3], originals: &[f32], deformed: &[f32]) -> Result<()> {
    let [rows, cols, deps] = size;
    let voxels = rows * cols * deps;
    let (block, line) = (2 * (rows + GAP) + cols + GAP, cols.max(deps) + GAP);
    let cubes = originals.len() / voxels;
    let mut canvas =
        Canvas { width: (2 * block + GAP) * SCALE, height: (cubes * line + GAP) * SCALE, pixels: Vec::new() };
    canvas.pixels.resize(canvas.width * canvas.height, BACKGROUND);
    for index in 0..cubes {
        for (side, all) in [originals, deformed].into_iter().enumerate() {
            let cube = &all[index * voxels..(index + 1) * voxels];
            let at = |x: usize, y: usize, z: usize| cube[(x * cols + y) * deps + z];
            let (left, top) = (GAP + side * block, GAP + index * line);
            canvas.plane([left, top], [rows, cols], |x, y| at(x, y, deps / 2));
            let left = left + rows + GAP;
            canvas.plane([left, top], [rows, deps], |x, z| at(x, cols / 2, deps - 1 - z));
            let left = left + rows + GAP;
            canvas.plane([left, top], [cols, deps], |y, z| at(rows / 2, y, deps - 1 - z));
        }
    }
    write_png(path, &canvas)
}

fn write_png(path: &Path, canvas: &Canvas) -> Result<()> {
    let file = File::create(path).map_err(Error::io("create", path))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), canvas.width as u32, canvas.height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&canvas.pixels)?;
        writer.finish()
    });
    written.map_err(|cause| Error::file(path, format!("cannot write the picture: {cause}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_stand_where_they_should() {
        let size = [4, 5, 6];
        // Each voxel its own grey value: 2 * index.
        let original: Vec<f32> = (0..120).map(|index| (2 * index) as f32 / 255.0).collect();
        let deformed: Vec<f32> = original.iter().map(|v| 1.0 - v).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("montage.png");
        write_montage(
            &path,
            size,
            &[original.clone(), original].concat(),
            &[deformed.clone(), deformed].concat(),
        )
        .unwrap();
        let mut reader =
            png::Decoder::new(std::io::BufReader::new(File::open(&path).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let at = |x: usize, y: usize| pixels[y * SCALE * info.width as usize + x * SCALE];
        let voxel = |x: usize, y: usize, z: usize| (2 * ((x * 5 + y) * 6 + z)) as u8;
        assert_eq!((info.width as usize, info.height as usize), (2 * (2 * 25 + 4), 2 * (2 * 10 + 4)));
        for top in [4, 14] {
            assert_eq!(at(4 + 1, top + 2), voxel(1, 2, 3));
            assert_eq!(at(12 + 3, top + 1), voxel(3, 2, 4));
            assert_eq!(at(20 + 4, top + 5), voxel(2, 4, 0));
            assert_eq!(at(29 + 1, top + 2), 255 - voxel(1, 2, 3));
        }
        assert_eq!(at(0, 0), BACKGROUND);
        assert!(write_montage(&directory.path().join("none/x.png"), size, &[], &[]).is_err());
    }
}

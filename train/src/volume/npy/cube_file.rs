//! Reading single cubes out of a memory-mapped file.

use std::path::{Path, PathBuf};

use genesis_tensor::mapped::MappedFile;

use super::header::Header;
use crate::error::{Error, Result};
use crate::volume::input;

/// A `.npy` file of cubes, `[N, X, Y, Z]` (also `[N, 1, X, Y, Z]`, and `[X, Y, Z]` as one cube), read
/// cube by cube through the page cache. The number format is any of the real ones, `float64` as the
/// original wrote included; values come out as `f32`.
///
/// The file must not be shortened while it is open: the system then ends the program (SIGBUS).
#[derive(Debug)]
pub struct CubeFile {
    path: PathBuf,
    map: MappedFile,
    header: Header,
    count: usize,
    size: [usize; 3],
}

impl CubeFile {
    /// Opens a file and checks its length against its header.
    ///
    /// # Errors
    /// If the file is no `.npy` of cubes, is truncated, or holds no cube.
    pub fn open(path: &Path) -> Result<Self> {
        let (mut file, length) = input::open_file(path)?;
        let header = Header::read(path, &mut file)?;
        let (count, size) = match header.shape[..] {
            [count, x, y, z] | [count, 1, x, y, z] => (count, [x, y, z]),
            [x, y, z] => (1, [x, y, z]),
            _ => {
                let cause = format!("has shape {}, cubes need [N, X, Y, Z]", header.shape_text());
                return Err(Error::file(path, cause));
            }
        };
        if header.count == 0 {
            return Err(Error::file(path, format!("holds no cube (shape {})", header.shape_text())));
        }
        // Both parts were bounded when the header was parsed.
        let needed = (header.offset + header.bytes()) as u64;
        if length < needed {
            let cause = format!(
                "is truncated: shape {} of {} needs {needed} bytes, the file has {length}",
                header.shape_text(),
                header.element.name()
            );
            return Err(Error::file(path, cause));
        }
        if header.fortran_order && count > 1 {
            tracing::warn!(
                "{}: is in Fortran order, so each cube is scattered over the whole file; \
                 numpy.ascontiguousarray makes reading faster",
                path.display()
            );
        }
        let map = MappedFile::open(&file).map_err(Error::io("read", path))?;
        Ok(Self { path: path.to_path_buf(), map, header, count, size })
    }

    /// The number of cubes; at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Voxels along x, y and z of every cube.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Voxels of one cube.
    pub fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// The array's shape as stored.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The stored number format.
    pub fn element(&self) -> crate::volume::ElementType {
        self.header.element
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads cube `index` into `out` (z fastest).
    ///
    /// # Errors
    /// If there is no such cube or `out` has not [`voxels`](Self::voxels) places.
    pub fn read(&self, index: usize, out: &mut [f32]) -> Result<()> {
        let voxels = self.voxels();
        if index >= self.count || out.len() != voxels {
            return Err(Error::file(
                &self.path,
                format!(
                    "cube {index} of {voxels} voxels was asked into {} places, of {} cubes",
                    out.len(),
                    self.count
                ),
            ));
        }
        let data = self
            .map
            .get(self.header.offset..self.header.offset + self.header.bytes())
            .ok_or_else(|| Error::file(&self.path, "became shorter while it was open"))?;
        let (element, order) = (self.header.element, self.header.byte_order);
        let bytes = element.bytes();
        if !self.header.fortran_order {
            element.decode(&data[index * voxels * bytes..(index + 1) * voxels * bytes], order, None, out);
            return Ok(());
        }
        // Fortran order: the cube's number is the fastest index, then x, y and z.
        let [nx, ny, nz] = self.size;
        for x in 0..nx {
            for y in 0..ny {
                for z in 0..nz {
                    let place = ((z * ny + y) * nx + x) * self.count + index;
                    let word = &data[place * bytes..(place + 1) * bytes];
                    let target = (x * ny + y) * nz + z;
                    element.decode(word, order, None, &mut out[target..=target]);
                }
            }
        }
        Ok(())
    }
}

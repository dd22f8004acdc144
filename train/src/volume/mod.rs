//! Medical volumes: NIfTI-1, NIfTI-2, MetaImage, NRRD and NumPy files and DICOM series, read into one type and written
//! back (but for DICOM).
//!
//! [`read_volume`] reads any of them ([`read_volume_with`] a frame of a file of several), [`write_volume`] writes the format the name asks for,
//! [`list_volumes`] finds them in a folder, [`describe`] tells what one holds, [`convert`] copies one
//! into another format. [`CubeFile`] and [`CubeWriter`] are for files of many cubes.
//!
//! Files are taken as hostile: sizes are checked against the data that is there before memory is
//! reserved, and every refusal is one line that names the file and the cause.

pub mod affine;
mod apart;
mod describe;
mod detached;
mod dicom;
mod element;
mod files;
mod frames;
mod input;
mod like;
mod metaimage;
mod nifti;
mod npy;
mod nrrd;
#[cfg(test)]
mod oracle;
mod orientation;
mod planes;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use affine::Affine;
pub use apart::{files_of, refuse_to_replace};
pub use describe::{Description, SeriesDescription, describe};
pub use element::{ByteOrder, ELEMENT_TYPES, ElementType};
pub use files::{
    channel_count, convert, is_volume, is_volume_name, list_volumes, no_volumes, read_channels,
    read_channels_with, read_volume, read_volume_with, write_volume,
};
pub use frames::ReadOptions;
pub use like::{Voxels, write_like};
pub use metaimage::write_metaimage;
pub use nifti::write_nifti;
pub use npy::{CubeFile, CubeWriter, NpyArray, read_npy, write_npy};
pub use nrrd::write_nrrd;
pub use orientation::{CANONICAL, Reorientation};

use crate::error::{Error, Result};

/// The most voxels a volume may have: 2³¹, 8 GiB as `f32`.
pub const MAX_VOXELS: u64 = 1 << 31;

/// The file format a volume came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Format {
    /// NIfTI-1 (348-byte header), as one file or as a `.hdr`/`.img` pair.
    #[serde(rename = "NIfTI-1")]
    Nifti1,
    /// NIfTI-2 (540-byte header).
    #[serde(rename = "NIfTI-2")]
    Nifti2,
    /// MetaImage: `.mha`, or `.mhd` with `.raw`/`.zraw`.
    #[serde(rename = "MetaImage")]
    MetaImage,
    /// NRRD: `.nrrd`, or `.nhdr` with its data files.
    #[serde(rename = "NRRD")]
    Nrrd,
    /// A NumPy array, which has no geometry.
    #[serde(rename = "NumPy")]
    Numpy,
    /// A DICOM series.
    #[serde(rename = "DICOM")]
    Dicom,
    /// Made by this program, not read from a file.
    #[serde(rename = "memory")]
    Memory,
}

impl Format {
    /// The usual spelling: `"NIfTI-1"`, `"MetaImage"`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::Nifti1 => "NIfTI-1",
            Self::Nifti2 => "NIfTI-2",
            Self::MetaImage => "MetaImage",
            Self::Nrrd => "NRRD",
            Self::Numpy => "NumPy",
            Self::Dicom => "DICOM",
            Self::Memory => "memory",
        }
    }
}

/// How a volume was stored in the file it came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// The file format.
    pub format: Format,
    /// The stored number format.
    pub element: ElementType,
    /// The stored byte order.
    pub byte_order: ByteOrder,
    /// True if the voxels were compressed.
    pub compressed: bool,
    /// `(slope, intercept)` already applied to the voxels, if the file asked for a scaling.
    pub scaling: Option<(f64, f64)>,
    /// Which header fields gave the affine matrix: `"sform"`, `"qform"`, `"voxel size only"`, …
    pub affine_from: &'static str,
    /// NIfTI's code of the world space: 1 scanner, 2 aligned, 3 Talairach, 4 MNI.
    pub space_code: i16,
    /// How many volumes the file holds.
    pub frames: u64,
    /// Which of them this is, counted from 0.
    pub frame: u64,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            format: Format::Memory,
            element: ElementType::Float32,
            byte_order: ByteOrder::Little,
            compressed: false,
            scaling: None,
            affine_from: "this program",
            space_code: 1,
            frames: 1,
            frame: 0,
        }
    }
}

/// A three-dimensional image with its place in the patient.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Scaled intensities, z fastest: voxel (x, y, z) is at `(x * size[1] + y) * size[2] + z`.
    pub voxels: Vec<f32>,
    /// Number of voxels along x, y and z.
    pub size: [usize; 3],
    /// Millimetres between neighbouring voxels along x, y and z.
    pub spacing: [f64; 3],
    /// Voxel index to RAS millimetres.
    pub affine: Affine,
    /// How the file stored it.
    pub source: Source,
}

impl Volume {
    /// A volume of given intensities (z fastest) and affine matrix (RAS millimetres).
    ///
    /// # Errors
    /// If the number of voxels does not match `size`, a size is 0, or the matrix is singular.
    pub fn new(voxels: Vec<f32>, size: [usize; 3], affine: Affine) -> Result<Self> {
        let count = size.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        if count != Some(voxels.len()) || voxels.is_empty() {
            let [x, y, z] = size;
            return Err(Error::Work(format!("{} voxels do not make a volume of {x}x{y}x{z}", voxels.len())));
        }
        affine::check(&affine).map_err(Error::Work)?;
        Ok(Self { voxels, size, spacing: affine::spacing(&affine), affine, source: Source::default() })
    }

    /// The volumes of a file, which share everything but their voxels; the first of `voxels` is frame `first`.
    fn of_file(
        voxels: Vec<Vec<f32>>,
        size: [usize; 3],
        affine: Affine,
        source: &Source,
        first: u64,
    ) -> Vec<Self> {
        let spacing = affine::spacing(&affine);
        let volume = |(frame, voxels)| Self {
            voxels,
            size,
            spacing,
            affine,
            source: Source { frame, ..source.clone() },
        };
        (first..).zip(voxels).map(volume).collect()
    }

    /// A volume of other intensities at the same place: same size, affine matrix and source.
    ///
    /// # Errors
    /// If the number of voxels differs.
    pub fn with_voxels(&self, voxels: Vec<f32>) -> Result<Self> {
        let mut volume = Self::new(voxels, self.size, self.affine)?;
        volume.spacing = self.spacing;
        volume.source = self.source.clone();
        Ok(volume)
    }

    /// The position of voxel (x, y, z) in [`voxels`](Self::voxels).
    pub fn index(&self, [x, y, z]: [usize; 3]) -> usize {
        (x * self.size[1] + y) * self.size[2] + z
    }

    /// Three letters naming the directions in which x, y and z grow, e.g. `"LPS"`.
    pub fn orientation_code(&self) -> String {
        affine::orientation_code(&self.affine)
    }

    /// Refuses voxels that are not numbers or infinite, for use before training.
    ///
    /// # Errors
    /// Names how many there are and where the first one is (in x, y, z order, z fastest).
    pub fn check_finite(&self) -> Result<()> {
        // A sum over chunks is vectorised; the exact place is looked up only when there is one.
        let bad = self.voxels.iter().filter(|value| !value.is_finite()).count();
        if bad == 0 {
            return Ok(());
        }
        let first = self.voxels.iter().position(|value| !value.is_finite()).unwrap_or(0);
        let [_, ny, nz] = self.size;
        let place = (first / (ny * nz), first / nz % ny, first % nz);
        Err(Error::Work(format!(
            "{bad} of {} voxels are not finite (NaN or infinity), the first at (x, y, z) = ({}, {}, {})",
            self.voxels.len(),
            place.0,
            place.1,
            place.2
        )))
    }
}

//! What a volume file holds, for `genesis inspect`.

use std::fmt;
use std::path::{Path, PathBuf};

use genesis_model::error::shown;
use serde::Serialize;

use super::files::{Kind, kind};
use super::{Affine, ByteOrder, Format, ReadOptions, affine, dicom, read_volume_with};
use crate::error::Result;

/// What [`describe`] finds; [`Display`](fmt::Display) gives one screen of text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// The file.
    pub file: PathBuf,
    /// Its format.
    pub format: Format,
    /// True if the voxels are compressed.
    pub compressed: bool,
    /// The stored number format, by its NumPy name.
    pub dtype: &'static str,
    /// The stored byte order.
    pub byte_order: ByteOrder,
    /// Volumes the file holds.
    pub frames: u64,
    /// Which of them this describes, counted from 0.
    pub frame: u64,
    /// Voxels along x, y and z.
    pub size: [usize; 3],
    /// Millimetres between neighbouring voxels.
    pub spacing: [f64; 3],
    /// Extent in millimetres.
    pub extent: [f64; 3],
    /// Voxel index to RAS millimetres.
    pub affine: Affine,
    /// The header fields the affine matrix came from.
    pub affine_from: &'static str,
    /// Directions in which x, y and z grow, e.g. `"LPS"`.
    pub orientation: String,
    /// Largest angle in degrees between a voxel axis and an anatomical one.
    pub oblique_degrees: f64,
    /// Slope already applied to the intensities below; 1 if none.
    pub slope: f64,
    /// Intercept already applied; 0 if none.
    pub intercept: f64,
    /// Smallest finite intensity; absent if there is none.
    pub minimum: Option<f32>,
    /// Largest finite intensity; absent if there is none.
    pub maximum: Option<f32>,
    /// Mean of the finite intensities; absent if there is none.
    pub mean: Option<f64>,
    /// Voxels that are NaN or infinite.
    pub not_finite: usize,
    /// Of a DICOM series only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesDescription>,
}

/// What the files of a DICOM series say of it; nothing of the patient.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesDescription {
    /// Modality: `"CT"`, `"MR"`, `"PT"`, …
    pub modality: String,
    /// SeriesDescription.
    pub description: String,
    /// Number of files.
    pub files: usize,
    /// Number of slices, which are more than files where files have several frames.
    pub slices: usize,
    /// How data and pixels are written, by name and UID.
    pub transfer_syntax: String,
    /// `"MONOCHROME2"`, or `"MONOCHROME1"` where the largest values are shown darkest.
    pub photometric: String,
    /// Smallest and largest RescaleSlope of the slices, already applied.
    pub rescale_slope: [f64; 2],
    /// Smallest and largest RescaleIntercept of the slices, already applied.
    pub rescale_intercept: [f64; 2],
    /// PixelPaddingValue, before scaling: voxels of this value lie outside the image. They are kept.
    pub padding: Option<i64>,
}

impl fmt::Display for SeriesDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { modality, description, files, slices, .. } = self;
        writeln!(f, "series       {modality} {description:?}, {slices} slices in {files} files")?;
        writeln!(f, "written as   {}, {}", self.transfer_syntax, self.photometric)?;
        let ([s0, s1], [i0, i1]) = (self.rescale_slope, self.rescale_intercept);
        match s0 == s1 && i0 == i1 {
            true => write!(f, "rescale      slope {s0}, intercept {i0}")?,
            false => write!(f, "rescale      slope {s0} to {s1}, intercept {i0} to {i1}, slice by slice")?,
        }
        match self.padding {
            Some(padding) => writeln!(f, "; padding {padding} as stored"),
            None => writeln!(f),
        }
    }
}

/// Reads a volume and tells what it holds.
///
/// # Errors
/// As [`read_volume_with`].
pub fn describe(path: &Path, options: &ReadOptions) -> Result<Description> {
    let (volume, series) = match kind(path) {
        Some(Kind::Dicom) => {
            options.check_single(path)?;
            dicom::read(path).map(|(volume, series)| (volume, Some(series)))?
        }
        _ => (read_volume_with(path, options)?, None),
    };
    let (mut minimum, mut maximum) = (f32::INFINITY, f32::NEG_INFINITY);
    let (mut sum, mut finite) = (0.0f64, 0usize);
    for &value in volume.voxels.iter().filter(|value| value.is_finite()) {
        minimum = minimum.min(value);
        maximum = maximum.max(value);
        sum += f64::from(value);
        finite += 1;
    }
    let any = finite > 0;
    let (slope, intercept) = volume.source.scaling.unwrap_or((1.0, 0.0));
    Ok(Description {
        file: path.to_path_buf(),
        format: volume.source.format,
        compressed: volume.source.compressed,
        dtype: volume.source.element.name(),
        byte_order: volume.source.byte_order,
        frames: volume.source.frames,
        frame: volume.source.frame,
        size: volume.size,
        spacing: volume.spacing,
        extent: std::array::from_fn(|axis| volume.spacing[axis] * volume.size[axis] as f64),
        affine: volume.affine,
        affine_from: volume.source.affine_from,
        orientation: volume.orientation_code(),
        oblique_degrees: affine::obliqueness(&volume.affine),
        slope,
        intercept,
        minimum: any.then_some(minimum),
        maximum: any.then_some(maximum),
        mean: any.then(|| sum / finite as f64),
        not_finite: volume.voxels.len() - finite,
        series,
    })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.size;
        let [dx, dy, dz] = self.spacing;
        let [ex, ey, ez] = self.extent;
        writeln!(f, "file         {}", shown(&self.file))?;
        let packed = if self.compressed { ", compressed" } else { "" };
        writeln!(f, "format       {}{packed}", self.format.name())?;
        let order = match self.byte_order {
            ByteOrder::Little => "little-endian",
            ByteOrder::Big => "big-endian",
        };
        if let Some(series) = &self.series {
            write!(f, "{series}")?;
        }
        writeln!(f, "stored as    {}, {order}", self.dtype)?;
        if self.frames > 1 {
            writeln!(f, "frame        {} (of {}, counted from 0)", self.frame, self.frames)?;
        }
        writeln!(f, "size         {x} x {y} x {z} voxels")?;
        writeln!(f, "spacing      {dx:.4} x {dy:.4} x {dz:.4} mm")?;
        writeln!(f, "extent       {ex:.1} x {ey:.1} x {ez:.1} mm")?;
        write!(f, "orientation  {}", self.orientation)?;
        if self.oblique_degrees > 0.05 {
            write!(f, ", oblique by {:.1} degrees", self.oblique_degrees)?;
        }
        writeln!(f)?;
        for (row, label) in self.affine.iter().zip(["affine", "", "", ""]) {
            let [a, b, c, d] = row;
            writeln!(f, "{label:<11}{a:>12.5} {b:>12.5} {c:>12.5} {d:>12.5}")?;
        }
        writeln!(f, "             from {}", self.affine_from)?;
        if self.series.is_none() && (self.slope, self.intercept) != (1.0, 0.0) {
            writeln!(f, "scaling      stored value x {} + {}", self.slope, self.intercept)?;
        }
        match (self.minimum, self.maximum, self.mean) {
            (Some(minimum), Some(maximum), Some(mean)) => {
                write!(f, "intensity    {minimum} to {maximum}, mean {mean:.4}")?;
            }
            _ => write!(f, "intensity    no finite voxel")?,
        }
        if self.not_finite > 0 {
            write!(f, "\nnot finite   {} voxels (NaN or infinity)", self.not_finite)?;
        }
        Ok(())
    }
}

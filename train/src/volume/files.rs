//! Volumes by file name: reading, writing, finding.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::frames::{ReadOptions, Wanted};
use super::{
    ElementType, Format, Volume, dicom, metaimage, nifti, npy, nrrd, write_metaimage, write_nifti, write_nrrd,
};
use crate::error::{Error, Result};

/// The formats a name can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nifti,
    NiftiPair,
    MetaImage,
    Nrrd,
    Numpy,
    Dicom,
}

/// The names that are understood, for messages.
const NAMES: &str = ".nii, .nii.gz, .hdr with .img, .mha, .mhd with .raw or .zraw, .nrrd, .nhdr, .npy, DICOM";

/// The names that are written, for messages.
const WRITTEN: &str = ".nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr or .npy";

/// The format a path means: by its name, or DICOM by content (a file, or a folder of such).
pub(super) fn kind(path: &Path) -> Option<Kind> {
    kind_by_name(path).or_else(|| dicom::is_dicom(path).then_some(Kind::Dicom))
}

fn kind_by_name(path: &Path) -> Option<Kind> {
    if path.is_dir() {
        return None;
    }
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    if stem.ends_with(".nii") {
        Some(Kind::Nifti)
    } else if stem.ends_with(".hdr") || stem.ends_with(".img") {
        Some(Kind::NiftiPair)
    } else if name.ends_with(".mha") || name.ends_with(".mhd") {
        Some(Kind::MetaImage)
    } else if name.ends_with(".nrrd") || name.ends_with(".nhdr") {
        Some(Kind::Nrrd)
    } else if name.ends_with(".npy") {
        Some(Kind::Numpy)
    } else if dicom::is_dicom_name(path) {
        Some(Kind::Dicom)
    } else {
        None
    }
}

/// True if the name is that of a volume format that is read (`.nii`, `.nii.gz`, `.hdr`, `.img`,
/// `.mha`, `.mhd`, `.nrrd`, `.nhdr`, `.npy`, `.dcm`), in any case of letters.
pub fn is_volume_name(path: &Path) -> bool {
    kind_by_name(path).is_some()
}

/// True if the path names a volume that is read, by its name or by its content: DICOM files have any name, and a
/// folder of them is a volume too.
pub fn is_volume(path: &Path) -> bool {
    kind(path).is_some()
}

/// Reads a volume of any readable format: NIfTI-1 and -2 (one file or a pair; gzip is recognised by
/// content), MetaImage, NRRD, `.npy` arrays `[X, Y, Z]`, and DICOM series, named by any of their files or by a
/// folder that holds no other series.
///
/// # Errors
/// If the format is unknown, or the file is damaged, truncated, or not one volume of real numbers.
pub fn read_volume(path: &Path) -> Result<Volume> {
    read_volume_with(path, &ReadOptions::default())
}

/// [`read_volume`] of a file that may hold several volumes on one grid, of which one is chosen: the fourth
/// dimension of NIfTI and MetaImage, the channels of MetaImage, the axis of NRRD that is not spatial, `[N, X, Y, Z]`
/// of `.npy`.
///
/// # Errors
/// As [`read_volume`]; a file of several of which none is chosen; a choice that is not there.
pub fn read_volume_with(path: &Path, options: &ReadOptions) -> Result<Volume> {
    read_wanted(path, Wanted::One(options.frame))?.pop().ok_or_else(|| Error::file(path, "holds no volume"))
}

/// Reads the channels of a scan: all volumes of a file of several (4D NIfTI files of BraTS in the Medical
/// Segmentation Decathlon), or the one volume of any other file.
///
/// # Errors
/// As [`read_volume`]; more than [`MAX_VOXELS`](super::MAX_VOXELS) voxels in all.
pub fn read_channels(path: &Path) -> Result<Vec<Volume>> {
    read_wanted(path, Wanted::All)
}

/// The one volume that is chosen, or with no choice all [channels](read_channels).
///
/// # Errors
/// As [`read_channels`] and [`read_volume_with`].
pub fn read_channels_with(path: &Path, options: &ReadOptions) -> Result<Vec<Volume>> {
    match options.frame {
        Some(_) => Ok(vec![read_volume_with(path, options)?]),
        None => read_channels(path),
    }
}

fn read_wanted(path: &Path, wanted: Wanted) -> Result<Vec<Volume>> {
    match known(path)? {
        Kind::Nifti | Kind::NiftiPair => nifti::read(path, wanted),
        Kind::MetaImage => metaimage::read(path, wanted),
        Kind::Nrrd => nrrd::read(path, wanted),
        Kind::Numpy => npy::read_volumes(path, wanted),
        Kind::Dicom => {
            wanted.of(path, 1)?;
            dicom::read(path).map(|(volume, _)| vec![volume])
        }
    }
}

/// How many channels a scan's file has, as [`read_channels`] would find; only the header is read.
///
/// # Errors
/// A header that cannot be read.
pub fn channel_count(path: &Path) -> Result<usize> {
    let count = match known(path)? {
        Kind::Nifti | Kind::NiftiPair => nifti::frame_count(path)?,
        Kind::MetaImage => metaimage::frame_count(path)?,
        Kind::Nrrd => nrrd::frame_count(path)?,
        Kind::Numpy => npy::frame_count(path)?,
        Kind::Dicom => 1,
    };
    usize::try_from(count).map_err(|_| Error::file(path, format!("holds {count} volumes")))
}

fn known(path: &Path) -> Result<Kind> {
    match kind(path) {
        Some(kind) => Ok(kind),
        None if path.is_dir() => {
            Err(Error::file(path, "is a folder without DICOM files, a volume file or a series is needed"))
        }
        None => Err(Error::file(path, format!("is of no volume format that is read ({NAMES})"))),
    }
}

/// The error about a folder in which [`list_volumes`] finds nothing.
pub fn no_volumes(folder: &Path) -> Error {
    Error::file(
        folder,
        "holds no volume (.nii, .nii.gz, .hdr with .img, .mha, .mhd, .nrrd, .nhdr, DICOM series)",
    )
}

/// Writes a volume in the format its name asks for (`.nii`, `.nii.gz`, `.mha`, `.mhd`, `.nrrd`, `.nhdr`, `.npy`;
/// a `.npy` file is always `float32`).
///
/// # Errors
/// If the format is unknown, a voxel does not fit `stored`, or the disk refuses.
pub fn write_volume(path: &Path, volume: &Volume, stored: ElementType) -> Result<()> {
    match kind_by_name(path) {
        Some(Kind::Nifti) => write_nifti(path, volume, stored),
        Some(Kind::MetaImage) => write_metaimage(path, volume, stored),
        Some(Kind::Nrrd) => write_nrrd(path, volume, stored),
        Some(Kind::Numpy) => npy::write_volume(path, volume),
        Some(Kind::NiftiPair | Kind::Dicom) | None => Err(not_written(path)),
    }
}

fn not_written(path: &Path) -> Error {
    Error::Usage(format!("{}: the name must end in {WRITTEN} to be written", path.display()))
}

/// Copies a volume into another file, of the format the new name asks for. The number format is kept
/// if it holds every voxel exactly (scaling included), else the voxels become `float32`.
///
/// # Errors
/// As [`read_volume_with`] and [`write_volume`]; a new name that is the old file.
pub fn convert(from: &Path, to: &Path, options: &ReadOptions) -> Result<()> {
    // The name is checked before the work of reading.
    if matches!(kind_by_name(to), None | Some(Kind::NiftiPair | Kind::Dicom)) {
        return Err(not_written(to));
    }
    super::refuse_to_replace(from, to)?;
    let volume = read_volume_with(from, options)?;
    if matches!(volume.source.element, ElementType::Float64 | ElementType::Int64 | ElementType::Uint64)
        || volume.source.element.bytes() == 4 && volume.voxels.iter().any(|value| value.abs() >= 16_777_216.0)
    {
        tracing::warn!("{}: voxels are copied in single precision (24 bits)", from.display());
    }
    write_volume(to, &volume, exact_element(&volume))
}

/// The number format the volume came in if it can hold every voxel, else `float32`; of unsigned DICOM pixels that a
/// scaling made negative (computed tomography), `int16` if that can.
pub(super) fn exact_element(volume: &Volume) -> ElementType {
    let holds = |element: &ElementType| {
        element.integer_range().is_some_and(|(low, high)| {
            volume.voxels.iter().all(|&value| {
                let value = f64::from(value);
                // The top of a 64-bit format is not a number its `f64` neighbours tell apart.
                value.fract() == 0.0 && value >= low && value <= high && value.abs() < 9e18
            })
        })
    };
    let scaled = (volume.source.format == Format::Dicom).then_some(ElementType::Int16);
    [Some(volume.source.element), scaled].into_iter().flatten().find(holds).unwrap_or(ElementType::Float32)
}

/// All volume files below a folder, sorted by path; symbolic links are followed.
///
/// A NIfTI pair is listed once, by its `.hdr`. Not listed: names that start with a dot (macOS leaves
/// `._name.nii.gz` files that are no volumes), and `.npy` files, which have no geometry and are what
/// this program keeps cubes in. Label maps are listed like any volume. DICOM files are recognised by their content;
/// each series is listed once, by its folder if that holds no other, else by its first file. DICOM files that are no
/// slices of a volume (scouts, single slices, reports, contours, …) are left out with a warning that says why.
///
/// # Errors
/// If the folder or one below it cannot be read, or is nested deeper than 64 folders.
pub fn list_volumes(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut visited = BTreeSet::new();
    collect(folder, &mut found, &mut visited, 0)?;
    found.sort();
    Ok(found)
}

fn collect(
    folder: &Path,
    found: &mut Vec<PathBuf>,
    visited: &mut BTreeSet<PathBuf>,
    depth: usize,
) -> Result<()> {
    // Links may lead in circles.
    if !visited.insert(fs::canonicalize(folder).map_err(Error::io("read", folder))?) {
        return Ok(());
    }
    if depth > 64 {
        return Err(Error::file(folder, "is nested more than 64 folders deep"));
    }
    let mut others = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            collect(&path, found, visited, depth + 1)?;
        } else if path.is_file() {
            let listed = match kind_by_name(&path) {
                Some(Kind::Nifti | Kind::MetaImage | Kind::Nrrd) => true,
                // Only headers have a partner `.img`; other programs use `.hdr` for other things.
                Some(Kind::NiftiPair) => nifti::companion(&path, "hdr", "img").is_some(),
                Some(Kind::Numpy) => false,
                Some(Kind::Dicom) | None => {
                    others.push(path);
                    continue;
                }
            };
            if listed {
                found.push(path);
            }
        }
    }
    found.extend(dicom::list(folder, others));
    Ok(())
}

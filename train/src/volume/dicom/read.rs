//! A series as a volume.

use std::path::{Path, PathBuf};

use super::geometry::{Grid, Place, arrange};
use super::header::{Facts, Header};
use super::pixels::{self, Frames, Stored};
use super::series::{Folder, Series, file_name, look_through};
use super::transfer::Compression;
use crate::error::{Error, Result};
use crate::volume::describe::SeriesDescription;
use crate::volume::element::ByteOrder;
use crate::volume::{Format, Source, Volume, affine, planes};

/// One image of a series.
struct Slice {
    /// Index of its file.
    file: usize,
    /// Index of its frame there.
    frame: usize,
    place: Place,
    /// Slope and intercept.
    scaling: (f64, f64),
}

/// Reads the series a path names: a folder with one, or a file of one.
///
/// # Errors
/// No series or several; a slice that is damaged or missing; slices on no grid; values that are not read.
pub(super) fn read(path: &Path) -> Result<(Volume, SeriesDescription)> {
    let folder = match path.is_dir() {
        true => look_through(path, None)?,
        false => look_through(path.parent().unwrap_or(Path::new("")), Some(path))?,
    };
    let series = folder.choose(path)?;
    if let Some((file, cause)) = series.damaged.first() {
        return Err(Error::file(file, format!("{cause}; without it the series is not read")));
    }
    if let Some((file, cause)) = folder.unknown.first() {
        return Err(Error::file(
            file,
            format!("{cause}; it may be a slice, so the series is not read without it"),
        ));
    }
    if path.is_dir() {
        tell_left_out(&folder, series);
    }
    alike(series)?;
    let slices = slices(series)?;
    let grid = grid(path, series, &slices)?;
    let voxels = voxels(path, series, &slices, &grid.order)?;
    describe(path, series, &slices, grid, voxels)
}

/// The files of the series that a file belongs to, in the order of their names; none where they cannot be told.
pub(super) fn files(path: &Path) -> Vec<PathBuf> {
    let folder = look_through(path.parent().unwrap_or(Path::new("")), Some(path)).ok();
    let series = folder.as_ref().and_then(|folder| folder.choose(path).ok());
    let mut files: Vec<PathBuf> =
        series.map(|series| series.files.iter().map(|(file, _)| file.clone()).collect()).unwrap_or_default();
    files.sort();
    files
}

fn tell_left_out(folder: &Folder, chosen: &Series) {
    folder.left_out().iter().for_each(|line| tracing::warn!("{line}"));
    for series in folder.series.values().filter(|series| series.first() != chosen.first()) {
        tracing::warn!("{}: left out: a single slice, {}", folder.path.display(), series.title());
    }
}

/// Refuses files of one series that do not go together, and pixels that are not there.
fn alike(series: &Series) -> Result<()> {
    let Some((first_path, first)) = series.files.first() else { return Ok(()) };
    for (path, header) in &series.files {
        if (header.rows, header.columns) != (first.rows, first.columns) {
            return Err(Error::file(
                path,
                format!(
                    "has {} x {} pixels, {} of the same series {} x {}",
                    header.columns,
                    header.rows,
                    file_name(first_path),
                    first.columns,
                    first.rows
                ),
            ));
        }
        if header.photometric != first.photometric || header.modality != first.modality {
            return Err(Error::file(
                path,
                format!(
                    "is {} {}, {} of the same series {} {}",
                    header.modality,
                    header.photometric,
                    file_name(first_path),
                    first.modality,
                    first.photometric
                ),
            ));
        }
        if header.modality_table {
            return Err(Error::file(
                path,
                "its values go through a table (ModalityLUTSequence), which is not read",
            ));
        }
        pixels::check(header).map_err(|cause| Error::file(path, cause))?;
    }
    Ok(())
}

/// Every image of the series, in the order of the files.
fn slices(series: &Series) -> Result<Vec<Slice>> {
    let mut slices = Vec::with_capacity(series.slices());
    for (file, (path, header)) in series.files.iter().enumerate() {
        for frame in 0..header.frames as usize {
            let facts = facts(header, frame);
            let (Some(position), Some(orientation), Some(spacing)) =
                (facts.position, facts.orientation, facts.spacing)
            else {
                return Err(Error::file(path, "does not tell where it lies"));
            };
            let scaling = (facts.slope.unwrap_or(1.0), facts.intercept.unwrap_or(0.0));
            if scaling.0 == 0.0 {
                return Err(Error::file(path, "is damaged: RescaleSlope is 0"));
            }
            slices.push(Slice { file, frame, place: Place { position, orientation, spacing }, scaling });
        }
    }
    Ok(slices)
}

fn facts(header: &Header, frame: usize) -> Facts {
    let file = header.shared.or(&header.facts);
    header.per_frame.get(frame).map_or_else(|| file.clone(), |own| own.or(&file))
}

fn grid(path: &Path, series: &Series, slices: &[Slice]) -> Result<Grid> {
    let places: Vec<Place> = slices.iter().map(|slice| slice.place).collect();
    let name = |index: usize| {
        let slice = &slices[index];
        let (file, header) = &series.files[slice.file];
        match header.frames {
            1 => file_name(file),
            _ => format!("{} frame {}", file_name(file), slice.frame + 1),
        }
    };
    // For a lonely slice, as SimpleITK takes it: slices of MR have gaps, so their thickness tells no distance.
    let first = series.files.first().map(|(_, header)| (facts(header, 0), header.modality.as_str()));
    let thickness =
        first.and_then(|(facts, modality)| facts.between.or(facts.thickness.filter(|_| modality != "MR")));
    let grid = arrange(&places, thickness, &name).map_err(|cause| Error::file(path, cause))?;
    if let Some(uneven) = &grid.uneven {
        tracing::warn!("{}: {uneven}", path.display());
    }
    if slices.len() == 1 {
        let millimetres = affine::spacing(&grid.affine)[2];
        tracing::warn!("{}: a single slice, taken to be {millimetres} mm thick", path.display());
    }
    Ok(grid)
}

/// The intensities, z fastest.
fn voxels(path: &Path, series: &Series, slices: &[Slice], order: &[usize]) -> Result<Vec<f32>> {
    let Some((_, header)) = series.files.first() else { return Err(Error::file(path, "has no slices")) };
    let (columns, rows) = (usize::from(header.columns), usize::from(header.rows));
    let size = [columns, rows, slices.len()];
    let count = planes::voxel_count(path, size.map(|n| n as u64))? as usize;
    let plane = columns * rows;
    let mut group = planes::allocate(path, plane * planes::PLANES.min(slices.len()))?;
    let mut voxels = Vec::new();
    let mut open: Option<(usize, Frames)> = None;
    for (number, part) in order.chunks(planes::PLANES).enumerate() {
        for (out, &index) in group.chunks_exact_mut(plane).zip(part) {
            let slice = &slices[index];
            let (file, header) = &series.files[slice.file];
            let failed = |cause: String| match header.frames {
                1 => Error::file(file, cause),
                _ => Error::file(file, format!("frame {} {cause}", slice.frame + 1)),
            };
            let mut frames = match open.take() {
                Some((at, frames)) if at == slice.file => frames,
                _ => Frames::open(file, header).map_err(failed)?,
            };
            frames.read(slice.frame, slice.scaling, out).map_err(failed)?;
            open = Some((slice.file, frames));
        }
        // Only now: a header may ask for more than its compressed pixels hold.
        if voxels.is_empty() {
            voxels = planes::allocate(path, count)?;
        }
        planes::place(&mut voxels, size, number * planes::PLANES, &group[..plane * part.len()]);
    }
    Ok(voxels)
}

/// Puts everything together, and tells what was found.
fn describe(
    path: &Path,
    series: &Series,
    slices: &[Slice],
    grid: Grid,
    voxels: Vec<f32>,
) -> Result<(Volume, SeriesDescription)> {
    let Some((_, header)) = series.files.first() else { return Err(Error::file(path, "has no slices")) };
    if header.photometric == "MONOCHROME1" {
        tracing::warn!(
            "{}: MONOCHROME1 (the largest values are shown darkest); values are kept as stored",
            path.display()
        );
    }
    let file_error = |cause| Error::file(path, cause);
    let (stored, compression) =
        (Stored::of(header).map_err(file_error)?, header.transfer.compression().map_err(file_error)?);
    affine::check(&grid.affine).map_err(file_error)?;
    let range = |value: fn(&Slice) -> f64| {
        let values = slices.iter().map(value);
        [values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max)]
    };
    let (slope, intercept) = (range(|slice| slice.scaling.0), range(|slice| slice.scaling.1));
    let same = slope[0] == slope[1] && intercept[0] == intercept[1];
    let source = Source {
        format: Format::Dicom,
        element: stored.element,
        byte_order: if header.coding.big_endian { ByteOrder::Big } else { ByteOrder::Little },
        compressed: header.transfer.is_deflated()
            || !matches!(compression, Compression::None | Compression::Encapsulated),
        scaling: (same && (slope[0], intercept[0]) != (1.0, 0.0)).then_some((slope[0], intercept[0])),
        affine_from: "ImagePositionPatient, ImageOrientationPatient and PixelSpacing",
        space_code: 1,
        frame: 0,
        frames: 1,
    };
    let size = [header.columns.into(), header.rows.into(), slices.len()];
    let volume = Volume { voxels, size, spacing: affine::spacing(&grid.affine), affine: grid.affine, source };
    let description = SeriesDescription {
        modality: header.modality.clone(),
        description: header.description.clone(),
        files: series.files.len(),
        slices: slices.len(),
        transfer_syntax: header.transfer.to_string(),
        photometric: header.photometric.clone(),
        rescale_slope: slope,
        rescale_intercept: intercept,
        padding: header.padding.map(|word| stored.number(word.into())),
    };
    Ok((volume, description))
}

/// The series in a folder, of whose files `paths` were found to be of no other format: the folder itself if it holds
/// one, else a file of each. What is left out is told.
pub(super) fn list(folder: &Path, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let found = super::series::sort_out(folder, paths);
    found.left_out().iter().for_each(|line| tracing::warn!("{line}"));
    for series in found.series.values().filter(|series| !series.is_volume()) {
        tracing::warn!("{}: left out: a single slice, {}", folder.display(), series.title());
    }
    let volumes: Vec<&Series> = found.series.values().filter(|series| series.is_volume()).collect();
    match volumes.as_slice() {
        [] => {
            for (path, cause) in &found.unknown {
                tracing::warn!("{}: left out: {cause}", path.display());
            }
            Vec::new()
        }
        [_] => vec![folder.to_path_buf()],
        several => several.iter().filter_map(|series| series.first()).map(Path::to_path_buf).collect(),
    }
}

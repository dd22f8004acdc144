//! Cubes from every volume of a folder into one file.

use std::path::{Path, PathBuf};

use genesis_tensor::random::{Purpose, Stream};
use serde::Serialize;

use super::{CubeSettings, ScaledVolume};
use crate::bad_volume::{OnBadVolume, Skipped};
use crate::error::{Error, Result};
use crate::volume::{self, CubeWriter};

/// What came of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Cubes written.
    pub cubes: usize,
    /// Volumes that gave at least one cube.
    pub volumes: usize,
    /// Volumes that gave none.
    pub skipped: Vec<Skipped>,
    /// The file of cubes.
    pub file: PathBuf,
}

/// Cuts cubes from every volume below `folder` (in the order of
/// [`list_volumes`](volume::list_volumes), one in memory at a time) and writes them to `out`,
/// `float32` `[N, X, Y, Z]` in [0, 1].
///
/// The draws of volume number i depend on `seed` and i alone. `report` is called after every volume
/// with its path and the number of cubes it gave. A volume that cannot be used (too small, damaged,
/// voxels that are not finite, no cube within the tissue bounds) is passed over with a warning, or
/// ends the work with [`OnBadVolume::Fail`] unless only the tissue bounds speak against it.
///
/// # Errors
/// If the settings are wrong, the folder holds no volume, no volume gives a cube, or `out` cannot be
/// written. `out` appears only on success.
pub fn extract_folder(
    folder: &Path,
    settings: &CubeSettings,
    seed: u64,
    on_bad: OnBadVolume,
    out: &Path,
    report: impl FnMut(&Path, usize),
) -> Result<Summary> {
    let paths = volume::list_volumes(folder)?;
    if paths.is_empty() {
        return Err(Error::file(
            folder,
            "holds no volume (.nii, .nii.gz, .hdr with .img, .mha, .mhd, DICOM series)",
        ));
    }
    extract_volumes(folder, &paths, 0, settings, seed, on_bad, out, report)
}

/// [`extract_folder`] for some volumes of a folder; the first has number `first` in it.
///
/// # Errors
/// As [`extract_folder`].
pub fn extract_volumes(
    folder: &Path,
    paths: &[PathBuf],
    first: usize,
    settings: &CubeSettings,
    seed: u64,
    on_bad: OnBadVolume,
    out: &Path,
    mut report: impl FnMut(&Path, usize),
) -> Result<Summary> {
    settings.check()?;
    let mut writer = CubeWriter::create(out, settings.cube)?;
    let mut summary = Summary { cubes: 0, volumes: 0, skipped: Vec::new(), file: out.to_path_buf() };
    for (index, path) in (first..).zip(paths) {
        let scaled = volume::read_volume(path)
            .and_then(|volume| ScaledVolume::new(volume, settings).map_err(|error| Error::file(path, error)));
        let (cubes, passed_over) = match scaled {
            Ok(scaled) => {
                if let Some(flat) = scaled.flat() {
                    tracing::warn!(
                        "{}: {flat}; --window takes another, --percentiles 0.5,99.5 fits every volume by itself",
                        path.display()
                    );
                }
                let mut stream = Stream::new(seed, 0, index as u64, Purpose::Cubes);
                let drawn = scaled.draw(settings, &mut stream, |_, cube| writer.push(cube))?;
                let reason = format!(
                    "{}: none of {} cubes drawn has a tissue score between {} and {}, theirs are {:.3} to {:.3} \
                     (--min-tissue and --max-tissue set the bounds; smaller cubes hold purer lung)",
                    path.display(),
                    drawn.tries,
                    settings.min_tissue,
                    settings.max_tissue,
                    drawn.scores[0],
                    drawn.scores[1]
                );
                // Of a good volume that the bounds do not suit, too, is told.
                let barren =
                    (drawn.cubes == 0).then(|| OnBadVolume::Skip.pass_over(path, Error::Work(reason)));
                (drawn.cubes, barren.transpose()?)
            }
            Err(error) => (0, Some(on_bad.pass_over(path, error)?)),
        };
        summary.volumes += usize::from(cubes > 0);
        summary.skipped.extend(passed_over);
        report(path, cubes);
    }
    if writer.count() == 0 {
        let first = summary.skipped.first().map_or("", |skipped| skipped.reason.as_str());
        return Err(Error::file(
            folder,
            format!("none of its {} volumes gives a cube; the first: {first}", paths.len()),
        ));
    }
    summary.cubes = writer.finish()?;
    Ok(summary)
}

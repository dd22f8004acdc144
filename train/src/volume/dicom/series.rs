//! Which files of a folder make which series.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::data_set::{Damage, Scanned, scan};
use super::header::Header;
use super::recognise::{Content, content, is_dicom_name, is_hidden};
use crate::error::{Error, Result};

/// The files of one SeriesInstanceUID, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Series {
    /// Files whose images are slices.
    pub files: Vec<(PathBuf, Header)>,
    /// Files that cannot be read, and why.
    pub damaged: Vec<(PathBuf, String)>,
}

impl Series {
    /// Number of slices: frames count by themselves.
    pub fn slices(&self) -> usize {
        self.files.iter().map(|(_, header)| header.frames as usize).sum()
    }

    /// A series that is read, or refused, as a volume: not a lonely slice.
    pub fn is_volume(&self) -> bool {
        self.slices() + self.damaged.len() > 1
    }

    /// Its first file by name.
    pub fn first(&self) -> Option<&Path> {
        let slices = self.files.iter().map(|(path, _)| path.as_path());
        slices.chain(self.damaged.iter().map(|(path, _)| path.as_path())).min()
    }

    fn holds(&self, name: &std::ffi::OsStr) -> bool {
        let mut paths =
            self.files.iter().map(|(path, _)| path).chain(self.damaged.iter().map(|(path, _)| path));
        paths.any(|path| path.file_name() == Some(name))
    }
}

/// The DICOM files of a folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub path: PathBuf,
    /// By SeriesInstanceUID.
    pub series: BTreeMap<String, Series>,
    /// Files that hold no slice of a volume, why, and the series they call theirs.
    pub others: Vec<(PathBuf, String)>,
    /// Damaged files that may belong to any series.
    pub unknown: Vec<(PathBuf, String)>,
}

/// Reads the headers of those files of a folder that are DICOM by content or name. `asked` is looked at even if its
/// name begins with a dot.
///
/// # Errors
/// A folder that cannot be read.
pub(super) fn look_through(folder: &Path, asked: Option<&Path>) -> Result<Folder> {
    let readable = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut paths = Vec::new();
    for entry in fs::read_dir(readable).map_err(Error::io("read", readable))? {
        let name = entry.map_err(Error::io("read", readable))?.file_name();
        let path = folder.join(name);
        if path.is_file() && (!is_hidden(&path) || Some(path.as_path()) == asked) {
            paths.push(path);
        }
    }
    Ok(sort_out(folder, paths))
}

/// [`look_through`] for files that are known.
pub(super) fn sort_out(folder: &Path, mut paths: Vec<PathBuf>) -> Folder {
    paths.sort();
    let mut found = Folder { path: folder.to_path_buf(), ..Folder::default() };
    let mut short = Vec::new();
    let mut extensions = Vec::new();
    for path in paths {
        let named = is_dicom_name(&path);
        match content(&path) {
            Content::Dicom => extensions.push(path.extension().map(ToOwned::to_owned)),
            Content::Short if !named => {
                short.push(path);
                continue;
            }
            Content::Unknown if !named => continue,
            _ => {}
        }
        match scan(&path) {
            Ok(Scanned::Other(reason)) => found.others.push((path, reason)),
            Ok(Scanned::Image(header)) => match unfit(&header) {
                Some(reason) => found.others.push((path, reason)),
                None => found.series.entry(header.series.clone()).or_default().files.push((path, *header)),
            },
            Err(Damage { cause, series: Some(series) }) => {
                found.series.entry(series).or_default().damaged.push((path, cause));
            }
            Err(Damage { cause, series: None }) => found.unknown.push((path, cause)),
        }
    }
    // A slice cut off within its first bytes has lost what it could be told by, but not its name.
    for path in short {
        if extensions.iter().any(|extension| extension.as_deref() == path.extension()) {
            found.unknown.push((path, "is too short for a DICOM file: cut off?".to_owned()));
        }
    }
    found
}

/// Why an image is no slice of a volume, if so.
fn unfit(header: &Header) -> Option<String> {
    if header.image_type.to_ascii_uppercase().split('\\').any(|part| part.trim() == "LOCALIZER") {
        return Some("is a localiser (scout)".to_owned());
    }
    if header.samples != 1 || header.photometric == "PALETTE COLOR" {
        return Some(format!("is a colour image ({})", header.photometric));
    }
    let lacks = |facts: &super::header::Facts| {
        [
            ("ImagePositionPatient", facts.position.is_none()),
            ("ImageOrientationPatient", facts.orientation.is_none()),
            ("PixelSpacing", facts.spacing.is_none()),
        ]
        .into_iter()
        .find_map(|(name, lacks)| lacks.then_some(name))
    };
    if header.per_frame.is_empty() && header.frames == 1 {
        // Enhanced objects may hold one frame whose facts are all shared.
        return lacks(&header.facts.or(&header.shared))
            .map(|name| format!("has no {name} (a secondary capture or a projection?)"));
    }
    if header.per_frame.len() != header.frames as usize {
        return Some(format!(
            "has {} frames, but places of {}: multi-frame images are read if their per-frame functional groups tell where \
             each lies",
            header.frames,
            header.per_frame.len()
        ));
    }
    let mut frames = header.per_frame.iter().map(|frame| lacks(&frame.or(&header.shared)));
    frames.find_map(|lack| lack).map(|name| format!("has frames without {name}"))
}

impl Folder {
    /// The only series that reading the folder means, if that is clear.
    pub fn only(&self) -> Option<&Series> {
        let mut volumes = self.series.values().filter(|series| series.is_volume());
        match (volumes.next(), volumes.next()) {
            (Some(series), None) => Some(series),
            (None, None) if self.series.len() == 1 => self.series.values().next(),
            _ => None,
        }
    }

    /// The series a path names: the folder its only one, a file its own.
    ///
    /// # Errors
    /// Several series in a folder, or none; a file that is damaged or no slice.
    pub fn choose(&self, path: &Path) -> Result<&Series> {
        if path.is_dir() {
            return self.only().ok_or_else(|| self.none_or_several());
        }
        let name = path.file_name().unwrap_or_default();
        if let Some(series) = self.series.values().find(|series| series.holds(name)) {
            return Ok(series);
        }
        let mut known = self.others.iter().chain(&self.unknown);
        let cause = known.find(|(other, _)| other.file_name() == Some(name)).map(|(_, cause)| cause.as_str());
        Err(Error::file(path, cause.unwrap_or("is no DICOM file")))
    }

    fn none_or_several(&self) -> Error {
        let mut known = self.others.iter().chain(&self.unknown);
        if self.series.is_empty() {
            let cause = match known.next() {
                Some((path, reason)) => format!("holds no DICOM series: {} {reason}", file_name(path)),
                None => "is a folder without DICOM files, a volume file or a series is needed".to_owned(),
            };
            return Error::file(&self.path, cause);
        }
        let listed: Vec<String> = self.series.values().take(12).map(Series::title).collect();
        let more = if self.series.len() > listed.len() { ", …" } else { "" };
        Error::file(
            &self.path,
            format!(
                "holds {} DICOM series, give a file of one instead: {}{more}",
                self.series.len(),
                listed.join(", ")
            ),
        )
    }

    /// What was left out beside `chosen`, one line for each reason.
    pub fn left_out(&self) -> Vec<String> {
        let mut reasons: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
        for (path, reason) in &self.others {
            reasons.entry(reason).or_default().push(path);
        }
        reasons
            .into_iter()
            .map(|(reason, paths)| match paths.as_slice() {
                [one] => format!("{}: left out: {reason}", one.display()),
                several => format!(
                    "{}: {} files left out, each {reason}, such as {}",
                    self.path.display(),
                    several.len(),
                    file_name(several[0])
                ),
            })
            .collect()
    }
}

impl Series {
    /// Description, number of slices, size, and a file to name it by.
    pub fn title(&self) -> String {
        let file = self.first().map(file_name).unwrap_or_default();
        match self.files.first() {
            Some((_, header)) => format!(
                "{file} ({} {:?}, {} slices of {}x{})",
                header.modality,
                header.description,
                self.slices() + self.damaged.len(),
                header.columns,
                header.rows
            ),
            None => format!("{file} (damaged)"),
        }
    }
}

/// A file's name without its folder.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

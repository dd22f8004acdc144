//! From a CSV file to a table.

use super::labels::Labels;
use super::sheet::Sheet;
use super::table::{Candidate, CandidateTable};
use super::volumes::{Volumes, subset};
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The classes of LUNA16's `class` column.
const LUNA16_CLASSES: [&str; 2] = ["non-nodule", "nodule"];

/// Where a table and its volumes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSource {
    /// The CSV file.
    pub file: PathBuf,
    /// The folder that LUNA16's scans lie below, or that paths are relative to; `None`: the table's.
    pub volumes: Option<PathBuf>,
    /// Leave rows out whose volume is missing (with a warning that counts them) in place of an error; for a
    /// part of LUNA16.
    pub skip_missing: bool,
}

impl TableSource {
    /// A table whose volumes lie beside it.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), volumes: None, skip_missing: false }
    }
}

/// What a table's columns are.
struct Columns {
    volume: usize,
    label: Option<usize>,
    split: Option<usize>,
    group: Option<usize>,
    scan: Option<usize>,
    annotation: Option<usize>,
    position: Option<[usize; 3]>,
    luna16: bool,
}

impl Columns {
    fn of(sheet: &Sheet) -> Result<Self> {
        let luna16 = sheet.column("path").is_none() && sheet.column("seriesuid").is_some();
        let names = if luna16 { ["coordX", "coordY", "coordZ"] } else { ["x", "y", "z"] };
        let position = if luna16 || names.iter().any(|name| sheet.column(name).is_some()) {
            let [x, y, z] = names.map(|name| sheet.required(name));
            Some([x?, y?, z?])
        } else {
            None
        };
        let volume = sheet.required(if luna16 { "seriesuid" } else { "path" })?;
        Ok(Self {
            volume,
            label: sheet.column(if luna16 { "class" } else { "label" }),
            split: sheet.column("split"),
            group: if luna16 { Some(volume) } else { sheet.column("group") },
            scan: sheet.column("scan"),
            annotation: sheet.column("annotation"),
            position,
            luna16,
        })
    }

    /// The place of the current row; `None` where all three cells are empty.
    fn position(&self, sheet: &Sheet) -> Result<Option<[f64; 3]>> {
        let Some(columns) = self.position else { return Ok(None) };
        if columns.iter().all(|&column| sheet.cell(column).is_empty()) {
            return Ok(None);
        }
        let [x, y, z] = columns.map(|column| sheet.number(column));
        Ok(Some([x?, y?, z?]))
    }
}

/// Names that many rows share, each held once.
#[derive(Default)]
struct Shared(HashMap<String, Arc<str>>);

impl Shared {
    fn hold(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.0.insert(text.to_string(), Arc::clone(&new));
        new
    }

    fn get(&mut self, text: Option<&str>) -> Option<Arc<str>> {
        text.map(|text| self.hold(text))
    }
}

/// Volumes that are not there.
#[derive(Default)]
struct Missing {
    first: Option<(PathBuf, u64)>,
    volumes: usize,
    rows: usize,
}

impl CandidateTable {
    /// Reads a table; `classes`, where known (a checkpoint's), fixes the labels' numbers. No volume is
    /// opened, but all must be there.
    ///
    /// # Errors
    /// A file that is no such table or has no row; a label that is none of the given classes; a coordinate
    /// that is no finite number: each names file and line. Volumes that are missing: one error that counts
    /// them and names the first.
    pub fn read(source: &TableSource, classes: Option<&[String]>) -> Result<Self> {
        Self::read_with(source, classes, true, &mut |_| Ok(()))
    }

    /// [`CandidateTable::read`], with a look at every row that is kept; volumes are looked for if `search`.
    ///
    /// # Errors
    /// As [`CandidateTable::read`]; the caller's.
    pub(crate) fn read_with(
        source: &TableSource,
        classes: Option<&[String]>,
        search: bool,
        look: &mut dyn FnMut(&Sheet) -> Result<()>,
    ) -> Result<Self> {
        let mut sheet = Sheet::open(&source.file)?;
        let columns = Columns::of(&sheet)?;
        let beside = source.file.parent().unwrap_or(Path::new(""));
        let folder = source.volumes.as_deref().unwrap_or(beside);
        let volumes = if !search {
            Volumes::Anywhere(folder.to_path_buf())
        } else if columns.luna16 {
            // The parent of a bare file name is the empty path.
            Volumes::below(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?
        } else {
            Volumes::Paths(folder.to_path_buf())
        };
        let mut found: HashMap<String, (Option<Arc<Path>>, usize)> = HashMap::new();
        let (mut labels, mut shared, mut missing) =
            (Labels::default(), Shared::default(), Missing::default());
        let mut rows = Vec::new();
        while sheet.advance()? {
            let (text, line) = (sheet.cell(columns.volume), sheet.line());
            if let Some(cause) = volumes.refuse(text) {
                return Err(sheet.error(cause));
            }
            if !found.contains_key(text) {
                let place = volumes.find(text);
                if let Err(place) = &place {
                    missing.volumes += 1;
                    missing.first.get_or_insert((place.clone(), line));
                }
                found.insert(text.to_string(), (place.ok(), 0));
            }
            let position_mm = columns.position(&sheet)?;
            let label = sheet.optional(columns.label).map(|label| labels.intern(label, line));
            let split = shared.get(sheet.optional(columns.split));
            let group = shared.get(sheet.optional(columns.group));
            let scan = shared.get(sheet.optional(columns.scan));
            let annotation = shared.get(sheet.optional(columns.annotation));
            let Some((Some(path), count)) = found.get_mut(text).map(|(path, count)| (path.clone(), count))
            else {
                missing.rows += 1;
                continue;
            };
            *count += 1;
            let split = split
                .or_else(|| shared.get(subset(&path).filter(|_| columns.luna16 && columns.split.is_none())));
            let name = text.to_string();
            let volume = shared.hold(text);
            look(&sheet)?;
            let row =
                Candidate { name, volume, path, label, split, group, scan, annotation, position_mm, line };
            rows.push(row);
        }
        missing.report(source, found.len(), &rows)?;
        number_names(&mut rows, &found);
        let luna16_classes = LUNA16_CLASSES.map(String::from);
        let classes = classes.or(columns.luna16.then_some(&luna16_classes[..]));
        let resolved = labels.resolve(classes);
        let (classes, numbers) =
            resolved.map_err(|(line, cause)| Error::file(&source.file, format!("line {line}: {cause}")))?;
        for row in &mut rows {
            row.label = row.label.map(|text| numbers[text]);
        }
        Ok(Self { file: source.file.clone(), rows, classes })
    }
}

impl Missing {
    fn report(&self, source: &TableSource, volumes: usize, rows: &[Candidate]) -> Result<()> {
        if let Some((place, line)) = &self.first {
            let cause = format!(
                "{} of {volumes} volumes are missing, the first is {} (line {line})",
                self.volumes,
                place.display()
            );
            if !source.skip_missing {
                return Err(Error::file(&source.file, cause));
            }
            tracing::warn!("{}: {cause}; {} rows are left out", source.file.display(), self.rows);
        }
        if rows.is_empty() {
            let cause = if self.rows > 0 { "no row is left" } else { "has a header, but no rows" };
            return Err(Error::file(&source.file, cause));
        }
        Ok(())
    }
}

/// Numbers the rows of volumes that have several.
fn number_names(rows: &mut [Candidate], found: &HashMap<String, (Option<Arc<Path>>, usize)>) {
    let mut met: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        if let Some((text, (_, count))) = found.get_key_value(&row.name)
            && *count > 1
        {
            let number = met.entry(text).or_default();
            *number += 1;
            row.name = format!("{text}:{number}");
        }
    }
}

//! The free-response ROC of candidates in scans.

use super::scored::Scored;
use crate::candidates::Sheet;
use crate::evaluation::detection::{Candidate, Finding, Froc, FrocScores, Mark, match_candidates};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// The diameter of findings whose table has a negative one, as in LUNA16's script; mm.
const UNKNOWN_DIAMETER: f64 = 10.0;

/// What the table of candidates does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FrocSettings {
    /// True findings, those without a candidate included; `None`: those of the positive rows.
    pub findings: Option<usize>,
    /// Scans, those without a row included; `None`: those of the rows.
    pub scans: Option<usize>,
    /// The findings with their places, as LUNA16's `annotations.csv`: a candidate hits those whose centre is
    /// nearer than their radius, whatever its label. `None`: the labels say which candidates are hits.
    pub annotations: Option<PathBuf>,
    /// Findings that need not be found, as LUNA16's `annotations_excluded.csv`: a candidate on one is neither
    /// hit nor false positive.
    pub excluded: Option<PathBuf>,
}

/// What LUNA16 reads off the curve, and of what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrocReport {
    /// Number of scans.
    pub scans: usize,
    /// Number of findings.
    pub findings: usize,
    /// Of these, findings that a candidate lies on.
    pub findings_with_a_candidate: usize,
    /// Sensitivities at 1/8 to 8 false positives a scan, and their mean (`cpm`).
    #[serde(flatten)]
    pub scores: FrocScores,
}

/// The curve of a binary task.
///
/// # Errors
/// More classes than two; a row without scan, label or, with annotations, place; a table of findings that
/// cannot be read; fewer findings or scans than the table has; none.
pub fn froc(scored: &Scored, settings: &FrocSettings) -> Result<(Froc, FrocReport)> {
    let table = &scored.table;
    if scored.classes() != 2 {
        return Err(Error::Usage(format!("--froc: {} classes, two are needed", scored.classes())));
    }
    let mut scans: HashMap<&str, usize> = HashMap::new();
    for row in &table.rows {
        let scan = row.scan.as_deref().or(row.group.as_deref()).ok_or_else(|| {
            let cause = format!("line {}: has no scan and no group: --froc needs to know the scan", row.line);
            Error::file(&table.file, cause)
        })?;
        let next = scans.len();
        scans.entry(scan).or_insert(next);
    }
    let (marks, count) = match &settings.annotations {
        Some(file) => by_place(scored, &scans, file, settings.excluded.as_deref())?,
        None => by_label(scored)?,
    };
    let number = |given: Option<usize>, found: usize, what: &str| match given {
        Some(given) if given < found => {
            Err(Error::Usage(format!("--{what} {given}: the table has {found} {what} with a candidate")))
        }
        given => Ok(given.unwrap_or(found)),
    };
    let all_scans = number(settings.scans, scans.len(), "scans")?;
    let all_findings = number(settings.findings, count, "findings")?;
    let curve =
        Froc::new(&marks, all_findings, all_scans).map_err(|error| Error::file(&table.file, error))?;
    let hit: HashSet<usize> = marks.iter().filter_map(|mark| mark.finding).collect();
    let report = FrocReport {
        scans: all_scans,
        findings: all_findings,
        findings_with_a_candidate: hit.len(),
        scores: curve.scores(),
    };
    Ok((curve, report))
}

/// The scan of a row, which the caller has checked.
fn scan_of(row: &crate::candidates::Candidate) -> &str {
    row.scan.as_deref().or(row.group.as_deref()).unwrap_or("")
}

/// Every positive row hits the finding it names, or one of its own. Also the number of findings.
fn by_label(scored: &Scored) -> Result<(Vec<Mark>, usize)> {
    let mut findings: HashMap<(&str, &str), usize> = HashMap::new();
    let (mut marks, mut count) = (Vec::new(), 0);
    for ((row, values), label) in scored.rows().zip(scored.table.labels()?) {
        let mut next = || {
            count += 1;
            count - 1
        };
        let finding = match (label, row.annotation.as_deref()) {
            (0, _) => None,
            (_, Some(annotation)) => Some(*findings.entry((scan_of(row), annotation)).or_insert_with(next)),
            (_, None) => Some(next()),
        };
        marks.push(Mark { score: values[1], finding });
    }
    Ok((marks, count))
}

/// Every row hits the findings it lies on. Also the number of findings in these scans.
fn by_place(
    scored: &Scored,
    scans: &HashMap<&str, usize>,
    annotations: &Path,
    excluded: Option<&Path>,
) -> Result<(Vec<Mark>, usize)> {
    let mut findings = read_findings(annotations, scans, true)?;
    let count = findings.len();
    if let Some(excluded) = excluded {
        findings.extend(read_findings(excluded, scans, false)?);
    }
    let table = &scored.table;
    let mut candidates = Vec::with_capacity(table.rows.len());
    for (row, values) in scored.rows() {
        let position_mm = row.position_mm.ok_or_else(|| {
            let cause = format!("line {}: has no place to compare with annotations", row.line);
            Error::file(&table.file, cause)
        })?;
        candidates.push(Candidate { scan: scans[scan_of(row)], position_mm, score: values[1] });
    }
    Ok((match_candidates(&candidates, &findings), count))
}

/// The findings of these scans: columns `seriesuid,coordX,coordY,coordZ,diameter_mm`, LPS millimetres. `counts`
/// says whether they are to be found, or may be left out.
///
/// # Errors
/// A file that is no such table; each error names file and line.
pub fn read_findings(path: &Path, scans: &HashMap<&str, usize>, counts: bool) -> Result<Vec<Finding>> {
    let mut sheet = Sheet::open(path)?;
    let [scan_column, x, y, z, diameter] =
        ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"].map(|name| sheet.required(name));
    let (scan_column, place, diameter) = (scan_column?, [x?, y?, z?], diameter?);
    let mut findings = Vec::new();
    while sheet.advance()? {
        let [x, y, z] = place.map(|column| sheet.number(column));
        let (centre_mm, diameter) = ([x?, y?, z?], sheet.number(diameter)?);
        let Some(&scan) = scans.get(sheet.cell(scan_column)) else { continue };
        let diameter_mm = if diameter < 0.0 { UNKNOWN_DIAMETER } else { diameter };
        findings.push(Finding { scan, centre_mm, diameter_mm, counts });
    }
    Ok(findings)
}

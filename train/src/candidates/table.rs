//! What a table holds.

use crate::{Error, Result};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The path as the table has it (LUNA16: the scan's uid), followed by `:1`, `:2`, … where several rows
    /// share a volume. No two rows of a table share a name.
    pub name: String,
    /// The volume as the table calls it: the path as written, or the scan's uid.
    pub volume: Arc<str>,
    /// The volume's file.
    pub path: Arc<Path>,
    /// The number of its class; `None` without a label.
    pub label: Option<usize>,
    /// The part of the data.
    pub split: Option<Arc<str>>,
    /// What it belongs to.
    pub group: Option<Arc<str>>,
    /// The scan it lies in; `None`: the group.
    pub scan: Option<Arc<str>>,
    /// The finding it lies on.
    pub annotation: Option<Arc<str>>,
    /// Its place in LPS millimetres; `None`: the volume's centre.
    pub position_mm: Option<[f64; 3]>,
    /// Its line in the table, counted from 1.
    pub line: u64,
}

/// The rows of a table, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateTable {
    /// The table's file.
    pub file: PathBuf,
    /// Its rows.
    pub rows: Vec<Candidate>,
    /// The names of the classes; a label is a position in this list.
    pub classes: Vec<String>,
}

impl CandidateTable {
    /// The names of the splits, sorted.
    pub fn splits(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.rows.iter().filter_map(|row| row.split.as_deref()).collect();
        names.into_iter().collect()
    }

    /// The rows (numbers, rising) whose split is one of `wanted`. `valid`, `val` and `validation` are one
    /// name; `subset0-4` stands for `subset0` to `subset4`.
    ///
    /// # Errors
    /// A name that no row has; those that there are, are named.
    pub fn rows_of_splits<S: AsRef<str>>(&self, wanted: &[S]) -> Result<Vec<usize>> {
        let present = self.splits();
        let mut chosen: BTreeSet<&str> = BTreeSet::new();
        for name in wanted {
            let (name, before) = (name.as_ref().trim(), chosen.len());
            let parts = range(name).filter(|_| !present.contains(&name));
            for part in parts.unwrap_or_else(|| vec![name.to_string()]) {
                chosen.extend(present.iter().filter(|split| same_split(split, &part)));
            }
            if chosen.len() == before && !present.iter().any(|split| same_split(split, name)) {
                let there = if present.is_empty() { "no splits at all".into() } else { present.join(", ") };
                return Err(Error::file(&self.file, format!("has no split \"{name}\" (it has {there})")));
            }
        }
        let of = |row: &Candidate| row.split.as_deref().is_some_and(|split| chosen.contains(split));
        Ok((0..self.rows.len()).filter(|&row| of(&self.rows[row])).collect())
    }

    /// A table of some rows, in the order given.
    pub fn select(&self, rows: &[usize]) -> Self {
        let rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
        Self { file: self.file.clone(), rows, classes: self.classes.clone() }
    }

    /// The labels of all rows.
    ///
    /// # Errors
    /// A row without a label; its line is named.
    pub fn labels(&self) -> Result<Vec<usize>> {
        let label = |row: &Candidate| {
            row.label.ok_or_else(|| Error::file(&self.file, format!("line {}: has no label", row.line)))
        };
        self.rows.iter().map(label).collect()
    }

    /// Rows by volume, volumes in the order of their first row: whoever goes through them reads each volume
    /// once and holds one at a time.
    pub fn by_volume(&self) -> Vec<(Arc<Path>, Vec<usize>)> {
        let mut places: HashMap<&Path, usize> = HashMap::new();
        let mut volumes: Vec<(Arc<Path>, Vec<usize>)> = Vec::new();
        for (number, row) in self.rows.iter().enumerate() {
            let place = *places.entry(&row.path).or_insert_with(|| {
                volumes.push((Arc::clone(&row.path), Vec::new()));
                volumes.len() - 1
            });
            volumes[place].1.push(number);
        }
        volumes
    }
}

/// True if two names mean one part.
fn same_split(a: &str, b: &str) -> bool {
    let plain = |name: &str| match name {
        "val" | "validation" => "valid".to_string(),
        other => other.to_string(),
    };
    plain(&a.to_lowercase()) == plain(&b.to_lowercase())
}

/// `subset0` to `subset4` of `subset0-4`.
fn range(name: &str) -> Option<Vec<String>> {
    let (start, last) = name.rsplit_once('-')?;
    let prefix = start.trim_end_matches(|c: char| c.is_ascii_digit());
    let first: u32 = start[prefix.len()..].parse().ok()?;
    let last: u32 = last.parse().ok()?;
    (first <= last && last - first < 10_000)
        .then(|| (first..=last).map(|number| format!("{prefix}{number}")).collect())
}

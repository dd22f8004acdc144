//! Tables of results: candidates with the probabilities of their classes.

use super::table::{Candidate, CandidateTable};
use crate::{Error, Result};
use std::sync::Arc;

/// A column: its name, and a row's cell.
pub(crate) type Column<'a> = (&'static str, Box<dyn Fn(&Candidate) -> String + 'a>);

/// Candidates with their results as CSV: the columns that say which candidate it is (`path` at least); of
/// `label`, `split`, `group`, `scan`, `annotation` and `x,y,z` those that any row has; `probability_<class>`
/// for each class; `predicted`. It can be read again as a table, and as predictions by `genesis evaluate`.
/// `probabilities` has one number a class for every row, `predicted` its class.
///
/// # Errors
/// None that a table can cause.
pub(crate) fn results_csv<'a>(
    table: &CandidateTable,
    which: Vec<Column<'_>>,
    probabilities: impl Iterator<Item = &'a [f64]>,
    predicted: &[usize],
) -> Result<Vec<u8>> {
    let text = |value: &Option<Arc<str>>| value.as_deref().unwrap_or_default().to_string();
    let axis = |axis: usize| {
        move |row: &Candidate| row.position_mm.map_or(String::new(), |place| place[axis].to_string())
    };
    let optional: Vec<Column<'_>> = vec![
        ("label", Box::new(|row| row.label.map_or(String::new(), |label| table.classes[label].clone()))),
        ("split", Box::new(|row| text(&row.split))),
        ("group", Box::new(|row| text(&row.group))),
        ("scan", Box::new(|row| text(&row.scan))),
        ("annotation", Box::new(|row| text(&row.annotation))),
        ("x", Box::new(axis(0))),
        ("y", Box::new(axis(1))),
        ("z", Box::new(axis(2))),
    ];
    let is_used = |(_, value): &Column<'_>| table.rows.iter().any(|row| !value(row).is_empty());
    let columns: Vec<Column<'_>> = which.into_iter().chain(optional.into_iter().filter(is_used)).collect();
    let mut csv = CsvText::new();
    let names = columns.iter().map(|(name, _)| (*name).to_string());
    let classes = table.classes.iter().map(|class| format!("probability_{class}"));
    csv.row(names.chain(classes).chain(["predicted".to_string()]))?;
    for ((row, probabilities), &class) in table.rows.iter().zip(probabilities).zip(predicted) {
        let cells = columns.iter().map(|(_, value)| value(row));
        let shares = probabilities.iter().map(f64::to_string);
        csv.row(cells.chain(shares).chain([table.classes[class].clone()]))?;
    }
    csv.finish()
}

/// A CSV table (RFC 4180) that is written row by row into memory.
pub(crate) struct CsvText(csv::Writer<Vec<u8>>);

impl CsvText {
    /// An empty table.
    pub fn new() -> Self {
        Self(csv::Writer::from_writer(Vec::new()))
    }

    /// Adds a row; all must have as many cells as the first, which is the header.
    ///
    /// # Errors
    /// A row of another length.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) -> Result<()> {
        self.0.write_record(cells).map_err(|error| Error::Work(error.to_string()))
    }

    /// The whole text.
    ///
    /// # Errors
    /// None in practice: memory takes everything.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().map_err(|error| Error::Work(error.to_string()))
    }
}

//! Probabilities that were written to a CSV file, here or elsewhere.

use super::scored::Scored;
use crate::candidates::{Candidate, CandidateTable, Sheet, TableSource};
use crate::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::path::Path;

/// The column of a binary task's positive class, or what the columns of several classes begin with.
const PROBABILITY: &str = "probability";

/// Reads a table with a column `probability` (of the second of two classes) or a column
/// `probability_<class>` for each class, such as the `cases.csv` of an evaluation. Volumes need not be there.
/// The second result says whether columns name the classes.
///
/// # Errors
/// As [`CandidateTable::read`]; no such column, or not two classes for a single one; a cell that is no
/// probability. Each names file and line.
pub fn read(path: &Path) -> Result<(Scored, bool)> {
    let sheet = Sheet::open(path)?;
    let classes: Vec<String> = sheet.columns().iter().filter_map(|name| class_of(name)).collect();
    let columns = if classes.is_empty() {
        vec![sheet.required(PROBABILITY)?]
    } else {
        let column = |class: &String| sheet.required(&format!("{PROBABILITY}_{class}"));
        classes.iter().map(column).collect::<Result<_>>()?
    };
    drop(sheet);
    let mut probabilities = Vec::new();
    let mut take = |sheet: &Sheet| {
        let mut values = Vec::with_capacity(columns.len().max(2));
        for &column in &columns {
            let value = sheet.number(column)?;
            if !(0.0..=1.0).contains(&value) {
                return Err(sheet.error(format!("{value} is no probability (0 to 1)")));
            }
            values.push(value);
        }
        if classes.is_empty() {
            values.insert(0, 1.0 - values[0]);
        }
        probabilities.push(values);
        Ok(())
    };
    let known = (!classes.is_empty()).then_some(&classes[..]);
    let mut table = CandidateTable::read_with(&TableSource::new(path), known, false, &mut take)?;
    if table.classes.is_empty() {
        // Without labels (they come from another table) and without names: yes or no.
        table.classes = ["0", "1"].map(String::from).to_vec();
    }
    if classes.is_empty() && table.classes.len() != 2 {
        return Err(Error::file(
            path,
            format!(
                "has one column \"{PROBABILITY}\" for the {} classes {}: give a column {PROBABILITY}_<class> for each",
                table.classes.len(),
                table.classes.join(", ")
            ),
        ));
    }
    Ok((Scored::new(table, &probabilities)?, !classes.is_empty()))
}

/// The class of a column `probability_<class>`.
fn class_of(column: &str) -> Option<String> {
    let (name, class) = column.split_once('_')?;
    (name.eq_ignore_ascii_case(PROBABILITY) && !class.is_empty()).then(|| class.to_string())
}

/// Probabilities of the rows at a place (micrometres; `None`: the whole volume) by the name of the volume, in their
/// order.
type ByPlace<'a> = HashMap<Option<[i64; 3]>, HashMap<&'a str, VecDeque<&'a [f64]>>>;

/// Gives the rows of a table the probabilities of another by volume (as the table calls it, or its path) and place
/// (to 0.001 mm), rows of equal place in their order.
///
/// # Errors
/// Rows without a probability: one error that counts them and names the first.
pub fn join(table: CandidateTable, predictions: &Scored) -> Result<Scored> {
    let mut results = ByPlace::new();
    for (row, values) in predictions.rows() {
        results.entry(place(row)).or_default().entry(&row.volume).or_default().push_back(values);
    }
    let (mut found, mut first, mut missing) = (Vec::with_capacity(table.rows.len()), None, 0usize);
    for row in &table.rows {
        let path = row.path.to_string_lossy();
        let mut here = results.get_mut(&place(row));
        let mut take = |name: &str| here.as_mut()?.get_mut(name)?.pop_front();
        match take(&row.volume).or_else(|| take(&path)) {
            Some(values) => found.push(values.to_vec()),
            None => {
                missing += 1;
                first.get_or_insert(row);
            }
        }
    }
    if let Some(row) = first {
        return Err(Error::file(
            &predictions.table.file,
            format!(
                "has no probability for {missing} of {} candidates, the first is {} (line {} of {})",
                table.rows.len(),
                row.name,
                row.line,
                table.file.display()
            ),
        ));
    }
    Scored::new(table, &found)
}

/// The place of a row in micrometres.
fn place(row: &Candidate) -> Option<[i64; 3]> {
    row.position_mm.map(|position| position.map(|value| (value * 1000.0).round() as i64))
}

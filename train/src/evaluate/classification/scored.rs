//! Candidates with their probabilities.

use crate::candidates::{Candidate, CandidateTable};
use crate::inference::predicted_class;
use crate::{Error, Result};

/// A table with the probability of every class for every row.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The rows and the classes.
    pub table: CandidateTable,
    /// `[rows, classes]`.
    pub probabilities: Vec<f64>,
}

impl Scored {
    /// Puts rows and probabilities together.
    ///
    /// # Errors
    /// Other numbers of rows or classes; a probability outside 0 to 1; the row is named.
    pub fn new(table: CandidateTable, probabilities: &[Vec<f64>]) -> Result<Self> {
        let classes = table.classes.len();
        if probabilities.len() != table.rows.len() {
            let (rows, found) = (table.rows.len(), probabilities.len());
            return Err(Error::file(&table.file, format!("{found} results for {rows} candidates")));
        }
        for (row, values) in table.rows.iter().zip(probabilities) {
            let bad = values.iter().find(|value| !(0.0..=1.0).contains(*value));
            let cause = match bad {
                Some(value) => format!("{value} is no probability"),
                None if values.len() != classes => {
                    format!("{} probabilities for {classes} classes", values.len())
                }
                None => continue,
            };
            return Err(Error::file(&table.file, format!("line {}: {cause}", row.line)));
        }
        let probabilities = probabilities.iter().flatten().copied().collect();
        Ok(Self { table, probabilities })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.table.classes.len()
    }

    /// Each row with its probabilities.
    pub fn rows(&self) -> impl Iterator<Item = (&Candidate, &[f64])> {
        self.table.rows.iter().zip(self.probabilities.chunks_exact(self.classes().max(1)))
    }

    /// The probabilities of one class.
    pub fn of_class(&self, class: usize) -> Vec<f64> {
        self.rows().map(|(_, values)| values[class]).collect()
    }

    /// The decision for each row: with two classes the second from `threshold` on, else the class of highest
    /// probability, the first of equals.
    pub fn decisions(&self, threshold: f64) -> Vec<usize> {
        let decide = |values: &[f64]| match values {
            [_, positive] => usize::from(*positive >= threshold),
            several => predicted_class(several),
        };
        self.rows().map(|(_, values)| decide(values)).collect()
    }

    /// A part of the rows, in the order given.
    pub fn select(&self, rows: &[usize]) -> Self {
        let classes = self.classes();
        let values = rows.iter().flat_map(|&row| &self.probabilities[row * classes..][..classes]);
        Self { probabilities: values.copied().collect(), table: self.table.select(rows) }
    }
}

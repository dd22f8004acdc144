//! One score for the rows of a group.

use super::scored::Scored;
use crate::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::collections::HashMap;

/// How the probabilities of a group become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// Their mean.
    Mean,
    /// The highest, with two classes of the second one; with several, the highest of each divided by their sum.
    Max,
}

impl Aggregate {
    /// Makes one row of the rows of each group, in the order of their first; it keeps that row's other columns
    /// and is named after the group.
    ///
    /// # Errors
    /// A row without a group, or whose label differs from another's of its group; the line is named.
    pub fn apply(self, scored: &Scored) -> Result<Scored> {
        let classes = scored.classes();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut groups: Vec<(usize, Vec<&[f64]>)> = Vec::new();
        for (number, (row, values)) in scored.rows().enumerate() {
            let about =
                |cause: String| Error::file(&scored.table.file, format!("line {}: {cause}", row.line));
            let group = row.group.as_deref().ok_or_else(|| about("has no group to score by".into()))?;
            let place = *places.entry(group).or_insert_with(|| {
                groups.push((number, Vec::new()));
                groups.len() - 1
            });
            let first = &scored.table.rows[groups[place].0];
            if first.label != row.label {
                let other = first.line;
                return Err(about(format!("group {group} has another label than in line {other}")));
            }
            groups[place].1.push(values);
        }
        let firsts: Vec<usize> = groups.iter().map(|(first, _)| *first).collect();
        let mut table = scored.table.select(&firsts);
        for row in &mut table.rows {
            row.name = row.group.as_deref().unwrap_or(&row.name).to_string();
        }
        let probabilities: Vec<Vec<f64>> = groups.iter().map(|(_, rows)| self.of(rows, classes)).collect();
        Scored::new(table, &probabilities)
    }

    fn of(self, rows: &[&[f64]], classes: usize) -> Vec<f64> {
        let column = |class: usize| rows.iter().map(move |values| values[class]);
        match self {
            Self::Mean => (0..classes).map(|class| column(class).sum::<f64>() / rows.len() as f64).collect(),
            Self::Max => {
                let highest: Vec<f64> = (0..classes).map(|class| column(class).fold(0.0, f64::max)).collect();
                match highest[..] {
                    [_, positive] => vec![1.0 - positive, positive],
                    _ => {
                        let sum: f64 = highest.iter().sum();
                        highest.iter().map(|value| if sum > 0.0 { value / sum } else { 0.0 }).collect()
                    }
                }
            }
        }
    }
}

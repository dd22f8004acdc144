//! The curves and the confusion matrix.

use super::scored::Scored;
use crate::evaluation::confusion::ConfusionMatrix;
use crate::evaluation::detection::Froc;
use crate::evaluation::plots::{confusion_picture, froc_chart, precision_recall_chart, roc_chart};
use crate::evaluation::ranking::{Ranking, one_vs_rest};
use crate::report::file::write_atomically;
use crate::{Error, Result};
use std::path::Path;

/// The files, so that those of an earlier evaluation do not stay.
const FILES: [&str; 4] = ["roc.png", "precision-recall.png", "confusion.png", "froc.png"];

/// Writes the pictures: a curve for the positive of two classes, or for each of several against the rest.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(
    out: &Path,
    scored: &Scored,
    labels: &[usize],
    confusion: &ConfusionMatrix,
    froc: Option<&Froc>,
) -> Result<()> {
    for name in FILES {
        let path = out.join(name);
        if path.is_file() {
            std::fs::remove_file(&path).map_err(Error::io("replace", &path))?;
        }
    }
    let names = &scored.table.classes;
    let shown = if names.len() == 2 { 1..2 } else { 0..names.len() };
    let ranking = |class: usize| one_vs_rest(&scored.probabilities, labels, names.len(), class);
    let rankings = shown.clone().map(ranking).collect::<Result<Vec<Ranking>>>()?;
    let named: Vec<(String, &Ranking)> = shown.map(|class| names[class].clone()).zip(&rankings).collect();
    let png = |name: &str, bytes: Vec<u8>| write_atomically(&out.join(name), &bytes);
    png(FILES[0], roc_chart(&named).picture()?.to_png()?)?;
    png(FILES[1], precision_recall_chart(&named).picture()?.to_png()?)?;
    png(FILES[2], confusion_picture(confusion, names).to_png()?)?;
    if let Some(froc) = froc {
        png(FILES[3], froc_chart(&[(named[0].0.clone(), froc)]).picture()?.to_png()?)?;
    }
    Ok(())
}

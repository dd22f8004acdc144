//! Probabilities of classes for a table, a folder or a single volume.

use super::PredictArgs;
use crate::candidates::{Candidate, CandidateTable, TableSource, results_csv};
use crate::commands::{Common, print_json};
use crate::inference::{Classifier, ClassifySettings, classify_table, predicted_class};
use crate::progress::Progress;
use crate::report::file::write_atomically;
use crate::volume::{ReadOptions, is_volume, list_volumes, no_volumes, refuse_to_replace};
use crate::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Report<'a> {
    out: &'a Path,
    classes: &'a [String],
    /// Rows predicted to be of each class.
    predicted: Vec<usize>,
    rows: usize,
    seconds: f64,
    peak_memory_bytes: Option<usize>,
}

/// Classifies what `--input` names and writes a table.
///
/// # Errors
/// Flags that are for segmentations; data that cannot be read; memory; a disk that refuses.
pub(super) fn run(args: &PredictArgs, mut classifier: Classifier, common: &Common) -> Result<()> {
    for (given, flag) in [
        (args.probabilities.is_some(), "--probabilities"),
        (args.largest_component, "--largest-component"),
        (args.class_numbers, "--class-numbers"),
    ] {
        if given {
            let weights = args.weights.display();
            return Err(Error::Usage(format!("{flag} is for segmentations; {weights} holds a classifier")));
        }
    }
    let is_csv =
        |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if !is_csv(&args.out) || args.out.is_dir() {
        let out = args.out.display();
        return Err(Error::Usage(format!("--out {out}: a classifier writes a table, FILE.csv")));
    }
    refuse_to_replace(&args.input, &args.out)?;
    refuse_to_replace(&args.weights, &args.out)?;
    let start = std::time::Instant::now();
    let classes = classifier.task.classes.clone();
    let table = if is_csv(&args.input) {
        let source = TableSource {
            file: args.input.clone(),
            volumes: args.volumes.clone(),
            skip_missing: args.skip_missing,
        };
        CandidateTable::read(&source, Some(&classes))?
    } else {
        of_volumes(&args.input, &classes)?
    };
    let settings = ClassifySettings {
        batch_size: args.batch_size.into(),
        flips: args.flips,
        precision: common.precision(),
    };
    classifier.read = ReadOptions::frame(args.frame);
    let progress = Progress::new("classifying", table.rows.len() as u64, common.quiet);
    let mut before = 0;
    let probabilities = classify_table(&common.context()?, &mut classifier, &table, &settings, |done, _| {
        progress.advance((done - before) as u64);
        before = done;
    })?;
    progress.finish();
    if let Some(folder) = args.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let decisions: Vec<usize> = probabilities.iter().map(|values| predicted_class(values)).collect();
    let text = results_csv(
        &table,
        vec![("path", Box::new(|row| row.path.display().to_string()))],
        probabilities.iter().map(Vec::as_slice),
        &decisions,
    );
    write_atomically(&args.out, &text.map_err(|error| Error::file(&args.out, error))?)?;
    let mut predicted = vec![0; classes.len()];
    decisions.iter().for_each(|&class| predicted[class] += 1);
    let (rows, seconds) = (table.rows.len(), start.elapsed().as_secs_f64());
    if common.json {
        let peak_memory_bytes = genesis_tensor::memory::peak_resident_bytes();
        let (out, classes) = (args.out.as_path(), classes.as_slice());
        return print_json(&Report { out, classes, predicted, rows, seconds, peak_memory_bytes });
    }
    let counts: Vec<String> =
        classes.iter().zip(&predicted).map(|(class, count)| format!("{class} {count}")).collect();
    println!("{}: {rows} rows, {} ({seconds:.1} s)", args.out.display(), counts.join(", "));
    Ok(())
}

/// A table of whole volumes: the network sees the cube in the middle of each.
fn of_volumes(input: &Path, classes: &[String]) -> Result<CandidateTable> {
    let paths: Vec<PathBuf> = match input.is_dir() {
        true => list_volumes(input)?,
        false if is_volume(input) || !input.exists() => vec![input.to_path_buf()],
        false => return Err(Error::file(input, "is neither a table (.csv) nor a volume")),
    };
    if paths.is_empty() {
        return Err(no_volumes(input));
    }
    let row = |(number, path): (usize, PathBuf)| Candidate {
        name: path.display().to_string(),
        volume: path.display().to_string().into(),
        path: path.into(),
        label: None,
        split: None,
        group: None,
        scan: None,
        annotation: None,
        position_mm: None,
        line: number as u64 + 1,
    };
    let rows = paths.into_iter().enumerate().map(row).collect();
    Ok(CandidateTable { file: input.to_path_buf(), rows, classes: classes.to_vec() })
}

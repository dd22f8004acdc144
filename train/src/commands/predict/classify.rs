//! Probabilities of classes for a table, a folder or a single volume.

use super::PredictArgs;
use crate::candidates::{Candidate, CandidateTable, TableSource};
use crate::commands::{Common, print_json};
use crate::inference::{Classifier, ClassifySettings, classify_table, predicted_class};
use crate::progress::Progress;
use crate::report::file::write_atomically;
use crate::volume::{is_volume_name, list_volumes};
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
    if args.input == args.out {
        return Err(Error::Usage(format!("--out {} would replace the input", args.out.display())));
    }
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
    write_atomically(&args.out, &sheet(&table, &probabilities).map_err(|e| Error::file(&args.out, e))?)?;
    let mut predicted = vec![0; classes.len()];
    probabilities.iter().for_each(|probabilities| predicted[predicted_class(probabilities)] += 1);
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
        false if is_volume_name(input) || !input.exists() => vec![input.to_path_buf()],
        false => return Err(Error::file(input, "is neither a table (.csv) nor a volume")),
    };
    if paths.is_empty() {
        return Err(Error::file(input, "holds no volume (.nii, .nii.gz, .hdr with .img, .mha, .mhd)"));
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

/// The rows with their probabilities as CSV: `path`, of `label`, `split`, `group`, `scan`, `annotation` and `x,y,z`
/// those that any row has, `probability_<class>` for each class, `predicted`.
fn sheet(table: &CandidateTable, probabilities: &[Vec<f64>]) -> Result<Vec<u8>> {
    let fail = |error: &dyn ToString| Error::Work(error.to_string());
    let text = |value: &Option<std::sync::Arc<str>>| value.as_deref().unwrap_or_default().to_string();
    type Column<'a> = (&'static str, Box<dyn Fn(&Candidate) -> String + 'a>);
    let axis = |axis: usize| {
        move |row: &Candidate| row.position_mm.map_or(String::new(), |place| place[axis].to_string())
    };
    let columns: Vec<Column<'_>> = vec![
        ("path", Box::new(|row| row.path.display().to_string())),
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
    let columns: Vec<Column<'_>> = columns.into_iter().filter(is_used).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = columns.iter().map(|(name, _)| (*name).to_string());
    let classes = table.classes.iter().map(|class| format!("probability_{class}"));
    writer.write_record(names.chain(classes).chain(["predicted".to_string()])).map_err(|e| fail(&e))?;
    for (row, probabilities) in table.rows.iter().zip(probabilities) {
        let values = columns.iter().map(|(_, value)| value(row));
        let shares = probabilities.iter().map(f64::to_string);
        let predicted = table.classes[predicted_class(probabilities)].clone();
        writer.write_record(values.chain(shares).chain([predicted])).map_err(|e| fail(&e))?;
    }
    writer.into_inner().map_err(|error| fail(&error))
}

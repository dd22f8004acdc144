//! Which rows of a table train and which validate.

use super::config::ClassificationData;
use crate::candidates::CandidateTable;
use crate::finetune::segment::case_name;
use crate::finetune::split::Split;
use crate::{Error, Result};
use genesis_tensor::random::{Purpose, Stream};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Stream numbers of the draws; classes follow.
const HELD_OUT: u64 = 1 << 32;
const FRACTION: u64 = 2 << 32;

/// Numbers of a table's rows by their use, in rising order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// To train on.
    pub train: Vec<usize>,
    /// To choose the best state by.
    pub valid: Vec<usize>,
}

impl Rows {
    /// The rows that a configuration means: by its file of splits, else by the table's column `split`, else a
    /// share of the groups drawn by the seed, of every class alike. Then a share of the training rows of every
    /// class is kept.
    ///
    /// # Errors
    /// Splits or names that do not exist; a part without rows; a row to train or validate on without a label;
    /// groups too few to hold one out.
    pub fn choose(table: &CandidateTable, data: &ClassificationData, seed: u64) -> Result<Self> {
        let mut rows = match &data.splits {
            Some(path) => {
                let split = Split::read(path, data.splits_key.as_deref())?;
                by_names(table, &split).map_err(|cause| Error::file(path, cause))?
            }
            None if table.rows.iter().any(|row| row.split.is_some()) => Self {
                train: table.rows_of_splits(&or(&data.train, "train"))?,
                valid: table.rows_of_splits(&or(&data.valid, "valid"))?,
            },
            None if !data.train.is_empty() || !data.valid.is_empty() => {
                return Err(Error::file(&table.file, "has no column split"));
            }
            None => Self::draw(table, data.held_out, seed)?,
        };
        for (part, rows) in [("train", &rows.train), ("validate", &rows.valid)] {
            if rows.is_empty() {
                return Err(Error::file(&table.file, format!("no row is left to {part} on")));
            }
        }
        if let Some(row) = rows.train.iter().find(|row| rows.valid.binary_search(row).is_ok()) {
            let line = table.rows[*row].line;
            return Err(Error::file(&table.file, format!("line {line}: is to train and to validate")));
        }
        rows.warn_of_shared_groups(table);
        rows.keep_fraction(table, data.label_fraction, seed)?;
        // Rows without a label are named here.
        table.select(&rows.valid).labels()?;
        Ok(rows)
    }

    /// A seeded share of the groups validates, at least one of every class that has two or more. A group counts
    /// for its highest class, which is usually the rarest.
    fn draw(table: &CandidateTable, held_out: f64, seed: u64) -> Result<Self> {
        let mut groups: BTreeMap<String, (Option<usize>, Vec<usize>)> = BTreeMap::new();
        for (number, row) in table.rows.iter().enumerate().filter(|(_, row)| row.label.is_some()) {
            let group = groups.entry(group(table, number)).or_default();
            group.0 = group.0.max(row.label);
            group.1.push(number);
        }
        let mut classes: BTreeMap<Option<usize>, Vec<Vec<usize>>> = BTreeMap::new();
        let count = groups.len();
        for (class, rows) in groups.into_values() {
            classes.entry(class).or_default().push(rows);
        }
        let (mut train, mut valid) = (Vec::new(), Vec::new());
        for (class, mut groups) in classes {
            let stream = HELD_OUT + class.unwrap_or(0) as u64;
            Stream::new(seed, 0, stream, Purpose::Order).shuffle(&mut groups);
            let most = groups.len() - 1;
            let share = ((groups.len() as f64 * held_out).round() as usize).max(1).min(most);
            train.extend(groups.split_off(share).into_iter().flatten());
            valid.extend(groups.into_iter().flatten());
        }
        if valid.is_empty() {
            return Err(Error::file(
                &table.file,
                format!("{count} group(s) with labels are too few to hold one out for validation"),
            ));
        }
        train.sort_unstable();
        valid.sort_unstable();
        Ok(Self { train, valid })
    }

    /// Keeps a seeded share of the training rows of every class, at least one each. A smaller share is part of
    /// every larger one of the same seed.
    fn keep_fraction(&mut self, table: &CandidateTable, fraction: f64, seed: u64) -> Result<()> {
        let labels = table.select(&self.train).labels()?;
        let mut classes = vec![Vec::new(); table.classes.len()];
        self.train.iter().zip(&labels).for_each(|(&row, &label)| classes[label].push(row));
        let mut kept = Vec::new();
        for (class, mut rows) in classes.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            Stream::new(seed, 0, FRACTION + class as u64, Purpose::Order).shuffle(&mut rows);
            rows.truncate(((rows.len() as f64 * fraction).round() as usize).max(1));
            kept.extend(rows);
        }
        kept.sort_unstable();
        self.train = kept;
        Ok(())
    }

    fn warn_of_shared_groups(&self, table: &CandidateTable) {
        let groups =
            |rows: &[usize]| -> BTreeSet<String> { rows.iter().map(|&row| group(table, row)).collect() };
        let (train, valid) = (groups(&self.train), groups(&self.valid));
        let shared: Vec<&String> = train.intersection(&valid).collect();
        if let [first, ..] = shared[..] {
            tracing::warn!(
                "{}: {} group(s), {first} first, lie in training and validation: the validation will look better \
                 than it is",
                table.file.display(),
                shared.len()
            );
        }
    }
}

fn or(names: &[String], default: &str) -> Vec<String> {
    if names.is_empty() { vec![default.to_string()] } else { names.to_vec() }
}

/// What a row belongs to: its group, or else its volume.
fn group(table: &CandidateTable, row: usize) -> String {
    let row = &table.rows[row];
    row.group.as_ref().map_or_else(|| row.path.display().to_string(), |group| group.to_string())
}

/// The rows whose group, name or file a split lists.
fn by_names(table: &CandidateTable, split: &Split) -> Result<Rows, String> {
    let mut known: HashMap<String, Vec<usize>> = HashMap::new();
    for (number, row) in table.rows.iter().enumerate() {
        let file = row.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let group = row.group.as_ref().map(|group| group.to_string());
        let names = [group, Some(row.name.clone()), file].into_iter().flatten();
        let names: BTreeSet<String> = names.map(|name| case_name(&name).to_string()).collect();
        names.into_iter().for_each(|name| known.entry(name).or_default().push(number));
    }
    let find = |names: &[String]| -> Result<Vec<usize>, String> {
        let mut rows = BTreeSet::new();
        for name in names {
            let found = known.get(name);
            rows.extend(found.ok_or_else(|| format!("lists {name}, which is no row of the table"))?);
        }
        Ok(rows.into_iter().collect())
    };
    Ok(Rows { train: find(&split.train)?, valid: find(&split.valid)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidates::Candidate;
    use crate::finetune::ClassificationConfig;
    use std::path::Path;

    /// Rows of `(group, label)`.
    fn table(rows: &[(&str, usize)], split: impl Fn(usize) -> Option<&'static str>) -> CandidateTable {
        let row = |(number, &(group, label)): (usize, &(&str, usize))| Candidate {
            name: format!("v{number}.nii.gz"),
            volume: format!("v{number}.nii.gz").into(),
            path: Path::new(&format!("/data/v{number}.nii.gz")).into(),
            label: Some(label),
            split: split(number).map(Into::into),
            group: Some(group.into()),
            scan: None,
            annotation: None,
            position_mm: None,
            line: number as u64 + 2,
        };
        let rows = rows.iter().enumerate().map(row).collect();
        CandidateTable { file: "table.csv".into(), rows, classes: vec!["0".into(), "1".into()] }
    }

    fn data() -> ClassificationData {
        ClassificationConfig::default().data
    }

    /// 40 patients of three rows each, the first of them positive in ten.
    fn patients() -> CandidateTable {
        let names: Vec<String> = (0..40).map(|patient| format!("p{patient:02}")).collect();
        let rows: Vec<(&str, usize)> =
            (0..120).map(|row| (names[row / 3].as_str(), usize::from(row % 3 == 0 && row < 30))).collect();
        table(&rows, |_| None)
    }

    #[test]
    fn whole_groups_of_every_class_are_held_out() {
        let table = patients();
        let rows = Rows::choose(&table, &data(), 1).unwrap();
        assert_eq!((rows.train.len(), rows.valid.len()), (96, 24));
        let groups = |rows: &[usize]| -> BTreeSet<usize> { rows.iter().map(|row| row / 3).collect() };
        assert!(groups(&rows.train).is_disjoint(&groups(&rows.valid)));
        let positive = |rows: &[usize]| rows.iter().filter(|row| table.rows[**row].label == Some(1)).count();
        assert_eq!((positive(&rows.train), positive(&rows.valid)), (8, 2));
        assert_eq!(rows, Rows::choose(&table, &data(), 1).unwrap());
        assert_ne!(rows, Rows::choose(&table, &data(), 2).unwrap());
        let one = self::table(&[("a", 0), ("a", 1)], |_| None);
        assert!(Rows::choose(&one, &data(), 1).unwrap_err().to_string().contains("1 group"));
    }

    #[test]
    fn label_fractions_keep_every_class_and_nest() {
        let table = patients();
        let kept = |fraction: f64| {
            let data = ClassificationData { label_fraction: fraction, ..data() };
            Rows::choose(&table, &data, 1).unwrap()
        };
        let (all, half, tenth, least) = (kept(1.0), kept(0.5), kept(0.1), kept(1e-6));
        assert!(all.valid == half.valid && half.valid == least.valid);
        let positive =
            |rows: &Rows| rows.train.iter().filter(|row| table.rows[**row].label == Some(1)).count();
        assert_eq!([&all, &half, &tenth, &least].map(positive), [8, 4, 1, 1]);
        assert_eq!([&half, &tenth, &least].map(|rows| rows.train.len()), [48, 10, 2]);
        assert!(tenth.train.iter().all(|row| half.train.contains(row)));
    }

    #[test]
    fn splits_come_from_the_table_or_a_file() {
        let rows = [("a", 0), ("a", 1), ("b", 0), ("c", 1)];
        let column = table(&rows, |row| [Some("train"), Some("train"), Some("val"), Some("test")][row]);
        let chosen = Rows::choose(&column, &data(), 1).unwrap();
        assert_eq!(chosen, Rows { train: vec![0, 1], valid: vec![2] });
        let named = ClassificationData { valid: vec!["test".into()], ..data() };
        assert_eq!(Rows::choose(&column, &named, 1).unwrap().valid, [3]);
        let both = ClassificationData { valid: vec!["train".into()], ..data() };
        assert!(Rows::choose(&column, &both, 1).unwrap_err().to_string().contains("line 2"));
        let plain = table(&rows, |_| None);
        assert!(Rows::choose(&plain, &named, 1).unwrap_err().to_string().contains("no column split"));

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"train": ["a"], "val": ["v2.nii.gz", "v3"]}"#).unwrap();
        let splits = ClassificationData { splits: Some(file.path().to_path_buf()), ..data() };
        let chosen = Rows::choose(&plain, &splits, 1).unwrap();
        assert_eq!(chosen, Rows { train: vec![0, 1], valid: vec![2, 3] });
        std::fs::write(file.path(), r#"{"train": ["a"], "val": ["z"]}"#).unwrap();
        assert!(Rows::choose(&plain, &splits, 1).unwrap_err().to_string().contains("lists z"));
    }

    #[test]
    fn a_row_without_a_label_is_named() {
        let rows = [("a", 0), ("b", 1), ("c", 1)];
        let mut table = table(&rows, |row| [Some("train"), Some("train"), Some("valid")][row]);
        table.rows[2].label = None;
        assert!(Rows::choose(&table, &data(), 1).unwrap_err().to_string().contains("line 4"));
    }
}

//! Which cases train and which validate: as a file says, or a share drawn by the seed.

use crate::text_file::{LONGEST_LIST, read_json};
use crate::{Error, Result};
use genesis_tensor::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// Stream numbers of the draws.
const HELD_OUT: u64 = 0;
const FRACTION: u64 = 1;

/// The names of a data set's cases by their use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// To train on.
    pub train: Vec<String>,
    /// To choose the best state by.
    pub valid: Vec<String>,
    /// Not touched in training; empty where the split has no such part.
    pub test: Vec<String>,
}

impl Split {
    /// Reads `{"train": […], "val": […], "test": […]}`; `key` leads to it in a file of several splits
    /// (`hippocampus`, or `0` in a list such as nnU-Net's `splits_final.json`; levels are parted by dots).
    /// `valid` and `validation` are read as `val`. Names may carry the extension of a volume.
    ///
    /// # Errors
    /// A file that cannot be read or has another form; a key that leads nowhere.
    pub fn read(path: &Path, key: Option<&str>) -> Result<Self> {
        let json = read_json(path, LONGEST_LIST)?;
        let mut value = &json;
        for part in key.iter().flat_map(|key| key.split('.')) {
            let inner = match value {
                Value::Array(list) => part.parse().ok().and_then(|index: usize| list.get(index)),
                other => other.get(part),
            };
            value = inner.ok_or_else(|| {
                Error::file(path, format!("has no \"{part}\" (of --splits-key); it has {}", keys(value)))
            })?;
        }
        let names = |keys: &[&str]| -> Result<Option<Vec<String>>> {
            let Some((key, list)) = keys.iter().find_map(|key| Some((key, value.get(key)?))) else {
                return Ok(None);
            };
            let list = list.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
            let Some(Some(list)) = list else {
                return Err(Error::file(path, format!("\"{key}\" is not a list of names of cases")));
            };
            Ok(Some(list.into_iter().map(|name| super::segment::case_name(name).to_string()).collect()))
        };
        let Some(train) = names(&["train"])? else {
            let hint = if key.is_none() { ": choose one by --splits-key" } else { "" };
            return Err(Error::file(path, format!("has no list \"train\", but {}{hint}", keys(value))));
        };
        let valid = names(&["val", "valid", "validation"])?;
        let valid = valid.ok_or_else(|| Error::file(path, "has no list \"val\" of validation cases"))?;
        let split = Self { train, valid, test: names(&["test"])?.unwrap_or_default() };
        split.check().map_err(|cause| Error::file(path, cause))?;
        Ok(split)
    }

    /// A seeded share of the cases validates, at least one; the others train.
    ///
    /// # Errors
    /// Fewer than two cases.
    pub fn draw(names: &[String], held_out: f64, seed: u64) -> Result<Self> {
        if names.len() < 2 {
            return Err(Error::Work(format!(
                "{} case is too few to hold one out for validation: at least two are needed",
                names.len()
            )));
        }
        let mut order = names.to_vec();
        order.sort();
        Stream::new(seed, 0, HELD_OUT, Purpose::Order).shuffle(&mut order);
        let count = ((names.len() as f64 * held_out).round() as usize).clamp(1, names.len() - 1);
        let mut train = order.split_off(count);
        train.sort();
        order.sort();
        Ok(Self { train, valid: order, test: Vec::new() })
    }

    /// Keeps a seeded share of the training cases, at least one. A smaller share is part of every larger
    /// one of the same seed.
    pub fn keep_fraction(&mut self, fraction: f64, seed: u64) {
        let count = ((self.train.len() as f64 * fraction).round() as usize).clamp(1, self.train.len().max(1));
        self.train.sort();
        Stream::new(seed, 0, FRACTION, Purpose::Order).shuffle(&mut self.train);
        self.train.truncate(count);
        self.train.sort();
    }

    fn check(&self) -> Result<(), String> {
        for (name, part) in [("train", &self.train), ("val", &self.valid)] {
            if part.is_empty() {
                return Err(format!("the list \"{name}\" is empty"));
            }
        }
        let mut all: Vec<&String> = self.train.iter().chain(&self.valid).chain(&self.test).collect();
        all.sort();
        match all.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("case {} is listed twice", pair[0])),
            None => Ok(()),
        }
    }
}

/// The keys of a JSON value, for messages.
fn keys(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let keys: Vec<String> = object.keys().take(8).map(|key| format!("\"{key}\"")).collect();
            keys.join(", ")
        }
        Value::Array(list) => format!("a list of {}", list.len()),
        _ => "a single value".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, key: Option<&str>) -> Result<Split> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Split::read(file.path(), key)
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("case{i:02}")).collect()
    }

    #[test]
    fn flat_nested_and_listed_splits_are_read() {
        let flat = read(r#"{"train": ["a.nii.gz", "b"], "val": ["c"], "test": ["d"]}"#, None).unwrap();
        assert_eq!(flat.train, ["a", "b"]);
        assert_eq!(flat.test, ["d"]);
        let nested = r#"{"mri": {"train": ["a"], "valid": ["b"]}, "ct": {"train": ["x"], "val": ["y"]}}"#;
        assert_eq!(read(nested, Some("mri")).unwrap().valid, ["b"]);
        let nnunet = r#"[{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]"#;
        assert_eq!(read(nnunet, Some("1")).unwrap().train, ["b"]);
        for (text, key, part) in [
            (nested, None, "--splits-key"),
            (nested, Some("pet"), "\"pet\""),
            (nnunet, Some("2"), "a list of 2"),
            (r#"{"train": ["a"]}"#, None, "\"val\""),
            (r#"{"train": ["a"], "val": ["a"]}"#, None, "a is listed twice"),
            (r#"{"train": [], "val": ["a"]}"#, None, "\"train\" is empty"),
            (r#"{"train": [1], "val": ["a"]}"#, None, "list of names"),
            ("[", None, "line 1"),
        ] {
            let line = read(text, key).unwrap_err().to_string();
            assert!(line.contains(part) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn the_seed_decides_what_is_held_out() {
        let first = Split::draw(&names(20), 0.2, 1).unwrap();
        assert_eq!((first.train.len(), first.valid.len()), (16, 4));
        assert_eq!(first, Split::draw(&names(20), 0.2, 1).unwrap());
        assert_ne!(first, Split::draw(&names(20), 0.2, 2).unwrap());
        assert!(first.train.iter().all(|name| !first.valid.contains(name)));
        assert!(Split::draw(&names(1), 0.2, 1).is_err());
        assert_eq!(Split::draw(&names(2), 0.01, 1).unwrap().valid.len(), 1);
    }

    #[test]
    fn smaller_label_fractions_are_parts_of_larger_ones() {
        let kept = |fraction: f64| {
            let mut split = Split { train: names(40), valid: vec!["v".into()], test: Vec::new() };
            split.keep_fraction(fraction, 3);
            split.train
        };
        let (tenth, quarter, all) = (kept(0.1), kept(0.25), kept(1.0));
        assert_eq!((tenth.len(), quarter.len(), all.len()), (4, 10, 40));
        assert!(tenth.iter().all(|name| quarter.contains(name)));
        assert_eq!(kept(0.0001).len(), 1);
    }
}

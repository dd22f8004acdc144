//! From the values of label maps to the classes a network tells apart.

use super::layout::NamedLabel;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The most foreground classes that are taken without being asked for.
const MOST_DISCOVERED: usize = 64;

/// One foreground class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// The values of label maps that mean it.
    pub values: Vec<u8>,
}

/// Which value means which class. Class 0 is the background: 0, and every permitted value that no
/// class claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// The foreground classes; the first is class 1.
    pub foreground: Vec<Class>,
    /// The values a label map may hold; `None`: all.
    pub permitted: Option<Vec<u8>>,
}

impl Classes {
    /// The classes of a data set.
    ///
    /// `declared` are the labels it declares, if it does. `wanted` are the user's: `2`, `tumour`, `1+2` or
    /// `1+2=whole`, each a class; empty: every label is one. `found` are the values in the label maps, needed
    /// where neither says anything.
    ///
    /// # Errors
    /// [`Error::Usage`] for a wish that cannot be met; [`Error::Work`] for label maps without foreground or
    /// with more different values than classes are plausible.
    pub fn resolve(declared: Option<&[NamedLabel]>, wanted: &[String], found: &[u8]) -> Result<Self> {
        let permitted = declared.map(|labels| labels.iter().map(|label| label.value).collect::<Vec<_>>());
        if !wanted.is_empty() {
            let foreground = wanted.iter().map(|text| wish(text, declared)).collect::<Result<Vec<_>>>()?;
            let all: Vec<u8> = foreground.iter().flat_map(|class| class.values.clone()).collect();
            if let Some(twice) = all.iter().enumerate().find(|(at, value)| all[..*at].contains(value)) {
                return Err(Error::Usage(format!("--labels: the value {} is in two classes", twice.1)));
            }
            return Ok(Self { foreground, permitted });
        }
        let single = |value: u8, name: String| Class { name, values: vec![value] };
        let foreground: Vec<Class> = match declared {
            Some(labels) => {
                labels.iter().filter(|l| l.value != 0).map(|l| single(l.value, l.name.clone())).collect()
            }
            None => found.iter().filter(|&&v| v != 0).map(|&v| single(v, format!("label {v}"))).collect(),
        };
        if foreground.is_empty() {
            return Err(Error::Work("the label maps hold nothing but background (0)".into()));
        }
        if declared.is_none() && foreground.len() > MOST_DISCOVERED {
            return Err(Error::Work(format!(
                "the label maps hold {} different values: name the classes (--labels 1,2), if they are label maps",
                foreground.len()
            )));
        }
        Ok(Self { foreground, permitted })
    }

    /// Number of classes, the background included.
    pub fn count(&self) -> usize {
        self.foreground.len() + 1
    }

    /// Channels of the network's output: one class against the background needs only one.
    pub fn outputs(&self) -> usize {
        if self.count() == 2 { 1 } else { self.count() }
    }

    /// The names, background first.
    pub fn names(&self) -> Vec<String> {
        let foreground = self.foreground.iter().map(|class| class.name.clone());
        std::iter::once("background".to_string()).chain(foreground).collect()
    }

    /// The values of every class, background (0) first.
    pub fn values(&self) -> Vec<Vec<u8>> {
        let foreground = self.foreground.iter().map(|class| class.values.clone());
        std::iter::once(vec![0]).chain(foreground).collect()
    }

    /// The class of every value; `None` for values that are not permitted.
    pub fn table(&self) -> [Option<u8>; 256] {
        let mut table = [None; 256];
        for (value, class) in table.iter_mut().enumerate() {
            let value = value as u8;
            let is_permitted = self.permitted.as_ref().is_none_or(|all| all.contains(&value));
            let index = self.foreground.iter().position(|class| class.values.contains(&value));
            *class = match index {
                Some(index) => Some(index as u8 + 1),
                None => is_permitted.then_some(0),
            };
        }
        table
    }
}

/// `tumour`, `2`, `1+2`, `1+2=whole`.
fn wish(text: &str, declared: Option<&[NamedLabel]>) -> Result<Class> {
    let usage = |cause: String| Error::Usage(format!("--labels {text}: {cause}"));
    let (values, name) = match text.split_once('=') {
        Some((values, name)) => (values, Some(name.trim().to_string())),
        None => (text, None),
    };
    let mut found: Vec<NamedLabel> = Vec::new();
    for part in values.split('+').map(str::trim) {
        let number = part.parse::<u8>().ok();
        let known = declared.and_then(|labels| {
            labels.iter().find(|label| Some(label.value) == number || label.name.eq_ignore_ascii_case(part))
        });
        let label = match (known, number, declared) {
            (Some(label), _, _) => label.clone(),
            (None, Some(value), None) => NamedLabel { value, name: format!("label {value}") },
            (None, _, Some(labels)) => {
                let all: Vec<String> = labels.iter().map(|l| format!("{} {}", l.value, l.name)).collect();
                return Err(usage(format!("the data set has no label {part} (it has {})", all.join(", "))));
            }
            (None, None, None) => {
                return Err(usage(format!(
                    "{part} is not a value from 1 to 255, and no dataset.json names any"
                )));
            }
        };
        if label.value == 0 {
            return Err(usage("0 is the background".into()));
        }
        found.push(label);
    }
    let joined = || found.iter().map(|label| label.name.as_str()).collect::<Vec<_>>().join("+");
    Ok(Class { name: name.unwrap_or_else(joined), values: found.iter().map(|label| label.value).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Vec<NamedLabel> {
        let label = |value: u8, name: &str| NamedLabel { value, name: name.into() };
        vec![label(0, "background"), label(1, "necrosis"), label(2, "oedema"), label(4, "enhancing")]
    }

    fn wishes(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_string()).collect()
    }

    #[test]
    fn every_declared_or_found_label_is_a_class_unless_asked_otherwise() {
        let classes = Classes::resolve(Some(&declared()), &[], &[]).unwrap();
        assert_eq!((classes.count(), classes.outputs()), (4, 4));
        let table = classes.table();
        assert_eq!([table[0], table[2], table[3], table[4]], [Some(0), Some(2), None, Some(3)]);
        let classes = Classes::resolve(None, &[], &[0, 7]).unwrap();
        assert_eq!((classes.outputs(), classes.names()), (1, wishes(&["background", "label 7"])));
        assert_eq!((classes.table()[7], classes.table()[9]), (Some(1), Some(0)));
        assert!(Classes::resolve(None, &[], &[0]).is_err());
        assert!(Classes::resolve(None, &[], &(0..=255).collect::<Vec<u8>>()).is_err());
    }

    #[test]
    fn labels_are_chosen_by_value_or_name_and_merged() {
        let classes = Classes::resolve(Some(&declared()), &wishes(&["1+2+4=whole"]), &[]).unwrap();
        assert_eq!((classes.outputs(), classes.names()[1].as_str()), (1, "whole"));
        let classes = Classes::resolve(Some(&declared()), &wishes(&["Enhancing", "1+oedema"]), &[]).unwrap();
        assert_eq!(classes.names()[1..], ["enhancing", "necrosis+oedema"]);
        assert_eq!(
            [4, 1, 2, 0, 3].map(|v: usize| classes.table()[v]),
            [Some(1), Some(2), Some(2), Some(0), None]
        );
        for (bad, part) in
            [("3", "no label 3"), ("liver", "no label liver"), ("0", "background"), ("1+1", "two")]
        {
            let error = Classes::resolve(Some(&declared()), &wishes(&[bad]), &[]).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(Classes::resolve(None, &wishes(&["liver"]), &[]).is_err());
        assert!(Classes::resolve(None, &wishes(&["2"]), &[]).is_ok());
    }
}

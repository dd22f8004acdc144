//! TOML configurations: values of a file laid over defaults.

use crate::text_file::{LONGEST_CONFIGURATION, read_text};
use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads a TOML file.
///
/// # Errors
/// An unreadable file, or what is wrong with its text, in one line.
pub fn read_table(path: &Path) -> Result<toml::Table> {
    let text = read_text(path, LONGEST_CONFIGURATION)?;
    text.parse().map_err(|error: toml::de::Error| Error::file(path, one_line(&error)))
}

/// `base` with the values of `over`, a table read from `path`, which needs to name only what differs.
///
/// # Errors
/// An unknown key or a value of the wrong type, named.
pub fn laid_over<T: Serialize + DeserializeOwned>(path: &Path, base: &T, over: toml::Table) -> Result<T> {
    let mut table = toml::Table::try_from(base).map_err(|error| Error::file(path, one_line(&error)))?;
    lay_over(&mut table, over);
    table.try_into().map_err(|error: toml::de::Error| Error::file(path, one_line(&error)))
}

fn lay_over(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => lay_over(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// TOML errors draw a picture over several lines; users get one.
pub fn one_line(error: &impl ToString) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match (lines.first(), lines.last()) {
        (Some(first), Some(last)) if lines.len() > 1 => format!("{last} ({first})"),
        _ => text.trim().to_string(),
    }
}

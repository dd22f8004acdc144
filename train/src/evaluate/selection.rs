//! Which cases of a data set are scored.

use super::summary::Failure;
use crate::finetune::{CaseFiles, Dataset, Split};
use crate::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The cases kept away from training.
    Test,
    /// Those the best state was chosen by.
    Val,
    /// Those it was trained on.
    Train,
    /// Every case of the folder.
    All,
}

impl Part {
    /// The name a user gives.
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Val => "val",
            Self::Train => "train",
            Self::All => "all",
        }
    }
}

/// A file of splits, and the way to one of them, as in fine-tuning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitFile {
    /// The JSON file.
    pub file: PathBuf,
    /// Leads to the split in a file of several.
    pub key: Option<String>,
}

/// The cases of a part, and those that the split lists but the folder lacks.
///
/// # Errors
/// [`Error::Usage`] for a part without a file of splits; a file of splits that cannot be read or has no such
/// case.
pub fn select(
    dataset: &Dataset,
    splits: Option<&SplitFile>,
    part: Part,
) -> Result<(Vec<CaseFiles>, Vec<Failure>)> {
    if part == Part::All {
        return Ok((dataset.cases.clone(), Vec::new()));
    }
    let Some(splits) = splits else {
        return Err(Error::Usage(format!("--split {}: give the file of splits too (--splits)", part.name())));
    };
    let split = Split::read(&splits.file, splits.key.as_deref())?;
    let names = match part {
        Part::Train => split.train,
        Part::Val => split.valid,
        Part::Test | Part::All => split.test,
    };
    if names.is_empty() {
        return Err(Error::file(&splits.file, format!("lists no {} cases", part.name())));
    }
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match dataset.cases.iter().find(|case| case.name == name) {
            Some(case) => found.push(case.clone()),
            None => missing.push(Failure { error: absent(&splits.file, &name, &dataset.root), case: name }),
        }
    }
    Ok((found, missing))
}

fn absent(file: &Path, name: &str, folder: &Path) -> String {
    Error::file(file, format!("lists case {name}, which is not in {}", folder.display())).to_string()
}

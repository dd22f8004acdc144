//! Finding the volumes that rows name.

use crate::finetune::case_name;
use crate::volume::{is_volume, list_volumes, no_volumes};
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Volumes by what a table calls them.
pub(super) enum Volumes {
    /// Paths that are not looked for: a table of results is read.
    Anywhere(PathBuf),
    /// Paths, relative to a folder.
    Paths(PathBuf),
    /// Names without extension, somewhere below a folder.
    Names(HashMap<String, PathBuf>),
}

impl Volumes {
    /// All volumes below a folder, by name.
    ///
    /// # Errors
    /// A folder that cannot be read or holds no volume; a name that is there twice.
    pub fn below(folder: &Path) -> Result<Self> {
        let paths = list_volumes(folder)?;
        if paths.is_empty() {
            return Err(no_volumes(folder));
        }
        let mut names: HashMap<String, PathBuf> = HashMap::new();
        for path in paths {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let name = case_name(&file).to_string();
            match names.get(&name).map(|other| (subset(other).is_some(), subset(&path).is_some(), other)) {
                // LUNA16's lung masks carry the scans' names.
                Some((true, false, _)) => {}
                None | Some((false, true, _)) => _ = names.insert(name, path),
                Some((_, _, other)) => {
                    let cause = format!("is there twice: {} is the same scan", other.display());
                    return Err(Error::file(&path, cause));
                }
            }
        }
        Ok(Self::Names(names))
    }

    /// Where a row's volume lies; `Err` where it should lie, but does not.
    pub fn find(&self, text: &str) -> Result<Arc<Path>, PathBuf> {
        match self {
            Self::Anywhere(folder) => Ok(folder.join(text).into()),
            Self::Paths(folder) => {
                let path = folder.join(text);
                // A folder is a DICOM series.
                if path.exists() { Ok(path.into()) } else { Err(path) }
            }
            Self::Names(names) => {
                names.get(text).map(|path| path.as_path().into()).ok_or_else(|| PathBuf::from(text))
            }
        }
    }

    /// Why a cell cannot name a volume, if so.
    pub fn refuse(&self, text: &str) -> Option<String> {
        match self {
            _ if text.is_empty() => Some("names no volume".into()),
            Self::Paths(folder) if !is_volume(&folder.join(text)) => {
                Some(format!("{text} is of no volume format that is read"))
            }
            _ => None,
        }
    }
}

/// The folder `subset0`, `subset1`, … that a volume lies below.
pub(super) fn subset(path: &Path) -> Option<&str> {
    path.parent()?.iter().rev().filter_map(|part| part.to_str()).find(|part| {
        part.strip_prefix("subset")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

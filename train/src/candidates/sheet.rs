//! A CSV file (RFC 4180) with a header, row by row; every error names the file and the line.

use crate::{Error, Result};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// An open CSV file. Cells come without surrounding blanks; the names of columns in any case of letters.
pub(crate) struct Sheet {
    path: PathBuf,
    header: Vec<String>,
    reader: csv::Reader<BufReader<File>>,
    record: csv::StringRecord,
}

impl Sheet {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// A file that cannot be read or has no header; a column that is there twice.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(BufReader::new(file));
        let header = reader.headers().map_err(|error| cause(path, &error))?;
        let header: Vec<String> =
            header.iter().map(|name| name.trim_start_matches('\u{feff}').to_lowercase()).collect();
        if header.is_empty() {
            return Err(Error::file(path, "is empty: a table with a header line is needed"));
        }
        let sheet = Self { path: path.to_path_buf(), header, reader, record: csv::StringRecord::new() };
        let twice = |(at, name): (usize, &String)| !name.is_empty() && sheet.header[..at].contains(name);
        match sheet.header.iter().enumerate().find(|&item| twice(item)) {
            Some((_, name)) => Err(Error::file(path, format!("line 1: has two columns \"{name}\""))),
            None => Ok(sheet),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the columns, in lower case.
    pub fn columns(&self) -> &[String] {
        &self.header
    }

    /// The number of a column, if it is there.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == &name.to_lowercase())
    }

    /// The number of a column that must be there.
    ///
    /// # Errors
    /// It is not; the columns that are there are named.
    pub fn required(&self, name: &str) -> Result<usize> {
        self.column(name).ok_or_else(|| {
            let columns = self.header.join(", ");
            Error::file(&self.path, format!("line 1: has no column \"{name}\" (it has {columns})"))
        })
    }

    /// Goes to the next row; false at the end.
    ///
    /// # Errors
    /// A row of another length than the header; text that is not UTF-8; reading.
    pub fn advance(&mut self) -> Result<bool> {
        self.reader.read_record(&mut self.record).map_err(|error| cause(&self.path, &error))
    }

    /// The line of the current row, counted from 1.
    pub fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    /// A cell of the current row.
    pub fn cell(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or("")
    }

    /// A cell of a column that may be missing; `None` where it is empty.
    pub fn optional(&self, column: Option<usize>) -> Option<&str> {
        column.map(|column| self.cell(column)).filter(|cell| !cell.is_empty())
    }

    /// A cell as a finite number.
    ///
    /// # Errors
    /// Anything else.
    pub fn number(&self, column: usize) -> Result<f64> {
        let cell = self.cell(column);
        let value = cell.parse().ok().filter(|value: &f64| value.is_finite());
        value.ok_or_else(|| {
            self.error(format!("{} is \"{cell}\", a finite number is needed", self.header[column]))
        })
    }

    /// An error about the current row.
    pub fn error(&self, cause: impl std::fmt::Display) -> Error {
        Error::file(&self.path, format!("line {}: {cause}", self.line()))
    }
}

/// An error of the reader, in one line.
fn cause(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            Error::file(path, format!("line {line}: has {len} cells, but the header has {expected_len}"))
        }
        csv::ErrorKind::Utf8 { .. } => Error::file(path, format!("line {line}: is not UTF-8 text")),
        _ => Error::file(path, format!("cannot be read: {error}")),
    }
}

//! A CSV file (RFC 4180) with a header, row by row; every error names the file and the line.

use crate::{Error, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// An open CSV file. Cells come without surrounding blanks; the names of columns in any case of letters.
pub(crate) struct Sheet {
    path: PathBuf,
    /// The names of the columns as they are written, and in lower case.
    written: Vec<String>,
    header: Vec<String>,
    reader: csv::Reader<UnixLines<BufReader<File>>>,
    record: csv::StringRecord,
}

impl Sheet {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// A file that cannot be read or has no header; a column that is there twice.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(UnixLines::new(BufReader::new(file)));
        let header = reader.headers().map_err(|error| cause(path, 1, &error))?;
        let written: Vec<String> =
            header.iter().map(|name| name.trim_start_matches('\u{feff}').to_string()).collect();
        let header: Vec<String> = written.iter().map(|name| name.to_lowercase()).collect();
        if header.is_empty() {
            return Err(Error::file(path, "is empty: a table with a header line is needed"));
        }
        let record = csv::StringRecord::new();
        let sheet = Self { path: path.to_path_buf(), written, header, reader, record };
        let twice = |(at, name): (usize, &String)| !name.is_empty() && sheet.header[..at].contains(name);
        match sheet.header.iter().enumerate().find(|&item| twice(item)) {
            Some((_, name)) => Err(Error::file(path, format!("line 1: has two columns \"{name}\""))),
            None => Ok(sheet),
        }
    }

    /// The names of the columns, as they are written.
    pub fn columns(&self) -> &[String] {
        &self.written
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
        let result = self.reader.read_record(&mut self.record);
        result.map_err(|error| cause(&self.path, self.line(), &error))
    }

    /// The last line of the current row, counted from 1.
    pub fn line(&self) -> u64 {
        // A record's own position is where the blank lines before it begin.
        self.reader.position().line().saturating_sub(1)
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
fn cause(path: &Path, line: u64, error: &csv::Error) -> Error {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            Error::file(path, format!("line {line}: has {len} cells, but the header has {expected_len}"))
        }
        csv::ErrorKind::Utf8 { .. } => Error::file(path, format!("line {line}: is not UTF-8 text")),
        _ => Error::file(path, format!("cannot be read: {error}")),
    }
}

/// Text whose lines all end with a line feed alone, the last one too, so that lines can be counted.
struct UnixLines<R> {
    source: R,
    last: u8,
}

impl<R> UnixLines<R> {
    fn new(source: R) -> Self {
        Self { source, last: b'\n' }
    }
}

impl<R: BufRead> Read for UnixLines<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written == 0 && !out.is_empty() {
            let bytes = self.source.fill_buf()?;
            if bytes.is_empty() {
                if self.last != b'\n' {
                    (out[0], self.last, written) = (b'\n', b'\n', 1);
                }
                break;
            }
            let taken = bytes.len().min(out.len());
            for &byte in bytes[..taken].iter().filter(|&&byte| byte != b'\r') {
                out[written] = byte;
                written += 1;
                self.last = byte;
            }
            self.source.consume(taken);
        }
        Ok(written)
    }
}

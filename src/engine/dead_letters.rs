//! Keeps parcels that the sink rejected individually, so that somebody can fix them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;

use super::Letter;
use crate::error::{Exit, Problem};
use crate::files;
use crate::text::neutralize;

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("DEAD_LETTER_FILE {} cannot be written: {error}", .path.display())]
pub(crate) struct DeadLetterError {
    path: PathBuf,
    error: io::Error,
}

impl Problem for DeadLetterError {
    fn exit(&self) -> Exit {
        Exit::Configuration
    }
}

/// A file of dead letters, one JSON object per line: `{"envelope": …, "status": …, "reason": …}`.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    path: PathBuf,
    file: File,
}

#[derive(Serialize)]
struct Line<'a> {
    envelope: &'a RawValue,
    status: Option<u16>,
    reason: &'a str,
}

impl DeadLetters {
    /// Opens the file for appending. Refuses a symbolic link, and anything that is not a regular file.
    pub(crate) fn open(path: &Path) -> Result<Self, DeadLetterError> {
        match files::open(files::private().append(true).create(true), path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file }),
            Err(error) => Err(DeadLetterError { path: path.to_owned(), error }),
        }
    }

    /// Checks that a run could open the file. Changes nothing.
    pub(crate) fn try_to_open(path: &Path) -> Result<(), DeadLetterError> {
        files::try_to_write(files::private().append(true), path)
            .map_err(|error| DeadLetterError { path: path.to_owned(), error })
    }

    /// Appends a letter.
    pub(crate) fn write(&self, letter: &Letter) -> Result<(), DeadLetterError> {
        let append = || {
            let envelope = serde_json::from_slice(&letter.envelope)?;
            let line = serde_json::to_string(&Line { envelope, status: letter.status, reason: &letter.reason })? + "\n";
            // One write per line, so that the lines of two appending programs do not mix.
            (&self.file).write_all(neutralize(&line).as_bytes())
        };
        append().map_err(|error: io::Error| DeadLetterError { path: self.path.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn letter(envelope: &'static str, status: Option<u16>) -> Letter {
        Letter { envelope: envelope.into(), status, reason: "no \"such\" blueprint\n::error::x ##[y]".into() }
    }

    #[test]
    fn letters_are_appended_one_per_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("letters");
        for status in [Some(422), None] {
            let envelope = r#"{"data":{"b":1,"a":"é"},"operation":"upsert"}"#;
            DeadLetters::open(&path).unwrap().write(&letter(envelope, status)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(r#"{"envelope":{"data":{"b":1,"a":"é"},"operation":"upsert"},"status":422,"reason":"#)
        );
        assert!(!text.contains("##"), "what reads the log obeys no letter: {text}");
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["status"], json!(null));
        assert_eq!(lines[1]["reason"], "no \"such\" blueprint\n::error::x ##[y]");
    }

    #[test]
    fn what_is_no_json_is_an_error_and_writes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("letters");
        let error = DeadLetters::open(&path).unwrap().write(&letter("{", None)).unwrap_err();
        assert!(error.to_string().starts_with("DEAD_LETTER_FILE /"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_may_read_it_and_nothing_is_written_through_a_link() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("letters"), directory.path().join("link"));
        DeadLetters::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(DeadLetters::open(&link).is_err());
    }
}

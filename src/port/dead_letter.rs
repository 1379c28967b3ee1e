//! Envelopes that Port refused for themselves, kept for whoever mends them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;

use super::envelope;
use crate::files;
use crate::http::{Failure, RequestError};
use crate::sync::change::Change;
use crate::text::{inert, printable_up_to};

/// Characters of why an envelope was refused.
const LONGEST_REASON: usize = 2000;

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("DEAD_LETTER_FILE {} cannot be written: {error}", .path.display())]
pub(crate) struct DeadLetterError {
    path: PathBuf,
    error: io::Error,
}

/// A file of dead letters, a JSON object a line: `{"envelope": …, "status": …, "reason": …}`.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    path: PathBuf,
    file: File,
}

#[derive(Serialize)]
struct Letter<'a> {
    envelope: &'a RawValue,
    status: Option<u16>,
    reason: String,
}

impl DeadLetters {
    /// Opens the file to append to it; a link in its place is refused, and whatever is no regular file.
    pub(crate) fn open(path: &Path) -> Result<Self, DeadLetterError> {
        match files::open(files::private().append(true).create(true), path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file }),
            Err(error) => Err(DeadLetterError { path: path.to_owned(), error }),
        }
    }

    /// Appends an envelope, and why it was refused.
    pub(crate) fn write(&mut self, change: &Change, error: &RequestError) -> Result<(), DeadLetterError> {
        let body = envelope::envelope(change);
        let mut append = || {
            let letter = Letter {
                envelope: serde_json::from_slice(&body)?,
                status: error.status().map(|status| status.as_u16()),
                reason: match &error.failure {
                    Failure::Status(status) => printable_up_to(&status.message, LONGEST_REASON).to_string(),
                    other => other.to_string(),
                },
            };
            let line = serde_json::to_string(&letter)? + "\n";
            // One write a line, so that two programs that append do not mix theirs.
            self.file.write_all(inert(&line).as_bytes())
        };
        append().map_err(|error: io::Error| DeadLetterError { path: self.path.clone(), error })
    }
}

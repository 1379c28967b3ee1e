//! The interpreter's only error type: what is wrong with a query, and where.

use std::fmt;

/// A position in a query's text. Both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pos {
    pub line: usize,
    pub column: usize,
}

/// Why a query was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KqlError {
    pub message: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl KqlError {
    pub(crate) fn at(pos: Pos, message: impl Into<String>) -> Self {
        Self { message: message.into(), line: pos.line, column: pos.column }
    }
}

impl fmt::Display for KqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}, column {})", self.message, self.line, self.column)
    }
}

impl std::error::Error for KqlError {}

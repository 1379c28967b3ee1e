//! What a run did, in numbers, for a person or for a machine.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::config::{LogFormat, Mode};
use crate::error::Exit;

/// The counts of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub mode: Mode,
    /// Subscriptions that the principal can read.
    pub subscriptions: u64,
    /// Requests that Resource Graph answered.
    pub queries: u64,
    /// Rows that it answered with.
    pub rows: u64,
    /// Upserts that Port accepted.
    pub upserts: u64,
    /// Deletes that Port accepted.
    pub deletes: u64,
    /// Changes without a current row, which were not sent: an upsert of nothing would wipe the entity.
    pub unresolved: u64,
    /// Attempts that were repetitions, of all requests.
    pub retried: u64,
    /// Envelopes that were not accepted.
    pub failed: u64,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    pub exit: Exit,
    /// What went wrong, a sentence each.
    pub errors: Vec<String>,
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((elapsed.as_secs_f64() * 1000.0).round() / 1000.0)
}

impl Report {
    /// As it is printed: a few aligned lines, or one JSON object.
    pub fn render(&self, format: LogFormat) -> String {
        match format {
            LogFormat::Text => self.to_string(),
            LogFormat::Json => serde_json::to_string(self).unwrap_or_else(|error| error.to_string()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("subscriptions", self.subscriptions),
            ("queries", self.queries),
            ("rows", self.rows),
            ("upserts", self.upserts),
            ("deletes", self.deletes),
            ("unresolved", self.unresolved),
            ("retried", self.retried),
            ("failed", self.failed),
        ];
        writeln!(f, "{:<15}{:>9}", "mode", self.mode.name())?;
        for (name, count) in counts {
            writeln!(f, "{name:<15}{count:>9}")?;
        }
        writeln!(f, "{:<15}{:>8.1}s", "time", self.elapsed.as_secs_f64())?;
        write!(f, "{:<15}{}", "result", self.exit)
    }
}

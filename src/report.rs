//! The results of a run in numbers, for people and for programs.

mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::config::{ConfigError, DryRun, LogFormat, Mode};
use crate::engine::{Counted, Counts, KindCounts, Tally};
use crate::error::{Exit, Problem};
use crate::freshness::Freshness;

/// The counts of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `incremental`, `full`, `resend` or `forget`.
    pub mode: &'static str,
    /// How a dry run printed the upserts and deletes; in JSON a boolean.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "is_some")]
    pub dry_run: Option<DryRun>,
    /// The reader of a dry run's output closed it early.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// Why the run was full, if the checkpoint and not the configuration required it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_because: Option<String>,
    /// The start of the period in which changes were read; `None` if everything was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the run started, by the source's clock.
    #[serde(skip)]
    pub start: Option<Timestamp>,
    /// The checkpoint that was used; `None` without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// What the run could not determine, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Subscriptions that the principal can read.
    pub subscriptions: u64,
    /// Subscriptions that Resource Graph used to cover but no longer does.
    pub not_covered: u64,
    /// Ids of subscriptions in the checkpoint that the principal can no longer read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlisted: Vec<String>,
    /// Ids of subscriptions whose rows were read, and proven, completely.
    #[serde(skip)]
    pub whole: Vec<String>,
    /// Requests that Resource Graph answered.
    pub queries: u64,
    /// Rows in its answers.
    pub rows: u64,
    /// Ids with more than one row; only one row of each was used.
    #[serde(skip_serializing_if = "is_none")]
    pub duplicates: u64,
    /// Upserts that Port accepted.
    pub upserts: u64,
    /// Deletes that Port accepted.
    pub deletes: u64,
    /// Entities no longer in Azure that a pruning run deleted, or would delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<u64>,
    /// Changes without a current row. They were not sent, because an upsert of nothing would wipe the entity.
    pub unresolved: u64,
    /// Entities that were read but not sent, because the catalog already has them.
    pub skipped: u64,
    /// What the checkpoint holds at the end; `None` without one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// Retries, over all requests.
    pub retried: u64,
    /// Envelopes that were not accepted.
    pub failed: u64,
    /// Outcomes of the envelopes, by the lower-case resource type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, TypeCounts>,
    /// The time from a change until its envelope was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// How long the whole run took; in JSON in seconds, to the millisecond.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// How the run ended; in JSON the exit code.
    pub exit: Exit,
    /// What went wrong, one sentence each.
    pub errors: Vec<String>,
}

/// What the checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// Entities that are or may be in the catalog because of this program.
    pub held: u64,
    /// Entities that may have changed unnoticed: not accepted yet, or missing without a record. Later runs ask for them
    /// by id.
    pub in_doubt: u64,
}

/// Outcomes of the envelopes of one resource type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TypeCounts {
    /// Accepted upserts.
    pub upserts: u64,
    /// Upserts of entities new to the catalog, according to the checkpoint; without one, always zero.
    pub new: u64,
    /// Accepted deletes.
    pub deletes: u64,
    /// Envelopes not accepted.
    pub failed: u64,
}

impl TypeCounts {
    /// Upserts of entities that the catalog had or may have had.
    pub(crate) fn updated(self) -> u64 {
        self.upserts.saturating_sub(self.new)
    }

    pub(crate) fn total(self) -> u64 {
        self.upserts + self.deletes + self.failed
    }
}

impl Report {
    pub(crate) fn new(mode: &'static str) -> Self {
        Self {
            mode,
            dry_run: None,
            closed: false,
            full_because: None,
            since: None,
            start: None,
            checkpoint: None,
            notes: Vec::new(),
            subscriptions: 0,
            not_covered: 0,
            unlisted: Vec::new(),
            whole: Vec::new(),
            queries: 0,
            rows: 0,
            duplicates: 0,
            upserts: 0,
            deletes: 0,
            pruned: None,
            unresolved: 0,
            skipped: 0,
            compared: None,
            retried: 0,
            failed: 0,
            types: BTreeMap::new(),
            freshness: None,
            elapsed: Duration::ZERO,
            exit: Exit::Ok,
            errors: Vec::new(),
        }
    }

    /// The report of a run that could not start because of its settings.
    pub fn refused(mode: &'static str, dry_run: Option<DryRun>, error: &ConfigError) -> Self {
        let errors = error.0.iter().map(ToString::to_string).collect();
        Self { dry_run, exit: Exit::Configuration, errors, ..Self::new(mode) }
    }

    /// The number of entities that differed, and so were posted or attempted.
    pub(crate) fn differing(&self) -> u64 {
        self.upserts + self.deletes + self.failed
    }

    /// Records and logs an error.
    pub(crate) fn fail(&mut self, error: &dyn Problem) {
        self.note(error);
        _ = self.errors.last().inspect(|message| tracing::error!("{message}"));
    }

    /// Records an error without logging it.
    pub(crate) fn note(&mut self, error: &dyn Problem) {
        self.exit = self.exit.or_worse(error.exit());
        self.errors.push(error.told());
    }
}

impl Report {
    /// Adds the outcomes of a source's envelopes, and its counts.
    pub(crate) fn add(&mut self, start: Timestamp, tally: &Tally, counts: &Counts) {
        self.start = Some(start);
        let Counted { upserts, deletes, rejected, unproven, failed } = tally.counted();
        self.upserts += upserts;
        self.deletes += deletes;
        self.failed += rejected + unproven + failed + counts.still_refused;
        self.unresolved += counts.unresolved;
        self.skipped += counts.same;
        self.types.extend(tally.kinds().iter().map(|(kind, counts)| {
            let KindCounts { upserts, new, deletes, failed } = *counts;
            (kind.to_string(), TypeCounts { upserts, new, deletes, failed })
        }));
        // A full run also repeats old deletes, which would distort this.
        if self.mode == Mode::Incremental.name() && self.dry_run.is_none() {
            self.freshness = tally.freshness().or(self.freshness.take());
        }
    }

    /// Adds the report of another source.
    pub(crate) fn merge(&mut self, other: Self) {
        self.start = self.start.or(other.start);
        self.notes.extend(other.notes);
        self.queries += other.queries;
        self.rows += other.rows;
        self.upserts += other.upserts;
        self.deletes += other.deletes;
        self.unresolved += other.unresolved;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.types.extend(other.types);
        self.freshness = self.freshness.take().or(other.freshness);
        self.exit = self.exit.or_worse(other.exit);
        self.errors.extend(other.errors);
    }

    /// The form that the checkpoint stores, as JSON.
    pub(crate) fn account(&self, start: Timestamp) -> String {
        #[derive(Serialize)]
        struct Account<'a> {
            start: Timestamp,
            #[serde(flatten)]
            report: &'a Report,
        }
        serde_json::to_string(&Account { start, report: self }).unwrap_or_default()
    }
}

/// Most estates have none, and then it is left out.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, clippy::ref_option, reason = "serde passes a reference")]
fn is_some<S: Serializer>(dry_run: &Option<DryRun>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(dry_run.is_some())
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((elapsed.as_secs_f64() * 1000.0).round() / 1000.0)
}

impl Report {
    /// Renders it for output: a few aligned lines with colours, or one JSON object.
    pub fn render(&self, format: LogFormat) -> String {
        match format {
            LogFormat::Text => self.to_text(),
            LogFormat::Json => serde_json::to_string(self).unwrap_or_else(|error| error.to_string()),
        }
    }
}

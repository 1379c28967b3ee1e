//! What a run did, in numbers, for a person or for a machine.

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
    /// How upserts and deletes were printed, where they were not posted; in JSON whether.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "is_some")]
    pub dry_run: Option<DryRun>,
    /// Whoever read what a dry run printed closed the output before its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// Why the run was a full one, where the checkpoint and not the configuration made it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_because: Option<String>,
    /// From when on changes were read, where not everything that exists was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the run started, on the source's clock.
    #[serde(skip)]
    pub start: Option<Timestamp>,
    /// The checkpoint with which it was compared; `None` without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// What the run could not know, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Subscriptions that the principal can read.
    pub subscriptions: u64,
    /// Those of them that Resource Graph has looked at before, and does not look at any more.
    pub not_covered: u64,
    /// Subscriptions that the checkpoint holds and that the principal cannot read any more, as ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlisted: Vec<String>,
    /// Subscriptions of which all rows were read, and are proven to be all, as ids.
    #[serde(skip)]
    pub whole: Vec<String>,
    /// Requests that Resource Graph answered.
    pub queries: u64,
    /// Rows that it answered with.
    pub rows: u64,
    /// Ids of which it has more than one row; one row of each was taken.
    #[serde(skip_serializing_if = "is_none")]
    pub duplicates: u64,
    /// Upserts that Port accepted.
    pub upserts: u64,
    /// Deletes that Port accepted.
    pub deletes: u64,
    /// Entities that Azure does not have any more, which a run that prunes deleted, or would delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<u64>,
    /// Changes without a current row, which were not sent: an upsert of nothing would wipe the entity.
    pub unresolved: u64,
    /// Entities that were read and not sent, as the catalog has them so.
    pub skipped: u64,
    /// What the checkpoint holds at the end; `None` without one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// Attempts that were repetitions, of all requests.
    pub retried: u64,
    /// Envelopes that were not accepted.
    pub failed: u64,
    /// What became of the envelopes, by the lower-case type of the resource.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, TypeCounts>,
    /// How long after the change the envelopes of changes were accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// How long the whole run took; in JSON seconds, to the millisecond.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// How it ended; in JSON the code.
    pub exit: Exit,
    /// What went wrong, a sentence each.
    pub errors: Vec<String>,
}

/// What the checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// Entities that are, or may be, in the catalog through this program.
    pub held: u64,
    /// Entities that may have changed unseen: not accepted yet, or missing without a record. Later runs ask for them by id.
    pub in_doubt: u64,
}

/// What became of the envelopes of one type of resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TypeCounts {
    /// Accepted.
    pub upserts: u64,
    /// Those of them that were new to the catalog, as far as the checkpoint knows; without one, none is.
    pub new: u64,
    /// Accepted.
    pub deletes: u64,
    /// Not accepted.
    pub failed: u64,
}

impl TypeCounts {
    /// Upserts of what the catalog had, or may have had.
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

    /// Of a run that its settings kept from beginning.
    pub fn refused(mode: &'static str, dry_run: Option<DryRun>, error: &ConfigError) -> Self {
        let errors = error.0.iter().map(ToString::to_string).collect();
        Self { dry_run, exit: Exit::Configuration, errors, ..Self::new(mode) }
    }

    /// How many entities differed, and so were posted, or tried to be.
    pub(crate) fn differing(&self) -> u64 {
        self.upserts + self.deletes + self.failed
    }

    /// Notes and logs what went wrong.
    pub(crate) fn fail(&mut self, error: &impl Problem) {
        self.note(error);
        _ = self.errors.last().inspect(|message| tracing::error!("{message}"));
    }

    /// Notes what went wrong, where nobody may read the log.
    pub(crate) fn note(&mut self, error: &impl Problem) {
        self.exit = self.exit.or_worse(error.exit());
        self.errors.push(error.told());
    }
}

impl Report {
    /// Adds what became of the envelopes of a source, and what was compared.
    pub(crate) fn add(&mut self, tally: &Tally, counts: &Counts) {
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
        // A full run also repeats deletes of long ago, which says nothing of how late it is.
        if self.mode == Mode::Incremental.name() && self.dry_run.is_none() {
            self.freshness = tally.freshness().or(self.freshness.take());
        }
    }

    /// Adds what became of a source that was read beside.
    pub(crate) fn merge(&mut self, beside: Self) {
        self.start = self.start.or(beside.start);
        self.notes.extend(beside.notes);
        self.queries += beside.queries;
        self.rows += beside.rows;
        self.upserts += beside.upserts;
        self.deletes += beside.deletes;
        self.unresolved += beside.unresolved;
        self.skipped += beside.skipped;
        self.failed += beside.failed;
        self.types.extend(beside.types);
        self.freshness = self.freshness.take().or(beside.freshness);
        self.exit = self.exit.or_worse(beside.exit);
        self.errors.extend(beside.errors);
    }

    /// What the checkpoint keeps of it, as JSON.
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

/// Most estates have none, and then nothing is said of it.
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
    /// As it is printed: a few aligned lines with colours, or one JSON object.
    pub fn render(&self, format: LogFormat) -> String {
        match format {
            LogFormat::Text => self.to_text(),
            LogFormat::Json => serde_json::to_string(self).unwrap_or_else(|error| error.to_string()),
        }
    }
}

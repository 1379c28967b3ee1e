//! What became of the envelopes of a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::config::Mode;
use crate::error::RunError;
use crate::freshness::Waits;
use crate::port::dead_letter::DeadLetters;
use crate::port::webhook::Outcome;
use crate::report::{Report, TypeCounts};
use crate::sync::change::{Change, Operation};
use crate::sync::ledger::Fate;
use crate::text::printable;

/// Refused so often in a row, it is the webhook that is wrong and not the envelopes.
const REFUSED_IN_A_ROW: u64 = 10;

/// Counts envelopes, and keeps those that were refused.
pub(crate) struct Tally {
    dead_letters: Option<DeadLetters>,
    upserts: u64,
    deletes: u64,
    refused: u64,
    failed: u64,
    refused_in_a_row: u64,
    webhook_is_wrong: bool,
    types: BTreeMap<String, TypeCounts>,
    /// Azure's time, and when it was that.
    clock: Option<(Timestamp, Instant)>,
    waits: Waits,
}

/// Types that are counted each on its own. Azure has some hundreds in use in a large estate; the rest share a line.
const MOST_TYPES: usize = 1000;
const OTHER_TYPES: &str = "other types";

/// No type of Azure's has a longer name.
const LONGEST_TYPE: usize = 200;

impl Tally {
    pub(crate) fn new(dead_letters: Option<DeadLetters>) -> Self {
        Self {
            dead_letters,
            upserts: 0,
            deletes: 0,
            refused: 0,
            failed: 0,
            refused_in_a_row: 0,
            webhook_is_wrong: false,
            types: BTreeMap::new(),
            clock: None,
            waits: Waits::new(),
        }
    }

    /// Sets the clock by Azure's: records of changes go by that one.
    pub(crate) fn starts_at(&mut self, start: Timestamp) {
        self.clock = Some((start, Instant::now()));
    }

    fn count_type(&mut self, kind: &str, outcome: &Outcome, operation: Operation) {
        let has_room = self.types.len() < MOST_TYPES || self.types.contains_key(kind);
        let kind = if has_room && kind.len() <= LONGEST_TYPE { kind } else { OTHER_TYPES };
        if !self.types.contains_key(kind) {
            self.types.insert(kind.to_owned(), TypeCounts::default());
        }
        if let Some(counts) = self.types.get_mut(kind) {
            match (outcome, operation) {
                (Outcome::Accepted, Operation::Upsert) => counts.upserts += 1,
                (Outcome::Accepted, Operation::Delete) => counts.deletes += 1,
                (Outcome::Refused(_) | Outcome::Failed(_), _) => counts.failed += 1,
            }
        }
    }

    /// How long ago a change was, on Azure's clock. What it has in its future took no time.
    fn since(&self, change: Timestamp) -> Option<Duration> {
        let (start, then) = self.clock?;
        let before = start.duration_since(change) + SignedDuration::try_from(then.elapsed()).ok()?;
        Some(before.unsigned_abs()).filter(|_| before.is_positive()).or(Some(Duration::ZERO))
    }

    /// Counts an outcome, and tells what is to be remembered of it.
    pub(crate) fn record(&mut self, change: &Change, outcome: &Outcome) -> Fate {
        let story = change.story();
        self.count_type(story.kind(), outcome, change.operation);
        match outcome {
            Outcome::Accepted => {
                let wait = story.changed_at().and_then(|at| self.since(at));
                if let Some(wait) = wait {
                    self.waits.add(wait);
                }
                if let Some(actor) = &change.actor {
                    tracing::debug!(
                        clientType = %printable(&actor.client_type),
                        operation = %printable(&actor.operation),
                        seconds = wait.unwrap_or_default().as_secs(),
                        "accepted: {}",
                        printable(&change.resource_id())
                    );
                }
                self.refused_in_a_row = 0;
                match change.operation {
                    Operation::Upsert => self.upserts += 1,
                    Operation::Delete => self.deletes += 1,
                }
                Fate::Accepted
            }
            Outcome::Refused(error) => {
                self.refused_in_a_row += 1;
                self.webhook_is_wrong |= self.refused_in_a_row >= REFUSED_IN_A_ROW;
                tracing::error!("refused: {}: {error}", printable(&change.resource_id()));
                match self.dead_letters.as_mut().map(|letters| letters.write(change, error)) {
                    Some(Err(error)) => {
                        // It is nowhere: not in Port, and not in the file.
                        self.failed += 1;
                        tracing::error!("{error}");
                        Fate::Failed
                    }
                    _ => {
                        self.refused += 1;
                        Fate::Refused
                    }
                }
            }
            Outcome::Failed(error) => {
                self.failed += 1;
                tracing::error!("not delivered: {}: {error}", printable(&change.resource_id()));
                Fate::Failed
            }
        }
    }

    /// Whether what was refused may be taken for refused: the webhook itself is right.
    pub(crate) fn is_trustworthy(&self) -> bool {
        self.refused == 0 || !(self.webhook_is_wrong || self.upserts + self.deletes == 0)
    }

    /// Adds it all to the report. Envelopes that Port refused in an earlier run, and that were found again, are refused too.
    pub(crate) fn conclude(&self, still_refused: u64, report: &mut Report) {
        report.upserts = self.upserts;
        report.deletes = self.deletes;
        report.failed = self.refused + self.failed + still_refused;
        report.types = self.types.clone();
        // A full run also repeats deletes of long ago, which says nothing of how late it is.
        if report.mode == Mode::Incremental.name() && !report.dry_run {
            report.freshness = self.waits.in_short();
        }
        if self.failed > 0 {
            report.fail(&RunError::NotDelivered(self.failed));
        }
        if !self.is_trustworthy() {
            report.fail(&RunError::AllRefused(self.refused));
        } else if self.refused > 0 {
            report.fail(&RunError::EnvelopesRefused(self.refused));
        }
        if still_refused > 0 {
            report.fail(&RunError::StillRefused(still_refused));
        }
    }
}

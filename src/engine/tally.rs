//! What became of the changes of a run, in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::{DeadLetters, Delivered, Letter, Parcel};
use crate::freshness::{Freshness, Waits};
use crate::model::{Change, Operation};
use crate::text::printable;

/// Kinds with a count of their own. A large Azure estate uses some hundreds; the rest share a line.
const MOST_KINDS: usize = 1000;
const OTHER_KINDS: &str = "other types";

/// No kind has a longer name.
const LONGEST_KIND: usize = 200;

/// What to remember of a change that was posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Accepted,
    /// It was rejected individually, and reported to whoever has to fix it.
    Rejected,
    Failed,
}

/// What became of the changes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KindCounts {
    /// Accepted.
    pub(crate) upserts: u64,
    /// Upserts of entities that were new to the catalog, as far as is remembered.
    pub(crate) new: u64,
    /// Accepted.
    pub(crate) deletes: u64,
    /// Not accepted.
    pub(crate) failed: u64,
}

/// What became of all changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Accepted.
    pub(crate) upserts: u64,
    /// Accepted.
    pub(crate) deletes: u64,
    /// Rejected individually.
    pub(crate) rejected: u64,
    /// Taken, but not shown by the catalog.
    pub(crate) unproven: u64,
    /// Neither accepted nor rejected.
    pub(crate) failed: u64,
}

/// Counts changes, and keeps those that were rejected.
pub(crate) struct Tally<'a> {
    dead_letters: Option<&'a DeadLetters>,
    counted: Counted,
    kinds: BTreeMap<Arc<str>, KindCounts>,
    /// The source's time, and when that was on this machine's clock.
    clock: Option<(Timestamp, Instant)>,
    waits: Waits,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(dead_letters: Option<&'a DeadLetters>) -> Self {
        Self { dead_letters, counted: Counted::default(), kinds: BTreeMap::new(), clock: None, waits: Waits::new() }
    }

    /// Sets the clock to the source's, by which changes are dated.
    pub(crate) fn starts_at(&mut self, start: Timestamp) {
        self.clock = Some((start, Instant::now()));
    }

    /// Counts what became of a parcel, logs it, and returns what to remember of it.
    pub(crate) fn record(&mut self, parcel: &dyn Parcel, outcome: &Delivered) -> Settled {
        let change = parcel.change();
        let settled = match outcome {
            Delivered::Accepted => self.accept(change),
            Delivered::Rejected(error) => {
                tracing::error!("rejected: {}: {error}", printable(change.id.as_str()));
                match self.dead_letters.map(|letters| letters.write(&Letter::of(parcel, error))) {
                    Some(Err(error)) => {
                        // It is nowhere: not in the catalog, and not in the file.
                        tracing::error!("{error}");
                        self.counted.failed += 1;
                        Settled::Failed
                    }
                    Some(Ok(())) | None => {
                        self.counted.rejected += 1;
                        Settled::Rejected
                    }
                }
            }
            Delivered::Unproven(error) => {
                tracing::error!("not proven: {}: {error}", printable(change.id.as_str()));
                self.counted.unproven += 1;
                Settled::Failed
            }
            Delivered::Failed(error) => {
                tracing::error!("not delivered: {}: {error}", printable(change.id.as_str()));
                self.counted.failed += 1;
                Settled::Failed
            }
        };
        let counts = self.counts_of(&change.kind);
        match (settled, change.operation) {
            (Settled::Accepted, Operation::Upsert) => counts.upserts += 1,
            (Settled::Accepted, Operation::Delete) => counts.deletes += 1,
            (Settled::Rejected | Settled::Failed, _) => counts.failed += 1,
        }
        settled
    }

    /// Counts a recorded upsert as one of a new entity.
    pub(crate) fn note_new(&mut self, change: &Change) {
        self.counts_of(&change.kind).new += 1;
    }

    fn accept(&mut self, change: &Change) -> Settled {
        let wait = change.changed_at.and_then(|at| self.since(at));
        if let Some(wait) = wait {
            self.waits.add(wait);
        }
        if let Some(actor) = &change.actor {
            tracing::debug!(
                clientType = %printable(&actor.client_type),
                operation = %printable(&actor.operation),
                seconds = wait.unwrap_or_default().as_secs(),
                "accepted: {}",
                printable(change.id.as_str())
            );
        }
        match change.operation {
            Operation::Upsert => self.counted.upserts += 1,
            Operation::Delete => self.counted.deletes += 1,
        }
        Settled::Accepted
    }

    fn counts_of(&mut self, kind: &Arc<str>) -> &mut KindCounts {
        let has_room = self.kinds.len() < MOST_KINDS || self.kinds.contains_key(kind);
        let is_counted = has_room && kind.len() <= LONGEST_KIND;
        self.kinds.entry(if is_counted { Arc::clone(kind) } else { OTHER_KINDS.into() }).or_default()
    }

    /// How long ago a change was, on the source's clock. A change in that clock's future took no time.
    fn since(&self, change: Timestamp) -> Option<Duration> {
        let (start, then) = self.clock?;
        let before = start.duration_since(change) + SignedDuration::try_from(then.elapsed()).ok()?;
        Some(before.unsigned_abs()).filter(|_| before.is_positive()).or(Some(Duration::ZERO))
    }

    pub(crate) fn counted(&self) -> Counted {
        self.counted
    }

    pub(crate) fn kinds(&self) -> &BTreeMap<Arc<str>, KindCounts> {
        &self.kinds
    }

    /// How long accepted parcels took to arrive after their changes.
    pub(crate) fn freshness(&self) -> Option<Freshness> {
        self.waits.in_short()
    }

    /// Whether rejections can be believed: if nothing was accepted, the sink itself may be wrong.
    pub(crate) fn is_trustworthy(&self) -> bool {
        self.counted.rejected == 0 || self.counted.upserts + self.counted.deletes > 0
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bytes::Bytes;

    use super::*;
    use crate::engine::{Content, ContentHasher, Fault, SharedError, SinkError};
    use crate::error::Problem;
    use crate::model::Id;

    /// A change, and what its letter contains.
    struct Row(Change, &'static str);

    impl Parcel for Row {
        fn change(&self) -> &Change {
            &self.0
        }

        fn content(&self, _: &ContentHasher) -> Content {
            Content(0)
        }

        fn size(&self) -> usize {
            0
        }

        fn letter(&self) -> Bytes {
            Bytes::from_static(self.1.as_bytes())
        }
    }

    #[derive(Clone, Debug, thiserror::Error)]
    #[error("no")]
    struct No;

    impl Problem for No {}

    impl SinkError for No {
        fn fault(&self) -> Fault {
            Fault::Rejected
        }

        fn status(&self) -> Option<u16> {
            Some(422)
        }
    }

    fn row(kind: &str, operation: Operation) -> Row {
        let id = Id::new("/s/x", 2, 2).unwrap();
        Row(
            Change {
                id,
                operation,
                label: "resource",
                kind: kind.into(),
                changed_at: None,
                actor: None,
                row: Bytes::new(),
            },
            "{}",
        )
    }

    fn record(tally: &mut Tally<'_>, row: &Row, outcome: &Delivered) -> Settled {
        tally.record(row, outcome)
    }

    fn no() -> SharedError {
        Rc::new(No)
    }

    #[test]
    fn everything_is_counted_once_and_by_its_kind() {
        let mut tally = Tally::new(None);
        let (upsert, delete) = (row("a/b", Operation::Upsert), row("a/b", Operation::Delete));
        assert_eq!(record(&mut tally, &upsert, &Delivered::Accepted), Settled::Accepted);
        assert_eq!(record(&mut tally, &delete, &Delivered::Accepted), Settled::Accepted);
        assert_eq!(record(&mut tally, &upsert, &Delivered::Rejected(no())), Settled::Rejected);
        assert_eq!(record(&mut tally, &delete, &Delivered::Failed(no())), Settled::Failed);
        assert_eq!(record(&mut tally, &delete, &Delivered::Unproven(no())), Settled::Failed, "it stays in doubt");
        record(&mut tally, &row("c/d", Operation::Upsert), &Delivered::Accepted);
        tally.note_new(&row("c/d", Operation::Upsert).0);
        assert_eq!(tally.counted(), Counted { upserts: 2, deletes: 1, rejected: 1, unproven: 1, failed: 1 });
        assert_eq!(tally.kinds()["a/b"], KindCounts { upserts: 1, new: 0, deletes: 1, failed: 3 });
        assert_eq!(tally.kinds()["c/d"], KindCounts { upserts: 1, new: 1, deletes: 0, failed: 0 });
    }

    #[test]
    fn kinds_are_as_many_as_fit_a_report() {
        let mut tally = Tally::new(None);
        for number in 0..MOST_KINDS + 10 {
            record(&mut tally, &row(&format!("a/{number}"), Operation::Upsert), &Delivered::Accepted);
        }
        record(&mut tally, &row(&"x".repeat(LONGEST_KIND + 1), Operation::Upsert), &Delivered::Accepted);
        record(&mut tally, &row("a/1", Operation::Upsert), &Delivered::Accepted);
        assert_eq!(tally.kinds().len(), MOST_KINDS + 1);
        assert_eq!((tally.kinds()[OTHER_KINDS].upserts, tally.kinds()["a/1"].upserts), (11, 2));
    }

    #[test]
    fn what_is_rejected_is_not_believed_where_nothing_was_accepted() {
        let mut tally = Tally::new(None);
        assert!(tally.is_trustworthy() && tally.counted().upserts == 0);
        for _ in 0..100 {
            record(&mut tally, &row("a/b", Operation::Upsert), &Delivered::Rejected(no()));
        }
        assert!(!tally.is_trustworthy());
        record(&mut tally, &row("a/b", Operation::Delete), &Delivered::Accepted);
        assert!(tally.is_trustworthy() && tally.counted().deletes > 0);
    }

    #[test]
    fn what_is_nowhere_has_failed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("letters");
        let letters = DeadLetters::open(&path).unwrap();
        let mut tally = Tally::new(Some(&letters));
        let row = row("a/b", Operation::Upsert);
        let bad = Row(row.0.clone(), "{");
        assert_eq!(tally.record(&bad, &Delivered::Rejected(no())), Settled::Failed);
        assert_eq!(tally.record(&row, &Delivered::Rejected(no())), Settled::Rejected);
        assert_eq!((tally.counted().rejected, tally.counted().failed), (1, 1));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"envelope\":{},\"status\":422,\"reason\":\"no\"}\n");
    }

    #[test]
    fn waits_go_by_the_clock_of_the_source() {
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let changed = |seconds| {
            let change = row("a/b", Operation::Upsert).0;
            Row(Change { changed_at: Some(start - SignedDuration::from_secs(seconds)), ..change }, "{}")
        };
        let mut tally = Tally::new(None);
        record(&mut tally, &changed(10), &Delivered::Accepted);
        assert!(tally.freshness().is_none(), "no clock is set");
        tally.starts_at(start);
        record(&mut tally, &changed(600), &Delivered::Accepted);
        record(&mut tally, &changed(-60), &Delivered::Accepted);
        record(&mut tally, &changed(9000), &Delivered::Failed(no()));
        let freshness = tally.freshness().unwrap();
        assert_eq!((freshness.changes, freshness.most.as_secs(), freshness.least.as_secs()), (2, 600, 0));
    }
}

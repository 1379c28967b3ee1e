//! The middle: compares what a source shows with what the replica holds, and sends the difference to a sink.
//!
//! It knows changes, shards, containers and leaves, and no vendor. A run goes through the same steps for each batch of shards
//! (`planning`, `reading`): the records and, once a day, all rows of `containers` and `leaves` are read; what is missing is
//! asked for (`missing`); what is wanted of each entity is compared with its entry (`decide`); what differs is written down as
//! intended, posted (`delivery`) and settled (`posting`). Marks follow reading alone: what was not delivered is an entry that
//! says so.

mod batch;
mod containers;
mod content;
mod dead_letters;
mod decide;
mod delivery;
mod forgetting;
mod health;
mod leaves;
mod missing;
#[cfg(test)]
mod model_test;
mod opening;
mod planning;
mod posting;
mod reading;
mod relations;
mod replica;
mod resending;
mod rules;
mod sink;
mod source;
mod tally;
mod trust;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};

use foldhash::quality::RandomState;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use crate::model::{Change, Id};
pub(crate) use content::{Content, ContentHasher};
pub(crate) use dead_letters::{DeadLetterError, DeadLetters};
pub(crate) use delivery::{Delivered, Order};
pub(crate) use delivery::{Delivery, LANDING, Posts};
#[cfg(test)]
pub(crate) use delivery::{DeliveryError, Wave};
pub(crate) use replica::{Absent, Entry, Mark, Replica, Rows, State, Terms};
pub(crate) use resending::Unsent;
pub use resending::Vanished;
pub(crate) use sink::{
    AnySink, Fault, Letter, Limits, Outcome, Parcel, Receipt, Rendered, SharedError, Sink, SinkError,
};
pub(crate) use source::{Answer, Found, Intake, Reading, Source, Window};
pub(crate) use tally::{Counted, KindCounts, Settled, Tally};

/// Entries that are looked at, and changes that are posted, at once.
const PAGE: usize = 1000;

/// Records no longer prove what the entries say once they are this old: Azure may keep them for only 7 days.
pub(crate) const RECORDS_KEPT: SignedDuration = SignedDuration::from_hours(6 * 24);

/// How late a row is at most, with much to spare. Of what is older than this and exists, a full read shows the row.
const ROWS_LATE: SignedDuration = SignedDuration::from_hours(24);

/// How long a row may come and go before it counts as gone.
const WAIT: SignedDuration = SignedDuration::from_mins(30);

/// How long what is gone is asked for in case that it shows after all: rows that come and go do so within a day.
const WATCH: SignedDuration = SignedDuration::from_hours(48);

/// How a run goes about it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the replica must belong to.
    pub(crate) terms: Terms,
    /// How far before the last run records are read again.
    pub(crate) overlap: SignedDuration,
    pub(crate) full: Full,
    pub(crate) first: First,
    pub(crate) leaving: Leaving,
    pub(crate) resend: Resend,
    pub(crate) bounds: Bounds,
}

/// How much of something is much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Changes that are intended in one durable write, and posted after it.
    pub(crate) page: usize,
    /// Ids of a shard that are asked for one by one; of more all rows are read.
    pub(crate) asked: usize,
    /// Of what may only show late, ids that are asked for in a run: half of them the oldest, half the newest.
    pub(crate) watched: usize,
    /// Entities of a shard that may be missing, or a tenth of it, before the source is taken for blind.
    pub(crate) guarded: u64,
    /// How long something is missing before it counts as gone.
    pub(crate) wait: SignedDuration,
    /// How long something that is gone, or never showed, is asked for in case that it shows after all.
    pub(crate) watch: SignedDuration,
    /// More deletes of a shard than so many, and than so many percent of what is held of it, are not sent.
    pub(crate) mass: Option<(u64, u64)>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { page: PAGE, asked: 2000, watched: 100, guarded: 20, wait: WAIT, watch: WATCH, mass: None }
    }
}

/// When all rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// In this run.
    Now,
    /// When the last time is so long ago.
    Every(SignedDuration),
    /// In no run: nothing is remembered, and what changed in this time is all there is to it.
    Never { window: SignedDuration },
}

/// When the first reading of all rows of a shard counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Once another one agrees: rows of a shard that is new, or newly shown, come late.
    Confirmed,
    AtOnce,
}

/// What becomes of entities that leave the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    Delete,
    /// They stay in the catalog, and are forgotten here.
    Keep,
}

/// What of that which is read and is held already is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resend {
    Nothing,
    All,
}

/// A shard as the source lists it: it exists.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) id: Id,
    /// The upsert of its own entity, where it has one.
    pub(crate) root: Option<Change>,
    pub(crate) sight: Sight,
}

/// Whether the source looks at a shard, as a row of it or of what is in it has just shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Covered,
    NotCovered,
    /// It could not be asked.
    Unknown,
}

/// A shard that is listed, and that the source does not look at.
#[derive(Clone, Debug)]
pub(crate) struct Uncovered {
    pub(crate) id: Id,
    /// Up to when its records have been read; `None`: it was never looked at.
    pub(crate) since: Option<Timestamp>,
    /// Whether an earlier run has met it.
    pub(crate) is_known: bool,
}

/// What a run has compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Entities that were read and are as the catalog has them.
    pub(crate) same: u64,
    /// Entities that were read and are as the catalog rejected them.
    pub(crate) still_refused: u64,
    /// Changes that were decided to be sent.
    pub(crate) differ: u64,
    /// Entities with a record and without a row, or whose container has none, so that their scope is not known.
    pub(crate) unresolved: u64,
    /// Entities with a record whose kind never had a row: nothing is to be waited for. One of their kinds.
    pub(crate) rowless: (u64, Option<Arc<str>>),
    /// Entities with which every query failed. Everything else was read.
    pub(crate) unreadable: u64,
    pub(crate) uncovered: Vec<Uncovered>,
    /// Shards of which all rows were read, and are proven to be all.
    pub(crate) whole: Vec<Id>,
    /// Entities that are absent, in shards where so many are that none is taken for gone yet.
    pub(crate) guarded: u64,
    /// Deletes that were not sent, as they are a mass of a shard's: by shard.
    pub(crate) held_back: Vec<(Id, u64)>,
}

/// Whether an accepted upsert is of an entity that the catalog did not have, as far as is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    New,
    Known,
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal<E> {
    #[error(transparent)]
    Replica(E),
    /// Nobody takes what is to be posted any more; why is known there.
    #[error("stopped before everything was read")]
    Stopped,
}

/// One run of a source, a sink and a replica.
pub(crate) struct Engine<'a, S: Source, R: Replica> {
    source: &'a S,
    sink: &'a dyn AnySink,
    replica: &'a R,
    settings: &'a Settings,
    hasher: ContentHasher,
    /// Of the run, on the source's clock.
    start: Timestamp,
    /// Until the last was given.
    orders: RefCell<Option<mpsc::Sender<Order>>>,
    /// Entities that were intended in this run.
    sent: RefCell<HashSet<Key>>,
    /// Orders to post that were given, and how many of them, the first ones, are known to be settled.
    posted: Cell<u64>,
    settled: Cell<u64>,
    counts: RefCell<Counts>,
    failures: RefCell<Vec<S::Error>>,
    /// What went wrong with the replica where it could not be told.
    broken: RefCell<Option<R::Error>>,
}

/// A short hash of an id, for what is remembered of many within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(u64);

impl Key {
    fn of(id: &Id) -> Self {
        // Another in every run: nobody can choose two names that are taken for one.
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);
        Self(HASHER.hash_one(id.as_str()))
    }
}

impl<'a, S: Source, R: Replica> Engine<'a, S, R> {
    /// An engine, and the orders that it will give to whoever posts.
    pub(crate) fn new(
        source: &'a S,
        sink: &'a dyn AnySink,
        replica: &'a R,
        settings: &'a Settings,
        start: Timestamp,
    ) -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(posting::WAITING);
        let engine = Self {
            source,
            sink,
            replica,
            settings,
            hasher: ContentHasher::of_catalog(&settings.terms.sink),
            start,
            orders: RefCell::new(Some(orders)),
            sent: RefCell::default(),
            posted: Cell::new(0),
            settled: Cell::new(0),
            counts: RefCell::default(),
            failures: RefCell::default(),
            broken: RefCell::default(),
        };
        (engine, receiver)
    }

    /// The start of the run, on the source's clock.
    pub(crate) fn start(&self) -> Timestamp {
        self.start
    }

    /// Gives no more orders: whoever posts may end.
    pub(crate) fn close(&self) {
        self.orders.take();
    }

    async fn order(&self, order: Order) -> Result<(), Fatal<R::Error>> {
        let orders = self.orders.borrow().clone();
        orders.ok_or(Fatal::Stopped)?.send(order).await.map_err(|_| Fatal::Stopped)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// What could not be read. The rest was.
    pub(crate) fn take_failures(&self) -> Vec<S::Error> {
        self.failures.take()
    }

    /// What the source answered; why it did not is kept for the end.
    fn kept<T>(&self, answer: Result<T, S::Error>) -> Option<T> {
        answer.map_err(|error| self.failures.borrow_mut().push(error)).ok()
    }

    fn entry(&self, id: &Id) -> Result<Option<Entry>, Fatal<R::Error>> {
        self.replica.entry(id).map_err(Fatal::Replica)
    }

    fn put(&self, id: &Id, entry: Entry) -> Result<(), Fatal<R::Error>> {
        self.replica.put(id, Some(entry)).map_err(Fatal::Replica)
    }

    async fn save(&self) -> Result<(), Fatal<R::Error>> {
        self.replica.save().await.map_err(Fatal::Replica)
    }

    /// Goes through what a look-up yields page by page.
    fn each(
        mut next: impl FnMut(Option<&Id>) -> Result<Vec<(Id, Entry)>, R::Error>,
        mut act: impl FnMut(Id, Entry) -> Result<(), Fatal<R::Error>>,
    ) -> Result<(), Fatal<R::Error>> {
        let mut after: Option<Id> = None;
        loop {
            let page = next(after.as_ref()).map_err(Fatal::Replica)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (id, entry) in page {
                act(id, entry)?;
            }
        }
    }

    fn each_child(
        &self,
        parent: &Id,
        act: impl FnMut(Id, Entry) -> Result<(), Fatal<R::Error>>,
    ) -> Result<(), Fatal<R::Error>> {
        Self::each(|after| self.replica.children(parent, after, PAGE), act)
    }

    fn each_open(
        &self,
        shard: &Id,
        act: impl FnMut(Id, Entry) -> Result<(), Fatal<R::Error>>,
    ) -> Result<(), Fatal<R::Error>> {
        Self::each(|after| self.replica.open_entries(shard, after, PAGE), act)
    }

    fn each_entry(
        &self,
        shard: &Id,
        act: impl FnMut(Id, Entry) -> Result<(), Fatal<R::Error>>,
    ) -> Result<(), Fatal<R::Error>> {
        Self::each(|after| self.replica.entries(shard, after, PAGE), act)
    }
}

/// From when on records are read of what nothing is known of: of what may be gone, and of what may not show yet.
pub(crate) fn kept_and_recent(start: Timestamp) -> (Timestamp, Timestamp) {
    (before(start, RECORDS_KEPT), before(start, ROWS_LATE))
}

/// A time so long before another.
fn before(time: Timestamp, back: SignedDuration) -> Timestamp {
    time.checked_sub(back).unwrap_or(Timestamp::MIN)
}

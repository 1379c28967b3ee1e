//! The core: compares what a source shows with what the replica holds, and sends the difference to a sink.
//!
//! It knows changes, shards, containers and leaves, and no vendor. A run takes the same steps for each batch of shards
//! (`planning`, `reading`): it reads the records and, once a day, all rows of `containers` and `leaves`, asks for what
//! is missing (`missing`), compares the desired state of each entity with its entry (`decide`), writes down each
//! difference as intended, posts it (`delivery`) and settles it (`posting`). Marks depend on reading alone: an
//! undelivered change is an entry that says so.

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

/// Entries to look at, and changes to post, at a time.
const PAGE: usize = 1000;

/// Entries older than this are no longer backed by records: Azure may keep records for only 7 days.
pub(crate) const RECORDS_KEPT: SignedDuration = SignedDuration::from_hours(6 * 24);

/// The longest delay of a row, with plenty of margin: a full read shows the row of everything that exists and is older.
const ROWS_LATE: SignedDuration = SignedDuration::from_hours(24);

/// How long a row must be missing to count as gone: until then it may come and go.
const WAIT: SignedDuration = SignedDuration::from_mins(30);

/// How long to keep asking for what is gone, in case it shows up after all: rows that come and go do so within a day.
const WATCH: SignedDuration = SignedDuration::from_hours(48);

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the replica must belong to.
    pub(crate) terms: Terms,
    /// How far back before the last run to read records again.
    pub(crate) overlap: SignedDuration,
    pub(crate) full: Full,
    pub(crate) first: First,
    pub(crate) leaving: Leaving,
    pub(crate) resend: Resend,
    pub(crate) bounds: Bounds,
}

/// Limits and thresholds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Changes per durable write of intentions, which are posted after it.
    pub(crate) page: usize,
    /// Ids of a shard to ask for one by one; beyond this, all its rows are read.
    pub(crate) asked: usize,
    /// Ids to ask for in a run that may merely be late: half of them the oldest, half the newest.
    pub(crate) watched: usize,
    /// How many entities of a shard may be missing (or a tenth of it, if that is more) before the source counts as
    /// blind.
    pub(crate) guarded: u64,
    /// How long something is missing before it counts as gone.
    pub(crate) wait: SignedDuration,
    /// How long to keep asking for something that is gone, or never showed, in case it shows up after all.
    pub(crate) watch: SignedDuration,
    /// Deletes of a shard are held back if they exceed both this number and this percentage of what is held of it.
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
    /// Once the last full read is this long ago.
    Every(SignedDuration),
    /// Never: nothing is remembered, and only changes within this window are read.
    Never { window: SignedDuration },
}

/// When the first full read of a shard counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Once a second one agrees: rows of a new, or newly visible, shard come late.
    Confirmed,
    AtOnce,
}

/// What happens to entities that leave the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    Delete,
    /// They stay in the catalog, and are forgotten here.
    Keep,
}

/// Whether to send again what is read and already held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resend {
    Nothing,
    All,
}

/// A shard that the source lists, so it exists.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) id: Id,
    /// The upsert of its own entity, if it has one.
    pub(crate) root: Option<Change>,
    pub(crate) sight: Sight,
}

/// Whether the source covers a shard, as a row of the shard or of something in it has just shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Covered,
    NotCovered,
    /// The source could not be asked.
    Unknown,
}

/// A shard that is listed but not covered by the source.
#[derive(Clone, Debug)]
pub(crate) struct Uncovered {
    pub(crate) id: Id,
    /// Its records have been read up to this time; `None` if it was never covered.
    pub(crate) since: Option<Timestamp>,
    /// Whether an earlier run saw it.
    pub(crate) is_known: bool,
}

/// What a run found and decided.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Entities that were read and match the catalog.
    pub(crate) same: u64,
    /// Entities that were read and are still as the catalog rejected them.
    pub(crate) still_refused: u64,
    /// Changes to be sent.
    pub(crate) differ: u64,
    /// Entities with a record but no row, or whose container has no row, so that their scope is unknown.
    pub(crate) unresolved: u64,
    /// Entities with a record whose kind never had a row, so that there is nothing to wait for; and one of their kinds.
    pub(crate) rowless: (u64, Option<Arc<str>>),
    /// Entities that make every query fail. Everything else was read.
    pub(crate) unreadable: u64,
    pub(crate) uncovered: Vec<Uncovered>,
    /// Shards whose rows were all read, and proven complete.
    pub(crate) whole: Vec<Id>,
    /// Absent entities in shards where so many are absent that none counts as gone yet.
    pub(crate) guarded: u64,
    /// Deletes that were held back, by shard, because the shard had too many.
    pub(crate) held_back: Vec<(Id, u64)>,
}

/// Whether an accepted upsert was for an entity new to the catalog, as far as is remembered.
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
    /// Nobody takes orders to post any more; the receiver knows why.
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
    /// The start of the run, on the source's clock.
    start: Timestamp,
    /// `None` after the last order.
    orders: RefCell<Option<mpsc::Sender<Order>>>,
    /// Entities whose changes were intended in this run.
    sent: RefCell<HashSet<Key>>,
    /// How many post orders were given, and how many of them, counted from the first, are known to be settled.
    posted: Cell<u64>,
    settled: Cell<u64>,
    counts: RefCell<Counts>,
    failures: RefCell<Vec<S::Error>>,
    /// A replica error that could not be returned where it happened.
    broken: RefCell<Option<R::Error>>,
}

/// A short hash of an id, for sets of many ids within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(u64);

impl Key {
    fn of(id: &Id) -> Self {
        // Seeded anew in every run, so that nobody can choose two names that collide.
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);
        Self(HASHER.hash_one(id.as_str()))
    }
}

impl<'a, S: Source, R: Replica> Engine<'a, S, R> {
    /// An engine, and the receiver of the orders that it will give.
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

    /// Gives no more orders, so that the delivery may end.
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

    /// What could not be read. Everything else was.
    pub(crate) fn take_failures(&self) -> Vec<S::Error> {
        self.failures.take()
    }

    /// The source's answer; an error is kept for the end.
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

    /// Goes through the results of a look-up page by page.
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

/// How far back to read records if nothing is known of a shard: for entities that may be gone, and for entities that
/// may not show yet.
pub(crate) fn kept_and_recent(start: Timestamp) -> (Timestamp, Timestamp) {
    (before(start, RECORDS_KEPT), before(start, ROWS_LATE))
}

/// The time `back` before `time`.
fn before(time: Timestamp, back: SignedDuration) -> Timestamp {
    time.checked_sub(back).unwrap_or(Timestamp::MIN)
}

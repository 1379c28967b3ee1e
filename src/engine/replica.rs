//! What the program remembers: one entry for each entity of the catalog, one mark for each shard.

use std::error::Error;
use std::sync::Arc;

use jiff::Timestamp;

use super::Content;
use crate::model::{Id, Names, Scope};

/// What the catalog has of an entity from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It accepted this.
    Held(Content),
    /// It rejected exactly this, individually.
    Refused(Content),
    /// Something may or may not have arrived.
    Unknown,
    Nothing,
}

/// Since when an entity has been missing: something says that it should exist, and no row shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Absent {
    /// A record says that it was deleted: there is nothing to wait for.
    Proven,
    Since(Timestamp),
}

/// What is remembered of an entity. An entity without an entry was never posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) state: State,
    /// The start of the run that last got an answer for it.
    pub(crate) at: Option<Timestamp>,
    pub(crate) absent: Option<Absent>,
    /// It is certainly in the catalog, whatever its content.
    pub(crate) there: bool,
    /// For a container: what its own row said last.
    pub(crate) scope: Option<Scope>,
    /// For a container: everything in it is to be read. For a leaf: it is to be read again.
    pub(crate) unread: bool,
    /// For a leaf, which has no scope: it is new to the catalog, and what relates to it is to be read again.
    pub(crate) fresh: bool,
    /// The names under which the catalog has, or may have, something of it.
    pub(crate) names: Names,
}

/// Whether entities of a kind have rows. Some kinds have change records only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Shown,
    /// One entity of the kind is being waited for, as the first row of a kind may come late.
    Awaited,
}

/// How far a shard has been read. All times are the source's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Records up to here, less the overlap, have been read.
    pub(crate) since: Option<Timestamp>,
    /// The start of the last full read that was proven.
    pub(crate) full: Option<Timestamp>,
}

/// What a replica belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The catalog: [`super::Sink::identity`].
    pub(crate) sink: String,
    /// What decides which entities belong in the catalog.
    pub(crate) scope: String,
}

impl Entry {
    pub(crate) const NEW: Self = Self {
        state: State::Nothing,
        at: None,
        absent: None,
        there: false,
        scope: None,
        unread: false,
        fresh: false,
        names: Names::UNKNOWN,
    };

    /// Whether the catalog has, or may have, something of it.
    pub(crate) fn is_held(&self) -> bool {
        self.state != State::Nothing
    }

    /// Whether a run has to look at it even if nothing mentions it: it is in doubt, or is to be forgotten at some
    /// point.
    pub(crate) fn is_open(&self) -> bool {
        match self.state {
            State::Unknown => true,
            State::Nothing => self.absent.is_some() || self.unread || self.scope != Some(Scope::Out),
            State::Held(_) | State::Refused(_) => self.absent.is_some() || self.unread || self.fresh,
        }
    }

    /// Whether the catalog may differ from what it should have.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_held() && self.is_open()
    }

    /// The same entry, with the state in the catalog unknown.
    pub(crate) fn doubted(self) -> Self {
        Self { state: State::Unknown, ..self }
    }
}

/// The memory of a run. Writes are visible at once, and durable once saved.
///
/// Entries come in the replica's own order, which keeps those of a shard together; `after` is the last one returned.
pub(crate) trait Replica {
    type Error: Error + 'static;

    /// Whether anything is remembered between runs. If not, only roots and containers are kept, and only for this run.
    fn remembers(&self) -> bool;

    /// What it belonged to when it was last saved; `None` if it is new.
    fn terms(&self) -> Option<Terms>;

    fn set_terms(&self, terms: Terms);

    /// Whether entities of this kind have rows, as far as is remembered; `None` if the kind comes up for the first
    /// time. If nothing is remembered, they may have.
    fn rows_of(&self, kind: &str) -> Option<Rows>;

    fn note_rows(&self, kind: &Arc<str>, rows: Rows);

    fn entry(&self, id: &Id) -> Result<Option<Entry>, Self::Error>;

    /// Replaces an entry, or forgets it.
    fn put(&self, id: &Id, entry: Option<Entry>) -> Result<(), Self::Error>;

    /// Replaces an entry by the result of `change`, which must not use the replica.
    fn update(&self, id: &Id, change: impl FnOnce(Option<Entry>) -> Option<Entry>) -> Result<(), Self::Error>;

    /// The next entries of a shard, including its own.
    fn entries(&self, shard: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, Self::Error>;

    /// The next entries of a shard that are open.
    fn open_entries(&self, shard: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, Self::Error>;

    /// The next entries with this parent.
    fn children(&self, parent: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, Self::Error>;

    /// How many entries of a shard are held.
    fn held(&self, shard: &Id) -> u64;

    /// Every shard that has a mark, or an entry.
    fn shards(&self) -> Result<Vec<Id>, Self::Error>;

    fn mark(&self, shard: &Id) -> Mark;

    fn set_mark(&self, shard: &Id, mark: Mark);

    /// Where the source resumes reading the records of a shard, in its own format; `None` if their times are enough.
    fn cursor(&self, shard: &Id) -> Option<String>;

    fn set_cursor(&self, shard: &Id, cursor: Option<String>);

    /// Makes everything that was put durable, atomically.
    async fn save(&self) -> Result<(), Self::Error>;
}

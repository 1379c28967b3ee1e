//! What the program remembers: one entry for each entity of the catalog, one mark for each shard.

use std::error::Error;
use std::sync::Arc;

use jiff::Timestamp;

use super::Content;
use crate::model::{Id, Names, Scope};

/// What the catalog has of an entity through us.
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

/// Since when an entity is missed: something says that it should be there, and no row shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Absent {
    /// A record says that it was deleted: there is nothing to wait for.
    Proven,
    Since(Timestamp),
}

/// What is remembered of an entity. Without an entry it was never posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) state: State,
    /// The start of the run that last got an answer for it.
    pub(crate) at: Option<Timestamp>,
    pub(crate) absent: Option<Absent>,
    /// It is certainly in the catalog, whatever its content.
    pub(crate) there: bool,
    /// Of a container: what its own row said last.
    pub(crate) scope: Option<Scope>,
    /// Of a container: everything in it is to be read. Of a leaf: it is to be read again.
    pub(crate) unread: bool,
    /// Of a leaf, which has no scope: it is new to the catalog, and what relates to it is to be read again.
    pub(crate) fresh: bool,
    /// Under which names something of it is, or may be, in the catalog.
    pub(crate) names: Names,
}

/// Whether entities of a kind have rows. Of some kinds there are records of change only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Shown,
    /// One of the kind is waited for, as the first of it may come late.
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
    /// What decides which entities belong in it.
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

    /// Whether something of it is, or may be, in the catalog.
    pub(crate) fn is_held(&self) -> bool {
        self.state != State::Nothing
    }

    /// Whether a run has to look at it though nothing tells of it: it is in doubt, or to be forgotten some time.
    pub(crate) fn is_open(&self) -> bool {
        match self.state {
            State::Unknown => true,
            State::Nothing => self.absent.is_some() || self.unread || self.scope != Some(Scope::Out),
            State::Held(_) | State::Refused(_) => self.absent.is_some() || self.unread || self.fresh,
        }
    }

    /// Whether the catalog may not have of it what it should.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_held() && self.is_open()
    }

    /// The same, of which nobody knows what the catalog has.
    pub(crate) fn doubted(self) -> Self {
        Self { state: State::Unknown, ..self }
    }
}

/// The memory of a run. What is put is seen at once, and lasts once it is saved.
///
/// Entries come in an order of the replica's own, in which those of a shard are together: `after` is the last one that came.
pub(crate) trait Replica {
    type Error: Error + 'static;

    /// Whether there is anything before this run and after it. Else only what is put of roots and containers is kept, and for
    /// this run.
    fn remembers(&self) -> bool;

    /// What it belonged to when it was last saved; `None` if it is new.
    fn terms(&self) -> Option<Terms>;

    fn set_terms(&self, terms: Terms);

    /// Whether entities of this kind have rows, as far as is remembered; `None` if one came up for the first time. Where nothing is
    /// remembered, they may have.
    fn rows_of(&self, kind: &str) -> Option<Rows>;

    fn note_rows(&self, kind: &Arc<str>, rows: Rows);

    fn entry(&self, id: &Id) -> Result<Option<Entry>, Self::Error>;

    /// Replaces an entry, or forgets it.
    fn put(&self, id: &Id, entry: Option<Entry>) -> Result<(), Self::Error>;

    /// Replaces an entry by what follows from it. `change` asks for nothing here.
    fn update(&self, id: &Id, change: impl FnOnce(Option<Entry>) -> Option<Entry>) -> Result<(), Self::Error>;

    /// The next entries of a shard, its own among them.
    fn entries(&self, shard: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, Self::Error>;

    /// The next entries of a shard that are open.
    fn open_entries(&self, shard: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, Self::Error>;

    /// The next entries whose parent this is.
    fn children(&self, parent: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, Self::Error>;

    /// How many entries of a shard are held.
    fn held(&self, shard: &Id) -> u64;

    /// Every shard that has a mark, or an entry.
    fn shards(&self) -> Result<Vec<Id>, Self::Error>;

    fn mark(&self, shard: &Id) -> Mark;

    fn set_mark(&self, shard: &Id, mark: Mark);

    /// Where the source goes on with the records of a shard, in its own words; `None` where their times say that.
    fn cursor(&self, shard: &Id) -> Option<String>;

    fn set_cursor(&self, shard: &Id, cursor: Option<String>);

    /// Makes all that was put durable, all of it or nothing.
    async fn save(&self) -> Result<(), Self::Error>;
}

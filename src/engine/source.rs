//! What the engine asks of a source.

use std::collections::HashSet;
use std::error::Error;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::model::{Change, Finding, Id, Scope};

/// Where a source puts what it finds, page by page. The reading ends when the receiver is dropped.
pub(crate) type Intake = mpsc::Sender<Vec<Finding>>;

/// Which records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// All after this time.
    Since(Timestamp),
    /// For shards of which nothing is known, and whose rows are all read: for containers all records since `kept`; for
    /// leaves without a row, deletes since `kept` and the others since `recent`.
    Everything { kept: Timestamp, recent: Timestamp },
}

/// What a reading that came to its end has shown. Everything it found is in the intake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The shards that the answer really covers: it, or an answer to a query made alongside, has a row of each. Records
    /// show no coverage; they are read for shards that were just found covered.
    pub(crate) covered: HashSet<Id>,
    /// Ids that make every query fail. Everything else was read.
    pub(crate) failed: Vec<Id>,
    /// Shards that could not be fully read, none of which is in `covered`. The source reports why.
    pub(crate) unread: HashSet<Id>,
}

/// What was found for some ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Those that have a row.
    pub(crate) findings: Vec<Finding>,
    pub(crate) answer: Answer,
}

/// A reading that has begun: its first page is there or on its way, but nothing has been delivered.
pub(crate) trait Reading {
    type Error;

    /// Reads everything into `intake`. An error means that something may be missing; what was delivered is valid all
    /// the same.
    async fn deliver(self, intake: Intake) -> Result<Answer, Self::Error>;
}

/// A source of entities: what exists, and what its records say.
pub(crate) trait Source {
    type Error: Error + 'static;
    type Reading<'a>: Reading<Error = Self::Error>
    where
        Self: 'a;

    /// The most shards per query.
    fn together(&self) -> usize;

    /// Whether a container that has not been seen is in scope.
    fn unseen(&self) -> Scope;

    /// The latest records of entities in `window`, each with its current row: of roots and containers, and of leaves.
    /// `cursor` is what [`Source::cursor`] returned when the shard was last read; it is passed only if the shard is
    /// read alone and not in full.
    async fn changes<'a>(
        &'a self,
        shards: &'a [Id],
        window: Window,
        cursor: Option<String>,
    ) -> Result<(Self::Reading<'a>, Self::Reading<'a>), Self::Error>;

    /// Where to resume the records of a shard that were read to their end; `None` if times are enough.
    fn cursor(&self, shard: &Id) -> Option<String>;

    /// All containers that exist.
    async fn containers<'a>(&'a self, shards: &'a [Id]) -> Result<Self::Reading<'a>, Self::Error>;

    /// All leaves that exist.
    async fn leaves<'a>(&'a self, shards: &'a [Id]) -> Result<Self::Reading<'a>, Self::Error>;

    /// All leaves that exist in these containers of these shards.
    async fn within<'a>(&'a self, shards: &'a [Id], containers: &'a [Id]) -> Result<Self::Reading<'a>, Self::Error>;

    /// Those of these ids that have a row, regardless of filters. The shards' own containers are asked for along with
    /// them.
    async fn ask(&self, ids: &[Id]) -> Result<Found, Self::Error>;

    /// The shards with entities that relate to those of this one, or are parts of them; none if relations follow from
    /// the ids.
    fn relating(&self, shard: &Id) -> Vec<Id>;

    /// The whole that this entity is a part of. A part is reported separately, and is in the catalog as long as its
    /// whole is.
    fn whole(&self, id: &Id) -> Option<Id>;

    /// The entities of those shards that relate to any of these, or are parts of one.
    async fn related(&self, ids: &[Id]) -> Result<Vec<Id>, Self::Error>;

    /// The delete of an entity without a row, built from its id alone.
    fn gone(&self, id: &Id) -> Change;
}

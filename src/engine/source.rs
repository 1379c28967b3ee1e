//! What the engine asks of a source.

use std::collections::HashSet;
use std::error::Error;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::model::{Change, Finding, Id, Scope};

/// Where a source puts what it finds, page by page. When nobody takes them any more, the reading ends.
pub(crate) type Intake = mpsc::Sender<Vec<Finding>>;

/// Which records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// All after this time.
    Since(Timestamp),
    /// For shards of which nothing is known, and all of which is read: all of containers since `kept`, and of leaves those
    /// whose row is not there: deletes since `kept`, the others since `recent`.
    Everything { kept: Timestamp, recent: Timestamp },
}

/// What a reading that came to its end has shown. All that it found is in the intake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The shards that were really looked at: a row of each is in the answer, or in one asked for right beside it. Of records
    /// nothing shows that; they are read of shards that were just looked at.
    pub(crate) covered: HashSet<Id>,
    /// Ids with which every query fails. Everything else came.
    pub(crate) failed: Vec<Id>,
    /// Shards of which something could not be read, and none of which is in `covered`. The source tells why.
    pub(crate) unread: HashSet<Id>,
}

/// What was found of some ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Those that have a row.
    pub(crate) findings: Vec<Finding>,
    pub(crate) answer: Answer,
}

/// A reading that has begun: its first page is there or under way, nothing of it is delivered.
pub(crate) trait Reading {
    type Error;

    /// Reads all of it into `intake`. An error means that something may be missing; what came is as good as it would be
    /// otherwise.
    async fn deliver(self, intake: Intake) -> Result<Answer, Self::Error>;
}

/// A source of entities: what exists, and what its records tell.
pub(crate) trait Source {
    type Error: Error + 'static;
    type Reading<'a>: Reading<Error = Self::Error>
    where
        Self: 'a;

    /// The most shards that are asked about together.
    fn together(&self) -> usize;

    /// Whether a container that nobody has seen is in scope.
    fn unseen(&self) -> Scope;

    /// The latest records of entities in `window`, each with its current row: of roots and containers, and of leaves. `cursor` is
    /// what [`Source::cursor`] said of the shard when they were last read, where it is asked about alone and not all of its rows
    /// are read as well.
    async fn changes<'a>(
        &'a self,
        shards: &'a [Id],
        window: Window,
        cursor: Option<String>,
    ) -> Result<(Self::Reading<'a>, Self::Reading<'a>), Self::Error>;

    /// Where the records of a shard go on that were read to their end; `None` where times are enough.
    fn cursor(&self, shard: &Id) -> Option<String>;

    /// All containers that exist.
    async fn containers<'a>(&'a self, shards: &'a [Id]) -> Result<Self::Reading<'a>, Self::Error>;

    /// All leaves that exist.
    async fn leaves<'a>(&'a self, shards: &'a [Id]) -> Result<Self::Reading<'a>, Self::Error>;

    /// All leaves that exist in these containers of these shards.
    async fn within<'a>(&'a self, shards: &'a [Id], containers: &'a [Id]) -> Result<Self::Reading<'a>, Self::Error>;

    /// Those of these ids that have a row, whatever the filters; the shards' own containers are asked for with them.
    async fn ask(&self, ids: &[Id]) -> Result<Found, Self::Error>;

    /// The shards whose entities relate to those of this one, or are parts of them; none where relations follow the ids.
    fn relating(&self, shard: &Id) -> Vec<Id>;

    /// The entity of which this one is a part: something that is told of it apart, and is in the catalog as long as it is.
    fn whole(&self, id: &Id) -> Option<Id>;

    /// The entities of those shards which relate to any of these, or are parts of one.
    async fn related(&self, ids: &[Id]) -> Result<Vec<Id>, Self::Error>;

    /// The delete of what has no row, from its id alone.
    fn gone(&self, id: &Id) -> Change;
}

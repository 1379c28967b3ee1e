//! What a source has found of an entity: evidence, and no conclusion.

use jiff::Timestamp;

use super::{Change, Id};

/// What one answer shows of an entity: its current row, its latest record of a change, or both.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The change that would be sent: an upsert of the row, or, where there is none, a delete.
    pub(crate) change: Change,
    /// Whether it has a current row.
    pub(crate) exists: bool,
    /// What its own row says of the scope. A leaf without a word of its own is in scope as its container is.
    pub(crate) scope: Option<Scope>,
    /// The latest record of a change in the window that was asked for.
    pub(crate) record: Option<Record>,
}

/// Whether an entity belongs in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    In,
    Out,
}

/// A record of a change, as far as the rules go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at: Timestamp,
    pub(crate) kind: RecordKind,
    /// Whether what it tells of may have moved a container into or out of scope, with all that is in it: a create, or a change
    /// of what the filter looks at.
    pub(crate) moves_scope: bool,
    /// Of a delete: what is gone may come back, and no record need tell of that.
    pub(crate) may_return: bool,
    /// Of what exists: it may have been gone meanwhile, and a run that is forgotten may have acted on that.
    pub(crate) may_have_returned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Create,
    Update,
    Delete,
}

impl Record {
    /// Of a change that moves nothing into or out of scope, and after which nothing comes back.
    pub(crate) const fn new(at: Timestamp, kind: RecordKind) -> Self {
        Self { at, kind, moves_scope: false, may_return: false, may_have_returned: false }
    }
}

impl Finding {
    pub(crate) fn id(&self) -> &Id {
        &self.change.id
    }

    /// With a copy of its row, so that waiting does not hold the whole page in memory.
    pub(crate) fn detached(self) -> Self {
        Self { change: self.change.detached(), ..self }
    }
}

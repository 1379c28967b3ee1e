//! What a source has found about an entity: evidence, not conclusions.

use jiff::Timestamp;

use super::{Change, Id};

/// What one answer shows of an entity: its current row, its latest change record, or both.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The change that would be sent: an upsert of the row or, without a row, a delete.
    pub(crate) change: Change,
    /// Whether it has a current row.
    pub(crate) exists: bool,
    /// What its own row says about the scope. A leaf that says nothing has the scope of its container.
    pub(crate) scope: Option<Scope>,
    /// The latest change record in the window that was asked for.
    pub(crate) record: Option<Record>,
}

/// Whether an entity belongs in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    In,
    Out,
}

/// A change record, reduced to what the rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at: Timestamp,
    pub(crate) kind: RecordKind,
    /// Whether the change may have moved a container, with everything in it, into or out of scope: a create, or a
    /// change to what the filter looks at.
    pub(crate) moves_scope: bool,
    /// For a delete: the entity may come back, possibly without a record of that.
    pub(crate) may_return: bool,
    /// For an existing entity: it may have been gone in the meantime, and a run lost from the replica may have acted on
    /// that.
    pub(crate) may_have_returned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Create,
    Update,
    Delete,
}

impl Record {
    /// For a change that does not affect the scope, and after which nothing comes back.
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

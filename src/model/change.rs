//! A change to be delivered.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::Id;

/// What to do to an entity of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Upsert,
    Delete,
}

/// What to tell the catalog about an entity: the source's row as it came, and the few fields that every part needs.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) id: Id,
    pub(crate) operation: Operation,
    /// Its name in an envelope: `resource`, `user`.
    pub(crate) label: &'static str,
    /// The kind of thing, for counts: a resource's type, in lower case.
    pub(crate) kind: Arc<str>,
    /// When it was changed, as far as the source says.
    pub(crate) changed_at: Option<Timestamp>,
    /// Who or what made the change, if that was asked for.
    pub(crate) actor: Option<Box<Actor>>,
    /// JSON on one line, for the sink to render; often a slice of the page that it came in.
    pub(crate) row: Bytes,
}

/// Who or what made a change, as far as its record says. For the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) client_type: String,
    pub(crate) operation: String,
}

impl Change {
    /// The same change as a delete.
    pub(crate) fn into_delete(self) -> Self {
        Self { operation: Operation::Delete, ..self }
    }

    /// With a copy of its row, so that waiting does not hold the whole page in memory.
    pub(crate) fn detached(self) -> Self {
        Self { row: Bytes::copy_from_slice(&self.row), ..self }
    }
}

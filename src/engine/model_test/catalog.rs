//! A catalog: what it has, and what it does by itself when a parent is missing or deleted.

use std::collections::BTreeMap;

use super::text::Setup;
use super::world::is_within;
use crate::model::{Id, Operation, Stage};

/// What the catalog has of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) content: u64,
    /// Whether its parent was there when it came.
    pub(super) is_related: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    pub(super) has: BTreeMap<Id, Kept>,
    /// Posts without an answer, which are applied after the run.
    pub(super) late: Vec<(Operation, Id, u64)>,
    /// Whether deleting an entity deletes what relates to it.
    cascades: bool,
    /// Whether a relation to a missing entity is dropped.
    relates: bool,
}

impl Catalog {
    pub(super) fn new(setup: &Setup) -> Self {
        Self { cascades: setup.cascades, relates: setup.relates, ..Self::default() }
    }

    /// Applies what was posted, and returns whether that changed anything.
    pub(super) fn apply(&mut self, operation: Operation, id: &Id, content: u64) -> bool {
        match operation {
            Operation::Upsert => {
                let finds_parent = id.parent().is_none_or(|parent| self.has.contains_key(&parent));
                let kept = Kept { content, is_related: id.stage() == Stage::Root || !self.relates || finds_parent };
                self.has.insert(id.clone(), kept) != Some(kept)
            }
            Operation::Delete => {
                let is_gone = self.has.remove(id).is_some();
                if is_gone && self.cascades {
                    self.has.retain(|of, kept| !(kept.is_related && is_within(of, id)));
                }
                is_gone
            }
        }
    }

    pub(super) fn apply_late(&mut self) {
        for (operation, id, content) in std::mem::take(&mut self.late) {
            self.apply(operation, &id, content);
        }
    }
}

//! Shards that are read together, and what was found of them in this run.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::Key;
use super::decide::Send;
use crate::model::{Finding, Id, Record, RecordKind};

/// Shards that are read together, and what was found of them in this run.
pub(super) struct Batch<'b> {
    pub(super) shards: &'b [Id],
    /// Since when the records of each shard count; `None` for all records.
    pub(super) windows: HashMap<Id, Option<Timestamp>>,
    /// Entities that were found, by a record or by asking for them.
    pub(super) found: HashSet<Key>,
    /// Shards of which nothing was held when the batch began: whatever is held of them by now was found.
    pub(super) blank: HashSet<Id>,
    /// Entities that a full read has shown; sorted once it has ended.
    pub(super) seen: Vec<Key>,
    /// Records whose row is still to be read.
    pub(super) records: HashMap<Key, Record>,
    /// Containers that were found in this run.
    pub(super) visited: HashSet<Key>,
    /// Containers with a record but no row yet.
    pub(super) awaited: HashSet<Key>,
    /// Containers that a record proves to be gone.
    pub(super) gone: HashSet<Id>,
    /// Containers whose contents are re-read.
    pub(super) reread: HashSet<Id>,
    /// Ids that make every query fail.
    pub(super) failed: HashSet<Id>,
    /// Shards whose own entity is sent along with the first of its children.
    pub(super) roots: HashMap<Id, Finding>,
    /// Findings with a delete record and no row, kept until all rows are read.
    pub(super) missing: Vec<Finding>,
    /// Findings with another record and no row, kept as well.
    pub(super) missed: Vec<Finding>,
    /// Deletes of containers, kept until their contents are gone.
    pub(super) deletes: Vec<Send>,
    /// Containers to be deleted because they are missing, unless this run shows a row in them.
    pub(super) doomed: HashSet<Key>,
    /// Shards whose deletes are held back, so that their records have to be read again.
    pub(super) held_back: HashSet<Id>,
    /// Shards with a new row that no record announced: the source may not show all their rows yet.
    unannounced: RefCell<HashSet<Id>>,
}

/// What is read of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// Only what has a record.
    Changes,
    /// All rows as well.
    Everything,
}

/// What a page contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Records,
    Rows,
}

/// Which of the two is assumed to be late when there is both a delete record and a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Unknown: a later run will show.
    Either,
    /// The row, so the record counts. If the entity was created again, a record will say that, too.
    Row,
}

impl<'b> Batch<'b> {
    pub(super) fn new(shards: &'b [Id], windows: HashMap<Id, Option<Timestamp>>) -> Self {
        Self {
            shards,
            windows,
            found: HashSet::new(),
            blank: HashSet::new(),
            seen: Vec::new(),
            records: HashMap::new(),
            visited: HashSet::new(),
            awaited: HashSet::new(),
            gone: HashSet::new(),
            reread: HashSet::new(),
            failed: HashSet::new(),
            roots: HashMap::new(),
            missing: Vec::new(),
            missed: Vec::new(),
            deletes: Vec::new(),
            doomed: HashSet::new(),
            held_back: HashSet::new(),
            unannounced: RefCell::default(),
        }
    }

    /// A container with a row in it exists, whether or not its own row is shown.
    pub(super) fn note_alive(&mut self, leaf: &Finding) {
        if !self.doomed.is_empty()
            && leaf.exists
            && let Some(container) = leaf.id().parent()
        {
            self.doomed.remove(&Key::of(&container));
        }
    }

    pub(super) fn note_unannounced(&self, id: &Id) {
        let mut unannounced = self.unannounced.borrow_mut();
        if !unannounced.contains(id.shard()) {
            unannounced.insert(id.root());
        }
    }

    /// Whether a shard had new rows that no record announced.
    pub(super) fn is_unannounced(&self, shard: &Id) -> bool {
        self.unannounced.borrow().contains(shard)
    }

    pub(super) fn is_found(&self, id: &Id) -> bool {
        let key = Key::of(id);
        self.found.contains(&key) || self.seen.binary_search(&key).is_ok()
    }

    pub(super) fn is_reread(&self, container: &Id) -> bool {
        self.reread.contains(container)
    }

    /// Whether `at` is before the first record that counts.
    pub(super) fn is_before_window(&self, id: &Id, at: Option<Timestamp>) -> bool {
        self.window(id).is_some_and(|since| at.is_none_or(|at| at < since))
    }

    pub(super) fn window(&self, id: &Id) -> Option<Timestamp> {
        self.windows.get(id.shard()).copied().flatten()
    }

    /// Whether a record is in the window of its own shard; the query may have asked for an earlier one.
    pub(super) fn counts(&self, finding: &Finding) -> bool {
        let window = self.window(finding.id());
        finding.record.is_none_or(|record| window.is_none_or(|since| record.at >= since))
    }

    /// Adds the record to a row that was read without one.
    pub(super) fn with_record(&self, finding: Finding) -> Finding {
        if finding.record.is_some() || self.records.is_empty() {
            return finding;
        }
        let record = self.records.get(&Key::of(finding.id())).copied();
        Finding { record, ..finding }
    }

    /// Holds back what has no row. A delete record and a row contradict each other: one of them is late.
    pub(super) fn sort(&mut self, finding: Finding, late: Late, shown: &mut Vec<Finding>) {
        let is_delete = finding.record.is_some_and(|record| record.kind == RecordKind::Delete);
        match (finding.exists, is_delete) {
            (true, false) => {
                self.found.insert(Key::of(finding.id()));
                shown.push(finding);
            }
            (false, true) => self.missing.push(finding.detached()),
            (false, false) => self.missed.push(finding.detached()),
            (true, true) if late == Late::Row => self.missing.push(Finding { exists: false, ..finding.detached() }),
            (true, true) => {}
        }
    }

    /// Drops what a later row has shown to exist.
    pub(super) fn leave_out_seen(&mut self) {
        let seen = &self.seen;
        let is_unseen = |finding: &Finding| seen.binary_search(&Key::of(finding.id())).is_err();
        self.missing.retain(is_unseen);
        self.missed.retain(is_unseen);
    }
}

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
    /// From when on records of each shard count; `None`: all that there are.
    pub(super) windows: HashMap<Id, Option<Timestamp>>,
    /// Entities that were found: by a record, or asked for.
    pub(super) found: HashSet<Key>,
    /// Shards of which nothing was held when they were begun: what is held of them by now was found.
    pub(super) blank: HashSet<Id>,
    /// Entities that a reading of all rows has shown, in order once it has ended.
    pub(super) seen: Vec<Key>,
    /// Records whose row is still to be read.
    pub(super) records: HashMap<Key, Record>,
    /// Containers that were found in this run.
    pub(super) met: HashSet<Key>,
    /// Containers that have a record, and no row yet.
    pub(super) awaited: HashSet<Key>,
    /// Containers that a record proves to be gone.
    pub(super) gone: HashSet<Id>,
    /// Containers that are read afresh.
    pub(super) afresh: HashSet<Id>,
    /// Ids with which every query fails.
    pub(super) failed: HashSet<Id>,
    /// Shards whose entity goes along with the first of its children.
    pub(super) roots: HashMap<Id, Finding>,
    /// What has the record of a delete and no row, and waits until all rows were read.
    pub(super) missing: Vec<Finding>,
    /// What has another record and no row, and waits too.
    pub(super) missed: Vec<Finding>,
    /// Deletes of containers, which wait until what is in them has gone.
    pub(super) deletes: Vec<Send>,
    /// Containers that are to be deleted as they are missing, and in which no row was shown in this run.
    pub(super) doomed: HashSet<Key>,
    /// Shards whose deletes are held back, so that their records have to be read again.
    pub(super) held_back: HashSet<Id>,
    /// Shards of which a row was new, and no record told of it: the source may not show all of them yet.
    untold: RefCell<HashSet<Id>>,
}

/// What is read of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// What has a record.
    Changes,
    /// All rows as well.
    Everything,
}

/// What a page is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Records,
    Rows,
}

/// What is taken to be late where there are the record of a delete and a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Nobody knows: a later run tells.
    Either,
    /// The record counts. Where it was made again, a record will tell of that as well.
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
            met: HashSet::new(),
            awaited: HashSet::new(),
            gone: HashSet::new(),
            afresh: HashSet::new(),
            failed: HashSet::new(),
            roots: HashMap::new(),
            missing: Vec::new(),
            missed: Vec::new(),
            deletes: Vec::new(),
            doomed: HashSet::new(),
            held_back: HashSet::new(),
            untold: RefCell::default(),
        }
    }

    /// A container in which a row is shown is there, whether its own row is shown or not.
    pub(super) fn note_alive(&mut self, leaf: &Finding) {
        if !self.doomed.is_empty()
            && leaf.exists
            && let Some(container) = leaf.id().parent()
        {
            self.doomed.remove(&Key::of(&container));
        }
    }

    pub(super) fn note_untold(&self, id: &Id) {
        let mut untold = self.untold.borrow_mut();
        if !untold.contains(id.shard()) {
            untold.insert(id.root());
        }
    }

    /// Whether rows of a shard came as a surprise.
    pub(super) fn is_untold(&self, shard: &Id) -> bool {
        self.untold.borrow().contains(shard)
    }

    pub(super) fn is_found(&self, id: &Id) -> bool {
        let key = Key::of(id);
        self.found.contains(&key) || self.seen.binary_search(&key).is_ok()
    }

    pub(super) fn is_afresh(&self, container: &Id) -> bool {
        self.afresh.contains(container)
    }

    /// Whether something was so before the first record that counts.
    pub(super) fn is_before_window(&self, id: &Id, at: Option<Timestamp>) -> bool {
        self.window(id).is_some_and(|since| at.is_none_or(|at| at < since))
    }

    pub(super) fn window(&self, id: &Id) -> Option<Timestamp> {
        self.windows.get(id.shard()).copied().flatten()
    }

    /// Whether a record is in the window of its own shard; the question may have been for an earlier one.
    pub(super) fn counts(&self, finding: &Finding) -> bool {
        let window = self.window(finding.id());
        finding.record.is_none_or(|record| window.is_none_or(|since| record.at >= since))
    }

    /// The record of a row that was read without one.
    pub(super) fn with_record(&self, finding: Finding) -> Finding {
        if finding.record.is_some() || self.records.is_empty() {
            return finding;
        }
        let record = self.records.get(&Key::of(finding.id())).copied();
        Finding { record, ..finding }
    }

    /// Holds back what has no row. A delete's record and a row contradict each other: one of them is late.
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

    /// A row that was read later shows that it is there.
    pub(super) fn leave_out_seen(&mut self) {
        let seen = &self.seen;
        let is_unseen = |finding: &Finding| seen.binary_search(&Key::of(finding.id())).is_err();
        self.missing.retain(is_unseen);
        self.missed.retain(is_unseen);
    }
}

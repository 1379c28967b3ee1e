//! A replica in memory, and the disk beneath it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;
use std::sync::Arc;

use super::fakes::give_way;
use super::world::is_within;
use crate::engine::{Entry, Mark, Replica, Rows, State, Terms};
use crate::model::Id;

/// Entries per page.
const PAGE: usize = 3;

/// What a replica holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    pub(super) entries: BTreeMap<Id, Entry>,
    marks: BTreeMap<Id, Mark>,
    terms: Option<Terms>,
    kinds: BTreeMap<Arc<str>, Rows>,
    cursors: BTreeMap<Id, String>,
}

#[derive(Default)]
pub(super) struct FakeReplica {
    data: RefCell<Data>,
    durable: RefCell<Rc<Data>>,
    /// Saves begun, and the last one to reach the disk.
    begun: Cell<u64>,
    written: Cell<u64>,
}

impl Data {
    /// Marks what was rejected for another try.
    pub(super) fn resend(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| matches!(entry.state, State::Refused(_))) {
            entry.state = State::Unknown;
        }
    }
}

impl FakeReplica {
    /// What is on the disk.
    pub(super) fn durable(&self) -> Rc<Data> {
        self.durable.borrow().clone()
    }

    /// Puts something else on the disk.
    pub(super) fn restore(&self, data: Rc<Data>) {
        *self.durable.borrow_mut() = data;
    }

    /// Starts from what is on the disk.
    pub(super) fn reopen(&self) {
        *self.data.borrow_mut() = Data::clone(&self.durable());
    }

    pub(super) fn save_now(&self) {
        self.restore(Rc::new(self.data.borrow().clone()));
    }

    fn next<'e>(
        entries: &'e BTreeMap<Id, Entry>,
        after: Option<&Id>,
        most: usize,
        is_meant: impl Fn(&Id, &Entry) -> bool + 'e,
    ) -> Vec<(Id, Entry)> {
        let from = after.map_or(Unbounded, Excluded);
        let next = entries.range::<Id, _>((from, Unbounded)).filter(|(id, entry)| is_meant(id, entry));
        next.take(most.min(PAGE)).map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }
}

type Entries = Result<Vec<(Id, Entry)>, Infallible>;

impl Replica for FakeReplica {
    type Error = Infallible;

    fn remembers(&self) -> bool {
        true
    }

    fn terms(&self) -> Option<Terms> {
        self.data.borrow().terms.clone()
    }

    fn set_terms(&self, terms: Terms) {
        self.data.borrow_mut().terms = Some(terms);
    }

    fn rows_of(&self, kind: &str) -> Option<Rows> {
        self.data.borrow().kinds.get(kind).copied()
    }

    fn note_rows(&self, kind: &Arc<str>, rows: Rows) {
        self.data.borrow_mut().kinds.insert(Arc::clone(kind), rows);
    }

    fn entry(&self, id: &Id) -> Result<Option<Entry>, Infallible> {
        Ok(self.data.borrow().entries.get(id).cloned())
    }

    fn put(&self, id: &Id, entry: Option<Entry>) -> Result<(), Infallible> {
        let entries = &mut self.data.borrow_mut().entries;
        match entry {
            Some(entry) => entries.insert(id.clone(), entry),
            None => entries.remove(id),
        };
        Ok(())
    }

    fn update(&self, id: &Id, change: impl FnOnce(Option<Entry>) -> Option<Entry>) -> Result<(), Infallible> {
        self.put(id, change(self.entry(id)?))
    }

    fn entries(&self, shard: &Id, after: Option<&Id>, most: usize) -> Entries {
        Ok(Self::next(&self.data.borrow().entries, after, most, |id, _| is_within(id, shard)))
    }

    fn open_entries(&self, shard: &Id, after: Option<&Id>, most: usize) -> Entries {
        let is_meant = |id: &Id, entry: &Entry| entry.is_open() && is_within(id, shard);
        Ok(Self::next(&self.data.borrow().entries, after, most, is_meant))
    }

    fn children(&self, parent: &Id, after: Option<&Id>, most: usize) -> Entries {
        let is_child = |id: &Id| is_within(id, parent) && id.parent().as_ref() == Some(parent);
        Ok(Self::next(&self.data.borrow().entries, after, most, |id, _| is_child(id)))
    }

    fn held(&self, shard: &Id) -> u64 {
        let data = self.data.borrow();
        data.entries.iter().filter(|(id, entry)| entry.is_held() && is_within(id, shard)).count() as u64
    }

    fn shards(&self) -> Result<Vec<Id>, Infallible> {
        let data = self.data.borrow();
        let shards: BTreeSet<Id> = data.marks.keys().cloned().chain(data.entries.keys().map(Id::root)).collect();
        Ok(shards.into_iter().collect())
    }

    fn mark(&self, shard: &Id) -> Mark {
        self.data.borrow().marks.get(shard).copied().unwrap_or_default()
    }

    fn set_mark(&self, shard: &Id, mark: Mark) {
        self.data.borrow_mut().marks.insert(shard.clone(), mark);
    }

    fn cursor(&self, shard: &Id) -> Option<String> {
        self.data.borrow().cursors.get(shard).cloned()
    }

    fn set_cursor(&self, shard: &Id, cursor: Option<String>) {
        let cursors = &mut self.data.borrow_mut().cursors;
        match cursor {
            Some(cursor) => cursors.insert(shard.clone(), cursor),
            None => cursors.remove(shard),
        };
    }

    /// Only what was put before the save began is sure to be durable; the save may end before or after it reaches the
    /// disk.
    async fn save(&self) -> Result<(), Infallible> {
        let number = self.begun.get() + 1;
        self.begun.set(number);
        let data = Rc::new(self.data.borrow().clone());
        give_way().await;
        if number > self.written.get() {
            self.written.set(number);
            self.restore(data);
        }
        give_way().await;
        Ok(())
    }
}

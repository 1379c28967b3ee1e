//! What the services show of the truth, and from when: rows of current state that lag behind it, and records of change that
//! turn up late, lose their details for a while, and are forgotten after fourteen days.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kql::Value;

/// A row of any table.
pub(crate) type Row = Arc<[Value]>;

/// How long Resource Graph keeps a record of change.
pub(crate) const RECORDS_ARE_KEPT_MS: i64 = 14 * 24 * 60 * 60 * 1000;

/// The current-state rows of one table. A change is put in with the moment from which it shows; the rows of one id never show
/// an older state after a newer one.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    index: HashMap<Arc<str>, usize>,
    slots: Vec<Slot>,
    waiting: BTreeMap<(i64, usize), (usize, Option<Row>)>,
    sequence: usize,
}

#[derive(Debug)]
struct Slot {
    owner: Owner,
    row: Option<Row>,
    newest_shows_at: i64,
}

/// The subscription a row belongs to, by its place in the estate; a management group belongs to none.
pub(crate) type Owner = Option<usize>;

impl Shelf {
    /// Puts in a row that has always been there.
    pub(crate) fn place(&mut self, id: &Arc<str>, owner: Owner, row: Row) {
        let slot = self.slot(id, owner);
        self.slots[slot].row = Some(row);
    }

    /// The row of `id` is this one, or gone, from `shows_at` on, or from when its last change shows, whichever is later.
    pub(crate) fn put(&mut self, id: &Arc<str>, owner: Owner, row: Option<Row>, shows_at: i64) {
        let slot = self.slot(id, owner);
        let at = shows_at.max(self.slots[slot].newest_shows_at);
        self.slots[slot].newest_shows_at = at;
        self.sequence += 1;
        self.waiting.insert((at, self.sequence), (slot, row));
    }

    fn slot(&mut self, id: &Arc<str>, owner: Owner) -> usize {
        if let Some(slot) = self.index.get(id) {
            return *slot;
        }
        self.slots.push(Slot { owner, row: None, newest_shows_at: i64::MIN });
        self.index.insert(id.clone(), self.slots.len() - 1);
        self.slots.len() - 1
    }

    /// Shows what is due; true where anything was.
    fn settle(&mut self, now: i64) -> bool {
        let mut changed = false;
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (slot, row) = entry.remove();
            self.slots[slot].row = row;
            changed = true;
        }
        changed
    }

    /// The rows that show at `now`, of the owners that `reads` lets through.
    pub(crate) fn rows(&mut self, now: i64, reads: impl Fn(Owner) -> bool) -> Vec<Row> {
        self.settle(now);
        self.slots.iter().filter(|slot| reads(slot.owner)).filter_map(|slot| slot.row.clone()).collect()
    }

    /// The last moment at which something is still to show.
    pub(crate) fn settled_at(&self) -> Option<i64> {
        self.waiting.last_key_value().map(|((at, _), _)| *at)
    }
}

/// The records of change of one table.
#[derive(Debug, Default)]
pub(crate) struct Chronicle {
    records: Vec<Record>,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub owner: Owner,
    /// When the change was detected: what the record itself says.
    pub detected_at: i64,
    pub shows_at: i64,
    /// From when the record has its details; until then it is `brief`.
    pub complete_at: i64,
    pub row: Row,
    pub brief: Option<Row>,
}

impl Chronicle {
    pub(crate) fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    pub(crate) fn rows(&self, now: i64, reads: impl Fn(Owner) -> bool) -> Vec<Row> {
        self.records
            .iter()
            .filter(|record| record.shows_at <= now && record.detected_at > now - RECORDS_ARE_KEPT_MS)
            .filter(|record| reads(record.owner))
            .map(|record| match &record.brief {
                Some(brief) if now < record.complete_at => brief.clone(),
                _ => record.row.clone(),
            })
            .collect()
    }

    /// Drops what no query can see any more.
    pub(crate) fn forget(&mut self, now: i64) {
        self.records.retain(|record| record.detected_at > now - RECORDS_ARE_KEPT_MS);
    }

    pub(crate) fn settled_at(&self) -> Option<i64> {
        self.records.iter().map(|record| record.shows_at.max(record.complete_at)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        Arc::from([Value::String(text.into())])
    }

    #[test]
    fn a_row_shows_late_and_never_goes_back() {
        let mut shelf = Shelf::default();
        let id: Arc<str> = "a".into();
        shelf.put(&id, Some(0), Some(row("first")), 100);
        shelf.put(&id, Some(0), Some(row("second")), 50);
        assert!(shelf.rows(99, |_| true).is_empty());
        assert_eq!(shelf.rows(100, |_| true), [row("second")]);
        shelf.put(&id, Some(0), None, 200);
        assert_eq!(shelf.rows(199, |_| true).len(), 1);
        assert!(shelf.rows(200, |_| true).is_empty());
    }

    #[test]
    fn rows_of_what_cannot_be_read_are_left_out() {
        let mut shelf = Shelf::default();
        shelf.place(&"a".into(), Some(0), row("a"));
        shelf.place(&"b".into(), Some(1), row("b"));
        assert_eq!(shelf.rows(0, |owner| owner == Some(1)), [row("b")]);
    }

    #[test]
    fn a_record_shows_late_then_brief_then_whole_and_is_forgotten() {
        let mut chronicle = Chronicle::default();
        chronicle.add(Record {
            owner: Some(0),
            detected_at: 10,
            shows_at: 20,
            complete_at: 30,
            row: row("whole"),
            brief: Some(row("brief")),
        });
        assert!(chronicle.rows(19, |_| true).is_empty());
        assert_eq!(chronicle.rows(20, |_| true), [row("brief")]);
        assert_eq!(chronicle.rows(30, |_| true), [row("whole")]);
        assert!(chronicle.rows(10 + RECORDS_ARE_KEPT_MS, |_| true).is_empty());
    }
}

//! What the services show of the truth, and when: current-state rows that lag behind, and change records that appear
//! late, lack details for a while, and eventually expire.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kql::Value;

/// A row of any table.
pub(crate) type Row = Arc<[Value]>;

/// The current-state rows of one table. A change is added with the time from which it is visible. The rows of one id
/// never show an older state after a newer one.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    index: HashMap<Arc<str>, usize>,
    slots: Vec<Slot>,
    waiting: BTreeMap<(i64, usize), Waiting>,
    sequence: usize,
    /// Until when a replica shows the old state.
    behind_until: i64,
}

#[derive(Debug)]
struct Waiting {
    slot: usize,
    row: Option<Row>,
    /// How much later a second replica shows it.
    behind: i64,
}

#[derive(Debug)]
struct Slot {
    id: Arc<str>,
    owner: Owner,
    row: Option<Row>,
    /// What a second replica still shows, and until when.
    stale: Option<(i64, Option<Row>)>,
    newest_shows_at: i64,
}

/// The subscription of a row, by index; a management group has none.
pub(crate) type Owner = Option<usize>;

impl Shelf {
    /// Adds a row that has always existed.
    pub(crate) fn place(&mut self, id: &Arc<str>, owner: Owner, row: Row) {
        let slot = self.slot(id, owner);
        self.slots[slot].row = Some(row);
    }

    /// Replaces or removes the row of `id` from `shows_at` on, but not before its last change is visible. A second
    /// replica follows after `behind`.
    pub(crate) fn put(&mut self, id: &Arc<str>, owner: Owner, row: Option<Row>, shows_at: i64, behind: i64) {
        let slot = self.slot(id, owner);
        let at = shows_at.max(self.slots[slot].newest_shows_at);
        self.slots[slot].newest_shows_at = at;
        self.sequence += 1;
        self.waiting.insert((at, self.sequence), Waiting { slot, row, behind });
    }

    fn slot(&mut self, id: &Arc<str>, owner: Owner) -> usize {
        if let Some(slot) = self.index.get(id) {
            return *slot;
        }
        self.slots.push(Slot { id: id.clone(), owner, row: None, stale: None, newest_shows_at: i64::MIN });
        self.index.insert(id.clone(), self.slots.len() - 1);
        self.slots.len() - 1
    }

    /// Applies what is due; returns whether anything was.
    fn settle(&mut self, now: i64) -> bool {
        let mut changed = false;
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let at = entry.key().0;
            let Waiting { slot, row, behind } = entry.remove();
            let slot = &mut self.slots[slot];
            let was = std::mem::replace(&mut slot.row, row);
            slot.stale = (behind > 0).then_some((at + behind, was));
            self.behind_until = self.behind_until.max(at + behind);
            changed = true;
        }
        changed
    }

    /// The rows visible at `now` whose owner and id pass `reads`. `is_behind` says whether to ask the second replica
    /// for a row.
    pub(crate) fn rows(
        &mut self,
        now: i64,
        reads: impl Fn(Owner, &str) -> bool,
        is_behind: impl Fn(&str) -> bool,
    ) -> Vec<Row> {
        self.settle(now);
        let shown = |slot: &Slot| match &slot.stale {
            Some((until, row)) if now < *until && is_behind(&slot.id) => row.clone(),
            _ => slot.row.clone(),
        };
        self.slots.iter().filter(|slot| reads(slot.owner, &slot.id)).filter_map(shown).collect()
    }

    /// Makes everything visible now.
    pub(crate) fn catch_up(&mut self) {
        self.settle(i64::MAX);
        for slot in &mut self.slots {
            (slot.stale, slot.newest_shows_at) = (None, i64::MIN);
        }
        self.behind_until = 0;
    }

    /// When the last pending change becomes visible.
    pub(crate) fn settled_at(&self) -> Option<i64> {
        let shown = self.waiting.iter().map(|((at, _), waiting)| at + waiting.behind).max();
        shown.max((self.behind_until > 0).then_some(self.behind_until))
    }
}

/// The change records of one table.
#[derive(Debug, Default)]
pub(crate) struct Chronicle {
    records: Vec<Record>,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub owner: Owner,
    /// The lower-case id of the changed object.
    pub target: Arc<str>,
    /// When the change was detected, according to the record.
    pub detected_at: i64,
    pub shows_at: i64,
    /// When the record gets its details; until then it is `brief`.
    pub complete_at: i64,
    pub row: Row,
    pub brief: Option<Row>,
}

impl Chronicle {
    pub(crate) fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The records of changes after `since` that are visible at `now` and pass `reads`.
    pub(crate) fn rows(&self, since: i64, now: i64, reads: impl Fn(Owner, &str) -> bool) -> Vec<Row> {
        self.records
            .iter()
            .filter(|record| record.shows_at <= now && record.detected_at > since)
            .filter(|record| reads(record.owner, &record.target))
            .map(|record| match &record.brief {
                Some(brief) if now < record.complete_at => brief.clone(),
                _ => record.row.clone(),
            })
            .collect()
    }

    /// Makes everything visible now, with details.
    pub(crate) fn catch_up(&mut self, now: i64) {
        for record in &mut self.records {
            (record.shows_at, record.complete_at) = (record.shows_at.min(now), record.complete_at.min(now));
        }
    }

    /// Drops records of changes up to `since`.
    pub(crate) fn forget(&mut self, since: i64) {
        self.records.retain(|record| record.detected_at > since);
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

    fn rows(shelf: &mut Shelf, now: i64) -> Vec<Row> {
        shelf.rows(now, |_, _| true, |_| false)
    }

    #[test]
    fn a_second_replica_shows_what_was_for_longer() {
        let mut shelf = Shelf::default();
        let id: Arc<str> = "a".into();
        shelf.place(&id, Some(0), row("first"));
        shelf.put(&id, Some(0), Some(row("second")), 100, 50);
        assert_eq!(shelf.settled_at(), Some(150));
        let mut on_the_second = |now| shelf.rows(now, |_, _| true, |_| true);
        assert_eq!(on_the_second(149), [row("first")]);
        assert_eq!(on_the_second(150), [row("second")]);
        assert_eq!(rows(&mut shelf, 149), [row("second")]);
        shelf.put(&id, Some(0), None, 1000, 50);
        shelf.catch_up();
        assert!(rows(&mut shelf, 200).is_empty());
    }

    #[test]
    fn a_row_shows_late_and_never_goes_back() {
        let mut shelf = Shelf::default();
        let id: Arc<str> = "a".into();
        shelf.put(&id, Some(0), Some(row("first")), 100, 0);
        shelf.put(&id, Some(0), Some(row("second")), 50, 0);
        assert!(rows(&mut shelf, 99).is_empty());
        assert_eq!(rows(&mut shelf, 100), [row("second")]);
        shelf.put(&id, Some(0), None, 200, 0);
        assert_eq!(rows(&mut shelf, 199).len(), 1);
        assert!(rows(&mut shelf, 200).is_empty());
    }

    #[test]
    fn rows_of_what_cannot_be_read_are_left_out() {
        let mut shelf = Shelf::default();
        shelf.place(&"a".into(), Some(0), row("a"));
        shelf.place(&"b".into(), Some(1), row("b"));
        assert_eq!(shelf.rows(0, |owner, _| owner == Some(1), |_| false), [row("b")]);
    }

    #[test]
    fn a_record_shows_late_then_brief_then_whole_and_is_forgotten() {
        let mut chronicle = Chronicle::default();
        chronicle.add(Record {
            owner: Some(0),
            target: "a".into(),
            detected_at: 10,
            shows_at: 20,
            complete_at: 30,
            row: row("whole"),
            brief: Some(row("brief")),
        });
        let shown = |now| chronicle.rows(now - 14, now, |_, _| true);
        assert!(shown(19).is_empty());
        assert_eq!(shown(20), [row("brief")]);
        assert_eq!(chronicle.rows(9, 30, |_, _| true), [row("whole")]);
        assert!(shown(24).is_empty());
    }
}

//! Port's entities of a blueprint, as hashes: 16 bytes each.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Azure makes it.
const MATCHED: u64 = 1;
/// Azure makes it with other values.
const DIFFERS: u64 = 2;
/// A row for another field set of an entity that already has a row.
const SIDE: u64 = 4;
const FLAGS: u64 = MATCHED | DIFFERS | SIDE;

/// Rows sorted by key. An entity has a row for each field set that a mapping may use for it; the first row represents
/// the entity.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    key: u64,
    /// A hash, with the flags in its lowest bits.
    content: u64,
}

/// The number of entities, and their outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) entities: u64,
    pub(super) matched: u64,
    pub(super) different: u64,
}

pub(super) fn key(identifier: &str) -> u64 {
    of_set(identifier, 0)
}

fn of_set(identifier: &str, set: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (identifier, set).hash(&mut hasher);
    hasher.finish()
}

impl Table {
    /// Adds an entity with the hash of its fields for each set.
    pub(super) fn push(&mut self, identifier: &str, contents: impl Iterator<Item = u64>) {
        for (set, content) in contents.enumerate() {
            let flags = if set == 0 { 0 } else { SIDE };
            self.rows.push(Row { key: of_set(identifier, set), content: (content & !FLAGS) | flags });
        }
    }

    /// Prepares the added entities for lookups. Overlapping pages give an entity twice.
    pub(super) fn seal(&mut self) {
        self.rows.sort_unstable_by_key(|row| row.key);
        self.rows.dedup_by_key(|row| row.key);
        self.rows.shrink_to_fit();
    }

    fn place(&self, key: u64) -> Option<usize> {
        self.rows.binary_search_by_key(&key, |row| row.key).ok()
    }

    fn row(&mut self, identifier: &str) -> Option<&mut Row> {
        let place = self.place(key(identifier))?;
        self.rows.get_mut(place)
    }

    /// Records that Azure makes an entity, and returns whether Port holds it.
    pub(super) fn note_matched(&mut self, identifier: &str) -> bool {
        self.row(identifier).map(|row| row.content |= MATCHED).is_some()
    }

    /// Whether the fields of this set have this hash.
    pub(super) fn is_same(&self, identifier: &str, set: usize, content: u64) -> bool {
        let row = self.place(of_set(identifier, set)).and_then(|place| self.rows.get(place));
        row.is_some_and(|row| row.content & !FLAGS == content & !FLAGS)
    }

    pub(super) fn note_different(&mut self, identifier: &str) {
        if let Some(row) = self.row(identifier) {
            row.content |= DIFFERS;
        }
    }

    pub(super) fn note_same(&mut self, identifier: &str) {
        if let Some(row) = self.row(identifier) {
            row.content &= !DIFFERS;
        }
    }

    /// Whether Port held it when the table was built and Azure does not make it.
    pub(super) fn is_extra(&self, identifier: &str) -> bool {
        let row = self.place(key(identifier)).and_then(|place| self.rows.get(place));
        row.is_some_and(|row| row.content & MATCHED == 0)
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in self.rows.iter().filter(|row| row.content & SIDE == 0) {
            counts.entities += 1;
            counts.matched += u64::from(row.content & MATCHED != 0);
            counts.different += u64::from(row.content & DIFFERS != 0);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_matched_whatever_its_fields_and_compared_by_those_of_a_shape() {
        let mut table = Table::default();
        for identifier in ["a", "b", "a"] {
            table.push(identifier, [8, 16].into_iter());
        }
        table.seal();
        assert_eq!(table.counts(), Counts { entities: 2, matched: 0, different: 0 });
        assert!(table.note_matched("a") && !table.note_matched("c"));
        assert!(table.is_same("a", 1, 16) && !table.is_same("a", 0, 16) && !table.is_same("c", 0, 8));
        table.note_different("a");
        assert_eq!(table.counts(), Counts { entities: 2, matched: 1, different: 1 });
        assert!(table.is_same("a", 0, 8), "a flag is no content");
        table.note_same("a");
        assert_eq!(table.counts(), Counts { entities: 2, matched: 1, different: 0 });
        assert!(!table.is_extra("a") && table.is_extra("b") && !table.is_extra("c"));
    }

    #[test]
    fn an_entity_takes_sixteen_bytes() {
        assert_eq!(size_of::<Row>(), 16);
        let mut table = Table::default();
        (0..1000).for_each(|n| table.push(&n.to_string(), std::iter::once(n)));
        table.seal();
        assert_eq!(table.rows.capacity(), 1000);
    }
}

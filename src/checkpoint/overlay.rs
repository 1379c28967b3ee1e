//! What was put and is not in the entries of the file yet: it lies over them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::added::Added;
use super::codec::{Keys, Packed, Put};
use super::shards::Shards;

/// The number of a save.
pub(super) type Number = u64;

#[derive(Debug, Default)]
pub(super) struct Overlay {
    slots: BTreeMap<Arc<[u8]>, Slot>,
    /// How many slots no save has yet.
    unsaved: usize,
    /// The number of entries in each save of the journal. Several saves may have an entry of the same key.
    journal: BTreeMap<Number, usize>,
    /// The next save.
    next: Number,
    /// The last key that was folded: the next part comes after it.
    hand: Option<Arc<[u8]>>,
    /// `None` where there is no file.
    added: Option<Added>,
}

#[derive(Debug)]
struct Slot {
    /// `None`: the entry is forgotten.
    value: Option<Packed>,
    /// The save that has this value, or will have it.
    save: Number,
}

/// Where the entry of a key is.
pub(super) enum Found<'o> {
    Over(&'o Option<Packed>),
    /// In the file, if anywhere.
    Below,
    /// Nowhere.
    Nothing,
}

/// How many slots a save folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folds {
    pub(super) at_most: usize,
    /// What is in doubt will be put again once it is settled: it is folded only where this takes more than what is settled.
    pub(super) at_least: usize,
}

/// What becomes of earlier saves in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Journal {
    /// Those stay that have the value of a slot, and all after them.
    GoesOn,
    /// None stays: the next save has all slots.
    BeginsAnew,
}

/// A save that has begun.
#[derive(Debug)]
pub(super) struct Save {
    pub(super) number: Number,
    /// How many entries go into the journal.
    journalled: usize,
    /// What goes among the entries, in order. The journal must not end with another value of any of them.
    pub(super) part: Vec<Put>,
    /// The first save that stays in the journal, and those that go.
    kept: Number,
    pub(super) stale: Vec<Number>,
}

impl Overlay {
    /// What the journal of the file has, in which there are these shards.
    pub(super) fn from_journal(saves: Vec<(Number, Vec<Put>)>, shards: &Shards) -> Self {
        let mut overlay = Self { added: Some(Added::new(shards.next())), ..Self::default() };
        for (save, puts) in saves {
            overlay.journal.insert(save, puts.len());
            overlay.next = save + 1;
            overlay.slots.extend(puts.into_iter().map(|(key, value)| (key, Slot { value, save })));
        }
        overlay
    }

    /// Replaces a value by what follows from it; what is below is looked up where nothing lies over it. Tells how many more
    /// entries are held.
    pub(super) fn update<E>(
        &mut self,
        key: &[u8],
        below: impl FnOnce() -> Result<Option<Packed>, E>,
        change: impl FnOnce(Option<Packed>) -> Option<Packed>,
    ) -> Result<i64, E> {
        let held = |value: &Option<Packed>| i64::from(value.as_ref().is_some_and(Packed::is_held));
        let is_new = self.added.as_mut().is_some_and(|added| added.note(key));
        let over = if is_new { None } else { self.slots.get_mut(key) };
        if let Some(slot) = over {
            let value = change(slot.value.clone());
            let more = held(&value) - held(&slot.value);
            if slot.value != value {
                slot.value = value;
                self.unsaved += usize::from(slot.save != self.next);
                slot.save = self.next;
            }
            return Ok(more);
        }
        let is_below = !is_new && self.added.is_some();
        let below = if is_below { below()? } else { None };
        let was_held = held(&below);
        let value = change(below);
        let more = held(&value) - was_held;
        self.unsaved += 1;
        self.slots.insert(key.into(), Slot { value, save: self.next });
        Ok(more)
    }

    pub(super) fn find(&self, key: &[u8]) -> Found<'_> {
        if self.added.as_ref().is_some_and(|added| added.lacks(key)) {
            return Found::Nothing;
        }
        match self.slots.get(key) {
            Some(slot) => Found::Over(&slot.value),
            None if self.added.is_some() => Found::Below,
            None => Found::Nothing,
        }
    }

    pub(super) fn range(&self, keys: &Keys) -> impl Iterator<Item = (&Arc<[u8]>, &Option<Packed>)> {
        self.slots.range::<[u8], _>(keys.bounds()).map(|(key, slot)| (key, &slot.value))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn count_unsaved(&self) -> usize {
        self.unsaved
    }

    /// How many entries the journal would have after the next save.
    pub(super) fn count_journalled(&self) -> usize {
        self.journal.values().sum::<usize>() + self.unsaved
    }

    /// Begins to save everything that no save has, and to fold some slots. Returns what goes into the journal as well, in order.
    pub(super) fn begin(&mut self, folds: Folds, journal: Journal) -> (Save, Vec<Put>) {
        let part = self.part(folds);
        let number = self.next;
        self.next += 1;
        let unsaved = std::mem::take(&mut self.unsaved);
        if journal == Journal::BeginsAnew {
            self.slots.values_mut().for_each(|slot| slot.save = number);
        }
        let mut kept = number;
        let mut puts = Vec::with_capacity(unsaved);
        for (key, slot) in &self.slots {
            kept = kept.min(slot.save);
            if slot.save == number {
                puts.push(put((key, slot)));
            }
        }
        let stale = self.journal.range(..kept).map(|(save, _)| *save).collect();
        (Save { number, journalled: puts.len(), part, kept, stale }, puts)
    }

    /// Some slots: the ones after the last part, and then the first of all.
    fn part(&mut self, Folds { at_most, at_least }: Folds) -> Vec<Put> {
        let is_settled = |slot: &Slot| !slot.value.as_ref().is_some_and(Packed::is_unknown);
        let are_enough = self.slots.values().filter(|slot| is_settled(slot)).take(at_least).count() == at_least;
        let most = if are_enough { at_most } else { at_least };
        let is_part = |(_, slot): &(_, &Slot)| !are_enough || is_settled(slot);
        let hand: Bound<&[u8]> = self.hand.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.slots.range::<[u8], _>((hand, Bound::Unbounded)).filter(is_part);
        let after: Vec<Put> = after.take(most).map(put).collect();
        let until = self.hand.as_deref().map_or(Bound::Excluded(&[][..]), Bound::Included);
        let before = self.slots.range::<[u8], _>((Bound::Unbounded, until)).filter(is_part);
        let mut part: Vec<Put> = before.take(most - after.len()).map(put).collect();
        if let Some((last, _)) = part.last().or(after.last()) {
            self.hand = Some(Arc::clone(last));
        }
        part.extend(after);
        part
    }

    /// It is in the file: all of its part but what was put since it began is where it belongs.
    pub(super) fn saved(&mut self, save: &Save) {
        self.journal.retain(|number, _| *number >= save.kept);
        if save.journalled > 0 {
            self.journal.insert(save.number, save.journalled);
        }
        let mut part = save.part.iter().peekable();
        if part.peek().is_none() {
            return;
        }
        self.slots.retain(|key, slot| {
            let is_folded = part.next_if(|(folded, _)| Arc::ptr_eq(folded, key)).is_some();
            let is_put_again = slot.save > save.number;
            !is_folded || is_put_again
        });
    }

    /// It is not in the file: the next save has what this one had.
    pub(super) fn failed(&mut self, save: &Save) {
        for slot in self.slots.values_mut().filter(|slot| slot.save == save.number) {
            slot.save = self.next;
            self.unsaved += 1;
        }
    }
}

fn put((key, slot): (&Arc<[u8]>, &Slot)) -> Put {
    (Arc::clone(key), slot.value.clone())
}

/// The next entries of a range: what lies over them hides what is below.
pub(super) fn merge<E>(
    below: impl Iterator<Item = Result<(Vec<u8>, Packed), E>>,
    over: impl Iterator<Item = (Arc<[u8]>, Option<Packed>)>,
    most: usize,
) -> Result<Vec<(Vec<u8>, Packed)>, E> {
    let (mut below, mut over) = (below.peekable(), over.peekable());
    let mut merged = Vec::new();
    while merged.len() < most {
        let is_below_first = match (below.peek(), over.peek()) {
            (None, None) => break,
            (Some(Err(_)), _) | (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(Ok((one, _))), Some((other, _))) if one[..] == other[..] => {
                below.next();
                false
            }
            (Some(Ok((one, _))), Some((other, _))) => one[..] < other[..],
        };
        if is_below_first {
            merged.extend(below.next().transpose()?);
        } else {
            merged.extend(over.next().and_then(|(key, value)| Some((key.to_vec(), value?))));
        }
    }
    Ok(merged)
}

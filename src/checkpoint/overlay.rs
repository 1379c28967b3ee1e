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
    /// What no save has, as it was put: of some keys, several.
    unsaved: Vec<Put>,
    /// How many entries each save in the journal has; of some keys, several.
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
    key: Arc<[u8]>,
    /// `None`: it is forgotten.
    value: Option<Packed>,
    /// The save that has it, or will have it. After one that failed it is a later one.
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
#[derive(Clone, Debug)]
pub(super) struct Save {
    number: Number,
    /// What no earlier one has.
    puts: Vec<Put>,
    /// What goes among the entries, in order.
    pub(super) part: Vec<Put>,
    /// The first save that the journal has after it, and those that it has not any more.
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
            overlay.slots.extend(puts.into_iter().map(|put| slot(put, save)));
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
                self.unsaved.push((Arc::clone(&slot.key), value.clone()));
                slot.value = value;
                slot.save = self.next;
            }
            return Ok(more);
        }
        let is_below = !is_new && self.added.is_some();
        let below = if is_below { below()? } else { None };
        let was_held = held(&below);
        let value = change(below);
        let more = held(&value) - was_held;
        let put = (Arc::from(key), value);
        self.unsaved.push(put.clone());
        let (key, slot) = slot(put, self.next);
        self.slots.insert(key, slot);
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
        self.unsaved.len()
    }

    /// How many entries the journal would have after the next save.
    pub(super) fn count_journalled(&self) -> usize {
        self.journal.values().sum::<usize>() + self.unsaved.len()
    }

    /// Everything that no save has is being saved from now on, and so many slots are folded.
    pub(super) fn begin(&mut self, folds: Folds, journal: Journal) -> Save {
        let part = self.part(folds);
        let number = self.next;
        self.next += 1;
        let kept = match journal {
            Journal::GoesOn => self.slots.values().map(|slot| slot.save).min().unwrap_or(number),
            Journal::BeginsAnew => {
                self.put_again_all_but(&part, number);
                number
            }
        };
        let stale = self.journal.range(..kept).map(|(save, _)| *save).collect();
        Save { number, puts: std::mem::take(&mut self.unsaved), part, kept, stale }
    }

    /// This save is to have every slot that is not folded.
    fn put_again_all_but(&mut self, part: &[Put], save: Number) {
        self.unsaved.clear();
        let mut part = part.iter().peekable();
        for (key, slot) in &mut self.slots {
            if part.next_if(|(folded, _)| Arc::ptr_eq(folded, key)).is_none() {
                slot.save = save;
                self.unsaved.push((Arc::clone(key), slot.value.clone()));
            }
        }
    }

    /// Some of those that earlier saves have: the ones after the last part, and then the first of all. What is in the next save
    /// stays.
    fn part(&mut self, Folds { at_most, at_least }: Folds) -> Vec<Put> {
        let is_old = |slot: &Slot| slot.save < self.next;
        let is_settled = |slot: &Slot| is_old(slot) && !slot.value.as_ref().is_some_and(Packed::is_open);
        let are_enough = self.slots.values().filter(|slot| is_settled(slot)).take(at_least).count() == at_least;
        let most = if are_enough { at_most } else { at_least };
        let is_part = |(_, slot): &(_, &Slot)| if are_enough { is_settled(slot) } else { is_old(slot) };
        let hand: Bound<&[u8]> = self.hand.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.slots.range::<[u8], _>((hand, Bound::Unbounded)).filter(is_part);
        let put = |(key, slot): (&Arc<[u8]>, &Slot)| (Arc::clone(key), slot.value.clone());
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
        self.journal.extend(save.journal().map(|(number, puts)| (number, puts.len())));
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

    /// It is not in the file.
    pub(super) fn failed(&mut self, save: Save) {
        self.unsaved.splice(..0, save.puts);
    }
}

impl Save {
    /// What goes into the journal.
    pub(super) fn journal(&self) -> Option<(Number, &[Put])> {
        (!self.puts.is_empty()).then_some((self.number, &*self.puts))
    }
}

fn slot((key, value): Put, save: Number) -> (Arc<[u8]>, Slot) {
    (Arc::clone(&key), Slot { key, value, save })
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

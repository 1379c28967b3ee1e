//! What was put and is not in the entries of the file yet: it lies over them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use super::codec::{self, Keys, Packed, Put};

#[derive(Debug, Default)]
pub(super) struct Overlay {
    slots: BTreeMap<Arc<[u8]>, Slot>,
    /// What no save has, as it was put: of some keys, several.
    unsaved: Vec<Put>,
    /// How many entries the journal has; of some keys, several.
    journalled: usize,
}

#[derive(Debug)]
pub(super) struct Slot {
    key: Arc<[u8]>,
    /// `None`: it is forgotten.
    pub(super) value: Option<Packed>,
    /// Whether the entry below is held, once that is known.
    pub(super) was_held: Option<bool>,
}

impl Slot {
    fn new((key, value): Put) -> (Arc<[u8]>, Self) {
        (Arc::clone(&key), Self { key, value, was_held: None })
    }
}

impl Overlay {
    /// What the journal of the file has.
    pub(super) fn from_journal(puts: Vec<Put>) -> Self {
        let journalled = puts.len();
        let slots = puts.into_iter().map(Slot::new).collect();
        Self { slots, unsaved: Vec::new(), journalled }
    }

    pub(super) fn put(&mut self, key: &[u8], value: Option<Packed>) {
        let Ok(()) = self.update(key, || Ok::<_, Infallible>(None), |_| value);
    }

    /// Replaces a value by what follows from it; what is below is looked up where nothing lies over it.
    pub(super) fn update<E>(
        &mut self,
        key: &[u8],
        below: impl FnOnce() -> Result<Option<Packed>, E>,
        change: impl FnOnce(Option<Packed>) -> Option<Packed>,
    ) -> Result<(), E> {
        match self.slots.get_mut(key) {
            Some(slot) => {
                let value = change(slot.value.clone());
                if slot.value != value {
                    self.unsaved.push((Arc::clone(&slot.key), value.clone()));
                    slot.value = value;
                }
            }
            None => {
                let put = (Arc::from(key), change(below()?));
                self.unsaved.push(put.clone());
                self.slots.extend([Slot::new(put)]);
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.slots.get(key)
    }

    pub(super) fn range(&self, keys: &Keys) -> impl Iterator<Item = (&Arc<[u8]>, &Slot)> {
        self.slots.range::<[u8], _>(keys.bounds())
    }

    pub(super) fn range_mut(&mut self, keys: &Keys) -> impl Iterator<Item = (&Arc<[u8]>, &mut Slot)> {
        self.slots.range_mut::<[u8], _>(keys.bounds())
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn count_unsaved(&self) -> usize {
        self.unsaved.len()
    }

    /// How many entries the journal would have after the next save.
    pub(super) fn count_journalled(&self) -> usize {
        self.journalled + self.unsaved.len()
    }

    /// The numbers of the shards whose entries these are.
    pub(super) fn numbers(&self) -> BTreeSet<u32> {
        self.slots.keys().filter_map(|key| codec::number(key)).collect()
    }

    /// Everything, for the entries of the file.
    pub(super) fn all(&self) -> Vec<Put> {
        self.slots.iter().map(|(key, slot)| (Arc::clone(key), slot.value.clone())).collect()
    }

    /// What no save has: from now on it is being saved.
    pub(super) fn begin(&mut self) -> Vec<Put> {
        std::mem::take(&mut self.unsaved)
    }

    /// They are in the journal.
    pub(super) fn journalled(&mut self, count: usize) {
        self.journalled += count;
    }

    /// All but what was put meanwhile is where it belongs.
    pub(super) fn folded(&mut self) {
        self.journalled = 0;
        self.slots = self.unsaved.iter().cloned().map(Slot::new).collect();
    }

    /// The save of these failed.
    pub(super) fn failed(&mut self, puts: Vec<Put>) {
        self.unsaved.splice(..0, puts);
    }
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

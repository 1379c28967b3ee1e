//! The shards: their numbers in the keys, their marks, and how many of their entries in the file are held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::Mark;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) number: u32,
    pub(super) mark: Mark,
    /// Of the entries that have been folded.
    pub(super) held: u64,
}

#[derive(Debug, Default)]
pub(super) struct Shards {
    by_name: BTreeMap<Arc<str>, Shard>,
    by_number: BTreeMap<u32, Arc<str>>,
    /// Changed since the last save.
    changed: BTreeSet<Arc<str>>,
}

impl Shards {
    /// `None` if two have one number.
    pub(super) fn new(shards: Vec<(Arc<str>, Shard)>) -> Option<Self> {
        let by_number: BTreeMap<_, _> = shards.iter().map(|(name, shard)| (shard.number, Arc::clone(name))).collect();
        let is_sound = by_number.len() == shards.len();
        is_sound.then(|| Self { by_name: shards.into_iter().collect(), by_number, changed: BTreeSet::new() })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Shard> {
        self.by_name.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Shard)> {
        self.by_name.iter()
    }

    /// The number of a shard; a new one has the next.
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(shard) = self.by_name.get(name) {
            return shard.number;
        }
        let number = self.next();
        let name: Arc<str> = name.into();
        self.by_number.insert(number, Arc::clone(&name));
        self.changed.insert(Arc::clone(&name));
        self.by_name.insert(name, Shard { number, mark: Mark::default(), held: 0 });
        number
    }

    /// The number of the next new shard.
    pub(super) fn next(&self) -> u32 {
        self.by_number.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    pub(super) fn set_mark(&mut self, name: &str, mark: Mark) {
        self.number(name);
        if let Some(shard) = self.by_name.get_mut(name).filter(|shard| shard.mark != mark) {
            shard.mark = mark;
            self.changed.insert(name.into());
        }
    }

    pub(super) fn set_held(&mut self, name: &str, held: u64) {
        if let Some(shard) = self.by_name.get_mut(name) {
            shard.held = held;
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Those that changed since the last save.
    pub(super) fn take_changed(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn restore_changed(&mut self, names: BTreeSet<Arc<str>>) {
        self.changed.extend(names);
    }
}

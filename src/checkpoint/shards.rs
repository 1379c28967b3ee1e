//! The shards: their numbers in the keys, their marks, and how many of their entries are held.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::Mark;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) number: u32,
    pub(super) mark: Mark,
    /// How many of its entries are held.
    pub(super) held: u64,
    /// It is not in the file as it is here, and no save that is under way has it.
    is_changed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Shards {
    numbers: BTreeMap<Arc<str>, u32>,
    by_number: BTreeMap<u32, Shard>,
}

impl Shard {
    /// One as it is in the file.
    pub(super) fn saved(number: u32, mark: Mark, held: u64) -> Self {
        Self { number, mark, held, is_changed: false }
    }

    pub(super) fn set_mark(&mut self, mark: Mark) {
        self.is_changed |= self.mark != mark;
        self.mark = mark;
    }

    pub(super) fn add_held(&mut self, more: i64) {
        self.is_changed |= more != 0;
        self.held = self.held.saturating_add_signed(more);
    }
}

impl Shards {
    /// `None` if two have one number.
    pub(super) fn new(shards: Vec<(Arc<str>, Shard)>) -> Option<Self> {
        let by_number: BTreeMap<_, _> = shards.iter().map(|(_, shard)| (shard.number, *shard)).collect();
        let is_sound = by_number.len() == shards.len();
        let numbers = shards.into_iter().map(|(name, shard)| (name, shard.number)).collect();
        is_sound.then_some(Self { numbers, by_number })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Shard> {
        self.by_number.get(self.numbers.get(name)?)
    }

    /// A shard; a new one has the next number.
    pub(super) fn get_or_new(&mut self, name: &str) -> &mut Shard {
        let number = self.numbers.get(name).copied().unwrap_or_else(|| {
            let number = self.next();
            self.numbers.insert(name.into(), number);
            number
        });
        self.by_number.entry(number).or_insert(Shard { number, is_changed: true, ..Shard::default() })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Shard)> {
        self.numbers.iter().filter_map(|(name, number)| Some((name, self.by_number.get(number)?)))
    }

    /// The number of the next new shard.
    pub(super) fn next(&self) -> u32 {
        self.by_number.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    pub(super) fn are_changed(&self) -> bool {
        self.by_number.values().any(|shard| shard.is_changed)
    }

    /// Those that changed since the last save: the next one has them.
    pub(super) fn take_changed(&mut self) -> Vec<(Arc<str>, Shard)> {
        let changed = self.iter().filter(|(_, shard)| shard.is_changed);
        let changed: Vec<_> = changed.map(|(name, shard)| (Arc::clone(name), *shard)).collect();
        self.by_number.values_mut().for_each(|shard| shard.is_changed = false);
        changed
    }

    /// The save did not take place.
    pub(super) fn restore_changed(&mut self, numbers: &[u32]) {
        for number in numbers {
            if let Some(shard) = self.by_number.get_mut(number) {
                shard.is_changed = true;
            }
        }
    }
}

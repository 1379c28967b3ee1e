//! Reading: what was put lies over the entries of the file.

use std::rc::Rc;
use std::sync::Arc;

use super::Checkpoint;
use super::codec::{self, Keys, Packed};
use super::error::Fault;
use super::overlay::{Found, merge};
use super::table::Tables;
use crate::engine::{Entry, Mark};
use crate::model::{Id, Stage};

/// Shards and containers that are kept at hand: some 0.5 MB of them. A table of 4,096 has room for as many.
const MOST_PARENTS: usize = 3_584;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Open,
}

impl Checkpoint {
    pub(super) fn tables(&self) -> Result<Option<Rc<Tables>>, Fault> {
        let Some(database) = &self.database else { return Ok(None) };
        let mut tables = self.tables.borrow_mut();
        if let Some(tables) = &*tables {
            return Ok(Some(Rc::clone(tables)));
        }
        Ok(Some(Rc::clone(tables.insert(Rc::new(Tables::begin(database)?)))))
    }

    /// What is below what was put.
    pub(super) fn below(&self, key: &[u8]) -> Result<Option<Packed>, Fault> {
        self.tables()?.map_or(Ok(None), |tables| tables.entry(key))
    }

    pub(super) fn entry_of(&self, id: &Id) -> Result<Option<Entry>, Fault> {
        if id.stage() == Stage::Leaf {
            return Ok(self.look_up(id)?.and_then(|value| value.entry()));
        }
        if let Some(value) = self.parents.borrow().get(id) {
            return Ok(value.as_ref().and_then(Packed::entry));
        }
        let value = self.look_up(id)?;
        let entry = value.as_ref().and_then(Packed::entry);
        let mut parents = self.parents.borrow_mut();
        if parents.len() == MOST_PARENTS {
            parents.clear();
        }
        parents.insert(id.clone(), value);
        Ok(entry)
    }

    fn look_up(&self, id: &Id) -> Result<Option<Packed>, Fault> {
        let memory = self.memory.borrow();
        let Some(shard) = memory.shards.get(id.shard()) else { return Ok(None) };
        let key = codec::key(shard.number, id);
        match memory.overlay.find(&key) {
            Found::Over(value) => Ok(value.clone()),
            Found::Below => self.below(&key),
            Found::Nothing => Ok(None),
        }
    }

    /// The next entries of a range.
    fn page(&self, which: Which, keys: &Keys, most: usize) -> Result<Vec<(Vec<u8>, Packed)>, Fault> {
        let memory = self.memory.borrow();
        let over = memory.overlay.range(keys).map(|(key, value)| {
            let value = value.clone().filter(|value| which == Which::All || value.is_open());
            (Arc::clone(key), value)
        });
        match (self.tables()?, which) {
            (None, _) => merge(std::iter::empty(), over, most),
            (Some(tables), Which::All) => merge(tables.entries(keys)?, over, most),
            (Some(tables), Which::Open) => {
                // They would be looked up in vain.
                let below = tables.open_entries(keys, |key| matches!(memory.overlay.find(key), Found::Over(_)))?;
                merge(below, over, most)
            }
        }
    }

    pub(super) fn entries_of(
        &self,
        which: Which,
        shard: &Id,
        after: Option<&Id>,
        most: usize,
    ) -> Result<Vec<(Id, Entry)>, Fault> {
        let Some(number) = self.number(shard) else { return Ok(Vec::new()) };
        let keys = Keys::of_shard(number);
        let keys = match after {
            Some(after) => keys.after(codec::key(number, after)),
            None => keys,
        };
        found(shard.shard(), self.page(which, &keys, most)?)
    }

    pub(super) fn children_of(&self, parent: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, Fault> {
        let Some(number) = self.number(parent) else { return Ok(Vec::new()) };
        let after = after.map(|after| codec::key(number, after));
        let leaves = Keys::of_leaves(number, parent);
        let leaves = match &after {
            Some(after) => leaves.after(after.clone()),
            None => leaves,
        };
        let mut children = self.page(Which::All, &leaves, most)?;
        if parent.stage() == Stage::Root {
            let mut containers = Keys::of_containers(number);
            if let Some(after) = &after {
                containers = containers.from(codec::beyond_container(after));
            }
            while children.len() < most {
                let Some((key, value)) = self.page(Which::All, &containers, 1)?.pop() else { break };
                // What is in it is passed over.
                containers = containers.from(codec::beyond_container(&key));
                if !codec::is_in_container(&key) {
                    children.push((key, value));
                }
            }
        }
        found(parent.shard(), children)
    }

    fn number(&self, id: &Id) -> Option<u32> {
        self.memory.borrow().shards.get(id.shard()).map(|shard| shard.number)
    }

    pub(super) fn shard_ids(&self) -> Result<Vec<Id>, Fault> {
        let shards: Vec<_> =
            self.memory.borrow().shards.iter().map(|(name, shard)| (Arc::clone(name), *shard)).collect();
        let mut ids = Vec::new();
        for (name, shard) in shards {
            let keys = Keys::of_shard(shard.number);
            if shard.mark != Mark::default() || !self.page(Which::All, &keys, 1)?.is_empty() {
                let length = name.len();
                ids.push(Id::new(name, length, length).ok_or(Fault::Malformed("the name of a shard is too long"))?);
            }
        }
        Ok(ids)
    }
}

fn found(shard: &str, found: Vec<(Vec<u8>, Packed)>) -> Result<Vec<(Id, Entry)>, Fault> {
    let decode = |(key, value): (Vec<u8>, Packed)| Some((codec::id(shard, &key)?, value.entry()?));
    found.into_iter().map(|found| decode(found).ok_or(Fault::Malformed("an entry cannot be read"))).collect()
}

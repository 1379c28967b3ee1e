//! A small estate: what is true, and what its late and forgetful source shows of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use super::random::Random;
use super::text::{Act, Fault, Operation, Setup};
use crate::model::{Id, Record, RecordKind, Stage};

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// The longest delay of rows and records.
pub(super) const OVERLAP: i64 = 2 * HOUR;
/// How long records are kept.
const RETENTION: i64 = 7 * DAY;
/// Long before everything.
pub(super) const NEVER: i64 = i64::MIN / 4;

/// The state of an entity: its content alternates between two values, and so does its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) version: u8,
    pub(super) tag: u8,
}

/// Since when each of two replicas shows a state, or that there is none.
struct Shown {
    from: [i64; 2],
    state: Option<State>,
}

struct Told {
    at: i64,
    kind: RecordKind,
    moves_scope: bool,
    visible: i64,
}

pub(super) struct World {
    pub(super) now: i64,
    pub(super) truth: BTreeMap<Id, State>,
    shown: BTreeMap<Id, Vec<Shown>>,
    records: BTreeMap<Id, Vec<Told>>,
    pub(super) faults: BTreeMap<Fault, Vec<Id>>,
    /// When an entity last came, went, or moved into or out of scope.
    pub(super) touched: BTreeMap<Id, i64>,
    /// What went without a record.
    pub(super) quiet: BTreeSet<Id>,
    /// Since when a first read of a shard asked for the records of leaves that have no row.
    pub(super) recent: BTreeMap<Id, i64>,
    pub(super) random: Random,
    /// Whether each row comes from a random replica.
    flickers: bool,
    /// Whether, of two records with the same time, a delete counts as the earlier one.
    pub(super) breaks_ties: bool,
    pub(super) queries: u64,
    pub(super) asked: usize,
    pub(super) full_reads: usize,
}

/// An id of any stage: `s0`, `s0/g0`, `s0/g0/r0`; and `s0/l0`, a leaf without a container.
pub(super) fn id(text: &str) -> Id {
    let shard = text.find('/').unwrap_or(text.len());
    let container = match text.get(shard + 1..) {
        Some(rest) if rest.starts_with('g') => rest.find('/').map_or(text.len(), |end| shard + 1 + end),
        _ => shard,
    };
    Id::new(text, shard, container).unwrap()
}

pub(super) fn is_within(id: &Id, outer: &Id) -> bool {
    let rest = id.as_str().strip_prefix(outer.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let Setup { shards, containers, leaves, loose, flickers, .. } = *setup;
        let mut world = Self {
            now: 100 * DAY,
            truth: BTreeMap::new(),
            shown: BTreeMap::new(),
            records: BTreeMap::new(),
            faults: BTreeMap::new(),
            touched: BTreeMap::new(),
            quiet: BTreeSet::new(),
            recent: BTreeMap::new(),
            random: Random::new(0),
            flickers,
            breaks_ties: true,
            queries: 0,
            asked: 0,
            full_reads: 0,
        };
        let mut add = |text: &str, tag| world.set(&id(text), Some(State { version: 0, tag }), [0; 3]);
        for s in 0..shards {
            add(&format!("s{s}"), 1);
            (0..loose).for_each(|l| add(&format!("s{s}/l{l}"), 1));
            for g in 0..containers {
                add(&format!("s{s}/g{g}"), u8::from(g == 0));
                (0..leaves).for_each(|r| add(&format!("s{s}/g{g}/r{r}"), 1));
            }
        }
        world.touched.clear();
        world
    }

    fn set(&mut self, id: &Id, state: Option<State>, lags: [i64; 3]) {
        let was = match state {
            Some(state) => self.truth.insert(id.clone(), state),
            None => self.truth.remove(id),
        };
        if was.map(|was| was.tag) != state.map(|state| state.tag) {
            self.touched.insert(id.clone(), self.now);
        }
        let from = [self.now + lags[0], self.now + lags[1]];
        self.shown.entry(id.clone()).or_default().push(Shown { from, state });
    }

    /// Records what an operation does to an entity.
    fn record(&mut self, id: &Id, kind: RecordKind, operation: &Operation) {
        let moves_scope = kind == RecordKind::Create || operation.act == Act::Tag;
        let told = Told { at: self.now, kind, moves_scope, visible: self.now + operation.lags[2] };
        self.records.entry(id.clone()).or_default().push(told);
    }

    /// One act in the estate. An act that makes no sense does nothing.
    pub(super) fn act(&mut self, operation: &Operation) {
        use RecordKind::{Create, Delete, Update};
        self.now += 1;
        let Operation { act, id, lags } = operation;
        let lags = *lags;
        let was = self.truth.get(id).copied();
        let turned = was.map(|was| State { version: 1 - was.version, ..was });
        let new = Some(State { version: 0, tag: 1 });
        let stage = id.stage();
        let has_parent = id.parent().is_none_or(|parent| self.truth.contains_key(&parent));
        match (act, was) {
            (Act::Create, None) if has_parent => {
                self.set(id, new, lags);
                self.record(id, Create, operation);
            }
            (Act::Update, Some(_)) => {
                self.set(id, turned, lags);
                self.record(id, Update, operation);
            }
            (Act::Touch, Some(_)) => self.record(id, Update, operation),
            (Act::Tag, Some(was)) if stage == Stage::Container => {
                self.set(id, Some(State { tag: 1 - was.tag, ..was }), lags);
                self.record(id, Update, operation);
            }
            (Act::Delete, Some(_)) if stage == Stage::Leaf => {
                self.set(id, None, lags);
                self.record(id, Delete, operation);
            }
            (Act::Twin, Some(_)) if stage == Stage::Leaf => {
                self.set(id, turned, lags);
                self.touched.insert(id.clone(), self.now);
                self.record(id, Delete, operation);
                self.record(id, Create, operation);
            }
            (Act::Drop | Act::DropQuietly, Some(_)) if stage == Stage::Container => {
                let within: Vec<Id> = self.truth.keys().filter(|of| *of != id && is_within(of, id)).cloned().collect();
                for leaf in within {
                    self.set(&leaf, None, lags);
                    if *act == Act::Drop {
                        self.record(&leaf, Delete, operation);
                    } else {
                        self.quiet.insert(leaf);
                    }
                    self.now += 1;
                }
                self.set(id, None, lags);
                self.record(id, Delete, operation);
            }
            (Act::Silent, Some(_)) => self.set(id, turned, lags),
            (Act::Vanish, Some(_)) if stage == Stage::Leaf => {
                self.set(id, None, lags);
                self.quiet.insert(id.clone());
            }
            (Act::Appear, None) if stage == Stage::Leaf && has_parent => self.set(id, new, lags),
            _ => {}
        }
    }

    /// Ends every fault, and shows everything that was late.
    pub(super) fn settle(&mut self) {
        self.faults.clear();
        let now = self.now;
        for shown in self.shown.values_mut().flatten() {
            shown.from = shown.from.map(|from| from.min(now));
        }
        for told in self.records.values_mut().flatten() {
            told.visible = told.visible.min(now);
        }
    }

    pub(super) fn is_on(&self, fault: Fault, id: &Id) -> bool {
        self.faults.get(&fault).is_some_and(|outer| outer.iter().any(|outer| is_within(id, outer)))
    }

    /// Whether a fault applies to this very entity.
    pub(super) fn is_at(&self, fault: Fault, id: &Id) -> bool {
        self.faults.get(&fault).is_some_and(|ids| ids.contains(id))
    }

    /// Whether this answer comes from the other replica.
    pub(super) fn flickers(&mut self) -> bool {
        self.flickers && self.random.chance(0.5)
    }

    /// The row as one of the replicas shows it, whether or not a fault hides it.
    pub(super) fn replicated(&mut self, id: &Id) -> Option<State> {
        let replica = usize::from(self.flickers());
        let shown = self.shown.get(id)?.iter().rev().find(|shown| shown.from[replica] <= self.now);
        shown.and_then(|shown| shown.state)
    }

    pub(super) fn row(&mut self, id: &Id) -> Option<State> {
        if self.is_on(Fault::Hide, id) || self.is_at(Fault::HideRow, id) {
            return None;
        }
        self.replicated(id)
    }

    /// Which of these shards an answer covers.
    pub(super) fn look(&mut self, shards: &[Id]) -> HashSet<Id> {
        self.queries += 1;
        let is_seen = |shard: &&Id| {
            let is_lost = self.is_on(Fault::Flaky, shard) && self.random.chance(0.5);
            !self.is_on(Fault::Uncovered, shard) && !is_lost
        };
        shards.iter().filter(is_seen).cloned().collect()
    }

    /// The latest record of an entity since a time.
    pub(super) fn latest(&self, id: &Id, since: i64) -> Option<Record> {
        if self.is_on(Fault::HideRecords, &id.root()) {
            return None;
        }
        let mut latest: Option<Record> = None;
        for told in self.records.get(id)? {
            if told.visible > self.now || told.at < since || told.at <= self.now - RETENTION {
                continue;
            }
            let at = time(told.at);
            let is_later =
                |old: &Record| at > old.at || (at == old.at && old.kind == RecordKind::Delete && self.breaks_ties);
            let moves_scope = told.moves_scope || latest.is_some_and(|old| old.moves_scope);
            if latest.as_ref().is_none_or(is_later) {
                latest = Some(Record { moves_scope, ..Record::new(at, told.kind) });
            } else if let Some(latest) = &mut latest {
                latest.moves_scope = moves_scope;
            }
        }
        latest
    }

    /// Every entity that ever existed, after this one.
    pub(super) fn after(&self, after: Option<&Id>) -> Vec<Id> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.shown.range::<Id, _>((from, Unbounded)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether a record of it was asked for: a first read leaves the older records of leaves to the rows.
    pub(super) fn was_told(&self, id: &Id) -> bool {
        let recent = self.recent.get(id.shard()).filter(|_| id.stage() == Stage::Leaf).copied().unwrap_or(NEVER);
        self.records.get(id).is_some_and(|records| records.iter().any(|told| told.at >= recent))
    }

    /// How many redundant posts the records allow for: one each, and for a container one more for each entity in it.
    pub(super) fn allowance(&self) -> u64 {
        let within = |id: &Id| self.shown.keys().filter(|of| of.parent().as_ref() == Some(id)).count();
        let price = |id: &Id| if id.stage() == Stage::Container { 1 + within(id) } else { 1 };
        self.records.iter().map(|(id, told)| (told.len() * price(id)) as u64).sum()
    }
}

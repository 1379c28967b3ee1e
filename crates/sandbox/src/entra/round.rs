//! A round of a delta: its items, their order, and their pages.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::select::Select;
use crate::directory::{Directory, Entry, Id, Kind, Slot, What};
use crate::lock;
use crate::rng::{Rng, hash};
use crate::settings::{DeltaSettings, Repeats};

/// Rounds to cache, more than are open at a time; others are computed again.
const REMEMBERED: usize = 6;

/// In a first round, one object in this many comes twice, if any do: also in its state before the last change.
const TWICE_IN: usize = 8;

/// What determines a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub kind: Kind,
    pub select: Select,
    pub filter: Option<Arc<[Id]>>,
    /// `None` in a first round.
    pub from: Option<u32>,
    pub to: u32,
    pub shows_hidden: bool,
}

/// An object as of a position, or a slice of its members.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub slot: Slot,
    pub at: u32,
    /// One bit for each changed property.
    pub changed: u32,
    pub members: Members,
}

#[derive(Clone, Debug)]
pub(super) enum Members {
    None,
    /// These indexes among the members as of the position.
    Slice(Range<u32>),
    /// Members that joined or left.
    Changes(Box<[(Slot, bool)]>),
}

#[derive(Default)]
pub(super) struct Rounds(Mutex<VecDeque<(Key, Arc<Round>)>>);

impl Rounds {
    /// A new round uses the current settings; one in progress keeps its own.
    pub(super) fn get(&self, key: &Key, begins: bool, directory: &Directory, settings: &DeltaSettings) -> Arc<Round> {
        let mut rounds = lock(&self.0);
        let is_known = |(of, round): &&(Key, Arc<Round>)| of == key && (!begins || round.settings == *settings);
        if let Some((_, known)) = rounds.iter().find(is_known) {
            return known.clone();
        }
        let round = Arc::new(Round::new(key, directory, settings));
        rounds.push_front((key.clone(), round.clone()));
        rounds.truncate(REMEMBERED);
        round
    }
}

pub(super) struct Round {
    pub items: Vec<Item>,
    pub pages: Vec<Range<usize>>,
    settings: DeltaSettings,
}

impl Round {
    fn new(key: &Key, directory: &Directory, settings: &DeltaSettings) -> Self {
        let seed = [key.kind as u32, key.from.map_or(0, |from| from + 1), key.to].map(u32::to_le_bytes);
        let mut maker = Maker { key, directory, settings, rng: Rng::new(hash(&[&seed.concat()])) };
        let mut items = match key.from {
            None => maker.first(),
            Some(from) => maker.later(from),
        };
        if settings.shuffled {
            maker.rng.shuffle(&mut items);
        }
        if settings.repeats == Repeats::OldThenNew {
            put_in_order(&mut items);
        }
        let pages = pages(items.len(), settings);
        Self { items, pages, settings: settings.clone() }
    }
}

/// The item ranges of the pages; there is at least one page.
fn pages(items: usize, settings: &DeltaSettings) -> Vec<Range<usize>> {
    let mut pages: Vec<Range<usize>> = Vec::new();
    let mut from = 0;
    while from < items {
        // If all pages were empty, the round would never end.
        let is_empty =
            settings.empty_page_in.map(|every| every.max(2)).is_some_and(|every| pages.len() % every == every - 1);
        let to = if is_empty { from } else { items.min(from + settings.page.max(1)) };
        pages.push(from..to);
        from = to;
    }
    if pages.is_empty() {
        pages.push(0..0);
    }
    pages
}

/// Sorts the items of each object from old to new, within the positions that they occupy.
fn put_in_order(items: &mut [Item]) {
    let mut places: HashMap<Slot, Vec<usize>> = HashMap::new();
    for (place, item) in items.iter().enumerate() {
        places.entry(item.slot).or_default().push(place);
    }
    for places in places.into_values().filter(|places| places.len() > 1) {
        let mut own: Vec<Item> = places.iter().map(|place| items[*place].clone()).collect();
        own.sort_by_key(|item| item.at);
        for (place, item) in places.into_iter().zip(own) {
            items[place] = item;
        }
    }
}

struct Maker<'a> {
    key: &'a Key,
    directory: &'a Directory,
    settings: &'a DeltaSettings,
    rng: Rng,
}

impl Maker<'_> {
    fn first(&mut self) -> Vec<Item> {
        let (mut items, mut later) = (Vec::new(), Vec::new());
        let at = self.key.to;
        let whole = |slot| Item { slot, at, changed: u32::MAX, members: Members::None };
        let directory = self.directory;
        for slot in directory.slots(self.key.kind).iter().copied() {
            let Some(state) = directory.at(slot, at).filter(|_| self.wants(slot)) else { continue };
            if !state.is_alive() {
                items.extend(self.settings.first_round_removed.then(|| whole(slot)));
                continue;
            }
            if self.settings.repeats != Repeats::Folded && self.rng.one_in(TWICE_IN) {
                let before = directory.before(slot, at).filter(|before| directory.at(slot, *before).is_some());
                later.push((0, Item { at: before.unwrap_or(at), ..whole(slot) }));
            }
            let shows = self.key.select.members && (self.key.shows_hidden || !state.has_hidden_members());
            let count = if shows { directory.members_at(slot, at).len() as u32 } else { 0 };
            let mut slices = self.slices(count).into_iter();
            let first = slices.next().map_or(Members::None, Members::Slice);
            items.push(Item { members: first, ..whole(slot) });
            let rest = slices.map(|slice| Item { members: Members::Slice(slice), ..whole(slot) });
            later.extend((1..).zip(rest));
        }
        // The second slices of all groups, then the third ones, so that a page has two of one group only at the end.
        later.sort_by_key(|(turn, _)| *turn);
        items.extend(later.into_iter().map(|(_, item)| item));
        items
    }

    fn slices(&mut self, count: u32) -> Vec<Range<u32>> {
        let (low, high) = (*self.settings.slice.start(), *self.settings.slice.end());
        let mut slices = Vec::new();
        let mut from = 0;
        while from < count {
            let length = low + self.rng.below(high.saturating_sub(low) + 1);
            let to = count.min(from + length.max(1) as u32);
            slices.push(from..to);
            from = to;
        }
        slices
    }

    fn later(&mut self, from: u32) -> Vec<Item> {
        let from = from.saturating_sub(self.settings.replayed);
        let mut of: BTreeMap<Slot, Vec<(u32, &Entry)>> = BTreeMap::new();
        for (at, entry) in self.directory.changes(from, self.key.to) {
            if self.directory.object(entry.slot).kind == self.key.kind && self.wants(entry.slot) && self.tells(entry) {
                of.entry(entry.slot).or_default().push((at, entry));
            }
        }
        let (mut items, mut later) = (Vec::new(), Vec::new());
        for (slot, entries) in of {
            match self.settings.repeats {
                Repeats::Folded => {
                    let mut folded = self.folded(slot, &entries).into_iter();
                    items.extend(folded.next());
                    later.extend((1..).zip(folded));
                }
                Repeats::OldThenNew => items.extend(entries.iter().map(one)),
                Repeats::Conflicting => items.extend(entries.iter().rev().map(one)),
            }
        }
        later.sort_by_key(|(turn, _)| *turn);
        items.extend(later.into_iter().map(|(_, item)| item));
        items
    }

    fn wants(&self, slot: Slot) -> bool {
        self.key.filter.as_ref().is_none_or(|ids| ids.contains(&self.directory.object(slot).id))
    }

    /// Whether the round includes a change.
    fn tells(&self, entry: &Entry) -> bool {
        match entry.what {
            What::Created | What::Deleted | What::Purged { .. } => true,
            What::Restored { .. } => self.settings.shows_restored,
            What::Set { place, .. } => self.key.select.has(place),
            What::Joined(_) | What::Left(_) => {
                let hides = || self.directory.at(entry.slot, self.key.to).is_some_and(|of| of.has_hidden_members());
                self.key.select.members && (self.key.shows_hidden || !hides())
            }
        }
    }

    /// The final state, with all joined and left members, one slice at a time.
    fn folded(&mut self, slot: Slot, entries: &[(u32, &Entry)]) -> Vec<Item> {
        let at = self.key.to;
        let changed = entries.iter().fold(0, |bits, (_, entry)| bits | changed(entry));
        let item = |members| Item { slot, at, changed, members };
        let touched = entries.iter().filter_map(|(_, entry)| match entry.what {
            What::Joined(member) | What::Left(member) => Some(member),
            _ => None,
        });
        let mut touched: Vec<Slot> = touched.collect();
        touched.sort_unstable();
        touched.dedup();
        if touched.is_empty() || self.directory.alive_at(slot, at).is_none() {
            return vec![item(Members::None)];
        }
        let all = self.directory.all_members_at(slot, at);
        let net = touched.into_iter().filter_map(|member| match all.binary_search(&member) {
            // A member that joined and was deleted is not shown: deletes are silent here.
            Ok(_) => self.directory.alive_at(member, at).map(|_| (member, true)),
            Err(_) => Some((member, false)),
        });
        let net: Vec<(Slot, bool)> = net.collect();
        let slices = self.slices(net.len() as u32);
        if slices.is_empty() {
            return vec![item(Members::None)];
        }
        let part = |slice: Range<u32>| net[slice.start as usize..slice.end as usize].into();
        slices.into_iter().map(|slice| item(Members::Changes(part(slice)))).collect()
    }
}

fn changed(entry: &Entry) -> u32 {
    match entry.what {
        What::Set { place, .. } => 1 << place,
        What::Joined(_) | What::Left(_) => 0,
        _ => u32::MAX,
    }
}

/// A single change.
fn one((at, entry): &(u32, &Entry)) -> Item {
    let members = match entry.what {
        What::Joined(member) => Members::Changes([(member, true)].into()),
        What::Left(member) => Members::Changes([(member, false)].into()),
        _ => Members::None,
    };
    Item { slot: entry.slot, at: *at, changed: changed(entry), members }
}

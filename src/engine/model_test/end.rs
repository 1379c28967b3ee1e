//! The end of a play: all faults end, a few ticks later the catalog matches the estate, and nothing more is posted.

use std::collections::BTreeMap;

use super::fakes::content;
use super::play::{GUARDED_WAIT, Play};
use super::text::{Filter, Tick};
use super::world::{DAY, MINUTE, World, is_within};
use crate::engine::Entry;
use crate::model::{Id, Scope, Stage};

/// Ordinary ticks after the faults.
const TICKS: usize = 4;
const WATCH: i64 = 2 * DAY;

/// How the catalog differs from what it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    Missing(Id),
    LeftOver(Id),
    Holds(Id, u64, u64),
    LostItsParent(Id),
}

impl Difference {
    pub(super) fn id(&self) -> &Id {
        match self {
            Self::Missing(id) | Self::LeftOver(id) | Self::Holds(id, ..) | Self::LostItsParent(id) => id,
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(id) => write!(f, "{id} is missing"),
            Self::LeftOver(id) => write!(f, "{id} is left over"),
            Self::Holds(id, has, wanted) => write!(f, "{id} holds {has}, is {wanted}"),
            Self::LostItsParent(id) => write!(f, "{id} has lost its parent"),
        }
    }
}

/// What belongs in the catalog.
pub(super) fn wanted(world: &World, scope: Filter) -> BTreeMap<Id, u64> {
    let is_in = |container: &Id| match (scope, world.truth.get(container)) {
        (Filter::All, of) => of.is_some(),
        (Filter::Tagged(tag), of) => container.stage() == Stage::Container && of.is_some_and(|of| of.tag == tag),
    };
    let is_wanted = |id: &Id| match id.stage() {
        Stage::Root => true,
        Stage::Container => is_in(id),
        Stage::Leaf => id.parent().is_some_and(|container| is_in(&container)),
    };
    let truth = world.truth.iter().filter(|(id, _)| is_wanted(id));
    truth.map(|(id, state)| (id.clone(), content(id, *state))).collect()
}

impl Play {
    pub(super) fn differences(&self) -> Vec<Difference> {
        let world = self.world.borrow();
        let mut judge = self.judge.borrow_mut();
        let wanted = wanted(&world, judge.scope);
        let has = judge.catalog().has.clone();
        let mut all = Vec::new();
        for (id, content) in &wanted {
            match has.get(id) {
                None => all.push(Difference::Missing(id.clone())),
                Some(kept) if kept.content != *content => {
                    all.push(Difference::Holds(id.clone(), kept.content, *content));
                }
                Some(kept) if !kept.is_related => all.push(Difference::LostItsParent(id.clone())),
                Some(_) => {}
            }
        }
        for id in has.keys().filter(|id| !wanted.contains_key(*id)) {
            // If it went without a record, and no memory has it, only a listing of the catalog could tell.
            let went_unannounced = world.quiet.contains(id) || judge.is_long || judge.scoped_at > 0;
            if !(judge.unknowable.contains(id) && went_unannounced) {
                all.push(Difference::LeftOver(id.clone()));
            }
        }
        all.sort_by(|one, other| one.id().cmp(other.id()));
        all
    }

    /// Whether all differences were hidden during the full read, so that the next full run finds them.
    fn is_left_to_a_full_run(&self, left: &[Difference]) -> bool {
        let world = self.world.borrow();
        let judge = self.judge.borrow();
        let data = self.replica.durable();
        let is_known = |entry: &Entry| entry.scope != Some(Scope::Out) || entry.absent.is_some();
        let was_hidden = |id: &Id| {
            judge.hidden_at.iter().any(|(of, at)| {
                let watched = if judge.ever.contains(id) { 2 * WATCH } else { WATCH };
                is_within(id, of) && (!world.was_told(id) || world.now - at > watched)
            })
        };
        let is_excused = |difference: &Difference| {
            let id = difference.id();
            let parent = id.parent();
            let had_hidden_parent = parent.as_ref().is_some_and(&was_hidden);
            let is_unknown = !data.entries.get(id).is_some_and(is_known);
            (is_unknown && was_hidden(id))
                || (had_hidden_parent && parent.is_some_and(|parent| !judge.ever.contains(&parent)))
                || (matches!(difference, Difference::LostItsParent(_)) && had_hidden_parent)
        };
        !left.is_empty() && left.iter().all(is_excused)
    }

    fn run_after(&mut self, minutes: i64, tick: &Tick) {
        self.world.borrow_mut().now += minutes * MINUTE;
        self.run(tick);
    }

    /// Ends the faults, and returns what is wrong afterwards.
    pub(super) fn finish(&mut self) -> Vec<String> {
        self.world.borrow_mut().settle();
        let mut full = self.setup.full || self.judge.borrow().is_long;
        self.resend();
        for tick in 0..TICKS {
            self.run_after(20, &Tick { full: full && tick == 0, ..Tick::default() });
        }
        let mut left = self.differences();
        if self.is_left_to_a_full_run(&left) {
            full = true;
            self.run(&Tick { full, ..Tick::default() });
        }
        if !left.is_empty() && (full || self.judge.borrow().is_guarding) {
            // What only shows by its absence takes half an hour more, and a guarded mass a day.
            for minutes in [40, 40, GUARDED_WAIT / MINUTE + 60, 20] {
                self.run_after(minutes, &Tick::default());
            }
            left = self.differences();
        }
        for difference in &left {
            self.wrong(difference.to_string());
        }
        let costs = self.judge.borrow().costs;
        let allowed = self.world.borrow().allowance();
        if self.is_plain() && !self.judge.borrow().is_long && costs.redundant > allowed {
            self.wrong(format!("{} redundant posts, {allowed} are allowed", costs.redundant));
        }
        if left.is_empty() {
            self.idle();
        }
        self.judge.borrow().wrong.clone()
    }

    fn idle(&mut self) {
        let is_watching = self.replica.durable().entries.values().any(|entry| entry.absent.is_some());
        let before = self.judge.borrow().costs.posts;
        self.run_after(20, &Tick::default());
        if self.judge.borrow().costs.posts != before {
            self.wrong("an idle tick posts".into());
        }
        if self.world.borrow().asked > 0 && !is_watching {
            self.wrong("an idle tick asks".into());
        }
    }
}

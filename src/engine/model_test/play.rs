//! Plays a history with the real engine and the fakes, and notes broken promises.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::future::{Either, select};
use jiff::SignedDuration;

use super::catalog::Catalog;
use super::fakes::{FakeSink, FakeSource, give_way, number};
use super::memory::{Data, FakeReplica};
use super::random::Random;
use super::text::{Cut, Fault, Filter, Setup, Step, Tick};
use super::world::{DAY, MINUTE, NEVER, OVERLAP, World, is_within, time};
use crate::engine::delivery::Order;
use crate::engine::tally::Settled;
use crate::engine::{Bounds, Engine, Entry, First, Full, Leaving, Parcel, Replica, Resend, Settings, Terms};
use crate::model::{Id, Operation};

/// How many entities of a shard may be missing before the guard applies.
pub(super) const GUARDED: usize = 3;
pub(super) const WAIT: i64 = 30 * MINUTE;
pub(super) const GUARDED_WAIT: i64 = DAY;
/// Longer than records can be relied on.
const LONG: i64 = 5 * DAY;
/// No run takes this many steps.
const ENDLESS: u64 = 50_000;

/// The costs of a play.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Costs {
    pub(super) posts: u64,
    /// Posts that changed nothing.
    pub(super) redundant: u64,
    pub(super) runs: u64,
    pub(super) full_reads: u64,
    pub(super) asked: usize,
    pub(super) polls: u64,
}

/// Judges a play: the catalogs, what was hidden from the engine, and what went wrong.
pub(super) struct Judge {
    pub(super) catalogs: BTreeMap<char, Catalog>,
    pub(super) sink: char,
    pub(super) scope: Filter,
    setup: Setup,
    tick: Tick,
    /// The shard that somebody declared gone in this tick.
    forgotten: Option<Id>,
    posted: u64,
    pub(super) costs: Costs,
    pub(super) wrong: Vec<String>,
    /// What was deleted because it was out of sight.
    deleted: BTreeSet<Id>,
    pub(super) scoped_at: i64,
    pub(super) hidden_at: BTreeMap<Id, i64>,
    pub(super) ever: BTreeSet<Id>,
    /// What no replica or catalog remembers any more.
    pub(super) unknowable: BTreeSet<Id>,
    pub(super) is_long: bool,
    /// Whether records could not be read, and were old by the time they could.
    was_poisoned: bool,
    /// Whether, for that reason, a mass of entities shows only by its absence, and is left for later.
    pub(super) is_guarding: bool,
}

pub(super) struct Play {
    pub(super) world: RefCell<World>,
    pub(super) judge: RefCell<Judge>,
    pub(super) replica: FakeReplica,
    past: Vec<Rc<Data>>,
    pub(super) setup: Setup,
    seed: u64,
}

impl Judge {
    pub(super) fn catalog(&mut self) -> &mut Catalog {
        self.catalogs.entry(self.sink).or_insert_with(|| Catalog::new(&self.setup))
    }

    fn post(&mut self, world: &World, parcel: &dyn Parcel) -> Settled {
        let change = parcel.change();
        let id = &change.id;
        let is_delete = change.operation == Operation::Delete;
        self.posted += 1;
        self.costs.posts += 1;
        if is_delete && super::end::wanted(world, self.scope).contains_key(id) {
            self.judge_delete(world, id);
        }
        let is_now = |number: Option<u64>| number == Some(self.posted);
        if world.faults.contains_key(&Fault::Down) || world.is_at(Fault::Fail, id) || is_now(self.tick.fail) {
            return Settled::Failed;
        }
        if (world.is_at(Fault::Refuse, id) && !is_delete) || world.is_at(Fault::RefuseAll, id) {
            return Settled::Rejected;
        }
        if is_now(self.tick.late) {
            self.catalog().late.push((change.operation, id.clone(), number(change)));
            return Settled::Failed;
        }
        let is_lost = is_now(self.tick.lost) || world.is_at(Fault::Lose, id);
        if !is_delete {
            self.ever.insert(id.clone());
        }
        if !self.catalog().apply(change.operation, id, number(change)) {
            self.costs.redundant += 1;
        }
        if is_lost { Settled::Failed } else { Settled::Accepted }
    }

    /// Deleting something that exists is wrong, unless it was out of sight for long and is not part of a mass.
    fn judge_delete(&mut self, world: &World, id: &Id) {
        let is_seen = |of: &Id| {
            let touched = world.touched.get(of).copied().unwrap_or(NEVER);
            world.now - touched > OVERLAP + 5 * MINUTE
        };
        let parent = id.parent();
        let is_excused = self.forgotten.as_ref().is_some_and(|shard| is_within(id, shard))
            || !is_seen(id)
            || parent.as_ref().is_some_and(|parent| !is_seen(parent))
            || world.now - self.scoped_at <= OVERLAP
            || self
                .hidden_at
                .iter()
                .any(|(of, at)| (is_within(id, of) || parent.as_ref() == Some(of)) && world.now - at >= WAIT);
        if !is_excused {
            self.wrong.push(format!("a delete of {id}, which is there"));
            return;
        }
        let hidden = self.hidden_at.iter().filter(|(of, _)| is_within(id, of)).map(|(_, at)| *at).min();
        if let Some(since) = hidden {
            if self.catalog().has.contains_key(id) {
                self.deleted.insert(id.clone());
            }
            let is_early = world.now - since < GUARDED_WAIT && world.faults.contains_key(&Fault::Hide);
            let of_shard = self.deleted.iter().filter(|of| of.shard() == id.shard()).count();
            if of_shard > GUARDED && is_early {
                self.wrong.push("a mass of deletes of what is there".into());
            }
        }
    }
}

impl Play {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            world: RefCell::new(World::new(setup)),
            judge: RefCell::new(Judge {
                catalogs: BTreeMap::new(),
                sink: 'a',
                scope: setup.scope,
                setup: setup.clone(),
                tick: Tick::default(),
                forgotten: None,
                posted: 0,
                costs: Costs::default(),
                wrong: Vec::new(),
                deleted: BTreeSet::new(),
                scoped_at: NEVER,
                hidden_at: BTreeMap::new(),
                ever: BTreeSet::new(),
                unknowable: BTreeSet::new(),
                is_long: false,
                was_poisoned: false,
                is_guarding: false,
            }),
            replica: FakeReplica::default(),
            past: Vec::new(),
            setup: setup.clone(),
            seed: 0,
        }
    }

    fn settings(&self, tick: &Tick) -> Settings {
        let judge = self.judge.borrow();
        let every = SignedDuration::from_hours(if self.setup.daily { 24 } else { 24 * 365 });
        Settings {
            terms: Terms { sink: judge.sink.into(), scope: judge.scope.to_string() },
            overlap: SignedDuration::from_secs(OVERLAP),
            full: if tick.full { Full::Now } else { Full::Every(every) },
            first: First::Confirmed,
            leaving: Leaving::Delete,
            resend: Resend::Nothing,
            bounds: Bounds { page: 2, asked: 5, watched: 6, guarded: GUARDED as u64, ..Bounds::default() },
        }
    }

    pub(super) fn run(&mut self, tick: &Tick) {
        self.seed += 1;
        {
            let mut world = self.world.borrow_mut();
            world.random = Random::new(tick.seed.unwrap_or(self.seed));
            (world.queries, world.asked, world.full_reads) = (0, 0, 0);
            let mut judge = self.judge.borrow_mut();
            judge.tick = tick.clone();
            judge.posted = 0;
        }
        self.replica.reopen();
        self.go(tick);
        self.past.push(self.replica.durable());
        let mut judge = self.judge.borrow_mut();
        judge.catalog().apply_late();
        let world = self.world.borrow();
        judge.costs.runs += 1;
        judge.costs.full_reads += world.full_reads as u64;
        judge.costs.asked = judge.costs.asked.max(world.asked);
    }

    /// Runs step by step, to the end or until it is cut.
    fn go(&self, tick: &Tick) {
        let settings = self.settings(tick);
        let (scope, start) = (self.judge.borrow().scope, time(self.world.borrow().now));
        let source =
            FakeSource { world: &self.world, scope, together: self.setup.together, looked: RefCell::default() };
        let listed = source.listing();
        let is_same = self.replica.terms().is_some_and(|was| was.sink == settings.terms.sink);
        let is_listed = |id: &Id| listed.iter().any(|shard| shard.id == *id);
        let forgotten = tick.forget.clone().filter(|id| is_same && !is_listed(id));
        self.judge.borrow_mut().forgotten.clone_from(&forgotten);
        let (engine, mut orders) = Engine::new(&source, &FakeSink, &self.replica, &settings, start);
        let running = async {
            give_way().await;
            match &forgotten {
                Some(shard) => drop(engine.delete_all(shard).await?),
                None => engine.run(&listed).await?,
            }
            engine.settle_all().await?;
            engine.save().await
        };
        let posting = async {
            while let Some(order) = orders.recv().await {
                match order {
                    Order::Post { parcels, .. } => {
                        for parcel in &parcels {
                            let settled = self.judge.borrow_mut().post(&self.world.borrow(), &**parcel);
                            give_way().await;
                            engine.settle(&**parcel, settled);
                            give_way().await;
                        }
                    }
                    Order::Settle(settled) => drop(settled.send(())),
                }
            }
        };
        let (running, posting) = (pin!(running), pin!(posting));
        let mut whole = pin!(select(running, posting));
        let mut context = Context::from_waker(Waker::noop());
        for polls in 1.. {
            match whole.as_mut().poll(&mut context) {
                Poll::Ready(Either::Left((Ok(()), _))) => {
                    let judge = &mut *self.judge.borrow_mut();
                    judge.is_guarding = judge.was_poisoned && engine.counts().guarded > 0;
                    return;
                }
                Poll::Ready(Either::Left((Err(error), _))) => return self.wrong(format!("a run ends with: {error}")),
                Poll::Ready(Either::Right(_)) => return self.wrong("nobody gives orders any more".into()),
                Poll::Pending => {}
            }
            self.judge.borrow_mut().costs.polls += 1;
            self.world.borrow_mut().now += 1;
            if let Some((at, operation)) = &tick.during
                && *at == polls
            {
                self.world.borrow_mut().act(operation);
            }
            match tick.cut {
                Some((Cut::Term, at)) if at <= polls => return self.replica.save_now(),
                Some((Cut::Kill, at)) if at <= polls && tick.lazy => return self.replica.save_now(),
                Some((Cut::Kill, at)) if at <= polls => return,
                _ if polls > ENDLESS => return self.wrong("a run does not end".into()),
                _ => {}
            }
        }
    }

    pub(super) fn wrong(&self, what: String) {
        self.judge.borrow_mut().wrong.push(what);
    }

    pub(super) fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        if let Step::Run(tick) = step {
            return self.run(tick);
        }
        let mut world = self.world.borrow_mut();
        let judge = &mut *self.judge.borrow_mut();
        match step {
            Step::Run(_) => {}
            Step::Act(operation) => world.act(operation),
            Step::Mark => judge.costs = Costs::default(),
            Step::Wait(minutes) => {
                world.now += minutes * MINUTE;
                judge.is_long |= minutes * MINUTE > LONG;
            }
            Step::Fault(fault, id) => {
                world.faults.entry(*fault).or_default().extend(id.clone());
                judge.is_long |= *fault == Fault::HideRecords;
                judge.was_poisoned |= *fault == Fault::Poison;
                if let (Fault::Hide | Fault::HideRow | Fault::HideRecords, Some(id)) = (fault, id) {
                    judge.hidden_at.entry(id.clone()).or_insert(world.now);
                }
            }
            Step::Mend(fault) => drop(world.faults.remove(fault)),
            Step::Back(_) | Step::Lose => {
                let back = match step {
                    Step::Back(runs) => self.past.iter().rev().take(runs + 1).next_back().cloned(),
                    _ => None,
                };
                let data = back.unwrap_or_default();
                let has: BTreeSet<Id> = judge.catalog().has.keys().cloned().collect();
                judge.unknowable.extend(has.into_iter().filter(|id| !data.entries.contains_key(id)));
                self.replica.restore(data);
            }
            Step::Sink(name) => {
                judge.sink = *name;
                let data = self.replica.durable();
                let is_held = |id: &Id| data.entries.get(id).is_some_and(Entry::is_held);
                let has: BTreeSet<Id> = judge.catalog().has.keys().cloned().collect();
                judge.unknowable.extend(has.into_iter().filter(|id| !is_held(id)));
            }
            Step::Scope(filter) => {
                judge.scope = *filter;
                judge.scoped_at = world.now;
            }
        }
    }

    /// Marks what was rejected for another try.
    pub(super) fn resend(&self) {
        let mut data = Data::clone(&self.replica.durable());
        data.resend();
        self.replica.restore(Rc::new(data));
    }

    pub(super) fn is_plain(&self) -> bool {
        self.setup.plain
    }
}

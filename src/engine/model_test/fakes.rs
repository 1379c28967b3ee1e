//! A source, a sink and a replica in memory. Each yields at every step, so that a run can end there.

use std::cell::RefCell;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::text::{Fault, Filter};
use super::world::{State, World};
use crate::engine::rules::{Rule, holds};
use crate::engine::{
    Answer, Content, ContentHasher, Found, Intake, Limits, Parcel, Reading, Receipt, Shard, Sight, Sink, SinkError,
    Source, Window,
};
use crate::error::Problem;
use crate::model::{Change, Finding, Id, Names, Operation, RecordKind, Scope, Stage};

/// Findings per page of the source.
const PAGE: usize = 2;

/// Yields once: time goes on, and the run may end here.
pub(super) async fn give_way() {
    let mut has_waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The content that the catalog should have for an entity; a leaf's tag is not part of it.
pub(super) fn content(id: &Id, state: State) -> u64 {
    match id.stage() {
        Stage::Leaf => state.version.into(),
        Stage::Root | Stage::Container => (2 * state.version + state.tag).into(),
    }
}

fn change(id: &Id, state: Option<State>) -> Change {
    let row: &[u8] = match state.map(|state| content(id, state)) {
        None => b"",
        Some(0) => b"0",
        Some(1) => b"1",
        Some(2) => b"2",
        Some(_) => b"3",
    };
    let operation = if state.is_some() { Operation::Upsert } else { Operation::Delete };
    Change {
        id: id.clone(),
        operation,
        label: "",
        kind: "".into(),
        changed_at: None,
        actor: None,
        row: Bytes::from_static(row),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer")]
pub(super) struct NoAnswer;

pub(super) struct FakeSource<'w> {
    pub(super) world: &'w RefCell<World>,
    pub(super) scope: Filter,
    pub(super) together: usize,
    /// What it covered of the shards at the start of the run.
    pub(super) looked: RefCell<HashSet<Id>>,
}

#[derive(Clone)]
enum What {
    Records(Window),
    Rows,
    Within(Vec<Id>),
}

pub(super) struct FakeReading<'s> {
    source: &'s FakeSource<'s>,
    what: What,
    stage: Stage,
    covered: HashSet<Id>,
    unread: HashSet<Id>,
    is_whole: bool,
}

impl FakeSource<'_> {
    pub(super) fn listing(&self) -> Vec<Shard> {
        let mut world = self.world.borrow_mut();
        let is_listed = |id: &&Id| id.stage() == Stage::Root && !world.is_on(Fault::Unlisted, id);
        let listed: Vec<Id> = world.truth.keys().filter(is_listed).cloned().collect();
        let looked = world.look(&listed);
        let shard = |id: Id| {
            let sight = if looked.contains(&id) { Sight::Covered } else { Sight::NotCovered };
            let root = change(&id, Some(world.replicated(&id)?));
            Some(Shard { id, root: Some(root), sight })
        };
        let listed = listed.into_iter().filter_map(shard).collect();
        *self.looked.borrow_mut() = looked;
        listed
    }

    fn scope_of(&self, id: &Id, state: Option<State>) -> Option<Scope> {
        let is_in = match self.scope {
            Filter::All => true,
            Filter::Tagged(tag) => state?.tag == tag,
        };
        (id.stage() == Stage::Container).then_some(if is_in { Scope::In } else { Scope::Out })
    }

    fn finding(&self, id: &Id, state: Option<State>) -> Finding {
        let scope = self.scope_of(id, state).filter(|_| state.is_some());
        Finding { change: change(id, state), exists: state.is_some(), scope, record: None }
    }

    async fn read(&self, shards: &[Id], what: What, stage: Stage) -> Result<FakeReading<'_>, NoAnswer> {
        give_way().await;
        let mut world = self.world.borrow_mut();
        let unread: HashSet<Id> = shards.iter().filter(|shard| world.is_on(Fault::Shut, shard)).cloned().collect();
        if !unread.is_empty() && world.random.chance(0.5) {
            return Err(NoAnswer);
        }
        let mut covered = match what {
            // Records do not show coverage.
            What::Records(_) => self.looked.borrow().clone(),
            What::Rows | What::Within(_) => world.look(shards),
        };
        covered.retain(|shard| shards.contains(shard) && !unread.contains(shard));
        let is_whole = !shards.iter().any(|shard| world.is_on(Fault::Short, shard));
        Ok(FakeReading { source: self, what, stage, covered, unread, is_whole })
    }
}

impl FakeReading<'_> {
    /// The next page after an id, as of now, and the last id that was looked at for it.
    fn page(&self, after: Option<&Id>, failed: &mut Vec<Id>) -> (Vec<Finding>, Option<Id>) {
        let mut world = self.source.world.borrow_mut();
        let mut page = Vec::new();
        for id in world.after(after) {
            let stage = match (&self.what, id.stage()) {
                // The records of shards come with those of containers.
                (What::Records(_), Stage::Root) => Stage::Container,
                (_, stage) => stage,
            };
            if stage != self.stage || !self.covered.contains(id.shard()) {
                continue;
            }
            let Some(finding) = self.find(&mut world, &id) else { continue };
            if world.is_at(Fault::Poison, &id) {
                failed.push(id);
                continue;
            }
            if !self.is_whole && world.random.chance(0.5) {
                continue;
            }
            page.push(finding);
            if page.len() == PAGE {
                // A page from another replica may be one row behind.
                let last = if world.flickers() { page[0].id().clone() } else { id };
                return (page, Some(last));
            }
        }
        (page, None)
    }

    fn find(&self, world: &mut World, id: &Id) -> Option<Finding> {
        let row = world.row(id);
        let (since, recent) = match &self.what {
            What::Rows => return row.map(|row| self.source.finding(id, Some(row))),
            What::Within(containers) => {
                let row = row.filter(|_| id.parent().is_some_and(|container| containers.contains(&container)));
                return row.map(|row| self.source.finding(id, Some(row)));
            }
            What::Records(Window::Since(since)) => (since, None),
            What::Records(Window::Everything { kept, recent }) => {
                (kept, Some(*recent).filter(|_| self.stage == Stage::Leaf))
            }
        };
        let record = world.latest(id, since.as_second())?;
        let is_enough =
            recent.is_none_or(|recent| row.is_none() && (record.kind == RecordKind::Delete || record.at >= recent));
        is_enough.then(|| Finding { record: Some(record), ..self.source.finding(id, row) })
    }
}

impl Reading for FakeReading<'_> {
    type Error = NoAnswer;

    async fn deliver(self, intake: Intake) -> Result<Answer, NoAnswer> {
        let mut failed = Vec::new();
        let mut after = None;
        loop {
            give_way().await;
            let (page, last) = self.page(after.as_ref(), &mut failed);
            if !page.is_empty() && intake.send(page).await.is_err() {
                return Err(NoAnswer);
            }
            after = last;
            if after.is_none() {
                break;
            }
        }
        let is_poisoned = !failed.is_empty() && !holds(Rule::Poison);
        if self.is_whole && !is_poisoned {
            Ok(Answer { covered: self.covered, unread: self.unread, failed })
        } else {
            Err(NoAnswer)
        }
    }
}

impl Source for FakeSource<'_> {
    type Error = NoAnswer;
    type Reading<'a>
        = FakeReading<'a>
    where
        Self: 'a;

    fn together(&self) -> usize {
        self.together
    }

    fn unseen(&self) -> Scope {
        if self.scope == Filter::All { Scope::In } else { Scope::Out }
    }

    async fn changes<'a>(
        &'a self,
        shards: &'a [Id],
        window: Window,
        _: Option<String>,
    ) -> Result<(FakeReading<'a>, FakeReading<'a>), NoAnswer> {
        if let Window::Everything { recent, .. } = window {
            let recent = shards.iter().map(|shard| (shard.clone(), recent.as_second()));
            self.world.borrow_mut().recent.extend(recent);
        }
        let containers = self.read(shards, What::Records(window), Stage::Container).await?;
        let (covered, unread) = (containers.covered.clone(), containers.unread.clone());
        let leaves = FakeReading { what: containers.what.clone(), stage: Stage::Leaf, covered, unread, ..containers };
        Ok((containers, leaves))
    }

    fn cursor(&self, _: &Id) -> Option<String> {
        None
    }

    async fn containers<'a>(&'a self, shards: &'a [Id]) -> Result<FakeReading<'a>, NoAnswer> {
        self.world.borrow_mut().full_reads += 1;
        self.read(shards, What::Rows, Stage::Container).await
    }

    async fn leaves<'a>(&'a self, shards: &'a [Id]) -> Result<FakeReading<'a>, NoAnswer> {
        self.read(shards, What::Rows, Stage::Leaf).await
    }

    async fn within<'a>(&'a self, shards: &'a [Id], containers: &'a [Id]) -> Result<FakeReading<'a>, NoAnswer> {
        self.read(shards, What::Within(containers.to_vec()), Stage::Leaf).await
    }

    async fn ask(&self, ids: &[Id]) -> Result<Found, NoAnswer> {
        let shards: Vec<Id> = ids.iter().map(Id::root).collect::<HashSet<Id>>().into_iter().collect();
        give_way().await;
        let mut world = self.world.borrow_mut();
        let covered = world.look(&shards);
        if shards.iter().any(|shard| world.is_on(Fault::Shut, shard)) {
            return Err(NoAnswer);
        }
        world.asked += ids.len();
        let mut found = Found { findings: Vec::new(), answer: Answer { covered, ..Answer::default() } };
        for id in ids.iter().filter(|id| found.answer.covered.contains(id.shard())) {
            let row = world.row(id);
            if world.is_at(Fault::Poison, id) {
                found.answer.failed.push(id.clone());
            } else if row.is_some() {
                found.findings.push(self.finding(id, row));
            }
        }
        Ok(found)
    }

    fn relating(&self, _: &Id) -> Vec<Id> {
        Vec::new()
    }

    fn whole(&self, _id: &Id) -> Option<Id> {
        None
    }

    async fn related(&self, _: &[Id]) -> Result<Vec<Id>, NoAnswer> {
        Ok(Vec::new())
    }

    fn gone(&self, id: &Id) -> Change {
        change(id, None)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not accepted")]
pub(super) struct NotAccepted;

impl Problem for NotAccepted {}

impl SinkError for NotAccepted {
    fn fault(&self) -> crate::engine::Fault {
        crate::engine::Fault::Rejected
    }
}

pub(super) struct FakeParcel(Change);

/// The content in an upsert.
pub(super) fn number(change: &Change) -> u64 {
    change.row.first().map_or(0, |digit| u64::from(digit - b'0'))
}

impl Parcel for FakeParcel {
    fn change(&self) -> &Change {
        &self.0
    }

    fn content(&self, _: &ContentHasher) -> Content {
        Content(number(&self.0))
    }

    fn size(&self) -> usize {
        1
    }

    fn letter(&self) -> Bytes {
        Bytes::new()
    }
}

pub(super) struct FakeSink;

impl Sink for FakeSink {
    type Parcel = FakeParcel;
    type Error = NotAccepted;

    fn identity(&self) -> String {
        unreachable!("the settings say it")
    }

    fn limits(&self) -> Limits {
        let one = NonZeroUsize::MIN;
        Limits { in_flight: one, parcels: one, deletes: one, bytes: 1, landing: Duration::ZERO }
    }

    async fn render(&self, changes: Vec<(Change, Names)>) -> Vec<FakeParcel> {
        give_way().await;
        changes.into_iter().map(|(change, _)| FakeParcel(change)).collect()
    }

    async fn send(&self, _: &[&FakeParcel], _: Uuid) -> Result<Receipt<NotAccepted>, NotAccepted> {
        unreachable!("the play posts")
    }

    fn name(&self) -> &'static str {
        "the catalog"
    }
}

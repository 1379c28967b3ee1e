//! The steps of a run: what is read of the shards, in which order, and when their marks move.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::decide::Send;
use super::delivery::Wave;
use super::rules::{Rule, holds};
use super::{
    Absent, Answer, Coverage, Engine, Entry, Fatal, Full, Key, Mark, Parcel, Reading, Replica, Shard, Sink, Source,
    State, Window, before, kept_and_recent,
};
use crate::model::{Finding, Id, Operation, Record, RecordKind, Scope, Stage};

/// Batches of shards that are read side by side.
const BATCHES_AT_ONCE: usize = 2;

/// Shards whose records are read from times further apart than this are asked about apart: the one would read far too much.
const ALIKE: SignedDuration = SignedDuration::from_hours(24);

/// Shards that are read together, and what was found of them in this run.
pub(super) struct Batch<'b> {
    pub(super) shards: &'b [Id],
    /// From when on records of each shard count; `None`: all that there are.
    windows: HashMap<Id, Option<Timestamp>>,
    /// Entities that were found: by a record, or asked for.
    pub(super) found: HashSet<Key>,
    /// Entities that a reading of all rows has shown, in order once it has ended.
    pub(super) seen: Vec<Key>,
    /// Records whose row is still to be read.
    records: HashMap<Key, Record>,
    /// Containers that were found in this run.
    pub(super) met: HashSet<Key>,
    /// Containers that a record proves to be gone.
    gone: HashSet<Id>,
    /// Containers that are read afresh.
    afresh: HashSet<Id>,
    /// Ids with which every query fails.
    pub(super) failed: HashSet<Id>,
    /// Shards whose entity goes along with the first of its children.
    roots: HashMap<Id, Finding>,
}

/// What a page is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Records,
    Rows,
}

/// What is taken to be late where there are the record of a delete and a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    /// Nobody knows: a later run tells.
    Either,
    /// The record counts. Where it was made again, a record will tell of that as well.
    Row,
}

/// Findings that wait until all rows were read.
#[derive(Default)]
struct Held {
    /// With the record of a delete, and no row.
    gone: Vec<Finding>,
    /// With another record, and no row.
    missed: Vec<Finding>,
}

impl<'b> Batch<'b> {
    pub(super) fn new(shards: &'b [Id], windows: HashMap<Id, Option<Timestamp>>) -> Self {
        Self {
            shards,
            windows,
            found: HashSet::new(),
            seen: Vec::new(),
            records: HashMap::new(),
            met: HashSet::new(),
            gone: HashSet::new(),
            afresh: HashSet::new(),
            failed: HashSet::new(),
            roots: HashMap::new(),
        }
    }
}

impl Batch<'_> {
    pub(super) fn is_found(&self, id: &Id) -> bool {
        let key = Key::of(id);
        self.found.contains(&key) || self.seen.binary_search(&key).is_ok()
    }

    pub(super) fn is_afresh(&self, container: &Id) -> bool {
        self.afresh.contains(container)
    }

    /// Whether something was so before the first record that counts.
    pub(super) fn is_before_window(&self, id: &Id, at: Option<Timestamp>) -> bool {
        self.window(id).is_some_and(|since| at.is_none_or(|at| at < since))
    }

    fn window(&self, id: &Id) -> Option<Timestamp> {
        self.windows.get(id.shard()).copied().flatten()
    }

    /// Whether a record is in the window of its own shard; the question may have been for an earlier one.
    fn counts(&self, finding: &Finding) -> bool {
        let window = self.window(finding.id());
        finding.record.is_none_or(|record| window.is_none_or(|since| record.at >= since))
    }

    /// The record of a row that was read without one.
    fn with_record(&self, finding: Finding) -> Finding {
        let record = finding.record.or_else(|| self.records.get(&Key::of(finding.id())).copied());
        Finding { record, ..finding }
    }
}

impl<S: Source, K: Sink, R: Replica> Engine<'_, S, K, R> {
    /// Reads all shards that are listed, each batch to its end whatever becomes of the others. What could not be read is kept
    /// for [`Engine::take_failures`].
    pub(crate) async fn run(&self, listed: &[Shard]) -> Result<(), Fatal<R::Error>> {
        let ids: Vec<Id> = listed.iter().map(|shard| shard.root.id.clone()).collect();
        self.open(&ids).await?;
        let batches = self.plan(listed).await?;
        stream::iter(batches.iter().map(|(full, shards)| self.read_batch(*full, shards)))
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_collect()
            .await
    }

    /// Which shards are read together, and whether all of their rows are.
    async fn plan<'s>(&self, listed: &'s [Shard]) -> Result<Vec<(bool, Vec<&'s Shard>)>, Fatal<R::Error>> {
        let covered = self.newly_covered(listed).await;
        let mut read: Vec<(bool, Mark, &Shard)> = Vec::new();
        for shard in listed {
            let mark = self.replica.mark(&shard.root.id);
            if covered.as_ref().is_some_and(|covered| mark.since.is_none() && !covered.contains(&shard.root.id)) {
                self.counts.borrow_mut().uncovered.push(shard.root.id.clone());
                continue;
            }
            let full = match self.settings.full {
                Full::Now => true,
                Full::Never { .. } => false,
                // Without a mark of the records, only those are read that no row tells of.
                Full::Every(_) if mark.since.is_none() => true,
                Full::Every(every) => match mark.full {
                    None => true,
                    Some(last) => holds(Rule::Daily) && self.start.duration_since(last) >= every,
                },
            };
            read.push((full, mark, shard));
        }
        read.sort_by_key(|(full, mark, _)| (*full, mark.since));
        let is_alike = |(full, mark, _): &(bool, Mark, &Shard), (other, later, _): &(bool, Mark, &Shard)| {
            full == other
                && match (mark.since, later.since) {
                    (Some(since), Some(later)) => later.duration_since(since) <= ALIKE,
                    (since, later) => since == later,
                }
        };
        let mut batches: Vec<(bool, Vec<&Shard>)> = Vec::new();
        let mut first = None;
        for one in &read {
            let is_same = first.is_some_and(|first| is_alike(first, one));
            match batches.last_mut().filter(|(_, shards)| is_same && shards.len() < self.source.together()) {
                Some((_, shards)) => shards.push(one.2),
                None => {
                    first = Some(one);
                    batches.push((one.0, vec![one.2]));
                }
            }
        }
        Ok(batches)
    }

    /// Of shards that were never read: those that the source looks at at all. `None` where there is none to ask about, or
    /// nobody will remember.
    async fn newly_covered(&self, listed: &[Shard]) -> Option<HashSet<Id>> {
        let is_new = |id: &Id| self.replica.mark(id).since.is_none();
        let new: Vec<Id> = listed.iter().map(|shard| shard.root.id.clone()).filter(is_new).collect();
        if new.is_empty() || !self.replica.remembers() {
            return None;
        }
        let mut covered = HashSet::new();
        for shards in new.chunks(self.source.together()) {
            match self.source.covered(shards).await {
                Ok(these) => covered.extend(these),
                Err(error) => self.failures.borrow_mut().push(error),
            }
        }
        Some(covered)
    }

    /// Reads some shards, sends what differs, and moves their marks.
    async fn read_batch(&self, full: bool, shards: &[&Shard]) -> Result<(), Fatal<R::Error>> {
        let ids: Vec<Id> = shards.iter().map(|shard| shard.root.id.clone()).collect();
        let windows: HashMap<Id, Option<Timestamp>> =
            ids.iter().map(|id| (id.clone(), self.window_of(id, full))).collect();
        let window = match windows.values().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min()) {
            Some(since) => Window::Since(since),
            None => {
                let (kept, recent) = kept_and_recent(self.start);
                Window::Everything { kept, recent }
            }
        };
        let coverage = self.coverage();
        let reads_all = full && self.source.unseen() == Scope::In;
        // Begun side by side, taken one after the other.
        let opened = futures::try_join!(
            self.source.changes(&ids, window, coverage),
            async { if full { self.source.containers(&ids).await.map(Some) } else { Ok(None) } },
            async { if reads_all { self.source.leaves(&ids, coverage).await.map(Some) } else { Ok(None) } },
        );
        let ((changed_containers, changed_leaves), containers, leaves) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.failures.borrow_mut().push(error);
                return Ok(());
            }
        };
        let mut batch = Batch::new(&ids, windows);
        let b = &mut batch;

        let mut records: Vec<Finding> = Vec::new();
        let told_containers = self
            .take(changed_containers, async |page: Vec<Finding>| {
                records.extend(page);
                Ok(())
            })
            .await?;
        self.note_failed(b, told_containers.as_ref())?;
        records.retain(|finding| b.counts(finding));
        self.roots(b, shards, &records).await?;
        let mut deletes = Vec::new();
        let shown_containers = self.containers(b, records, containers, &mut deletes).await?;
        if shown_containers.is_some() {
            self.rest_of_roots(b).await?;
        }

        self.note_unread(b)?;
        let mut held = Held::default();
        let told_leaves = self
            .take(changed_leaves, async |page| self.leaves(b, Page::Records, page, &mut held, &mut deletes).await)
            .await?;
        self.note_failed(b, told_leaves.as_ref())?;
        let shown_leaves = self.rows(b, full, leaves, &mut held, &mut deletes).await?;
        let is_all_read = |id: &Id| {
            let is_covered =
                |answer: &Option<Answer>| answer.as_ref().is_some_and(|answer| answer.covered.contains(id));
            full && is_covered(&shown_containers) && is_covered(&shown_leaves)
        };
        self.end(b, held, &is_all_read).await?;
        self.post(Wave::ContainerDeletes, deletes).await?;
        if !self.replica.remembers() {
            return Ok(());
        }
        for id in &ids {
            let is_told = |answer: &Option<Answer>| match answer {
                Some(answer) => answer.covered.contains(id) || !holds(Rule::Cover),
                None => !holds(Rule::Proof),
            };
            let is_read = is_told(&told_containers) && is_told(&told_leaves);
            if !is_read && told_containers.is_some() && told_leaves.is_some() {
                self.counts.borrow_mut().uncovered.push(id.clone());
            }
            let mark = self.replica.mark(id);
            self.replica.set_mark(
                id,
                Mark {
                    since: if is_read { Some(self.start) } else { mark.since },
                    full: if is_all_read(id) { Some(self.start) } else { mark.full },
                },
            );
            self.sweep(id)?;
        }
        self.save().await
    }

    /// Where nothing is remembered, no later run may see the record again.
    fn late(&self) -> Late {
        if self.replica.remembers() { Late::Either } else { Late::Row }
    }

    /// Where nothing is remembered, nothing depends on what was looked at.
    fn coverage(&self) -> Coverage {
        if self.replica.remembers() { Coverage::Shown } else { Coverage::Assumed }
    }

    fn window_of(&self, shard: &Id, full: bool) -> Option<Timestamp> {
        if let Full::Never { window } = self.settings.full {
            return Some(before(self.start, window));
        }
        let since = self.replica.mark(shard).since;
        if (since.is_none() && !holds(Rule::Retention)) || (full && !holds(Rule::FullRecords)) {
            return Some(self.start);
        }
        since.map(|since| if holds(Rule::Overlap) { before(since, self.settings.overlap) } else { since })
    }

    /// Takes a reading page by page. What fails is kept, and makes it prove nothing.
    pub(super) async fn take<T: Reading<Error = S::Error>>(
        &self,
        reading: T,
        mut page: impl AsyncFnMut(Vec<Finding>) -> Result<(), Fatal<R::Error>>,
    ) -> Result<Option<Answer>, Fatal<R::Error>> {
        let (intake, mut pages) = mpsc::channel(1);
        let taking = async {
            while let Some(findings) = pages.recv().await {
                page(findings).await?;
            }
            Ok(())
        };
        let delivering = async { Ok(reading.deliver(intake).await) };
        let (answer, ()) = futures::try_join!(delivering, taking)?;
        answer.map_or_else(
            |error| {
                self.failures.borrow_mut().push(error);
                Ok(None)
            },
            |answer| Ok(Some(answer).filter(|answer| answer.failed.is_empty() || holds(Rule::Poison))),
        )
    }

    /// The shards' own entities. They are listed, so they are there. Where nothing is remembered, one that has not changed goes
    /// along with the first of its children, or after all containers in a full run.
    async fn roots(&self, b: &mut Batch<'_>, shards: &[&Shard], records: &[Finding]) -> Result<(), Fatal<R::Error>> {
        let mut sends = Vec::new();
        for shard in shards {
            let change = shard.root.clone();
            let record = records.iter().find(|finding| *finding.id() == change.id).and_then(|finding| finding.record);
            let finding = Finding { change, exists: true, scope: Some(Scope::In), record };
            b.found.insert(Key::of(finding.id()));
            if self.replica.remembers() || record.is_some() {
                sends.extend(self.decide(b, finding)?);
            } else {
                b.roots.insert(finding.id().clone(), finding);
            }
        }
        self.post(Wave::Roots, sends).await
    }

    /// Shards of which nothing was sent that their own entity could go along with.
    async fn rest_of_roots(&self, b: &mut Batch<'_>) -> Result<(), Fatal<R::Error>> {
        let mut sends = Vec::new();
        for (_, root) in std::mem::take(&mut b.roots) {
            sends.extend(self.decide(b, root)?);
        }
        self.post(Wave::Roots, sends).await
    }

    /// Containers: those with a record, all that exist where they are read, and those that are missed.
    async fn containers(
        &self,
        b: &mut Batch<'_>,
        records: Vec<Finding>,
        reading: Option<S::Reading<'_>>,
        deletes: &mut Vec<Send<K::Parcel>>,
    ) -> Result<Option<Answer>, Fatal<R::Error>> {
        let is_full = reading.is_some();
        let mut held = Held::default();
        let mut shown = Vec::new();
        for finding in records.into_iter().filter(|finding| finding.id().stage() == Stage::Container) {
            if is_full && let Some(record) = finding.record {
                b.records.insert(Key::of(finding.id()), record);
            }
            held.sort(finding, self.late(), b, &mut shown);
        }
        self.send_containers(b, shown, deletes).await?;
        let answer = match reading {
            Some(reading) => {
                self.take(reading, async |page: Vec<Finding>| {
                    let page = self.news(b, page, Stage::Container);
                    self.send_containers(b, page, deletes).await
                })
                .await?
            }
            None => None,
        };
        self.note_failed(b, answer.as_ref())?;
        b.seen.sort_unstable();
        held.leave_out_seen(b);
        b.found.extend(held.gone.iter().map(|finding| Key::of(finding.id())));
        self.send_containers(b, held.gone, deletes).await?;
        if self.replica.remembers() {
            self.settle_all().await?;
            let is_suspect = |shard: &Id| answer.as_ref().is_some_and(|answer| answer.covered.contains(shard));
            let asked = self.ask(b, Stage::Container, held.missed, &is_suspect).await?;
            self.send_containers(b, asked, deletes).await?;
        } else {
            self.counts.borrow_mut().unresolved += held.missed.len() as u64;
        }
        Ok(answer)
    }

    /// Sends what differs of containers that were found; the deletes among them wait until what is in them has gone.
    pub(super) async fn send_containers(
        &self,
        b: &mut Batch<'_>,
        findings: Vec<Finding>,
        deletes: &mut Vec<Send<K::Parcel>>,
    ) -> Result<(), Fatal<R::Error>> {
        let mut sends = Vec::new();
        for finding in findings {
            b.met.insert(Key::of(finding.id()));
            self.note_container(b, &finding)?;
            sends.extend(self.decide(b, finding)?);
        }
        let is_delete = |send: &mut Send<K::Parcel>| send.parcel.change().operation == Operation::Delete;
        let at_end = |send: &mut Send<K::Parcel>| is_delete(send) == holds(Rule::Order);
        deletes.extend(sends.extract_if(.., at_end));
        self.send(b, Wave::Containers, sends).await
    }

    /// Notes what a container's own row says of the scope; where that may have changed, or something in it may have been
    /// missed, it is to be read, and what is held of it is in doubt.
    fn note_container(&self, b: &mut Batch<'_>, finding: &Finding) -> Result<(), Fatal<R::Error>> {
        let id = finding.id();
        let known = self.entry(id)?;
        let entry = known.unwrap_or(Entry::NEW);
        if !finding.exists {
            if finding.record.is_some_and(|record| record.kind == RecordKind::Delete) {
                if holds(Rule::GoneChildren) {
                    b.gone.insert(id.clone());
                }
                if known.is_some() {
                    self.put(id, Entry { scope: None, unread: false, absent: None, ..entry })?;
                }
            }
            return Ok(());
        }
        let scope = finding.scope.unwrap_or(Scope::In);
        let is_moved = finding.record.is_some_and(|record| record.moves_scope)
            && self.is_fresh(known.as_ref(), finding.record.as_ref());
        let is_afresh = is_moved && (known.is_some() || scope == Scope::Out) && holds(Rule::Afresh);
        let differs = entry.scope != Some(scope) && (known.is_some() || scope == Scope::In) && holds(Rule::Differs);
        let is_unread = (is_afresh || differs) && self.replica.remembers();
        if is_unread {
            self.doubt_all(id)?;
        }
        let noted = if known.is_some() || scope == Scope::In || is_afresh {
            // A run that is forgotten may have deleted it.
            let there = entry.there && !is_unread;
            Entry { scope: Some(scope), unread: entry.unread || is_unread, absent: None, there, ..entry }
        } else {
            Entry { scope: Some(Scope::Out), ..Entry::NEW }
        };
        if noted.unread {
            b.afresh.insert(id.clone());
        }
        if known == Some(noted) { Ok(()) } else { self.put(id, noted) }
    }

    /// Containers that an earlier run has left to be read. This is known before the first leaf is looked at.
    fn note_unread(&self, b: &mut Batch<'_>) -> Result<(), Fatal<R::Error>> {
        for shard in b.shards {
            self.each_open(shard, |id, entry| {
                if entry.unread && entry.absent.is_none() {
                    b.afresh.insert(id);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Nothing is known of what a container holds: what was held is in doubt, and what was deleted may be there again.
    fn doubt_all(&self, container: &Id) -> Result<(), Fatal<R::Error>> {
        self.each_child(container, |id, entry| {
            let doubted = match entry.state {
                State::Nothing if entry.absent.is_none() => None,
                State::Nothing => Some(Entry { at: None, ..entry }),
                _ => Some(entry.doubted()),
            };
            self.replica.put(&id, doubted).map_err(Fatal::Replica)
        })
    }

    /// Sends what is to be sent of a shard; where nothing is remembered, its own entity goes first.
    pub(super) async fn send(
        &self,
        b: &mut Batch<'_>,
        wave: Wave,
        sends: Vec<Send<K::Parcel>>,
    ) -> Result<(), Fatal<R::Error>> {
        if !b.roots.is_empty() {
            let mut roots = Vec::new();
            for send in &sends {
                let change = send.parcel.change();
                if change.operation == Operation::Upsert
                    && let Some(root) = b.roots.remove(change.id.shard())
                {
                    roots.extend(self.decide(b, root)?);
                }
            }
            self.post(Wave::Roots, roots).await?;
        }
        self.post(wave, sends).await
    }

    /// A page of leaves: sends what differs of those that are there, and holds the others back.
    async fn leaves(
        &self,
        b: &mut Batch<'_>,
        kind: Page,
        page: Vec<Finding>,
        held: &mut Held,
        deletes: &mut Vec<Send<K::Parcel>>,
    ) -> Result<(), Fatal<R::Error>> {
        let mut shown = Vec::new();
        match kind {
            Page::Rows => shown = self.news(b, page, Stage::Leaf),
            Page::Records => {
                for finding in page.into_iter().filter(|finding| finding.id().stage() == Stage::Leaf) {
                    if b.counts(&finding) {
                        if let Some(record) = finding.record {
                            b.records.insert(Key::of(finding.id()), record);
                        }
                        held.sort(finding, self.late(), b, &mut shown);
                    }
                }
            }
        }
        self.meet(b, &shown, deletes).await?;
        let mut sends = Vec::new();
        for finding in shown {
            sends.extend(self.decide(b, finding)?);
        }
        self.send(b, Wave::Leaves, sends).await
    }

    /// Rows of a page that were not found before, with their records.
    fn news(&self, b: &mut Batch<'_>, page: Vec<Finding>, stage: Stage) -> Vec<Finding> {
        let mut news = Vec::new();
        for finding in page.into_iter().filter(|finding| finding.id().stage() == stage) {
            let key = Key::of(finding.id());
            if self.replica.remembers() {
                b.seen.push(key);
            }
            if !b.found.contains(&key) {
                news.push(b.with_record(finding));
            }
        }
        news
    }

    /// Asks for containers of leaves that nobody has seen: their scope decides, and they go first.
    pub(super) async fn meet(
        &self,
        b: &mut Batch<'_>,
        leaves: &[Finding],
        deletes: &mut Vec<Send<K::Parcel>>,
    ) -> Result<(), Fatal<R::Error>> {
        let mut strangers: Vec<Id> = Vec::new();
        let mut last = None;
        for leaf in leaves {
            // Rows come in the order of their ids.
            if last == Some(leaf.id().container()) {
                continue;
            }
            last = Some(leaf.id().container());
            if let Some(container) = leaf.id().parent().filter(|parent| parent.stage() == Stage::Container)
                && !b.met.contains(&Key::of(&container))
                && !strangers.contains(&container)
                && self.entry(&container)?.is_none()
            {
                strangers.push(container);
            }
        }
        if strangers.is_empty() {
            return Ok(());
        }
        b.met.extend(strangers.iter().map(Key::of));
        match self.source.ask(&strangers).await {
            Ok(found) => {
                self.note_failed(b, Some(&found.answer))?;
                self.send_containers(b, found.findings, deletes).await
            }
            Err(error) => {
                self.failures.borrow_mut().push(error);
                Ok(())
            }
        }
    }

    /// All rows of leaves where they are due; else those in containers that are read afresh.
    async fn rows(
        &self,
        b: &mut Batch<'_>,
        full: bool,
        all: Option<S::Reading<'_>>,
        held: &mut Held,
        deletes: &mut Vec<Send<K::Parcel>>,
    ) -> Result<Option<Answer>, Fatal<R::Error>> {
        let mut within: Vec<Id> = b.afresh.iter().cloned().collect();
        let is_selective = full && all.is_none();
        if is_selective {
            for shard in b.shards {
                self.each_child(shard, |id, entry| {
                    if id.stage() == Stage::Container && entry.scope == Some(Scope::In) && !b.is_afresh(&id) {
                        within.push(id);
                    }
                    Ok(())
                })?;
            }
        }
        within.sort_unstable();
        let answer = if let Some(all) = all {
            self.take(all, async |page| self.leaves(b, Page::Rows, page, held, deletes).await).await?
        } else if within.is_empty() {
            // Of nothing all is read, as far as the containers were looked at.
            return Ok(is_selective.then(|| Answer { covered: b.shards.iter().cloned().collect(), failed: Vec::new() }));
        } else {
            let shards = b.shards;
            match self.source.within(shards, &within, self.coverage()).await {
                Ok(reading) => {
                    self.take(reading, async |page| self.leaves(b, Page::Rows, page, held, deletes).await).await?
                }
                Err(error) => {
                    self.failures.borrow_mut().push(error);
                    None
                }
            }
        };
        b.seen.sort_unstable();
        self.note_failed(b, answer.as_ref())?;
        if let Some(answer) = &answer {
            for container in b.afresh.iter().filter(|container| answer.covered.contains(container.shard())) {
                // Of one that was out of scope, and was not seen itself, nothing was concluded.
                let is_over = |entry: &Entry| entry.scope != Some(Scope::Out) || b.met(container);
                if let Some(entry) = self.entry(container)?.filter(is_over) {
                    self.put(container, Entry { unread: false, ..entry })?;
                }
            }
            for missed in &held.missed {
                let entry = self.entry(missed.id())?;
                let is_afresh = missed.id().parent().is_some_and(|container| {
                    b.afresh.contains(&container) && answer.covered.contains(container.shard())
                });
                if is_afresh && self.is_fresh(entry.as_ref(), missed.record.as_ref()) {
                    self.put(missed.id(), entry.unwrap_or(Entry::NEW).doubted())?;
                }
            }
        }
        Ok(answer)
    }

    /// What is left once all rows were read: what is gone, and what is missed.
    async fn end(
        &self,
        b: &mut Batch<'_>,
        mut held: Held,
        is_all_read: &impl Fn(&Id) -> bool,
    ) -> Result<(), Fatal<R::Error>> {
        held.leave_out_seen(b);
        let mut ready = Vec::new();
        let proof = Record { at: Timestamp::MIN, kind: RecordKind::Delete, moves_scope: false };
        for container in &b.gone {
            self.each_child(container, |id, entry| {
                if entry.is_held() {
                    b.found.insert(Key::of(&id));
                    ready.push(self.gone(&id, Some(proof)));
                }
                Ok(())
            })?;
        }
        let mut missed = Vec::new();
        for finding in held.missed {
            let went_along = finding.id().parent().is_some_and(|container| b.gone.contains(&container));
            match finding.record {
                Some(record) if went_along && self.entry(finding.id())?.is_none() => {
                    b.found.insert(Key::of(finding.id()));
                    ready.push(self.gone(finding.id(), Some(Record { kind: RecordKind::Delete, ..record })));
                }
                _ => missed.push(finding),
            }
        }
        for finding in held.gone {
            b.found.insert(Key::of(finding.id()));
            ready.push(finding);
        }
        if self.replica.remembers() {
            self.settle_all().await?;
            ready.extend(self.ask(b, Stage::Leaf, missed, is_all_read).await?);
        } else {
            self.counts.borrow_mut().unresolved += missed.len() as u64;
        }
        let mut sends = Vec::new();
        for finding in ready {
            sends.extend(self.decide(b, finding)?);
        }
        self.send(b, Wave::Leaves, sends).await
    }

    /// What every query fails with is in doubt, and asked for alone from now on.
    pub(super) fn note_failed(&self, b: &mut Batch<'_>, answer: Option<&Answer>) -> Result<(), Fatal<R::Error>> {
        for id in answer.iter().flat_map(|answer| &answer.failed) {
            let entry = self.entry(id)?.unwrap_or(Entry::NEW);
            self.put(id, entry.doubted())?;
            if b.failed.insert(id.clone()) {
                self.counts.borrow_mut().unreadable += 1;
            }
        }
        Ok(())
    }

    /// Forgets what was deleted once no record of it can be read again.
    fn sweep(&self, shard: &Id) -> Result<(), Fatal<R::Error>> {
        let overlap = if holds(Rule::Tombstone) { self.settings.overlap } else { SignedDuration::ZERO };
        let mark = self.replica.mark(shard);
        self.each_open(shard, |id, entry| {
            let is_over = mark.since.is_some_and(|since| entry.at.is_none_or(|at| before(since, overlap) >= at));
            let is_nothing = entry.state == State::Nothing && entry.absent.is_none() && entry.scope != Some(Scope::Out);
            if is_nothing && is_over { self.replica.put(&id, None).map_err(Fatal::Replica) } else { Ok(()) }
        })
    }
}

impl Held {
    /// Holds back what has no row. A delete's record and a row contradict each other: one of them is late.
    fn sort(&mut self, finding: Finding, late: Late, b: &mut Batch<'_>, shown: &mut Vec<Finding>) {
        let is_delete = finding.record.is_some_and(|record| record.kind == RecordKind::Delete);
        match (finding.exists, is_delete) {
            (true, false) => {
                b.found.insert(Key::of(finding.id()));
                shown.push(finding);
            }
            (false, true) => self.gone.push(finding.detached()),
            (false, false) => self.missed.push(finding.detached()),
            (true, true) if late == Late::Row => self.gone.push(Finding { exists: false, ..finding.detached() }),
            (true, true) => {}
        }
    }

    /// A row that was read later shows that it is there.
    fn leave_out_seen(&mut self, b: &Batch<'_>) {
        self.gone.retain(|finding| b.seen.binary_search(&Key::of(finding.id())).is_err());
        self.missed.retain(|finding| b.seen.binary_search(&Key::of(finding.id())).is_err());
    }
}

/// Whether an entity is still to be asked for, as nothing has told of it.
pub(super) fn is_open_question(entry: &Entry, is_hourly: bool) -> bool {
    match entry.state {
        State::Unknown => holds(Rule::AskUnknown) || entry.absent.is_some(),
        State::Held(_) | State::Refused(_) => entry.absent.is_some() || entry.unread,
        // Before everything in a container is read, its own row has to say whether it is in scope.
        State::Nothing if entry.unread && entry.absent.is_none() => true,
        State::Nothing => matches!(entry.absent, Some(Absent::Since(_))) && is_hourly && holds(Rule::Watch),
    }
}

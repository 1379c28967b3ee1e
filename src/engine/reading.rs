//! The steps of a run: what is read of the shards, in which order, and when their marks move.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use futures::future::{FutureExt, OptionFuture, pending, ready};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use super::batch::{Batch, Extent, Page};
use super::decide::Send;
use super::delivery::Wave;
use super::rules::{Rule, holds};
use super::{
    Answer, Engine, Entry, Fatal, First, Full, Key, Mark, Reading, Replica, Shard, Sight, Source, State, Window,
    before, kept_and_recent,
};
use crate::model::{Finding, Id, Operation, Scope, Stage};

/// A reading that is being delivered.
pub(super) struct Coming<E> {
    pages: mpsc::Receiver<Vec<Finding>>,
    answer: oneshot::Receiver<Result<Answer, E>>,
}

/// Starts to deliver a reading: returns the future that delivers it, and the receiving end.
fn begin<T: Reading>(
    opening: impl Future<Output = Result<T, T::Error>>,
) -> (impl Future<Output = ()>, Coming<T::Error>) {
    let (intake, pages) = mpsc::channel(1);
    let (told, answer) = oneshot::channel();
    // The receiver may be gone already.
    let delivering = async {
        let answer = async { opening.await?.deliver(intake).await };
        _ = told.send(answer.await);
    };
    (delivering, Coming { pages, answer })
}

/// Runs `delivering` alongside `taking`, and drops it once `taking` has ended.
async fn alongside<T>(delivering: impl Future, taking: impl Future<Output = T>) -> T {
    let delivering = async {
        delivering.await;
        pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        taken = taking => taken,
        never = delivering => match never {},
    }
}

/// Batches of shards that are read concurrently.
const BATCHES_AT_ONCE: usize = 2;

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Reads all listed shards, each batch to its end whatever becomes of the others. What could not be read is kept
    /// for [`Engine::take_failures`].
    pub(crate) async fn run(&self, listed: &[Shard]) -> Result<(), Fatal<R::Error>> {
        let ids: Vec<Id> = listed.iter().map(|shard| shard.id.clone()).collect();
        self.open(&ids).await?;
        let batches = self.plan(listed)?;
        self.roots_alone(listed).await?;
        // The future that reads a batch is large, and polled deep down: it is boxed to keep it off the stack.
        stream::iter(batches.iter().map(|(extent, shards)| self.read_batch(*extent, shards).boxed_local()))
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_collect()
            .await
    }

    /// Reads some shards, sends what differs, and moves their marks.
    pub(super) async fn read_batch(&self, extent: Extent, shards: &[&Shard]) -> Result<(), Fatal<R::Error>> {
        let ids: Vec<Id> = shards.iter().map(|shard| shard.id.clone()).collect();
        let windows: HashMap<Id, Option<Timestamp>> =
            ids.iter().map(|id| (id.clone(), self.window_of(id, extent))).collect();
        let window = match windows.values().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min()) {
            Some(since) => Window::Since(since),
            None => {
                let (kept, recent) = kept_and_recent(self.start);
                Window::Everything { kept, recent }
            }
        };
        let full = extent == Extent::Everything;
        let cursor = if let ([alone], false) = (&ids[..], full) { self.replica.cursor(alone) } else { None };
        let reads_all = full && self.source.unseen() == Scope::In;
        // Read concurrently, taken one after the other: all leaves last.
        let (delivering, leaves) = reads_all.then(|| begin(self.source.leaves(&ids))).unzip();
        // Both futures are large, and would be copied from frame to frame.
        let delivering = delivering.map(FutureExt::boxed_local);
        let taking = async {
            let opened = futures::try_join!(self.source.changes(&ids, window, cursor), async {
                if full { self.source.containers(&ids).await.map(Some) } else { Ok(None) }
            },);
            let Some((changes, containers)) = self.kept(opened) else { return Ok(()) };
            let mut batch = Batch::new(&ids, windows);
            batch.blank = self.blank(&ids, extent)?;
            self.take_batch(extent, shards, batch, changes, containers, leaves).await
        };
        alongside(OptionFuture::from(delivering), taking.boxed_local()).await
    }

    /// Shards that are read in full, and have no entries yet.
    fn blank(&self, shards: &[Id], extent: Extent) -> Result<HashSet<Id>, Fatal<R::Error>> {
        let mut blank = HashSet::new();
        for shard in shards.iter().filter(|_| extent == Extent::Everything) {
            if self.replica.entries(shard, None, 1).map_err(Fatal::Replica)?.is_empty() {
                blank.insert(shard.clone());
            }
        }
        Ok(blank)
    }

    /// Takes the readings of a batch in order.
    async fn take_batch(
        &self,
        extent: Extent,
        shards: &[&Shard],
        mut batch: Batch<'_>,
        (changed_containers, changed_leaves): (S::Reading<'_>, S::Reading<'_>),
        containers: Option<S::Reading<'_>>,
        leaves: Option<Coming<S::Error>>,
    ) -> Result<(), Fatal<R::Error>> {
        let (full, ids) = (extent == Extent::Everything, batch.shards);
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
        let shown_containers = self.containers(b, records, containers).await?;
        if shown_containers.is_some() {
            self.rest_of_roots(b).await?;
        }

        self.note_unread(b)?;
        let told_leaves = self.take(changed_leaves, async |page| self.leaves(b, Page::Records, page).await).await?;
        self.note_failed(b, told_leaves.as_ref())?;
        let shown_leaves = self.rows(b, extent, leaves).await?;
        let is_all_read = |id: &Id| {
            let is_covered =
                |answer: &Option<Answer>| answer.as_ref().is_some_and(|answer| answer.covered.contains(id));
            full && is_covered(&shown_containers) && is_covered(&shown_leaves)
        };
        self.counts.borrow_mut().whole.extend(ids.iter().filter(|id| is_all_read(id)).cloned());
        self.end(b, &is_all_read).await?;
        let mut deletes = std::mem::take(&mut b.deletes);
        deletes.retain(|send| !send.is_missed() || b.doomed.contains(&Key::of(&send.parcel.change().id)));
        self.post(Wave::ContainerDeletes, deletes).await?;
        if !self.replica.remembers() {
            return Ok(());
        }
        for id in ids {
            self.note_relations(id).await?;
            let is_told = |answer: &Option<Answer>| match answer {
                Some(answer) => !answer.unread.contains(id),
                None => !holds(Rule::Proof),
            };
            let is_read = is_told(&told_containers) && is_told(&told_leaves) && !b.held_back.contains(id);
            if is_read {
                self.replica.set_cursor(id, self.source.cursor(id));
            }
            let mark = self.replica.mark(id);
            // Rows of a new shard, or of a new role, come late: the first full read counts once a second one agrees.
            let is_first = mark.full.is_none() && (mark.since.is_none() || b.is_unannounced(id));
            let is_confirmed = !is_first || self.settings.first == First::AtOnce || !holds(Rule::Confirmed);
            self.replica.set_mark(
                id,
                Mark {
                    since: if is_read { Some(self.start) } else { mark.since },
                    full: if is_all_read(id) && is_confirmed { Some(self.start) } else { mark.full },
                },
            );
            self.sweep(id)?;
        }
        self.save().await
    }

    /// Takes a reading page by page. An error is kept, and the reading then proves nothing.
    pub(super) async fn take<T: Reading<Error = S::Error>>(
        &self,
        reading: T,
        page: impl AsyncFnMut(Vec<Finding>) -> Result<(), Fatal<R::Error>>,
    ) -> Result<Option<Answer>, Fatal<R::Error>> {
        let (delivering, coming) = begin(ready(Ok(reading)));
        alongside(delivering, self.take_coming(coming, page)).await
    }

    /// The same for a reading that is already being delivered.
    pub(super) async fn take_coming(
        &self,
        mut coming: Coming<S::Error>,
        mut page: impl AsyncFnMut(Vec<Finding>) -> Result<(), Fatal<R::Error>>,
    ) -> Result<Option<Answer>, Fatal<R::Error>> {
        while let Some(findings) = coming.pages.recv().await {
            page(findings).await?;
        }
        let answer = coming.answer.await.map_err(|_| Fatal::Stopped)?;
        Ok(self.kept(answer).filter(|answer| answer.failed.is_empty() || holds(Rule::Poison)))
    }

    /// Sends the shards' own entities. They are listed, so they exist. If nothing is remembered, an unchanged one is
    /// sent along with the first of its children or, in a full run, after all containers.
    pub(super) async fn roots(
        &self,
        b: &mut Batch<'_>,
        shards: &[&Shard],
        records: &[Finding],
    ) -> Result<(), Fatal<R::Error>> {
        let mut found = Vec::new();
        for change in shards.iter().filter_map(|shard| shard.root.clone()) {
            let record = records.iter().find(|finding| *finding.id() == change.id).and_then(|finding| finding.record);
            let finding = Finding { change, exists: true, scope: Some(Scope::In), record };
            b.found.insert(Key::of(finding.id()));
            if self.replica.remembers() || record.is_some() {
                found.push(finding);
            } else {
                b.roots.insert(finding.id().clone(), finding);
            }
        }
        let sends = self.decide(b, found).await?;
        self.post(Wave::Roots, sends).await
    }

    /// Sends the root entities of shards that the source does not cover: they are listed all the same.
    async fn roots_alone(&self, listed: &[Shard]) -> Result<(), Fatal<R::Error>> {
        let uncovered: Vec<&Shard> = listed.iter().filter(|shard| shard.sight == Sight::NotCovered).collect();
        let mut batch = Batch::new(&[], HashMap::new());
        self.roots(&mut batch, &uncovered, &[]).await?;
        match self.settings.full {
            Full::Never { .. } => Ok(()),
            Full::Now | Full::Every(_) => self.rest_of_roots(&mut batch).await,
        }
    }

    /// Sends the remaining root entities: those of shards of which no child was sent.
    async fn rest_of_roots(&self, b: &mut Batch<'_>) -> Result<(), Fatal<R::Error>> {
        let roots = std::mem::take(&mut b.roots);
        let sends = self.decide(b, roots.into_values()).await?;
        self.post(Wave::Roots, sends).await
    }

    /// Sends changes of a shard; if nothing is remembered, the shard's own entity goes first.
    pub(super) async fn send(&self, b: &mut Batch<'_>, wave: Wave, sends: Vec<Send>) -> Result<(), Fatal<R::Error>> {
        if !b.roots.is_empty() {
            let mut roots = Vec::new();
            for send in &sends {
                let change = send.parcel.change();
                if change.operation == Operation::Upsert
                    && let Some(root) = b.roots.remove(change.id.shard())
                {
                    roots.push(root);
                }
            }
            let roots = self.decide(b, roots).await?;
            self.post(Wave::Roots, roots).await?;
        }
        self.post(wave, sends).await
    }

    /// An id that makes every query fail is in doubt, and asked for alone from now on.
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

    /// Forgets deleted entities once their records cannot be read again.
    pub(super) fn sweep(&self, shard: &Id) -> Result<(), Fatal<R::Error>> {
        let overlap = if holds(Rule::Tombstone) { self.settings.overlap } else { SignedDuration::ZERO };
        let mark = self.replica.mark(shard);
        self.each_open(shard, |id, entry| {
            let is_over = mark.since.is_some_and(|since| entry.at.is_none_or(|at| before(since, overlap) >= at));
            let is_asked_for = id.stage() == Stage::Leaf && entry.unread;
            let is_nothing = entry.state == State::Nothing
                && entry.absent.is_none()
                && entry.scope != Some(Scope::Out)
                && !is_asked_for;
            if is_nothing && is_over { self.replica.put(&id, None).map_err(Fatal::Replica) } else { Ok(()) }
        })
    }
}

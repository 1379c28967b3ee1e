//! From the decision to send to the answer: intended durably, handed over to be posted, settled.

use tokio::sync::oneshot;

use super::decide::Send;
use super::delivery::{Order, Wave};
use super::rules::{Rule, holds};
use super::tally::Settled;
use super::{Absent, Engine, Entry, Fatal, Key, Novelty, Parcel, Replica, Resend, Source, State};
use crate::model::{Id, Names, Operation, Stage};

/// Orders that wait to be posted.
pub(super) const WAITING: usize = 1;

/// Parcels of an order: what waits is in memory, and as many follow as soon as there is a place for them.
const TOGETHER: usize = 400;

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Posts what was decided, page by page. Of one entity only one content is posted in a run: the first might be applied
    /// after the second.
    pub(super) async fn post(&self, wave: Wave, mut sends: Vec<Send>) -> Result<(), Fatal<R::Error>> {
        for void in sends.extract_if(.., |send| send.parcel.is_void()) {
            self.try_settle(&*void.parcel, Settled::Accepted)?;
        }
        if holds(Rule::Once) {
            let mut sent = self.sent.borrow_mut();
            // Where nothing is remembered, leaves are not either: memory stays flat, however many there are.
            let is_kept = self.replica.remembers() || self.settings.resend == Resend::All;
            sends.retain(|send| {
                let id = &send.parcel.change().id;
                (id.stage() == Stage::Leaf && !is_kept) || sent.insert(Key::of(id))
            });
        }
        while !sends.is_empty() {
            let rest = sends.split_off(self.settings.bounds.page.min(sends.len()));
            let page = std::mem::replace(&mut sends, rest);
            self.counts.borrow_mut().differ += page.len() as u64;
            if holds(Rule::Intend) {
                for send in &page {
                    self.intend(send)?;
                }
                self.save().await?;
            }
            let mut parcels = page.into_iter().map(|send| send.parcel).peekable();
            while parcels.peek().is_some() {
                self.posted.set(self.posted.get() + 1);
                let parcels = parcels.by_ref().take(TOGETHER).collect();
                self.order(Order::Post { wave, parcels }).await?;
            }
        }
        Ok(())
    }

    /// From here on nobody knows what the catalog has, until it answers.
    fn intend(&self, send: &Send) -> Result<(), Fatal<R::Error>> {
        let change = send.parcel.change();
        let entry = match change.id.stage() {
            Stage::Leaf => send.entry.clone(),
            // What is held back until the end may have become unread meanwhile.
            Stage::Root | Stage::Container => self.entry(&change.id)?.unwrap_or(Entry::NEW),
        };
        let intended = Entry {
            there: entry.there && change.operation == Operation::Upsert,
            absent: if send.is_proven { Some(Absent::Proven) } else { entry.absent },
            fresh: entry.fresh
                || (change.operation == Operation::Upsert && !entry.there && self.has_relations(&change.id)),
            names: entry.names.with(&send.parcel.names()),
            ..entry.doubted()
        };
        self.put(&change.id, intended)
    }

    /// Waits until everything that was posted so far is settled.
    pub(crate) async fn settle_all(&self) -> Result<(), Fatal<R::Error>> {
        let posted = self.posted.get();
        if self.settled.get() < posted {
            let (settled, waiting) = oneshot::channel();
            self.order(Order::Settle(settled)).await?;
            waiting.await.map_err(|_| Fatal::Stopped)?;
            self.settled.set(self.settled.get().max(posted));
        }
        match self.broken.take() {
            Some(error) => Err(Fatal::Replica(error)),
            None => Ok(()),
        }
    }

    /// Notes what became of a parcel, and tells what that made of its entity.
    pub(crate) fn settle(&self, parcel: &dyn Parcel, settled: Settled) -> Novelty {
        self.try_settle(parcel, settled).unwrap_or_else(|fatal| {
            if let Fatal::Replica(error) = fatal {
                // Told where the run waits for its posts.
                self.broken.borrow_mut().get_or_insert(error);
            }
            Novelty::Known
        })
    }

    fn try_settle(&self, parcel: &dyn Parcel, settled: Settled) -> Result<Novelty, Fatal<R::Error>> {
        let change = parcel.change();
        let id = &change.id;
        let entry = self.entry(id)?.unwrap_or(Entry::NEW);
        let at = Some(self.start);
        let mut novelty = Novelty::Known;
        match (settled, change.operation) {
            (Settled::Accepted, Operation::Upsert) => {
                if !entry.there && self.replica.remembers() {
                    novelty = Novelty::New;
                }
                let state = State::Held(self.content(parcel));
                let keeps_children = entry.there && holds(Rule::There);
                self.put(id, Entry { state, at, absent: None, there: true, names: parcel.names(), ..entry })?;
                if id.stage() != Stage::Leaf && !keeps_children && holds(Rule::Relation) {
                    // Their relation to it may have found nothing.
                    self.doubt_children(id)?;
                }
            }
            (Settled::Accepted, Operation::Delete) => {
                let absent = match entry.absent {
                    None | Some(Absent::Proven) => None,
                    since if !holds(Rule::WatchAnew) => since,
                    Some(Absent::Since(_)) => Some(Absent::Since(self.start)),
                };
                let names = Names::UNKNOWN;
                let unread = entry.unread && id.stage() != Stage::Leaf;
                let gone =
                    Entry { state: State::Nothing, at, there: false, absent, names, unread, fresh: false, ..entry };
                let is_remembered = holds(Rule::Tombstone) || gone.absent.is_some() || gone.scope.is_some();
                self.replica.put(id, is_remembered.then_some(gone)).map_err(Fatal::Replica)?;
            }
            (Settled::Rejected, Operation::Upsert) => {
                self.put(id, Entry { state: State::Refused(self.content(parcel)), at, ..entry })?;
            }
            // It may have arrived, or not: it stays in doubt, as it was intended.
            (Settled::Rejected | Settled::Failed, _) => {}
        }
        Ok(novelty)
    }

    /// What is held of its children is in doubt.
    pub(super) fn doubt_children(&self, parent: &Id) -> Result<(), Fatal<R::Error>> {
        if !self.replica.remembers() {
            return Ok(());
        }
        self.each_child(parent, |id, entry| if entry.is_held() { self.put(&id, entry.doubted()) } else { Ok(()) })
    }
}

//! From the decision to send to the answer: intended durably, handed over for posting, settled.

use tokio::sync::oneshot;

use super::decide::Send;
use super::delivery::{Order, Wave};
use super::rules::{Rule, holds};
use super::tally::Settled;
use super::{Absent, Engine, Entry, Fatal, Key, Novelty, Parcel, Replica, Resend, Source, State};
use crate::model::{Change, Id, Names, Operation, Stage};

/// Orders that wait to be posted.
pub(super) const WAITING: usize = 1;

/// Parcels per order. A waiting order is in memory, and the next one follows as soon as there is room.
const TOGETHER: usize = 400;

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Posts what was decided, page by page. A run posts only one content of an entity: the first might be applied
    /// after the second.
    pub(super) async fn post(&self, wave: Wave, mut sends: Vec<Send>) -> Result<(), Fatal<R::Error>> {
        for void in sends.extract_if(.., |send| send.parcel.is_void()) {
            self.try_settle(&*void.parcel, Settled::Accepted)?;
        }
        if holds(Rule::Once) {
            let mut sent = self.sent.borrow_mut();
            // If nothing is remembered, neither are leaves, so that memory stays flat however many there are.
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

    /// From here until the catalog answers, nobody knows what it has.
    fn intend(&self, send: &Send) -> Result<(), Fatal<R::Error>> {
        let change = send.parcel.change();
        let entry = match change.id.stage() {
            Stage::Leaf => send.entry.clone(),
            // An entry that was held back until the end may have become unread in the meantime.
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

    /// Waits until everything posted so far is settled.
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

    /// Notes what became of a parcel. Returns whether its entity is new.
    pub(crate) fn settle(&self, parcel: &dyn Parcel, settled: Settled) -> Novelty {
        self.try_settle(parcel, settled).unwrap_or_else(|fatal| {
            if let Fatal::Replica(error) = fatal {
                // Returned when the run waits for its posts.
                self.broken.borrow_mut().get_or_insert(error);
            }
            Novelty::Known
        })
    }

    fn try_settle(&self, parcel: &dyn Parcel, settled: Settled) -> Result<Novelty, Fatal<R::Error>> {
        let Change { id, operation, .. } = parcel.change();
        let is_upsert = *operation == Operation::Upsert;
        let state = match settled {
            Settled::Accepted if is_upsert => State::Held(self.content(parcel)),
            Settled::Accepted => State::Nothing,
            Settled::Rejected if is_upsert => State::Refused(self.content(parcel)),
            // It may or may not have arrived: its entry stays in doubt, as `intend` left it.
            Settled::Rejected | Settled::Failed => return Ok(Novelty::Known),
        };
        let mut was_there = true;
        let settle = |known: Option<Entry>| {
            let entry = known.unwrap_or(Entry::NEW);
            was_there = entry.there;
            let entry = Entry { state, at: Some(self.start), ..entry };
            match state {
                State::Held(_) => Some(Entry { absent: None, there: true, names: parcel.names(), ..entry }),
                State::Nothing => self.deleted(id, &entry),
                State::Refused(_) | State::Unknown => Some(entry),
            }
        };
        self.replica.update(id, settle).map_err(Fatal::Replica)?;
        if !matches!(state, State::Held(_)) {
            return Ok(Novelty::Known);
        }
        let keeps_children = was_there && holds(Rule::There);
        if id.stage() != Stage::Leaf && !keeps_children && holds(Rule::Relation) {
            // Their relations to it may have pointed to nothing.
            self.doubt_children(id)?;
        }
        Ok(if was_there || !self.replica.remembers() { Novelty::Known } else { Novelty::New })
    }

    /// What to remember of a deleted entity.
    fn deleted(&self, id: &Id, entry: &Entry) -> Option<Entry> {
        let absent = match entry.absent {
            None | Some(Absent::Proven) => None,
            since if !holds(Rule::RestartWatch) => since,
            Some(Absent::Since(_)) => Some(Absent::Since(self.start)),
        };
        let unread = entry.unread && id.stage() != Stage::Leaf;
        let gone = Entry { there: false, absent, names: Names::UNKNOWN, unread, fresh: false, ..entry.clone() };
        let is_remembered = holds(Rule::Tombstone) || gone.absent.is_some() || gone.scope.is_some();
        is_remembered.then_some(gone)
    }

    /// Doubts the children of an entity that are held.
    pub(super) fn doubt_children(&self, parent: &Id) -> Result<(), Fatal<R::Error>> {
        if !self.replica.remembers() {
            return Ok(());
        }
        self.each_child(parent, |id, entry| if entry.is_held() { self.put(&id, entry.doubted()) } else { Ok(()) })
    }
}

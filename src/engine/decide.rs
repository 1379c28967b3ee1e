//! Compares the desired state of an entity with what the catalog has.

use jiff::Timestamp;

use super::batch::Batch;
use super::rules::{Rule, holds};
use super::{
    Absent, Content, ContentHasher, Engine, Entry, Fatal, Key, Leaving, Parcel, Rendered, Replica, Resend, Rows,
    Source, State,
};
use crate::model::{Change, Finding, Id, Operation, Record, RecordKind, Scope, Stage};
use crate::offload;

/// A change to send.
pub(super) struct Send {
    pub(super) parcel: Rendered,
    /// The entry that the decision is based on.
    pub(super) entry: Entry,
    /// Whether it is a delete that a record proves.
    pub(super) is_proven: bool,
}

/// The desired state of an entity.
struct Wanted {
    /// The entry that the decision is based on.
    entry: Entry,
    end: End,
}

/// What the entity should become.
enum End {
    Present { is_fresh: bool, may_have_returned: bool },
    Gone { is_proven: bool },
}

impl Send {
    pub(super) fn is_delete(&self) -> bool {
        self.parcel.change().operation == Operation::Delete
    }

    /// Whether it deletes something that is missing, without proof that it is gone.
    pub(super) fn is_missed(&self) -> bool {
        !self.is_proven && matches!(self.entry.absent, Some(Absent::Since(_)))
    }
}

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// The hash of a parcel's content, if it will be remembered.
    pub(super) fn content(&self, parcel: &dyn Parcel) -> Content {
        if self.replica.remembers() { parcel.content(&self.hasher) } else { Content(0) }
    }

    /// Whether a record is newer than what was sent last: a run lost from the replica may have acted on it, or on an
    /// earlier one.
    pub(super) fn is_fresh(entry: Option<&Entry>, record: Option<&Record>) -> bool {
        let Some(record) = record.filter(|_| holds(Rule::Fresh)) else { return false };
        entry.and_then(|entry| entry.at).is_none_or(|at| record.at > at)
    }

    /// Decides what to send for findings: the current state of one with a row, a delete for one without.
    pub(super) async fn decide(
        &self,
        batch: &Batch<'_>,
        findings: impl IntoIterator<Item = Finding>,
    ) -> Result<Vec<Send>, Fatal<R::Error>> {
        let mut changes = Vec::new();
        let mut wanted = Vec::new();
        for finding in findings {
            if let Some((change, want)) = self.judge(batch, finding)? {
                changes.push((change, want.entry.names.clone()));
                wanted.push(want);
            }
        }
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let mut parcels = self.sink.render(changes).await;
        if self.replica.remembers() {
            let hasher = self.hasher.clone();
            parcels = offload::each(parcels, move |parcel| hashed(parcel, &hasher)).await;
        }
        Ok(wanted.into_iter().zip(parcels).filter_map(|(want, parcel)| self.compare(want, parcel)).collect())
    }

    /// The desired state of a finding, if it may have to be sent. A part comes and goes with its whole.
    fn judge(&self, batch: &Batch<'_>, finding: Finding) -> Result<Option<(Change, Wanted)>, Fatal<R::Error>> {
        let id = finding.id();
        if self.is_orphan(id)? || (!finding.exists && self.source.whole(id).is_some()) {
            return self.replica.put(id, None).map(|()| None).map_err(Fatal::Replica);
        }
        self.want(batch, finding)
    }

    fn want(&self, batch: &Batch<'_>, finding: Finding) -> Result<Option<(Change, Wanted)>, Fatal<R::Error>> {
        let Finding { change, exists, record, scope } = finding;
        let id = change.id.clone();
        let known = self.entry(&id)?;
        if exists {
            self.replica.note_rows(&change.kind, Rows::Shown);
        }
        let is_fresh = Self::is_fresh(known.as_ref(), record.as_ref());
        let is_known = known.is_some();
        let mut entry = known.unwrap_or(Entry::NEW);
        let is_read_again = entry.unread && id.stage() == Stage::Leaf;
        if exists && (entry.absent.is_some() || is_read_again) {
            if entry.absent.take().is_some() {
                entry = self.perhaps_back(&id, entry);
            }
            entry.unread &= !is_read_again;
            self.put(&id, entry.clone())?;
        }
        let container = id.parent().filter(|parent| parent.stage() == Stage::Container);
        let group = match &container {
            Some(container) => self.entry(container)?,
            None => None,
        };
        let is_in = exists
            && match id.stage() {
                Stage::Root => true,
                Stage::Container => entry.scope == Some(Scope::In),
                Stage::Leaf => {
                    let by_container = group.as_ref().and_then(|group| group.scope).unwrap_or(self.source.unseen());
                    if by_container == Scope::Out
                        && container.as_ref().is_some_and(|container| batch.may_come(container))
                        && group.as_ref().is_none_or(|group| group.scope.is_none())
                    {
                        // Its scope is known once its container has a row.
                        self.counts.borrow_mut().unresolved += 1;
                    }
                    if by_container == Scope::Out
                        && holds(Rule::OwnScope)
                        && self.is_doubtful(batch, &id, group.as_ref())
                    {
                        return Ok(None);
                    }
                    scope.unwrap_or(Scope::In) == Scope::In && by_container == Scope::In
                }
            };
        if is_in {
            if !is_known && record.is_none() && id.stage() != Stage::Root {
                batch.note_unannounced(&id);
            }
            let may_have_returned = record.is_some_and(|record| record.may_have_returned);
            return Ok(Some((change, Wanted { entry, end: End::Present { is_fresh, may_have_returned } })));
        }
        let is_deleted = !exists && record.is_some_and(|record| record.kind == RecordKind::Delete);
        let is_sent = entry.is_held()
            || match container {
                // Nothing is known of a container that is being re-read, so everything in it is sent.
                Some(container) if exists => entry.at.is_none() && batch.is_reread(&container) && holds(Rule::OneWrite),
                Some(container) => {
                    let is_known_out = group.is_some_and(|group| {
                        group.scope == Some(Scope::Out)
                            && self.replica.remembers()
                            && !batch.is_reread(&container)
                            && (!holds(Rule::KnownSince) || batch.is_before_window(&container, group.at))
                    });
                    is_fresh && is_deleted && !(is_known_out && holds(Rule::KnownOut)) && holds(Rule::GoneFresh)
                }
                None => {
                    let may_have_left = exists
                        && id.stage() == Stage::Container
                        && record.is_some_and(|record| record.moves_scope)
                        && self.replica.remembers();
                    is_fresh && (is_deleted || may_have_left) && holds(Rule::GoneFresh)
                }
            };
        if exists && self.settings.leaving == Leaving::Keep {
            let handled_at = if is_sent { Some(self.start) } else { entry.at };
            return self.release(&id, &entry, handled_at).map(|()| None);
        }
        let may_return = is_deleted && record.is_some_and(|record| record.may_return);
        if may_return {
            // Once it is deleted, it is watched.
            entry.absent = entry.absent.or(Some(Absent::Since(self.start)));
        }
        let is_proven = is_deleted && !may_return && holds(Rule::Proven);
        Ok(is_sent.then(|| (change.into_delete(), Wanted { entry, end: End::Gone { is_proven } })))
    }

    /// Compares the desired state of an entity with what the catalog has.
    fn compare(&self, Wanted { mut entry, end }: Wanted, parcel: Rendered) -> Option<Send> {
        let (is_fresh, may_have_returned) = match end {
            End::Gone { is_proven } => return Some(Send { parcel, entry, is_proven }),
            End::Present { is_fresh, may_have_returned } => (is_fresh, may_have_returned),
        };
        let is_same = match entry.state {
            State::Held(content) => content == parcel.content(&self.hasher),
            State::Refused(content) => content == parcel.content(&self.hasher) && holds(Rule::Refused),
            State::Unknown | State::Nothing => false,
        };
        if is_same && !is_fresh && self.settings.resend == Resend::Nothing {
            let mut counts = self.counts.borrow_mut();
            match entry.state {
                State::Refused(_) => counts.still_refused += 1,
                _ => counts.same += 1,
            }
            return None;
        }
        if is_fresh && (is_same || may_have_returned) {
            entry = self.perhaps_back(&parcel.change().id, entry);
        }
        Some(Send { parcel, entry, is_proven: false })
    }

    /// Whether a container was out of scope when last seen, and this run could not tell whether it still is.
    fn is_doubtful(&self, batch: &Batch<'_>, leaf: &Id, container: Option<&Entry>) -> bool {
        let (Some(entry), Some(id)) = (container, leaf.parent()) else { return false };
        let is_in_doubt = entry.state == State::Unknown || entry.unread || entry.absent.is_some();
        // Until all of a shard has been read, its entries may stem from other settings.
        (is_in_doubt || self.replica.mark(&leaf.root()).full.is_none()) && !batch.is_visited(&id)
    }

    /// Forgets an entity that is out of scope but leaves it in the catalog. Its records up to `handled_at` count as
    /// handled.
    fn release(&self, id: &Id, entry: &Entry, handled_at: Option<Timestamp>) -> Result<(), Fatal<R::Error>> {
        let kept = match id.stage() {
            Stage::Leaf => None,
            Stage::Root | Stage::Container => {
                Some(Entry { scope: entry.scope, unread: entry.unread, at: handled_at, ..Entry::NEW })
            }
        };
        self.replica.put(id, kept).map_err(Fatal::Replica)
    }

    /// The delete of an entity that no longer exists.
    pub(super) fn gone(&self, id: &Id, record: Option<Record>) -> Finding {
        let change = self.source.gone(id);
        debug_assert_eq!(change.operation, Operation::Delete);
        Finding { change, exists: false, scope: None, record }
    }

    /// Whether an entity is missing, and no record says that it is gone.
    pub(super) fn is_missed(entry: &Entry) -> bool {
        matches!(entry.absent, Some(Absent::Since(_))) && entry.is_held()
    }
}

impl Batch<'_> {
    /// Whether a container without a row may merely be late. One that no record mentions, and that was asked for, has
    /// none.
    fn may_come(&self, container: &Id) -> bool {
        self.awaited.contains(&Key::of(container)) || !self.is_visited(container)
    }

    pub(super) fn is_visited(&self, container: &Id) -> bool {
        self.visited.contains(&Key::of(container))
    }
}

/// The same parcel, with its hash computed.
fn hashed(parcel: Rendered, hasher: &ContentHasher) -> Rendered {
    _ = parcel.content(hasher);
    parcel
}

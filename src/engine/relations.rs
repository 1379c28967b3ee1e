//! What relates to entities that are new to the catalog, or may have been gone for a while, and is read again: its relation to
//! them may have found nothing, and no record need tell of it.
//!
//! It is about relations across shards. That of a child to its parent follows the ids, and the entries know it.

use jiff::SignedDuration;

use super::{Engine, Entry, Fatal, Replica, Source, before};
use crate::model::{Id, Stage};

/// How long what relates to a new entity is asked for, as the answer may be older than the relation.
const LATE: SignedDuration = SignedDuration::from_hours(1);

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Whether entities of a shard that has been read relate to this one. Of one that has not, all are read.
    pub(super) fn has_relations(&self, id: &Id) -> bool {
        let is_read = |shard: &Id| self.replica.mark(shard).since.is_some();
        id.stage() == Stage::Leaf && self.source.relating(&id.root()).iter().any(is_read)
    }

    /// The entry of an entity that may have been gone for a while, as it was missed, was told of and is as before, or its record says
    /// so: what relates to it may have been read without it. It counts as new.
    pub(super) fn perhaps_back(&self, id: &Id, entry: Entry) -> Entry {
        if entry.there && self.has_relations(id) { Entry { there: false, ..entry.doubted() } } else { entry }
    }

    /// Whether this is a part of something that the catalog does not have. It is forgotten then: once the whole comes, it is asked for.
    pub(super) fn is_astray(&self, id: &Id) -> Result<bool, Fatal<R::Error>> {
        match self.source.whole(id).filter(|_| self.replica.remembers()) {
            Some(whole) => Ok(!self.entry(&whole)?.is_some_and(|whole| whole.there && !whole.names.are_none())),
            None => Ok(false),
        }
    }

    /// Notes of a shard's entities that are new to the catalog what relates to them: it is asked for when its own shard is read.
    pub(super) async fn note_relations(&self, shard: &Id) -> Result<(), Fatal<R::Error>> {
        if self.source.relating(shard).is_empty() {
            return Ok(());
        }
        self.settle_all().await?;
        let mut new = Vec::new();
        let most = self.settings.bounds.asked;
        self.each_open(shard, |id, entry| {
            if entry.fresh && entry.there && new.len() < most {
                new.push((id, entry));
            }
            Ok(())
        })?;
        let ids: Vec<Id> = new.iter().map(|(id, _)| id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let Some(related) = self.kept(self.source.related(&ids).await) else { return Ok(()) };
        // What was sent last before one came is sent again even if it is as before: the relation was dropped.
        let came = new.iter().filter_map(|(_, entry)| entry.at).max();
        for id in related {
            match self.entry(&id)? {
                Some(entry) if entry.is_held() => {
                    let entry = if entry.at < came { entry.doubted() } else { entry };
                    self.put(&id, Entry { unread: true, ..entry })?;
                }
                // A part that came before its whole was left out.
                known if self.source.whole(&id).is_some() => {
                    self.put(&id, Entry { unread: true, absent: None, ..known.unwrap_or(Entry::NEW) })?;
                }
                _ => {}
            }
        }
        for (id, entry) in new {
            if entry.at.is_none_or(|at| at <= before(self.start, LATE)) {
                self.put(&id, Entry { fresh: false, ..entry })?;
            }
        }
        self.save().await
    }
}

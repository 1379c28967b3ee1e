//! Re-reads what relates to entities that are new to the catalog, or may have been gone for a while: its relation may
//! have pointed to nothing, and there need not be a record of that.
//!
//! This is about relations across shards. The relation of a child to its parent follows from the ids, and the entries
//! know it.

use jiff::SignedDuration;

use super::{Engine, Entry, Fatal, Replica, Source, before};
use crate::model::{Id, Stage};

/// How long to keep asking what relates to a new entity: the answer may be older than the relation.
const LATE: SignedDuration = SignedDuration::from_hours(1);

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Whether entities of a shard that has been read may relate to this one. A shard that has not been read yet will
    /// be read in full.
    pub(super) fn has_relations(&self, id: &Id) -> bool {
        let is_read = |shard: &Id| self.replica.mark(shard).since.is_some();
        id.stage() == Stage::Leaf && self.source.relating(&id.root()).iter().any(is_read)
    }

    /// The entry of an entity that may have been gone for a while: it was missing, or is unchanged despite a fresh
    /// record, or its record says so. What relates to it may have been read without it, so it counts as new.
    pub(super) fn perhaps_back(&self, id: &Id, entry: Entry) -> Entry {
        if entry.there && self.has_relations(id) { Entry { there: false, ..entry.doubted() } } else { entry }
    }

    /// Whether this is part of a whole that the catalog does not have. If so, it is forgotten, and asked for once the
    /// whole comes.
    pub(super) fn is_orphan(&self, id: &Id) -> Result<bool, Fatal<R::Error>> {
        match self.source.whole(id).filter(|_| self.replica.remembers()) {
            Some(whole) => Ok(!self.entry(&whole)?.is_some_and(|whole| whole.there && !whole.names.are_none())),
            None => Ok(false),
        }
    }

    /// Notes what relates to entities of a shard that are new to the catalog: it is asked for when its own shard is
    /// read.
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
        // What was last sent before one of them came is sent again even if it is unchanged: the relation was dropped.
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

//! What is read of which shards: everything, or what changed since when, and which of them together.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::batch::{Extent, Late};
use super::rules::{Rule, holds};
use super::{Coverage, Engine, Fatal, Full, Mark, Replica, Shard, Sink, Source, before};
use crate::model::Id;

/// Shards whose records are read from times further apart than this are asked about apart: the one would read far too much.
const ALIKE: SignedDuration = SignedDuration::from_hours(24);

/// Shards that are read together.
pub(super) type Part<'s> = (Extent, Vec<&'s Shard>);

impl<S: Source, K: Sink, R: Replica> Engine<'_, S, K, R> {
    /// Which shards are read together, and what of them.
    pub(super) async fn plan<'s>(&self, listed: &'s [Shard]) -> Result<Vec<Part<'s>>, Fatal<R::Error>> {
        let covered = self.newly_covered(listed).await;
        let mut read: Vec<(Extent, Mark, &Shard)> = Vec::new();
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
            read.push((if full { Extent::Everything } else { Extent::Changes }, mark, shard));
        }
        read.sort_by_key(|(extent, mark, _)| (*extent, mark.since));
        let is_alike = |(extent, mark, _): &(Extent, Mark, &Shard), (other, later, _): &(Extent, Mark, &Shard)| {
            extent == other
                && match (mark.since, later.since) {
                    (Some(since), Some(later)) => later.duration_since(since) <= ALIKE,
                    (since, later) => since == later,
                }
        };
        let mut batches: Vec<Part<'s>> = Vec::new();
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
    pub(super) async fn newly_covered(&self, listed: &[Shard]) -> Option<HashSet<Id>> {
        let is_new = |id: &Id| self.replica.mark(id).since.is_none();
        let new: Vec<Id> = listed.iter().map(|shard| shard.root.id.clone()).filter(is_new).collect();
        if new.is_empty() || !self.replica.remembers() {
            return None;
        }
        let mut covered = HashSet::new();
        for shards in new.chunks(self.source.together()) {
            covered.extend(self.kept(self.source.covered(shards).await).into_iter().flatten());
        }
        Some(covered)
    }

    /// Where nothing is remembered, no later run may see the record again.
    pub(super) fn late(&self) -> Late {
        if self.replica.remembers() { Late::Either } else { Late::Row }
    }

    /// Where nothing is remembered, nothing depends on what was looked at.
    pub(super) fn coverage(&self) -> Coverage {
        if self.replica.remembers() { Coverage::Shown } else { Coverage::Assumed }
    }

    pub(super) fn window_of(&self, shard: &Id, extent: Extent) -> Option<Timestamp> {
        if let Full::Never { window } = self.settings.full {
            return Some(before(self.start, window));
        }
        let since = self.replica.mark(shard).since;
        if (since.is_none() && !holds(Rule::Retention)) || (extent == Extent::Everything && !holds(Rule::FullRecords)) {
            return Some(self.start);
        }
        since.map(|since| if holds(Rule::Overlap) { before(since, self.settings.overlap) } else { since })
    }
}

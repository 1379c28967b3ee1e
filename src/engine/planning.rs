//! Plans what to read of each shard (everything, or changes since a time), and which shards to read together.

use jiff::{SignedDuration, Timestamp};

use super::batch::{Extent, Late};
use super::rules::{Rule, holds};
use super::{Engine, Fatal, Full, Mark, Replica, Shard, Sight, Source, Uncovered, before};
use crate::model::Id;

/// Shards whose records are read from times further apart than this are queried separately: together, far too much
/// would be read of one of them.
const ALIKE: SignedDuration = SignedDuration::from_hours(24);

/// Shards that are read together.
pub(super) type Part<'s> = (Extent, Vec<&'s Shard>);

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Plans which shards are read together, and what of them. A shard that the source does not cover is not read, and
    /// its mark stays.
    pub(super) fn plan<'s>(&self, listed: &'s [Shard]) -> Result<Vec<Part<'s>>, Fatal<R::Error>> {
        let mut read: Vec<(Extent, Mark, &Shard)> = Vec::new();
        for shard in listed {
            let id = &shard.id;
            let mark = self.replica.mark(id);
            if shard.sight == Sight::NotCovered {
                let is_known = self.entry(id)?.is_some();
                let uncovered = Uncovered { id: id.clone(), since: mark.since, is_known };
                self.counts.borrow_mut().uncovered.push(uncovered);
            }
            if shard.sight != Sight::Covered && holds(Rule::Cover) {
                continue;
            }
            let full = match self.settings.full {
                Full::Now => true,
                Full::Never { .. } => false,
                // Without a mark, only those records are read that no row stands for, so all rows are needed.
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

    /// If nothing is remembered, no later run may see the record again.
    pub(super) fn late(&self) -> Late {
        if self.replica.remembers() { Late::Either } else { Late::Row }
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

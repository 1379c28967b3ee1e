//! What a run reads of each subscription: its changes since some time, or everything.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::checkpoint::Checkpoint;
use crate::azure::subscriptions::Subscription;

/// Azure keeps change records for 14 days ("Get resource changes"); a day less is surely there.
const RECORDS_KEPT: SignedDuration = SignedDuration::from_hours(13 * 24);

/// Subscriptions that are asked about together, since they are read in the same way.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) subscriptions: Vec<&'a Subscription>,
    pub(crate) how: How,
    /// Where everything is read of what was read before: from when on its changes are read too. What a record tells of a row that
    /// lags, the rows alone do not.
    pub(crate) besides: Option<Timestamp>,
    /// Whether all of it was read.
    pub(crate) read: bool,
}

/// How subscriptions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// All that exists, and what was deleted as far back as Azure remembers.
    Everything,
    /// What changed after a time.
    Changes(Timestamp),
}

impl<'a> Batch<'a> {
    fn new(subscriptions: Vec<&'a Subscription>, how: How) -> Self {
        Self { subscriptions, how, besides: None, read: false }
    }

    /// From when on the changes of those that were read before would be read, the first of them.
    fn changes(&self, checkpoint: &Checkpoint, start: Timestamp, overlap: SignedDuration) -> Option<Timestamp> {
        let marks = self.subscriptions.iter().filter_map(|one| checkpoint.subscriptions.get(&one.id));
        let kept = marks.map(|mark| mark.since).filter(|since| start.duration_since(*since) <= RECORDS_KEPT);
        kept.min().map(|since| before(since, overlap))
    }

    /// The GUIDs, as queries take them.
    pub(crate) fn ids(&self) -> Vec<&str> {
        self.subscriptions.iter().map(|subscription| subscription.id.as_str()).collect()
    }
}

/// All subscriptions, read in one way.
pub(crate) fn alike(subscriptions: &[Subscription], how: How, size: usize) -> Vec<Batch<'_>> {
    subscriptions.chunks(size).map(|chunk| Batch::new(chunk.iter().collect(), how)).collect()
}

/// Each subscription from where its last run ended, less the overlap; one that is not known, or so long ago that Azure may
/// have forgotten, in full. Subscriptions that read from the same time are asked about together.
pub(crate) fn by_checkpoint<'a>(
    subscriptions: &'a [Subscription],
    checkpoint: &Checkpoint,
    start: Timestamp,
    overlap: SignedDuration,
    size: usize,
) -> Vec<Batch<'a>> {
    let mut alike: BTreeMap<How, Vec<&Subscription>> = BTreeMap::new();
    for subscription in subscriptions {
        let how = match checkpoint.subscriptions.get(&subscription.id) {
            Some(mark) if mark.unread || (mark.unknown && subscription.is_active()) => How::Everything,
            Some(mark) if start.duration_since(mark.since) <= RECORDS_KEPT => How::Changes(before(mark.since, overlap)),
            _ => How::Everything,
        };
        alike.entry(how).or_default().push(subscription);
    }
    let batch = |(how, subscriptions): (How, Vec<&'a Subscription>)| -> Vec<Batch<'a>> {
        let mut batches: Vec<Batch<'a>> =
            subscriptions.chunks(size).map(|chunk| Batch::new(chunk.to_vec(), how)).collect();
        for batch in batches.iter_mut().filter(|batch| batch.how == How::Everything) {
            batch.besides = batch.changes(checkpoint, start, overlap);
        }
        batches
    };
    alike.into_iter().flat_map(batch).collect()
}

/// From when on a full run looks for deletes.
pub(crate) fn deletes_since(start: Timestamp) -> Timestamp {
    before(start, RECORDS_KEPT)
}

/// A time so long before another.
pub(crate) fn before(time: Timestamp, back: SignedDuration) -> Timestamp {
    time.checked_sub(back).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scope;
    use crate::sync::checkpoint::{Identity, SubscriptionMark};

    fn mark(since: Timestamp) -> SubscriptionMark {
        SubscriptionMark { since, shown: None, refused: false, unread: false, unknown: false }
    }

    fn subscription(id: &str) -> Subscription {
        Subscription { id: id.into(), name: id.into(), state: "Enabled".into(), tags: None }
    }

    #[test]
    fn a_subscription_is_read_from_where_it_ended_and_a_new_one_in_full() {
        let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let ago = |hours| start - SignedDuration::from_hours(hours);
        let mut checkpoint = Checkpoint::new(Identity::new("t", "w", &Scope::default()));
        for (id, since) in [("a", ago(1)), ("b", ago(2)), ("c", ago(1)), ("old", ago(14 * 24))] {
            checkpoint.subscriptions.insert(id.into(), mark(since));
        }
        let subscriptions: Vec<Subscription> = ["a", "b", "c", "new", "old"].map(subscription).into();
        let overlap = SignedDuration::from_hours(2);
        let batches = by_checkpoint(&subscriptions, &checkpoint, start, overlap, 1000);
        let batches: Vec<(How, Vec<&str>)> = batches.iter().map(|batch| (batch.how, batch.ids())).collect();
        assert_eq!(
            batches,
            [
                (How::Everything, vec!["new", "old"]),
                (How::Changes(ago(4)), vec!["b"]),
                (How::Changes(ago(3)), vec!["a", "c"]),
            ]
        );
    }

    #[test]
    fn what_was_to_be_read_whole_and_was_not_is_read_so_and_its_changes_too() {
        let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let ago = |hours| start - SignedDuration::from_hours(hours);
        let overlap = SignedDuration::from_hours(2);
        let mut checkpoint = Checkpoint::new(Identity::new("t", "w", &Scope::default()));
        let unread = SubscriptionMark { unread: true, ..mark(ago(3)) };
        let unknown = SubscriptionMark { unknown: true, ..mark(ago(1)) };
        for (id, mark) in [("unread", unread), ("idle", unknown.clone()), ("woken", unknown)] {
            checkpoint.subscriptions.insert(id.into(), mark);
        }
        let mut subscriptions: Vec<Subscription> = ["unread", "idle", "woken"].map(subscription).into();
        subscriptions[1].state = "Disabled".into();
        let batches = by_checkpoint(&subscriptions, &checkpoint, start, overlap, 1000);
        let batches: Vec<_> = batches.iter().map(|batch| (batch.how, batch.besides, batch.ids())).collect();
        assert_eq!(
            batches,
            [(How::Everything, Some(ago(5)), vec!["unread", "woken"]), (How::Changes(ago(3)), None, vec!["idle"]),]
        );
        checkpoint.begin_anew();
        let anew = by_checkpoint(&subscriptions, &checkpoint, start, overlap, 1000);
        assert_eq!((anew[0].how, anew[0].besides, anew.len()), (How::Everything, Some(ago(5)), 1));
    }

    #[test]
    fn no_batch_is_larger_than_asked_for() {
        let subscriptions: Vec<Subscription> = (0..7).map(|n| subscription(&n.to_string())).collect();
        let sizes: Vec<usize> =
            alike(&subscriptions, How::Everything, 3).iter().map(|batch| batch.subscriptions.len()).collect();
        assert_eq!(sizes, [3, 3, 1]);
    }
}

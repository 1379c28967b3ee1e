//! Deletes everything held of a shard that is gone for good, and forgets the shard.

use super::decide::Send;
use super::delivery::Wave;
use super::{Engine, Entry, Fatal, Mark, PAGE, Replica, Source};
use crate::model::{Id, Stage};

/// The order of the deletes.
const CHILDREN_FIRST: [(Stage, Wave); 3] =
    [(Stage::Leaf, Wave::Leaves), (Stage::Container, Wave::ContainerDeletes), (Stage::Root, Wave::Roots)];

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Sends a delete for everything held of a shard, and forgets the shard once the sink has accepted them all.
    /// Returns how many entities are still held; if any are, nothing is forgotten.
    pub(crate) async fn delete_all(&self, shard: &Id) -> Result<u64, Fatal<R::Error>> {
        let mark = self.replica.mark(shard);
        // If this is cut short and the shard is listed again, everything in it is read, and what was deleted is sent
        // again.
        self.replica.set_mark(shard, Mark { full: None, ..mark });
        for (stage, wave) in CHILDREN_FIRST {
            let mut after: Option<Id> = None;
            loop {
                let page = self.replica.entries(shard, after.as_ref(), PAGE).map_err(Fatal::Replica)?;
                let Some((last, _)) = page.last() else { break };
                after = Some(last.clone());
                let is_due = |(id, entry): &(Id, Entry)| id.stage() == stage && entry.is_held();
                let due = page.into_iter().filter(is_due);
                let (deletes, entries): (Vec<_>, Vec<_>) =
                    due.map(|(id, entry)| ((self.source.gone(&id), entry.names.clone()), entry)).unzip();
                let sends = self.sink.render(deletes).await.into_iter().zip(entries);
                let sends = sends.map(|(parcel, entry)| Send { parcel, entry, is_proven: false });
                self.post(wave, sends.collect()).await?;
            }
        }
        self.settle_all().await?;
        let held = self.replica.held(shard);
        if held == 0 {
            self.rewrite(shard, |_| None).await?;
            self.replica.set_mark(shard, Mark::default());
            self.replica.set_cursor(shard, None);
        }
        self.save().await?;
        Ok(held)
    }
}

//! What is still valid in a replica when a run opens it.

use jiff::SignedDuration;

use super::rules::{Rule, holds};
use super::{Engine, Entry, Fatal, Mark, PAGE, RECORDS_KEPT, Replica, Resend, Source};
use crate::model::Id;

/// A mark this far ahead of the source's clock was not made by a run.
const FUTURE: SignedDuration = SignedDuration::from_mins(10);

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Distrusts what no longer applies: entries are in doubt if they are for another sink or too old; with another
    /// scope, everything is to be compared. Shards that are not listed today are otherwise left alone.
    pub(crate) async fn open(&self, listed: &[Id]) -> Result<(), Fatal<R::Error>> {
        let terms = &self.settings.terms;
        if let Some(was) = self.replica.terms() {
            if was.sink != terms.sink && holds(Rule::Sink) {
                for shard in self.replica.shards().map_err(Fatal::Replica)? {
                    self.forget(&shard).await?;
                }
            }
            if was.scope != terms.scope && holds(Rule::Scope) {
                for shard in self.replica.shards().map_err(Fatal::Replica)? {
                    let mark = self.replica.mark(&shard);
                    self.replica.set_mark(&shard, Mark { full: None, ..mark });
                }
            }
        }
        if self.replica.terms().as_ref() != Some(terms) {
            self.replica.set_terms(terms.clone());
        }
        if self.settings.resend == Resend::All {
            for shard in listed {
                // The next run resends if this one does not get that far.
                self.rewrite(shard, |entry| Some(if entry.is_held() { entry.doubted() } else { entry })).await?;
                let mark = self.replica.mark(shard);
                self.replica.set_mark(shard, Mark { full: None, ..mark });
            }
        }
        for shard in listed {
            let since = self.replica.mark(shard).since;
            let age = since.map(|since| self.start.duration_since(since));
            // A mark later than this run's clock says nothing either.
            if age.is_some_and(|age| age > RECORDS_KEPT || age < -FUTURE) {
                if holds(Rule::Old) {
                    self.forget(shard).await?;
                } else {
                    self.replica.set_mark(shard, Mark::default());
                }
            }
        }
        Ok(())
    }

    /// Doubts everything held of a shard; all of it is to be read, with all available records.
    async fn forget(&self, shard: &Id) -> Result<(), Fatal<R::Error>> {
        self.rewrite(shard, |entry| {
            Some(if entry.is_held() {
                Entry { there: false, absent: None, ..entry.doubted() }
            } else {
                Entry { at: None, ..entry }
            })
        })
        .await?;
        self.replica.set_mark(shard, Mark::default());
        self.replica.set_cursor(shard, None);
        Ok(())
    }

    /// Changes or forgets every entry of a shard, page by page. Saving in between loses nothing: the marks, and with
    /// them the terms, change only after this.
    pub(super) async fn rewrite(
        &self,
        shard: &Id,
        change: impl Fn(Entry) -> Option<Entry>,
    ) -> Result<(), Fatal<R::Error>> {
        let mut after: Option<Id> = None;
        loop {
            let page = self.replica.entries(shard, after.as_ref(), PAGE).map_err(Fatal::Replica)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (id, entry) in page {
                self.replica.put(&id, change(entry)).map_err(Fatal::Replica)?;
            }
            self.save().await?;
        }
    }
}

//! Subscriptions of which nothing can be read: those that Resource Manager does not list any more, gone or out of the principal's
//! reach; and those that it lists and Resource Graph does not look at.

use std::collections::HashSet;

use super::entra::is_subscription;
use super::problems::Unread;
use super::{Estate, Run, RunError, Work};
use crate::engine::{Counts, Replica, Shard, Uncovered};
use crate::error::Stop;
use crate::model::Id;
use crate::text::printable;

/// Subscriptions and types that are named one by one.
const MOST_NAMED: usize = 10;

impl<S: Future<Output = Stop>> Run<'_, S> {
    /// Those of which the catalog holds something.
    pub(super) fn unlisted(&self, listed: &[Shard]) -> Result<Vec<Id>, RunError> {
        let listed: HashSet<&Id> = listed.iter().map(|shard| &shard.id).collect();
        let mut unlisted = Vec::new();
        for shard in self.replica.shards()? {
            if is_subscription(&shard) && !listed.contains(&shard) && self.replica.held(&shard) > 0 {
                unlisted.push(shard);
            }
        }
        Ok(unlisted)
    }

    /// Names the subscriptions of which nothing could be read, and why.
    pub(super) fn tell_unread(&self, estate: &Estate) {
        for (id, error) in estate.source.take_failures() {
            let name =
                estate.listed.iter().find(|one| one.root.id == id).map(|one| one.name.clone()).unwrap_or_default();
            self.report().fail(&Unread { name, id, error });
        }
    }

    /// Names the subscriptions that Resource Manager lists and Resource Graph does not look at: in every run those of which
    /// something was read, and once those of which nothing ever was.
    pub(super) fn tell_uncovered(&self, estate: &Estate, counts: &Counts) {
        self.report().whole = counts.whole.iter().map(|id| id.as_str().to_owned()).collect();
        for Uncovered { id, since, is_known } in &counts.uncovered {
            let one = estate.listed.iter().find(|one| one.root.id == *id);
            let (name, state) = one.map_or(("", ""), |one| (&*one.name, &*one.state));
            let (name, state) = (printable(name), printable(state));
            match since {
                Some(since) => {
                    self.report().not_covered += 1;
                    tracing::warn!(
                        "Resource Graph does not look at subscription {name} ({id}, {state}) any more; it was last read at {since:.0}, and \
                         its changes since then are read once it is looked at again"
                    );
                }
                None if *is_known => {
                    tracing::debug!("Resource Graph does not look at subscription {name} ({id}, {state})");
                }
                None => tracing::info!(
                    "note: Resource Graph does not look at subscription {name} ({id}, {state}); it is read once it does"
                ),
            }
        }
    }

    /// Says after everything was read what of the filters matched nothing: more likely it is misspelt than meant.
    pub(super) fn tell_unmatched(&self, estate: &Estate) {
        if *self.work != Work::Sync {
            return;
        }
        let (no_group, types) = estate.source.client().unmatched(&self.config.scope);
        if no_group {
            tracing::warn!(
                "no group matches RESOURCE_GROUP_TAG_FILTERS: nothing but subscriptions and deletes is sent; compare it with the \
                 groups' tags"
            );
        } else if !types.is_empty() {
            let named = types.get(..MOST_NAMED).unwrap_or(&types).join(", ");
            tracing::warn!("no resource in scope has the type {named}; check the spelling in RESOURCE_TYPES");
        }
    }

    /// Says that much is missing at once, and that much is not to be waited for.
    pub(super) fn tell_missing(counts: &Counts) {
        if let (count @ 1.., Some(kind)) = &counts.rowless {
            tracing::info!(
                "{count} resources with a change record are of types that Resource Graph has no rows of, such as {kind}; they are not \
                 waited for"
            );
        }
        if counts.guarded > 0 {
            tracing::warn!(
                "{} entities are missing, more than 20 and more than a tenth of their subscription; they are deleted only if still missing \
                 after 24 h",
                counts.guarded
            );
        }
    }

    /// Names them, in every run until they are listed again or forgotten.
    pub(super) fn tell_unlisted(&self, unlisted: &[Id]) {
        for id in unlisted.iter().take(MOST_NAMED) {
            let since = self.replica.mark(id).since.map(|since| format!(", last read at {since:.0}"));
            tracing::warn!(
                "subscription {} is not listed any more{}; its entities in the catalog are left unchanged; if it is gone for good, \
                 delete them with azure-incremental forget",
                printable(id.as_str()),
                since.unwrap_or_default()
            );
        }
        if let Some(more @ 1..) = unlisted.len().checked_sub(MOST_NAMED) {
            tracing::warn!(
                "{more} more subscriptions are not listed any more; azure-incremental checkpoint names each"
            );
        }
    }

    /// Refuses to forget a subscription that the next run would send again, or that another catalog holds.
    pub(super) fn check_forget(&self, id: &str, listed: &[Shard], sink: &str) -> Result<(), RunError> {
        if listed.iter().any(|shard| shard.id.as_str() == id) {
            return Err(RunError::StillListed(id.to_owned()));
        }
        match &self.config.checkpoint {
            Some(checkpoint) if self.replica.terms().is_some_and(|was| was.sink != sink) => {
                Err(RunError::OtherCatalog { file: checkpoint.file.clone() })
            }
            _ => Ok(()),
        }
    }
}

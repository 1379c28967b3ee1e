//! Sending some resources as they are now: the way to mend one, or all that were refused.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::change::Change;
use super::crossing::AT_ONCE;
use super::ledger::Lane;
use super::outbox::{Outbox, Slot};
use crate::azure::graph::{Graph, GraphError, Row, Sink, SinkError};
use crate::azure::queries::Query;
use crate::azure::subscriptions::Subscription;
use crate::config::Scope;
use crate::id::Id;
use crate::text::printable;

/// Reads what these lower-case ids name: an upsert of what exists in scope, a delete of what does not exist. Tells how many
/// could not be looked up, since their subscription is not listed.
pub(crate) async fn read(
    graph: &Graph,
    scope: &Scope,
    ids: &[String],
    listed: &[Subscription],
    outbox: &Outbox<'_>,
) -> Result<u64, GraphError> {
    let subscriptions: HashSet<&str> = listed.iter().map(|one| one.id.as_str()).collect();
    let subscription_of = |id: &String| id.split('/').nth(2).filter(|id| subscriptions.contains(id)).map(str::to_owned);
    let (known, unknown): (Vec<String>, Vec<String>) =
        ids.iter().cloned().partition(|id| subscription_of(id).is_some());
    for id in &unknown {
        tracing::error!("{} cannot be looked up: its subscription is not listed", printable(id));
    }
    for ids in known.chunks(AT_ONCE) {
        let subscriptions: HashSet<String> = ids.iter().filter_map(subscription_of).collect();
        let subscriptions: Vec<&str> = subscriptions.iter().map(String::as_str).collect();
        let slot = outbox.slot(Lane::Asked);
        let in_scope = Noted::new(Some(&slot));
        graph.read(Query::ContainersOf { scope, ids }, &subscriptions, &in_scope).await?;
        graph.read(Query::ResourcesOf { scope, ids }, &subscriptions, &in_scope).await?;
        let missing = in_scope.without(ids);
        if missing.is_empty() {
            continue;
        }
        // Out of scope, or gone: only what does not exist at all is deleted.
        let anywhere = Noted::new(None);
        let all = &Scope::default();
        graph.read(Query::ContainersOf { scope: all, ids: &missing }, &subscriptions, &anywhere).await?;
        graph.read(Query::ResourcesOf { scope: all, ids: &missing }, &subscriptions, &anywhere).await?;
        let gone = anywhere.without(&missing);
        for id in missing.iter().filter(|id| !gone.contains(id)) {
            tracing::warn!("{} exists, but is not in scope: nothing is sent", printable(id));
        }
        for id in &gone {
            tracing::warn!(
                "{} is not in Resource Graph, as far as the principal can read: its delete is sent",
                printable(id)
            );
        }
        slot.take(gone.iter().filter_map(|id| Change::gone(id)).collect()).await?;
    }
    Ok(unknown.len() as u64)
}

/// Passes pages on, and notes what was in them.
struct Noted<'a> {
    slot: Option<&'a Slot<'a>>,
    ids: Mutex<HashSet<Id>>,
}

impl<'a> Noted<'a> {
    fn new(slot: Option<&'a Slot<'a>>) -> Self {
        Self { slot, ids: Mutex::default() }
    }

    /// Those of `ids` that were in no page.
    fn without(&self, ids: &[String]) -> Vec<String> {
        let noted = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().filter(|id| !noted.contains(&Id::of(id))).cloned().collect()
    }
}

impl Sink<Change> for Noted<'_> {
    async fn take(&self, page: Vec<Change>) -> Result<(), SinkError> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).extend(page.iter().map(Row::id));
        match self.slot {
            Some(slot) => slot.take(page).await,
            None => Ok(()),
        }
    }
}

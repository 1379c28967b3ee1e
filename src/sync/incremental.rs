//! Reading what changed.

use jiff::Timestamp;

use super::crossing::{self, AT_ONCE};
use super::ledger::Lane;
use super::outbox::Outbox;
use crate::azure::graph::{Graph, GraphError};
use crate::azure::queries::{Groups, Query, Which};
use crate::config::Scope;

/// Reads the changes of some subscriptions after `since`, containers first; with a checkpoint, also what is pending, and what
/// is in groups that crossed the border of the scope.
pub(crate) async fn read(
    graph: &Graph,
    scope: &Scope,
    since: Timestamp,
    subscriptions: &[&str],
    outbox: &Outbox<'_>,
) -> Result<(), GraphError> {
    let slot = outbox.slot(Lane::Changes);
    let groups = if outbox.memory().is_some() { Groups::All } else { Groups::InScope };
    let [containers, resources] = queries(scope, Which::Since(since), groups);
    // Asked for side by side, taken one after the other.
    let (containers, resources) =
        futures::try_join!(graph.open(containers, subscriptions), graph.open(resources, subscriptions))?;
    containers.deliver(&slot, None).await?;
    resources.deliver(&slot, None).await?;
    let Some(memory) = outbox.memory() else { return Ok(()) };
    let (containers, resources) = memory.ledger().pending(subscriptions);
    for ids in containers.chunks(AT_ONCE) {
        let [query, _] = queries(scope, Which::Of(ids), Groups::All);
        graph.read(query, subscriptions, &slot).await?;
        memory.ledger().has_asked(ids);
    }
    for ids in resources.chunks(AT_ONCE) {
        let [_, query] = queries(scope, Which::Of(ids), Groups::All);
        graph.read(query, subscriptions, &slot).await?;
        memory.ledger().has_asked(ids);
    }
    crossing::follow(graph, scope, subscriptions, outbox).await
}

/// What is asked: of containers, and of resources.
pub(crate) fn queries<'a>(scope: &'a Scope, which: Which<'a>, groups: Groups) -> [Query<'a>; 2] {
    [Query::ChangedContainers { scope, which, groups }, Query::ChangedResources { scope, which }]
}

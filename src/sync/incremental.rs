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
    let Some(memory) = outbox.memory() else {
        for query in queries(scope, Which::Since(since), Groups::InScope) {
            graph.read(query, subscriptions, &slot).await?;
        }
        return Ok(());
    };
    let [containers, resources] = queries(scope, Which::Since(since), Groups::All);
    graph.read(containers, subscriptions, &slot).await?;
    graph.read(resources, subscriptions, &slot).await?;
    let (containers, resources) = memory.ledger().pending(subscriptions);
    for ids in containers.chunks(AT_ONCE) {
        let [query, _] = queries(scope, Which::Of(ids), Groups::All);
        graph.read(query, subscriptions, &slot).await?;
    }
    for ids in resources.chunks(AT_ONCE) {
        let [_, query] = queries(scope, Which::Of(ids), Groups::All);
        graph.read(query, subscriptions, &slot).await?;
    }
    crossing::follow(graph, scope, subscriptions, outbox).await
}

/// What is asked: of containers, and of resources.
pub(crate) fn queries<'a>(scope: &'a Scope, which: Which<'a>, groups: Groups) -> [Query<'a>; 2] {
    [Query::ChangedContainers { scope, which, groups }, Query::ChangedResources { scope, which }]
}

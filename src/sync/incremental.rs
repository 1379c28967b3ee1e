//! Reading what changed.

use jiff::Timestamp;

use super::outbox::Outbox;
use crate::azure::graph::{Graph, GraphError};
use crate::azure::queries::Query;
use crate::config::Scope;

/// Reads the changes of some subscriptions after `since`: containers, then resources.
pub(crate) async fn read(
    graph: &Graph,
    scope: &Scope,
    since: Timestamp,
    subscriptions: &[&str],
    outbox: &Outbox<'_>,
) -> Result<(), GraphError> {
    for query in queries(scope, since) {
        graph.read(query, subscriptions, outbox).await?;
    }
    Ok(())
}

/// What is asked, in this order.
pub(crate) fn queries(scope: &Scope, since: Timestamp) -> [Query<'_>; 2] {
    [Query::ChangedContainers { scope, since }, Query::ChangedResources { scope, since }]
}

//! Reading everything that exists, and what was deleted as far back as Azure remembers.

use jiff::Timestamp;

use super::crossing;
use super::ledger::Lane;
use super::outbox::Outbox;
use crate::azure::graph::{Graph, GraphError};
use crate::azure::queries::{Groups, Query};
use crate::config::Scope;

/// Reads all of some subscriptions: containers, resources, then what was deleted after `since`, children first.
pub(crate) async fn read(
    graph: &Graph,
    scope: &Scope,
    since: Timestamp,
    subscriptions: &[&str],
    outbox: &Outbox<'_>,
) -> Result<(), GraphError> {
    // Groups out of scope matter only where some may have been in it.
    let remembers = outbox.memory().is_some_and(|memory| memory.ledger().has_groups());
    let groups = if remembers { Groups::All } else { Groups::InScope };
    for query in queries(scope, since, groups) {
        graph.read(query, subscriptions, &outbox.slot(Lane::Full)).await?;
    }
    crossing::follow(graph, scope, subscriptions, outbox).await
}

/// What is asked, in this order.
pub(crate) fn queries(scope: &Scope, since: Timestamp, groups: Groups) -> [Query<'_>; 4] {
    [
        Query::Containers { scope, groups },
        Query::Resources { scope },
        Query::DeletedResources { scope, since },
        Query::DeletedContainers { since },
    ]
}

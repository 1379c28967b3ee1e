//! Reading everything that exists, and what was deleted as far back as Azure remembers.

use jiff::Timestamp;

use super::outbox::Outbox;
use crate::azure::graph::{Graph, GraphError};
use crate::azure::queries::Query;
use crate::config::Scope;

/// Reads all of some subscriptions: containers, resources, then what was deleted after `since`, children first.
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
pub(crate) fn queries(scope: &Scope, since: Timestamp) -> [Query<'_>; 4] {
    [
        Query::Containers { scope },
        Query::Resources { scope },
        Query::DeletedResources { scope, since },
        Query::DeletedContainers { since },
    ]
}

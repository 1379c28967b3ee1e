//! Reading everything that exists, and what was deleted as far back as Azure remembers.

use jiff::Timestamp;
use tokio::sync::Notify;

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
    let slot = outbox.slot(Lane::Full);
    let [containers, resources, deleted_resources, deleted_containers] = queries(scope, since, groups);
    // Asked for side by side, taken one after the other.
    let (containers, resources) =
        futures::try_join!(graph.open(containers, subscriptions), graph.open(resources, subscriptions))?;
    containers.deliver(&slot, None).await?;
    // What was deleted is asked for only once all that exists is read: what came back meanwhile must not be deleted.
    let all_read = Notify::new();
    let deleted = async {
        all_read.notified().await;
        futures::try_join!(graph.open(deleted_resources, subscriptions), graph.open(deleted_containers, subscriptions))
    };
    let ((), (resources, containers)) = futures::try_join!(resources.deliver(&slot, Some(&all_read)), deleted)?;
    resources.deliver(&slot, None).await?;
    containers.deliver(&slot, None).await?;
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

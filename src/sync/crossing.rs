//! Groups that crossed the border of the scope since their tags changed, and what is in them.

use super::ledger::{Crossing, Lane};
use super::outbox::Outbox;
use crate::azure::graph::{Graph, GraphError};
use crate::azure::queries::Query;
use crate::config::Scope;

/// Groups, or ids, that one query names at most.
pub(crate) const AT_ONCE: usize = 200;

/// Reads the resources of groups that entered the scope, to be upserted, and of those that left it, to be deleted before
/// their group is.
pub(crate) async fn follow(
    graph: &Graph,
    scope: &Scope,
    subscriptions: &[&str],
    outbox: &Outbox<'_>,
) -> Result<(), GraphError> {
    let Some(memory) = outbox.memory() else { return Ok(()) };
    let entering = memory.ledger().take_entering(subscriptions);
    for groups in names(&entering).chunks(AT_ONCE) {
        let query = Query::ResourcesOfGroups { scope, groups, whatever_tags: false };
        graph.read(query, subscriptions, &outbox.slot(Lane::Entering)).await?;
    }
    let leaving = memory.ledger().take_leaving(subscriptions);
    for groups in names(&leaving).chunks(AT_ONCE) {
        let query = Query::ResourcesOfGroups { scope, groups, whatever_tags: true };
        graph.read(query, subscriptions, &outbox.slot(Lane::Leaving)).await?;
    }
    outbox.retire(leaving).await;
    Ok(())
}

fn names(crossings: &[Crossing]) -> Vec<String> {
    crossings.iter().map(|one| one.resource_id.clone()).collect()
}

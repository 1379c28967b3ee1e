//! From an estate to the changes that its catalog needs: what to read, in which order, what of it to send, and what to
//! remember.
//!
//! Azure tells of a change twice, in a record and in the current row, at different times and in either order; records show minutes
//! late and are kept for 14 days ("Get resource changes"). Everything here follows from that: records are read again over an
//! overlap, a record and a row that disagree are pending, and what was delivered is known by its content.

pub(crate) mod change;
pub(crate) mod checkpoint;
mod crossing;
pub(crate) mod full;
pub(crate) mod incremental;
pub(crate) mod ledger;
pub(crate) mod outbox;
pub(crate) mod plan;
pub(crate) mod resend;
pub(crate) mod resume;
pub(crate) mod store;
pub(crate) mod story;

use futures::{StreamExt, stream};
use jiff::Timestamp;

use crate::azure::graph::{Graph, GraphError};
use crate::config::Scope;
use outbox::Outbox;
use plan::{Batch, How};

/// Batches of subscriptions that are read side by side.
const BATCHES_AT_ONCE: usize = 2;

/// Reads all batches into the outbox, each to its end whatever becomes of the others, and tells what failed.
pub(crate) async fn read(
    graph: &Graph,
    scope: &Scope,
    start: Timestamp,
    batches: &mut [Batch<'_>],
    outbox: &Outbox<'_>,
) -> Vec<GraphError> {
    let readings = batches.iter_mut().map(|batch| async move {
        let ids = batch.ids();
        let reading = async {
            let changes = match batch.how {
                How::Everything => {
                    full::read(graph, scope, plan::deletes_since(start), &ids, outbox).await?;
                    batch.besides
                }
                How::Changes(since) => Some(since),
            };
            match changes {
                Some(since) => incremental::read(graph, scope, since, &ids, outbox).await,
                None => Ok(()),
            }
        };
        let result = reading.await;
        batch.read = result.is_ok();
        result.err()
    });
    stream::iter(readings).buffer_unordered(BATCHES_AT_ONCE).filter_map(std::future::ready).collect().await
}

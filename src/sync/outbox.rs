//! Puts what was read in the order in which it must arrive, and adds the parents that it needs.
//!
//! Subscriptions, then groups, then resources; deletes of containers come last, children first. A resource's group and
//! subscription go out before it, once a run, so that the relations of Port's mapping find their targets.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use tokio::sync::{Mutex, mpsc};

use super::change::{Change, Operation, Subject};
use super::ledger::{Crossing, Lane, Ledger, Verdict};
use super::store::Store;
use crate::azure::graph::{Sink, SinkError, Stopped};
use crate::azure::subscriptions::Subscription;
use crate::id::Id;
use crate::text::printable;

/// Changes that may be delivered side by side. Everything of one rank arrives before anything of another.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) rank: Rank,
    pub(crate) changes: Vec<Change>,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Subscriptions,
    Groups,
    Resources,
    /// Of a full run, once everything that exists was sent.
    DeletedResources,
    DeletedGroups,
    DeletedSubscriptions,
}

/// Blocks that wait to be delivered: two pages, each with its parents.
const WAITING: usize = 2;

/// Where readers put their pages.
pub(crate) struct Outbox<'a> {
    subscriptions: HashMap<Id, &'a Subscription>,
    /// Whether a group's tags decide what is in scope.
    filtered: bool,
    memory: Option<&'a Memory>,
    state: Mutex<State>,
}

/// The memory of a run with a checkpoint.
pub(crate) struct Memory {
    pub(crate) ledger: std::sync::Mutex<Ledger>,
    pub(crate) store: Store,
}

struct State {
    blocks: mpsc::Sender<Block>,
    /// Containers that this run has upserted, or knows to be in the catalog.
    sent: HashSet<Id>,
    deleted_groups: Vec<Change>,
    deleted_subscriptions: Vec<Change>,
    unresolved: u64,
}

/// An outbox for pages that were read in one way.
pub(crate) struct Slot<'a> {
    outbox: &'a Outbox<'a>,
    lane: Lane,
}

impl Memory {
    pub(crate) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        // A panic while it is held ends the run before anything is written.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(
        subscriptions: &'a [Subscription],
        filtered: bool,
        memory: Option<&'a Memory>,
    ) -> (Self, mpsc::Receiver<Block>) {
        let (blocks, receiver) = mpsc::channel(WAITING);
        let outbox = Self {
            subscriptions: subscriptions.iter().map(|one| (Id::of_subscription(&one.id), one)).collect(),
            filtered,
            memory,
            state: Mutex::new(State {
                blocks,
                sent: HashSet::new(),
                deleted_groups: Vec::new(),
                deleted_subscriptions: Vec::new(),
                unresolved: 0,
            }),
        };
        (outbox, receiver)
    }

    /// The memory, where the run has a checkpoint.
    pub(crate) fn memory(&self) -> Option<&'a Memory> {
        self.memory
    }

    /// Takes pages that were read in this way.
    pub(crate) fn slot(&'a self, lane: Lane) -> Slot<'a> {
        Slot { outbox: self, lane }
    }

    /// With a checkpoint, sends the subscriptions that are new or changed since the last run, or all in a full one.
    pub(crate) async fn announce(&self, full: bool) -> Result<(), SinkError> {
        let Some(memory) = self.memory else { return Ok(()) };
        let mut state = self.state.lock().await;
        let mut news = Vec::new();
        for (id, subscription) in &self.subscriptions {
            state.sent.insert(*id);
            if let Some(upsert) = Change::subscription_upsert(subscription)
                && memory.ledger().is_news(subscription, &upsert, full)
            {
                news.push(upsert);
            }
        }
        self.write_ahead(!news.is_empty()).await?;
        Ok(state.send(Rank::Subscriptions, news).await?)
    }

    /// Sends the delete of groups that left the scope, once their resources are gone.
    pub(crate) async fn retire(&self, groups: Vec<Crossing>) {
        let Some(memory) = self.memory else { return };
        let deletes: Vec<Change> = groups.into_iter().filter_map(|group| memory.ledger().delete_group(group)).collect();
        self.state.lock().await.deleted_groups.extend(deletes);
    }

    /// Sends what had to wait for the end, and tells how many changes could not be resolved.
    pub(crate) async fn finish(self) -> Result<u64, SinkError> {
        let mut state = self.state.lock().await;
        let groups = std::mem::take(&mut state.deleted_groups);
        let subscriptions = std::mem::take(&mut state.deleted_subscriptions);
        self.write_ahead(!groups.is_empty()).await?;
        state.send(Rank::DeletedGroups, groups).await?;
        state.send(Rank::DeletedSubscriptions, subscriptions).await?;
        Ok(state.unresolved)
    }

    fn judge(&self, lane: Lane, change: &Change) -> Verdict {
        match self.memory {
            Some(memory) => memory.ledger().judge(lane, change),
            None if self.is_unresolved(change) => Verdict::Unresolved,
            None => Verdict::Send,
        }
    }

    /// Without a checkpoint the record is followed, except where an upsert would say something that is not known: the
    /// resource itself has no row, or, where its group's tags decide, its group has none.
    fn is_unresolved(&self, change: &Change) -> bool {
        change.operation == Operation::Upsert
            && (!change.exists || (self.filtered && change.subject == Subject::Resource && !change.group_exists))
    }

    /// Before anything is posted, the checkpoint's file says so.
    async fn write_ahead(&self, posting: bool) -> Result<(), SinkError> {
        let Some(memory) = self.memory.filter(|_| posting) else { return Ok(()) };
        let Some(bytes) = memory.ledger().write_ahead() else { return Ok(()) };
        let bytes = bytes.map_err(|error| SinkError::Memory(error.to_string()))?;
        memory.store.write(bytes).await.map_err(|error| SinkError::Memory(error.to_string()))
    }
}

impl Sink<Change> for Slot<'_> {
    async fn take(&self, page: Vec<Change>) -> Result<(), SinkError> {
        let outbox = self.outbox;
        let mut state = outbox.state.lock().await;
        let (mut subscriptions, mut groups, mut resources) = (Vec::new(), Vec::new(), Vec::new());
        // Delivered, and so their groups may be; or those failed.
        let mut delivered = Vec::new();
        for change in page {
            let change = if self.lane == Lane::Leaving { change.into_delete() } else { change };
            match outbox.judge(self.lane, &change) {
                Verdict::Send => {}
                Verdict::Unresolved => {
                    state.unresolved += 1;
                    tracing::debug!("unresolved: {}", printable(&change.resource_id()));
                    continue;
                }
                Verdict::Delivered => {
                    match (change.operation, change.subject) {
                        (Operation::Upsert, Subject::Group) => _ = state.sent.insert(change.id),
                        (Operation::Upsert, Subject::Resource) => delivered.push(change),
                        _ => {}
                    }
                    continue;
                }
                Verdict::OutOfScope => continue,
            }
            match (change.operation, change.subject) {
                (Operation::Upsert, Subject::Subscription) => {
                    if state.sent.insert(change.id) {
                        subscriptions.push(change);
                    }
                }
                (Operation::Upsert, Subject::Group) => groups.push(change),
                (_, Subject::Resource) => resources.push(change),
                (Operation::Delete, Subject::Group) => state.deleted_groups.push(change.detached()),
                // One that is listed exists.
                (Operation::Delete, Subject::Subscription) if outbox.subscriptions.contains_key(&change.id) => {}
                (Operation::Delete, Subject::Subscription) => state.deleted_subscriptions.push(change.detached()),
            }
        }
        groups.retain(|group| state.sent.insert(group.id));
        let upserts = resources.iter().filter(|change| change.operation == Operation::Upsert);
        for resource in upserts.chain(&delivered) {
            if resource.group_exists && state.sent.insert(resource.group) {
                groups.extend(resource.group_upsert().filter(|group| outbox.is_news(self.lane, group)));
            }
        }
        for child in groups.iter().chain(&resources).filter(|change| change.operation == Operation::Upsert) {
            if let Some(subscription) = outbox.subscriptions.get(&child.subscription)
                && state.sent.insert(child.subscription)
            {
                subscriptions.extend(Change::subscription_upsert(subscription));
            }
        }
        outbox.write_ahead(!(groups.is_empty() && resources.is_empty())).await?;
        state.send(Rank::Subscriptions, subscriptions).await?;
        state.send(Rank::Groups, groups).await?;
        // Everything that exists comes before anything that does not, except where both are told as they happened.
        let deletes = |change: &mut Change| self.lane == Lane::Full && change.operation == Operation::Delete;
        let deleted: Vec<Change> = resources.extract_if(.., deletes).collect();
        state.send(Rank::Resources, resources).await?;
        Ok(state.send(Rank::DeletedResources, deleted).await?)
    }
}

impl Outbox<'_> {
    /// Whether a parent that a join told of has to be sent.
    fn is_news(&self, lane: Lane, parent: &Change) -> bool {
        self.memory.is_none_or(|memory| memory.ledger().judge_parent(lane, parent))
    }
}

impl State {
    async fn send(&self, rank: Rank, changes: Vec<Change>) -> Result<(), Stopped> {
        if changes.is_empty() {
            return Ok(());
        }
        self.blocks.send(Block { rank, changes }).await.map_err(|_| Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::graph::Row;

    fn row(text: String) -> Change {
        Change::parse(text.into()).unwrap()
    }

    fn resource(name: &str, group: &str, change_type: &str) -> Change {
        let id = format!("/subscriptions/s/resourcegroups/{group}/providers/a/b/{name}");
        let source = if change_type == "Delete" { "" } else { &id };
        row(format!(
            r#"{{"resourceId":"{id}","sourceResourceId":"{source}","type":"a/b","subscriptionId":"s","resourceGroup":"{group}","rgId":"/subscriptions/s/resourceGroups/{group}","rgName":"{group}","changeType":"{change_type}"}}"#
        ))
    }

    fn group(name: &str, change_type: &str) -> Change {
        let id = format!("/subscriptions/s/resourcegroups/{name}");
        let source = if change_type == "Delete" { "" } else { &id };
        row(format!(
            r#"{{"resourceId":"{id}","sourceResourceId":"{source}","type":"microsoft.resources/subscriptions/resourcegroups","subscriptionId":"s","resourceGroup":"{name}","changeType":"{change_type}"}}"#
        ))
    }

    fn subscriptions() -> Vec<Subscription> {
        vec![Subscription { id: "s".into(), name: "S".into(), state: "Enabled".into(), tags: None }]
    }

    async fn order(filtered: bool, pages: Vec<Vec<Change>>) -> (Vec<(Rank, Vec<String>)>, u64) {
        let subscriptions = subscriptions();
        let (outbox, mut blocks) = Outbox::new(&subscriptions, filtered, None);
        let read = async {
            for page in pages {
                outbox.slot(Lane::Changes).take(page).await.unwrap();
            }
            outbox.finish().await.unwrap()
        };
        let collect = async {
            let mut order = Vec::new();
            while let Some(block) = blocks.recv().await {
                let names = block.changes.iter().map(|change| change.resource_id()[15..].to_owned()).collect();
                order.push((block.rank, names));
            }
            order
        };
        let (unresolved, order) = tokio::join!(read, collect);
        (order, unresolved)
    }

    #[tokio::test]
    async fn parents_go_before_their_first_child_and_only_once() {
        let pages =
            vec![vec![resource("1", "g", "Update")], vec![resource("2", "g", "Create"), resource("3", "h", "Update")]];
        let (order, unresolved) = order(false, pages).await;
        assert_eq!(unresolved, 0);
        assert_eq!(
            order,
            [
                (Rank::Subscriptions, vec!["s".into()]),
                (Rank::Groups, vec!["s/resourcegroups/g".into()]),
                (Rank::Resources, vec!["s/resourcegroups/g/providers/a/b/1".into()]),
                (Rank::Groups, vec!["s/resourcegroups/h".into()]),
                (
                    Rank::Resources,
                    vec!["s/resourcegroups/g/providers/a/b/2".into(), "s/resourcegroups/h/providers/a/b/3".into()]
                ),
            ]
        );
    }

    #[tokio::test]
    async fn deletes_of_containers_wait_for_the_end() {
        let pages = vec![vec![group("old", "Delete")], vec![resource("1", "old", "Delete")]];
        let (order, _) = order(false, pages).await;
        let ranks: Vec<Rank> = order.iter().map(|(rank, _)| *rank).collect();
        assert_eq!(ranks, [Rank::Resources, Rank::DeletedGroups]);
    }

    #[tokio::test]
    async fn a_subscription_that_is_listed_is_never_deleted() {
        let gone = |id: &str| Change::gone(&format!("/subscriptions/{id}")).unwrap();
        let (order, _) = order(false, vec![vec![gone("s"), gone("t")]]).await;
        assert_eq!(order, [(Rank::DeletedSubscriptions, vec!["t".into()])]);
    }

    #[tokio::test]
    async fn an_upsert_without_a_row_is_counted_and_not_sent() {
        let mut gone = resource("1", "g", "Update");
        gone.exists = false;
        let (order, unresolved) = order(false, vec![vec![gone]]).await;
        assert_eq!((order.len(), unresolved), (0, 1));
    }

    #[tokio::test]
    async fn with_tag_filters_a_resource_whose_group_has_no_row_is_unresolved() {
        let mut orphan = resource("1", "g", "Update");
        orphan.group_exists = false;
        let (sent, unresolved) = order(false, vec![vec![orphan.clone()]]).await;
        assert_eq!((sent.len(), unresolved), (2, 0), "without filters it goes out, and so does its subscription");
        let (sent, unresolved) = order(true, vec![vec![orphan]]).await;
        assert_eq!((sent.len(), unresolved), (0, 1));
    }
}

//! Puts what was read in the order in which it must arrive, and adds the parents that it needs.
//!
//! Subscriptions, then groups, then resources; deletes of containers come last, children first. A resource's group and
//! subscription go out before it, once a run, so that the relations of Port's mapping find their targets.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};

use super::change::{Change, Operation, Subject};
use crate::azure::graph::{Sink, Stopped};
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
    state: Mutex<State>,
}

struct State {
    blocks: mpsc::Sender<Block>,
    /// Containers that this run has upserted.
    sent: HashSet<Id>,
    deleted_groups: Vec<Change>,
    deleted_subscriptions: Vec<Change>,
    unresolved: u64,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(subscriptions: &'a [Subscription], filtered: bool) -> (Self, mpsc::Receiver<Block>) {
        let (blocks, receiver) = mpsc::channel(WAITING);
        let outbox = Self {
            subscriptions: subscriptions.iter().map(|one| (Id::of_subscription(&one.id), one)).collect(),
            filtered,
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

    /// Sends what had to wait for the end, and tells how many changes could not be resolved.
    pub(crate) async fn finish(self) -> Result<u64, Stopped> {
        let mut state = self.state.into_inner();
        let groups = std::mem::take(&mut state.deleted_groups);
        let subscriptions = std::mem::take(&mut state.deleted_subscriptions);
        state.send(Rank::DeletedGroups, groups).await?;
        state.send(Rank::DeletedSubscriptions, subscriptions).await?;
        Ok(state.unresolved)
    }

    /// Whether an upsert would say something that is not known: the resource itself has no row, or, where its group's tags
    /// decide, its group has none.
    fn is_unresolved(&self, change: &Change) -> bool {
        change.operation == Operation::Upsert
            && (!change.exists || (self.filtered && change.subject == Subject::Resource && !change.group_exists))
    }
}

impl Sink<Change> for Outbox<'_> {
    async fn take(&self, page: Vec<Change>) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        let (mut subscriptions, mut groups, mut resources) = (Vec::new(), Vec::new(), Vec::new());
        for change in page {
            if self.is_unresolved(&change) {
                state.unresolved += 1;
                tracing::debug!("unresolved: {} has no current row", printable(&change.resource_id()));
                continue;
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
                (Operation::Delete, Subject::Subscription) => state.deleted_subscriptions.push(change.detached()),
            }
        }
        groups.retain(|group| state.sent.insert(group.id));
        for resource in resources.iter().filter(|change| change.operation == Operation::Upsert) {
            if resource.group_exists && state.sent.insert(resource.group) {
                groups.extend(resource.group_upsert());
            }
        }
        for child in groups.iter().chain(&resources).filter(|change| change.operation == Operation::Upsert) {
            if let Some(subscription) = self.subscriptions.get(&child.subscription) {
                if state.sent.insert(child.subscription) {
                    subscriptions.extend(Change::subscription_upsert(subscription));
                }
            }
        }
        state.send(Rank::Subscriptions, subscriptions).await?;
        state.send(Rank::Groups, groups).await?;
        state.send(Rank::Resources, resources).await
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

impl Change {
    /// With a copy of its row, so that waiting does not hold the whole page in memory.
    fn detached(mut self) -> Self {
        self.row = Bytes::copy_from_slice(&self.row);
        self
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
        let (outbox, mut blocks) = Outbox::new(&subscriptions, filtered);
        let read = async {
            for page in pages {
                outbox.take(page).await.unwrap();
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

//! Sends some entities as they are now, to fix one, or all that were rejected.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::batch::Batch;
use super::delivery::Wave;
use super::{Engine, Fatal, Key, Replica, Shard, Source};
use crate::model::{Finding, Id, Record, RecordKind, Scope, Stage};
use crate::text::printable;

/// What to do if an entity that is to be sent does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vanished {
    /// Nothing is sent: its id may be misspelt.
    Leave,
    /// Its delete is sent.
    Delete,
}

/// What was named but not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsent {
    /// Ids that could not be looked up.
    pub(crate) unknown: u64,
    /// Ids of entities that do not exist and were left alone.
    pub(crate) vanished: u64,
}

/// Ids to ask about at once.
const AT_ONCE: usize = 200;

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Sends an upsert for each entity that exists in scope and, if allowed, a delete for each that does not exist,
    /// parents first.
    pub(crate) async fn resend(
        &self,
        listed: &[Shard],
        ids: &[Id],
        vanished: Vanished,
    ) -> Result<Unsent, Fatal<R::Error>> {
        let shards: Vec<Id> = listed.iter().map(|shard| shard.id.clone()).collect();
        let known: HashSet<&str> = shards.iter().map(Id::as_str).collect();
        let (mut ids, unlisted): (Vec<Id>, Vec<Id>) = ids.iter().cloned().partition(|id| known.contains(id.shard()));
        for id in &unlisted {
            tracing::error!("{} cannot be looked up: its subscription is not listed", printable(id.as_str()));
        }
        let mut unsent = Unsent { unknown: unlisted.len() as u64, vanished: 0 };
        let mut batch = Batch::new(&shards, HashMap::new());
        ids.sort_by_key(Id::stage);
        let (roots, ids): (Vec<Id>, Vec<Id>) = ids.into_iter().partition(|id| id.stage() == Stage::Root);
        let named = listed.iter().filter_map(|shard| shard.root.clone()).filter(|root| roots.contains(&root.id));
        let named = named.map(|change| Finding { change, exists: true, scope: Some(Scope::In), record: None });
        let sends = self.decide(&batch, named).await?;
        self.post(Wave::Roots, sends).await?;
        for ids in ids.chunk_by(|a, b| a.stage() == b.stage()).flat_map(|stage| stage.chunks(AT_ONCE)) {
            let Unsent { unknown, vanished } = self.resend_some(&mut batch, ids, vanished).await?;
            unsent = Unsent { unknown: unsent.unknown + unknown, vanished: unsent.vanished + vanished };
        }
        self.settle_all().await?;
        self.save().await?;
        Ok(unsent)
    }

    async fn resend_some(&self, b: &mut Batch<'_>, ids: &[Id], vanished: Vanished) -> Result<Unsent, Fatal<R::Error>> {
        let Some(found) = self.kept(self.source.ask(ids).await) else { return Ok(Unsent::default()) };
        let asked: HashSet<&Id> = ids.iter().collect();
        let mut findings: Vec<Finding> =
            found.findings.into_iter().filter(|finding| asked.contains(finding.id())).collect();
        let shown: HashSet<Id> = findings.iter().map(|finding| finding.id().clone()).collect();
        // It counts as newer than anything.
        let proof = Record::new(Timestamp::MAX, RecordKind::Delete);
        let mut unsent = Unsent::default();
        for id in ids.iter().filter(|id| !shown.contains(*id)) {
            if !found.answer.covered.contains(id.shard()) || found.answer.failed.contains(id) {
                tracing::error!("{} cannot be looked up: the answer does not cover it", printable(id.as_str()));
                unsent.unknown += 1;
                continue;
            }
            if vanished == Vanished::Leave {
                tracing::error!(
                    "{} does not exist, as far as the principal can see: nothing is sent; if it is to be deleted from the catalog, add \
                     --allow-delete",
                    printable(id.as_str())
                );
                unsent.vanished += 1;
                continue;
            }
            tracing::warn!(
                "{} does not exist, as far as the principal can see: its delete is sent",
                printable(id.as_str())
            );
            findings.push(self.gone(id, Some(proof)));
        }
        let (containers, leaves): (Vec<Finding>, Vec<Finding>) =
            findings.into_iter().partition(|finding| finding.id().stage() == Stage::Container);
        let are_there: Vec<Id> =
            containers.iter().chain(&leaves).filter(|finding| finding.exists).map(|one| one.id().clone()).collect();
        self.send_containers(b, containers).await?;
        // A container is sent along only with leaves that are sent.
        let (leaves, strays): (Vec<Finding>, Vec<Finding>) =
            leaves.into_iter().partition(|leaf| leaf.exists && leaf.scope != Some(Scope::Out));
        self.visit_containers_of(b, &leaves).await?;
        let sends = self.decide(b, leaves.into_iter().chain(strays)).await?;
        self.send(b, Wave::Leaves, sends).await?;
        self.post(Wave::ContainerDeletes, std::mem::take(&mut b.deletes)).await?;
        let sent = self.sent.borrow();
        for id in are_there.iter().filter(|id| !sent.contains(&Key::of(id))) {
            tracing::warn!("{} exists but is out of scope: nothing is sent", printable(id.as_str()));
        }
        Ok(unsent)
    }
}

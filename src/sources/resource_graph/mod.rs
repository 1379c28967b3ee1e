//! Azure Resource Graph as a source: a subscription is a shard, a resource group a container, a resource a leaf.
//!
//! `queries` holds what is asked, made of the pieces in `kql`; `client` asks it, under the quota of `quota`; `reading` makes a
//! whole answer of many pages, with the proof of `proof`; what is not answered is asked over less (`dividing`), around single
//! rows (`poison`), without joins (`apart`), and for the whole run (`lessons`). `page` and `row` make findings
//! of an answer. `arm_id` takes ids apart, `shards` makes of subscriptions what the engine needs.
//!
//! What a row shows, what a record tells and what was really looked at is said here. What follows from it is the engine's.

mod apart;
pub(crate) mod arm_id;
pub(crate) mod client;
mod dividing;
mod error;
mod json;
pub(crate) mod kql;
mod lessons;
mod names;
pub(crate) mod page;
mod poison;
mod proof;
pub(crate) mod queries;
mod quota;
mod reading;
pub(crate) mod row;
mod shards;

use std::collections::HashSet;
use std::num::NonZeroUsize;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Semaphore, mpsc};

use crate::azure::arm::{Arm, ArmError};
use crate::azure::subscriptions;
use crate::config;
use crate::engine::{self, Answer, Coverage, Found, Intake, Source, Window};
use crate::model::{Change, Finding, Id, Scope, Stage};

pub(crate) use client::Client;
pub(crate) use error::GraphError;
use lessons::Lessons;
use names::Asked;
use queries::{Query, Ungrouped};
use reading::{Opened, Reader, Setting};
pub(crate) use shards::Subscription;

/// Questions under way at once. What asks them takes what comes, so that they need not wait for the posts as readings do.
const QUESTIONS: usize = 2;

/// Azure Resource Graph, as far as the principal can read it.
pub(crate) struct ResourceGraph {
    client: Client,
    scope: config::Scope,
    lessons: Lessons,
    slots: Semaphore,
    at_once: usize,
    questions: Semaphore,
}

/// A reading: one query or several, the first page of the first of them there.
pub(crate) struct Reading<'a> {
    graph: &'a ResourceGraph,
    shards: &'a [Id],
    queries: Vec<Opened<'a>>,
    /// Shards whose own row was shown beside it.
    covered: HashSet<Id>,
}

impl ResourceGraph {
    /// `together` subscriptions are asked about in one query, 1,000 at most; `pages_at_once` pages are read ahead of who takes
    /// them.
    pub(crate) fn new(arm: Arm, scope: config::Scope, together: NonZeroUsize, pages_at_once: NonZeroUsize) -> Self {
        Self {
            client: Client::new(arm),
            scope,
            lessons: Lessons::new(together),
            slots: Semaphore::new(pages_at_once.get()),
            at_once: pages_at_once.get(),
            questions: Semaphore::new(QUESTIONS),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// All subscriptions that the principal can read: "Subscriptions - List", Azure Resource Manager REST reference.
    pub(crate) async fn shards(&self) -> Result<Vec<Subscription>, ArmError> {
        Ok(subscriptions::list(self.client.arm()).await?.iter().filter_map(Subscription::of).collect())
    }

    /// Subscriptions of which nothing could be read, and why. Everything else was.
    pub(crate) fn take_failures(&self) -> Vec<(Id, GraphError)> {
        let unread = self.lessons.take_unread().into_iter();
        unread.filter_map(|(subscription, error)| Some((shards::shard(&subscription)?, error))).collect()
    }

    fn setting(&self) -> Setting<'_, Client> {
        Setting {
            pages: &self.client,
            lessons: &self.lessons,
            scope: &self.scope,
            slots: &self.slots,
            at_once: self.at_once,
        }
    }

    async fn open<'a>(&'a self, shards: &[Id], query: Query<'a>) -> Result<Opened<'a>, GraphError> {
        Opened::now(self.setting(), query, &guids(shards)).await
    }

    /// Those of these shards whose own row is shown, where anything depends on that.
    async fn shown(&self, shards: &[Id], coverage: Coverage) -> Result<HashSet<Id>, GraphError> {
        match coverage {
            Coverage::Shown => self.covered(shards).await,
            Coverage::Assumed => Ok(HashSet::new()),
        }
    }

    /// All that a query of few rows finds.
    async fn collect(&self, shards: &[Id], query: Query<'_>) -> Result<Found, GraphError> {
        let subscriptions = guids(shards);
        let (intake, mut taken) = mpsc::channel(1);
        let setting = Setting { slots: &self.questions, at_once: QUESTIONS, ..self.setting() };
        let read = async move { Reader::read(setting, Opened::later(query), &subscriptions, &intake).await };
        let take = async {
            let mut findings: Vec<Finding> = Vec::new();
            while let Some(page) = taken.recv().await {
                findings.extend(page);
            }
            findings
        };
        let (answer, findings) = tokio::join!(read, take);
        Ok(Found { findings, answer: answer? })
    }

    /// Opens a query, and asks right beside it what is looked at.
    async fn beside_coverage<'a>(
        &'a self,
        shards: &'a [Id],
        query: Query<'a>,
        coverage: Coverage,
    ) -> Result<Reading<'a>, GraphError> {
        let (opened, covered) = futures::try_join!(self.open(shards, query), self.shown(shards, coverage))?;
        Ok(Reading { graph: self, shards, queries: vec![opened], covered })
    }
}

impl Source for ResourceGraph {
    type Error = GraphError;
    type Reading<'a> = Reading<'a>;

    fn together(&self) -> usize {
        self.lessons.together()
    }

    fn unseen(&self) -> Scope {
        if self.scope.tag_filters.include.is_empty() { Scope::In } else { Scope::Out }
    }

    async fn covered(&self, shards: &[Id]) -> Result<HashSet<Id>, GraphError> {
        Ok(self.collect(shards, Query::Subscriptions).await?.answer.covered)
    }

    async fn changes<'a>(
        &'a self,
        shards: &'a [Id],
        window: Window,
        coverage: Coverage,
    ) -> Result<(Reading<'a>, Reading<'a>), GraphError> {
        let (containers, leaves) = match window {
            Window::Since(since) => (Query::ChangedContainers { since }, Query::ChangedResources { since }),
            Window::Everything { kept, recent } => {
                (Query::ChangedContainers { since: kept }, Query::AbsentResources { kept, recent })
            }
        };
        // Asked side by side: one round trip where nothing changed.
        let (containers, leaves, covered) =
            futures::try_join!(self.open(shards, containers), self.open(shards, leaves), self.shown(shards, coverage))?;
        let reading = |opened, covered| Reading { graph: self, shards, queries: vec![opened], covered };
        Ok((reading(containers, covered.clone()), reading(leaves, covered)))
    }

    /// The subscriptions' own rows are in the answer.
    async fn containers<'a>(&'a self, shards: &'a [Id]) -> Result<Reading<'a>, GraphError> {
        let opened = self.open(shards, Query::Containers).await?;
        Ok(Reading { graph: self, shards, queries: vec![opened], covered: HashSet::new() })
    }

    async fn leaves<'a>(&'a self, shards: &'a [Id], coverage: Coverage) -> Result<Reading<'a>, GraphError> {
        self.beside_coverage(shards, Query::Resources, coverage).await
    }

    /// Brings what is directly in a subscription as well: no group would bring it where groups are read instead of everything.
    async fn within<'a>(
        &'a self,
        shards: &'a [Id],
        containers: &'a [Id],
        coverage: Coverage,
    ) -> Result<Reading<'a>, GraphError> {
        let mut portions = names::portions(containers);
        let groups = portions.next().unwrap_or_default();
        let first = Query::ResourcesOfGroups { groups, ungrouped: Ungrouped::Included };
        let mut reading = self.beside_coverage(shards, first, coverage).await?;
        reading.queries.extend(portions.map(|groups| {
            let ungrouped = Ungrouped::LeftOut;
            Opened::later(Query::ResourcesOfGroups { groups, ungrouped })
        }));
        Ok(reading)
    }

    async fn ask(&self, ids: &[Id]) -> Result<Found, GraphError> {
        let mut found = Found::default();
        for asked in Asked::portions(ids, self.lessons.together()) {
            let containers = self.collect(&asked.shards, Query::ContainersById { ids: &asked.containers });
            let leaves = async {
                match &asked.leaves[..] {
                    [] => Ok(Found::default()),
                    ids => self.collect(&asked.shards, Query::ResourcesById { ids }).await,
                }
            };
            let (containers, leaves) = futures::try_join!(containers, leaves)?;
            for part in [containers, leaves] {
                found.findings.extend(part.findings);
                found.answer.covered.extend(part.answer.covered);
                found.answer.unread.extend(part.answer.unread);
                // A shard's own row may be asked for along with the others; it is not what was asked.
                let is_asked = |id: &Id| id.stage() != Stage::Root || ids.contains(id);
                found.answer.failed.extend(part.answer.failed.into_iter().filter(is_asked));
            }
        }
        let Answer { covered, unread, .. } = &mut found.answer;
        covered.retain(|shard| !unread.contains(shard));
        Ok(found)
    }

    fn gone(&self, id: &Id) -> Change {
        shards::gone(id)
    }
}

impl engine::Reading for Reading<'_> {
    type Error = GraphError;

    async fn deliver(self, intake: Intake) -> Result<Answer, GraphError> {
        let Self { graph, shards, queries, covered } = self;
        let subscriptions = guids(shards);
        let (setting, subscriptions, intake) = (graph.setting(), &subscriptions[..], &intake);
        let answers = queries.into_iter().map(|opened| Reader::read(setting, opened, subscriptions, intake));
        let answers: Vec<Answer> = stream::iter(answers).buffer_unordered(graph.at_once).try_collect().await?;
        let mut whole = Answer { covered, ..Answer::default() };
        for answer in answers {
            whole.covered.extend(answer.covered);
            whole.failed.extend(answer.failed);
            whole.unread.extend(answer.unread);
        }
        let asked: HashSet<&Id> = shards.iter().collect();
        whole.covered.retain(|shard| asked.contains(shard) && !whole.unread.contains(shard));
        Ok(whole)
    }
}

/// The subscriptions as Resource Graph takes them.
fn guids(shards: &[Id]) -> Vec<&str> {
    shards.iter().filter_map(|shard| arm_id::ArmId::parse(shard.as_str())).map(|arm| arm.subscription()).collect()
}

#[cfg(test)]
mod tests;

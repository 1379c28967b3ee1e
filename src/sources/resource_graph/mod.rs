//! Azure Resource Graph as a source: a subscription is a shard, a resource group a container, a resource a leaf.
//!
//! `queries` has the query texts, made of the pieces in `kql`; `client` sends them, within the quota of `quota`;
//! `reading` makes a complete answer of many pages, as proven by `proof`. What is not answered is asked for in smaller
//! portions (`dividing`), without single rows (`poison`) or without joins (`apart`); what failed queries teach applies
//! to the whole run (`lessons`). `page` and `row` turn answers into findings. `arm_id` parses ids, and `shards` turns
//! subscriptions into what the engine needs.
//!
//! This module says what a row shows, what a record says, and what was really covered. The conclusions are the
//! engine's.

mod apart;
pub(crate) mod arm_id;
pub(crate) mod client;
mod dividing;
mod error;
mod json;
pub(crate) mod kql;
mod lessons;
mod look;
mod names;
mod packing;
pub(crate) mod page;
mod poison;
mod proof;
pub(crate) mod queries;
mod quota;
mod reading;
pub(crate) mod row;
mod shards;
mod slots;

use std::collections::HashSet;
use std::num::NonZeroUsize;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use crate::azure::api::{Api, ApiError};
use crate::azure::subscriptions;
use crate::config;
use crate::engine::{self, Answer, Found, Intake, Sight, Source, Window};
use crate::model::{Change, Finding, Id, Scope, Stage};

pub(crate) use client::Client;
pub(crate) use error::GraphError;
use lessons::Lessons;
pub(crate) use look::Look;
use names::Asked;
use queries::{Query, Ungrouped};
use reading::{Opened, Reader, Setting};
pub(crate) use shards::Subscription;
use slots::Slots;

/// Concurrent questions. Their pages are taken as they come, so unlike readings they need not wait for the posts.
const QUESTIONS: usize = 2;

/// Azure Resource Graph, as far as the principal can read it.
pub(crate) struct ResourceGraph {
    client: Client,
    scope: config::Scope,
    lessons: Lessons,
    slots: Slots,
    questions: Slots,
}

/// A reading: one or more queries, with the first page of the first one.
pub(crate) struct Reading<'a> {
    graph: &'a ResourceGraph,
    shards: &'a [Id],
    queries: Vec<Opened<'a>>,
    shows: Shows,
}

/// Whether rows show coverage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// All rows are requested: a shard without any may be empty, or not covered.
    All,
    /// Only rows of what changed are requested.
    Nothing,
}

impl ResourceGraph {
    /// A query is sent over `together` subscriptions, at most 1,000; `pages_at_once` pages are read ahead of the
    /// receiver.
    pub(crate) fn new(arm: Api, scope: config::Scope, together: NonZeroUsize, pages_at_once: NonZeroUsize) -> Self {
        Self {
            client: Client::new(arm),
            scope,
            lessons: Lessons::new(together),
            slots: Slots::new(pages_at_once.get()),
            questions: Slots::new(QUESTIONS),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// All subscriptions that the principal can read: "Subscriptions - List", Azure Resource Manager REST reference.
    pub(crate) async fn shards(&self) -> Result<Vec<Subscription>, ApiError> {
        let shards: Vec<_> =
            subscriptions::list(self.client.arm()).await?.iter().filter_map(Subscription::of).collect();
        self.lessons.note_listed(shards.len());
        Ok(shards)
    }

    /// Subscriptions that could not be read, and why. Everything else was read.
    pub(crate) fn take_failures(&self) -> Vec<(Id, GraphError)> {
        let unread = self.lessons.take_unread().into_iter();
        unread.filter_map(|(subscription, error)| Some((shards::shard(&subscription)?, error))).collect()
    }

    fn setting(&self) -> Setting<'_, Client> {
        Setting { pages: &self.client, lessons: &self.lessons, scope: &self.scope, slots: &self.slots }
    }

    async fn open<'a>(&'a self, shards: &[Id], query: Query<'a>) -> Result<Opened<'a>, GraphError> {
        Opened::now(self.setting(), query, &guids(shards)).await
    }

    /// Which of these shards it covers, and what time it is there.
    pub(crate) async fn look(&self, shards: &[Id]) -> Look {
        let ask = async |shards| (shards, self.collect(shards, Query::Subscriptions).await);
        let asked = shards.chunks(self.lessons.together()).map(ask);
        let add = |mut look: Look, (shards, found)| {
            look.add(shards, found);
            std::future::ready(look)
        };
        let mut look = stream::iter(asked).buffer_unordered(QUESTIONS).fold(Look::default(), add).await;
        look.now = self.client.azure_time();
        look
    }

    /// Everything that a query with few rows finds.
    async fn collect(&self, shards: &[Id], query: Query<'_>) -> Result<Found, GraphError> {
        let subscriptions = guids(shards);
        let (intake, mut taken) = mpsc::channel(1);
        let setting = Setting { slots: &self.questions, ..self.setting() };
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

    async fn reading<'a>(
        &'a self,
        shards: &'a [Id],
        query: Query<'a>,
        shows: Shows,
    ) -> Result<Reading<'a>, GraphError> {
        Ok(Reading { graph: self, shards, queries: vec![self.open(shards, query).await?], shows })
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

    async fn changes<'a>(
        &'a self,
        shards: &'a [Id],
        window: Window,
        _cursor: Option<String>,
    ) -> Result<(Reading<'a>, Reading<'a>), GraphError> {
        let (containers, leaves) = match window {
            Window::Since(since) => (Query::ChangedContainers { since }, Query::ChangedResources { since }),
            Window::Everything { kept, recent } => {
                (Query::ChangedContainers { since: kept }, Query::AbsentResources { kept, recent })
            }
        };
        // Queried concurrently: one round trip if nothing changed.
        futures::try_join!(
            self.reading(shards, containers, Shows::Nothing),
            self.reading(shards, leaves, Shows::Nothing)
        )
    }

    /// Records have times.
    fn cursor(&self, _shard: &Id) -> Option<String> {
        None
    }

    /// The subscriptions' own rows are in the answer.
    async fn containers<'a>(&'a self, shards: &'a [Id]) -> Result<Reading<'a>, GraphError> {
        self.reading(shards, Query::Containers, Shows::All).await
    }

    async fn leaves<'a>(&'a self, shards: &'a [Id]) -> Result<Reading<'a>, GraphError> {
        self.reading(shards, Query::Resources, Shows::All).await
    }

    /// Includes what is directly in a subscription: if groups are read instead of everything, no group would include
    /// it.
    async fn within<'a>(&'a self, shards: &'a [Id], containers: &'a [Id]) -> Result<Reading<'a>, GraphError> {
        let mut portions = names::portions(containers);
        let groups = portions.next().unwrap_or_default();
        let first = Query::ResourcesOfGroups { groups, ungrouped: Ungrouped::Included };
        let mut reading = self.reading(shards, first, Shows::All).await?;
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
                // A shard's own row may be queried along with the others without having been asked for.
                let is_asked = |id: &Id| id.stage() != Stage::Root || ids.contains(id);
                found.answer.failed.extend(part.answer.failed.into_iter().filter(is_asked));
            }
        }
        let Answer { covered, unread, .. } = &mut found.answer;
        covered.retain(|shard| !unread.contains(shard));
        Ok(found)
    }

    fn relating(&self, _shard: &Id) -> Vec<Id> {
        Vec::new()
    }

    fn whole(&self, _id: &Id) -> Option<Id> {
        None
    }

    async fn related(&self, _ids: &[Id]) -> Result<Vec<Id>, GraphError> {
        Ok(Vec::new())
    }

    fn gone(&self, id: &Id) -> Change {
        shards::gone(id)
    }
}

impl engine::Reading for Reading<'_> {
    type Error = GraphError;

    async fn deliver(self, intake: Intake) -> Result<Answer, GraphError> {
        let Self { graph, shards, queries, shows } = self;
        let subscriptions = guids(shards);
        let (setting, subscriptions, intake) = (graph.setting(), &subscriptions[..], &intake);
        let answers = queries.into_iter().map(|opened| Reader::read(setting, opened, subscriptions, intake));
        let answers: Vec<Answer> = stream::iter(answers).buffer_unordered(graph.slots.at_once()).try_collect().await?;
        let mut whole = Answer::default();
        for answer in answers {
            whole.covered.extend(answer.covered);
            whole.failed.extend(answer.failed);
            whole.unread.extend(answer.unread);
        }
        let asked: HashSet<&Id> = shards.iter().collect();
        whole.covered.retain(|shard| asked.contains(shard) && !whole.unread.contains(shard));
        let is_open = |id: &&Id| !whole.covered.contains(*id) && !whole.unread.contains(*id);
        let open: Vec<Id> = shards.iter().filter(is_open).cloned().collect();
        if shows == Shows::All && !open.is_empty() {
            let look = graph.look(&open).await;
            whole.covered.extend(open.into_iter().filter(|id| look.sight(id) == Sight::Covered));
        }
        Ok(whole)
    }
}

/// The subscriptions' GUIDs, as Resource Graph takes them.
fn guids(shards: &[Id]) -> Vec<&str> {
    shards.iter().filter_map(|shard| arm_id::ArmId::parse(shard.as_str())).map(|arm| arm.subscription()).collect()
}

#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;

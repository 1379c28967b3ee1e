//! What was asked of the sandbox: counts that cost nothing, and a log that tests read.
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;

use crate::lock;

/// What the product asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    Token,
    Subscriptions,
    Graph,
    Webhook,
    /// One thing of Resource Manager by its id, or what a provider has.
    Resource,
    /// Of Port's API: the sign-in.
    PortToken,
    PortBlueprint,
    /// The webhooks that are set up there, and not what is posted to them.
    PortWebhook,
    /// One entity, read or written.
    PortEntity,
    PortBulk,
    /// One entity or many, deleted.
    PortDelete,
    /// Entities searched, listed or counted.
    PortSearch,
    PortAudit,
    /// Of Microsoft Graph: a round of a delta, one for each kind.
    EntraUserDelta,
    EntraGroupDelta,
    EntraApplicationDelta,
    EntraPrincipalDelta,
    /// The lists, one for each kind.
    EntraUsers,
    EntraGroups,
    EntraApplications,
    EntraPrincipals,
    /// Users with what is known of their sign-ins.
    EntraSignIns,
    /// The members of a group.
    EntraMembers,
    /// The groups that a user is a member of.
    EntraMemberOf,
    /// One object by its id.
    EntraObject,
    EntraByIds,
    EntraDeleted,
    EntraBatch,
}

/// How many routes there are.
pub(crate) const ROUTES: usize = Route::ALL.len() + Route::BY_ID.len() + Route::PORT.len() + Route::ENTRA.len();

impl Route {
    /// What is asked where entities go to a webhook.
    pub const ALL: [Self; 4] = [Self::Token, Self::Subscriptions, Self::Graph, Self::Webhook];
    /// What is asked of single things in Azure.
    pub const BY_ID: [Self; 1] = [Self::Resource];
    /// Port's own API.
    pub const PORT: [Self; 8] = [
        Self::PortToken,
        Self::PortBlueprint,
        Self::PortWebhook,
        Self::PortEntity,
        Self::PortBulk,
        Self::PortDelete,
        Self::PortSearch,
        Self::PortAudit,
    ];
    /// Microsoft Graph.
    pub const ENTRA: [Self; 15] = [
        Self::EntraUserDelta,
        Self::EntraGroupDelta,
        Self::EntraApplicationDelta,
        Self::EntraPrincipalDelta,
        Self::EntraUsers,
        Self::EntraGroups,
        Self::EntraApplications,
        Self::EntraPrincipals,
        Self::EntraSignIns,
        Self::EntraMembers,
        Self::EntraMemberOf,
        Self::EntraObject,
        Self::EntraByIds,
        Self::EntraDeleted,
        Self::EntraBatch,
    ];

    pub fn every() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain(Self::BY_ID).chain(Self::PORT).chain(Self::ENTRA)
    }
}

/// One request, and what came of it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub route: Route,
    pub at: Instant,
    /// `None` where the connection was closed without an answer.
    pub status: Option<u16>,
    /// Of Port's API and of Microsoft Graph: the method, the path and the query.
    pub target: String,
    /// Of a webhook's post, empty: those are the port's to keep. Of Port's API, only where bodies are recorded.
    pub body: Bytes,
}

#[derive(Debug, Default)]
pub struct Requests {
    begun: [AtomicU64; ROUTES],
    in_flight: [AtomicU64; ROUTES],
    most_in_flight: [AtomicU64; ROUTES],
    entries: Mutex<Vec<Entry>>,
}

/// Is counted as in flight until it is dropped: also when the client goes away.
pub struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Requests {
    pub(crate) fn begin(&self, route: Route) -> InFlight<'_> {
        let place = route as usize;
        self.begun[place].fetch_add(1, Ordering::Relaxed);
        let now = self.in_flight[place].fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight[place].fetch_max(now, Ordering::Relaxed);
        InFlight(&self.in_flight[place])
    }

    pub(crate) fn log(&self, entry: Entry) {
        lock(&self.entries).push(entry);
    }

    /// How many requests came so far, answered or not.
    pub fn count(&self, route: Route) -> u64 {
        self.begun[route as usize].load(Ordering::Relaxed)
    }

    pub fn total(&self) -> u64 {
        Route::every().map(|route| self.count(route)).sum()
    }

    /// The most that were in flight at once.
    pub fn most_in_flight(&self, route: Route) -> u64 {
        self.most_in_flight[route as usize].load(Ordering::Relaxed)
    }

    /// How often each status was answered; 0 where the connection was closed instead.
    pub fn statuses(&self, route: Route) -> BTreeMap<u16, usize> {
        let mut statuses = BTreeMap::new();
        for entry in lock(&self.entries).iter().filter(|entry| entry.route == route) {
            *statuses.entry(entry.status.unwrap_or(0)).or_default() += 1;
        }
        statuses
    }

    /// How often anybody was told to slow down.
    pub fn throttled(&self) -> usize {
        lock(&self.entries).iter().filter(|entry| entry.status == Some(429)).count()
    }

    /// The requests that were answered or cut off, in the order in which they were.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.entries).clone()
    }

    /// Counts from nothing again.
    pub fn clear(&self) {
        for counter in self.begun.iter().chain(&self.most_in_flight) {
            counter.store(0, Ordering::Relaxed);
        }
        lock(&self.entries).clear();
    }
}

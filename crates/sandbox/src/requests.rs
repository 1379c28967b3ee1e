//! Requests to the sandbox: cheap counters, and a log for tests.
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;

use crate::lock;

/// The routes that the product uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    Token,
    Subscriptions,
    Graph,
    Webhook,
    /// Resource Manager: an object by id, or a provider.
    Resource,
    /// Port's API: sign-in.
    PortToken,
    PortBlueprint,
    /// The configuration of webhooks, not posts to them.
    PortWebhook,
    /// Reads or writes one entity.
    PortEntity,
    PortBulk,
    /// Deletes one or several entities.
    PortDelete,
    /// Searches, lists or counts entities.
    PortSearch,
    PortAudit,
    /// Microsoft Graph: a delta query, one for each kind.
    EntraUserDelta,
    EntraGroupDelta,
    EntraApplicationDelta,
    EntraPrincipalDelta,
    /// The lists, one for each kind.
    EntraUsers,
    EntraGroups,
    EntraApplications,
    EntraPrincipals,
    /// Users with their sign-in activity.
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

/// The number of routes.
pub(crate) const ROUTES: usize = Route::ALL.len() + Route::BY_ID.len() + Route::PORT.len() + Route::ENTRA.len();

impl Route {
    /// The routes used when entities are sent to a webhook.
    pub const ALL: [Self; 4] = [Self::Token, Self::Subscriptions, Self::Graph, Self::Webhook];
    /// Single objects in Azure.
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

/// A request and its outcome.
#[derive(Clone, Debug)]
pub struct Entry {
    pub route: Route,
    pub at: Instant,
    /// `None` if the connection was closed without an answer.
    pub status: Option<u16>,
    /// Port's API and Microsoft Graph only: the method, path and query.
    pub target: String,
    /// Empty for webhook posts, which `port` keeps. For Port's API, only if bodies are recorded.
    pub body: Bytes,
}

#[derive(Debug, Default)]
pub struct Requests {
    begun: [AtomicU64; ROUTES],
    in_flight: [AtomicU64; ROUTES],
    most_in_flight: [AtomicU64; ROUTES],
    entries: Mutex<Vec<Entry>>,
}

/// Counts as in flight until dropped, even if the client disconnects.
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

    /// How many requests arrived so far, answered or not.
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

    /// How often each status was returned; 0 stands for a closed connection.
    pub fn statuses(&self, route: Route) -> BTreeMap<u16, usize> {
        let mut statuses = BTreeMap::new();
        for entry in lock(&self.entries).iter().filter(|entry| entry.route == route) {
            *statuses.entry(entry.status.unwrap_or(0)).or_default() += 1;
        }
        statuses
    }

    /// How often clients were throttled.
    pub fn throttled(&self) -> usize {
        lock(&self.entries).iter().filter(|entry| entry.status == Some(429)).count()
    }

    /// The requests that were answered or cut off, in that order.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.entries).clone()
    }

    /// Resets all counters.
    pub fn clear(&self) {
        for counter in self.begun.iter().chain(&self.most_in_flight) {
            counter.store(0, Ordering::Relaxed);
        }
        lock(&self.entries).clear();
    }
}

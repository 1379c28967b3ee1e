//! What a run learns from failed queries: what one query has shown applies to all later ones.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::arm_id::ArmId;
use super::error::{GraphError, Trouble};
use super::page::Page;
use super::queries::{Joins, Query};
use crate::azure::api::Effort;
use crate::model::Finding;

/// Queries that fail in a row before Resource Graph counts as down. Dividing 1,000 subscriptions takes 21 queries to
/// get down to the first one, and a few readings run concurrently.
const MOST_FAILURES: u32 = 100;

/// The same limit in time during which all queries failed. A query in flight by then may take another minute.
const LONGEST_FAILURE: Duration = Duration::from_secs(150);

/// The same limit over the whole run, regardless of answers in between: after that, failed queries are no longer
/// divided. The search among 1,000 subscriptions takes a minute, plus five steps of a quarter of one.
const LONGEST_LOSS: Duration = Duration::from_secs(225);

/// What a run has learned so far.
pub(super) struct Lessons {
    together: Cell<usize>,
    is_divided: Cell<bool>,
    /// Names of queries that are refused because of their joins.
    refused: RefCell<BTreeSet<&'static str>>,
    has_answered: Cell<bool>,
    /// The run has only one subscription, so there is nothing else to continue with.
    is_of_one: Cell<bool>,
    failing: Cell<Failing>,
    /// The last answer that was opened made no sense.
    is_garbled: Cell<bool>,
    /// All failures of the run.
    lost: Cell<Failing>,
    /// A query got no answer at all, so others are not waited for as long.
    has_hung: Cell<bool>,
    /// Subscriptions that cannot be read, and why, until that is reported.
    unread: RefCell<BTreeMap<Box<str>, Option<GraphError>>>,
    /// How many resources each subscription has, from the query for coverage.
    sizes: RefCell<HashMap<Box<str>, u64>>,
}

/// Failures, and the time in which at least one of them was awaited. If there was no answer, only the time counts: many
/// are awaited concurrently.
#[derive(Clone, Copy, Default)]
struct Failing {
    count: u32,
    took: Duration,
    until: Option<Instant>,
}

impl Failing {
    /// Adds a failure that lasted from `start` to `now`.
    fn and(self, error: &GraphError, start: Instant, now: Instant) -> Self {
        let start = self.until.map_or(start, |until| until.max(start));
        Self { count: self.count + u32::from(!error.is_silence()), took: self.took + (now - start), until: Some(now) }
    }
}

impl Lessons {
    /// Queries are sent over `together` subscriptions, until that proves to be too many.
    pub(super) fn new(together: NonZeroUsize) -> Self {
        Self {
            together: Cell::new(together.get()),
            is_divided: Cell::new(false),
            refused: RefCell::default(),
            has_answered: Cell::new(false),
            is_of_one: Cell::new(false),
            failing: Cell::default(),
            is_garbled: Cell::new(false),
            lost: Cell::default(),
            has_hung: Cell::new(false),
            unread: RefCell::default(),
            sizes: RefCell::default(),
        }
    }

    /// Notes how many subscriptions there are to be read.
    pub(super) fn note_listed(&self, subscriptions: usize) {
        self.is_of_one.set(subscriptions == 1);
    }

    /// How persistently to try before asking for less. One of several subscriptions is not waited for at length, even
    /// if it is queried alone: it would look as if nothing was answered any more.
    pub(super) fn effort(&self) -> Effort {
        match (self.has_hung.get(), self.is_of_one.get()) {
            (true, _) => Effort::Brief,
            (false, true) => Effort::Full,
            (false, false) => Effort::Divisible,
        }
    }

    /// The most subscriptions per query.
    pub(super) fn together(&self) -> usize {
        self.together.get()
    }

    /// Notes that what failed over more subscriptions was answered over this many.
    pub(super) fn answered_over(&self, subscriptions: usize) {
        if subscriptions < self.together.get() {
            self.together.set(subscriptions);
            tracing::warn!(
                "Resource Graph answers over {subscriptions} subscriptions at once, and not over more; this run goes on with \
                 that. SUBSCRIPTION_BATCH_SIZE={subscriptions} saves later runs the attempts"
            );
        }
    }

    /// Logs the first time that a query is repeated over fewer subscriptions.
    pub(super) fn tell_divided(&self, subscriptions: usize, error: &GraphError) {
        if self.is_divided.replace(true) {
            tracing::debug!("over {subscriptions} subscriptions at once: {error}; asking about a quarter of them");
        } else {
            tracing::warn!(
                "over {subscriptions} subscriptions at once: {error}; asking about a quarter of them, and less if need be \
                 (SUBSCRIPTION_BATCH_SIZE sets how many are asked about at once)"
            );
        }
    }

    /// Whether a query may join tables.
    pub(super) fn joins_of(&self, query: Query<'_>) -> Joins {
        if self.refused.borrow().contains(query.name()) { Joins::Refused } else { Joins::Allowed }
    }

    /// Notes that a query is refused because of its joins.
    pub(super) fn refuse_joins(&self, query: Query<'_>, error: &GraphError) {
        if self.refused.borrow_mut().insert(query.name()) {
            tracing::info!("{error}; from now on its parts are asked for one after the other");
        }
    }

    /// Notes the outcome of a query that was sent at `start`.
    pub(super) fn note(&self, start: Instant, outcome: Result<(), &GraphError>) {
        let error = match outcome {
            Err(error) if matches!(error.trouble(), Some(Trouble::Broken | Trouble::Refused)) => error,
            // It is about the credentials, the network or the quota, and says nothing about the query.
            Err(error) if error.trouble().is_none() => return,
            _ => {
                self.has_answered.set(true);
                return self.stop_failing();
            }
        };
        self.has_hung.set(self.has_hung.get() || error.is_silence());
        let now = Instant::now();
        self.failing.set(self.failing.get().and(error, start, now));
        self.lost.set(self.lost.get().and(error, start, now));
    }

    /// Notes an answer that is to be opened later. It counts as one, unless the last one that was opened made no sense.
    pub(super) fn note_closed(&self) {
        if !self.is_garbled.get() {
            self.stop_failing();
        }
    }

    /// Notes whether an opened answer made sense.
    pub(super) fn note_opened(&self, page: &Result<Page, GraphError>) {
        self.is_garbled.set(page.is_err());
        self.note(Instant::now(), page.as_ref().map(drop));
    }

    /// Ends a series of failures. For queries that were sent before this answer, only the time from now on counts.
    fn stop_failing(&self) {
        self.failing.set(Failing { until: Some(Instant::now()), ..Failing::default() });
    }

    /// Whether too much time has been lost to continue a search.
    pub(super) fn has_lost_enough(&self) -> bool {
        self.lost.get().took >= LONGEST_LOSS
    }

    /// Whether Resource Graph has stopped answering.
    pub(super) fn is_down(&self) -> bool {
        let Failing { count, took, .. } = self.failing.get();
        count >= MOST_FAILURES || took >= LONGEST_FAILURE
    }

    /// Notes that a subscription cannot be read.
    pub(super) fn cannot_read(&self, subscription: &str, error: GraphError) {
        self.unread.borrow_mut().entry(subscription.into()).or_insert(Some(error));
    }

    pub(super) fn is_unread(&self, subscription: &str) -> bool {
        self.unread.borrow().contains_key(subscription)
    }

    /// Notes how many resources a covered subscription has, if the row says.
    pub(super) fn note_size(&self, finding: &Finding) {
        #[derive(Deserialize)]
        struct Told {
            resources: u64,
        }
        let told = serde_json::from_slice(&finding.change.row);
        if let (Some(id), Ok(Told { resources })) = (ArmId::parse(finding.id().as_str()), told) {
            self.sizes.borrow_mut().insert(id.subscription().into(), resources);
        }
    }

    /// How many resources a subscription has, if known.
    pub(super) fn size_of(&self, subscription: &str) -> Option<u64> {
        self.sizes.borrow().get(subscription).copied()
    }

    /// Whether anything was answered in this run.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.get()
    }

    /// Why a reading ends if nothing of it can be read. If nothing at all was answered in this run, its subscriptions
    /// are not to blame, and the error is reported once instead of for each of them.
    pub(super) fn end_of(&self, subscriptions: &[&str]) -> GraphError {
        if self.has_answered.get() || subscriptions.len() == 1 {
            return GraphError::Stopped;
        }
        self.reasons().into_iter().next().map_or(GraphError::Stopped, |(_, error)| error)
    }

    /// The subscriptions that can be read.
    pub(super) fn readable<'a>(&self, subscriptions: &Rc<[&'a str]>) -> Rc<[&'a str]> {
        if subscriptions.iter().any(|subscription| self.is_unread(subscription)) {
            subscriptions.iter().copied().filter(|subscription| !self.is_unread(subscription)).collect()
        } else {
            Rc::clone(subscriptions)
        }
    }

    /// Subscriptions that could not be read, and why. If the service as a whole does not answer, one stands for all.
    pub(super) fn take_unread(&self) -> Vec<(Box<str>, GraphError)> {
        let mut reasons = self.reasons();
        if self.is_down() {
            reasons.truncate(1);
        }
        reasons
    }

    fn reasons(&self) -> Vec<(Box<str>, GraphError)> {
        let mut unread = self.unread.borrow_mut();
        unread.iter_mut().filter_map(|(subscription, error)| Some((subscription.clone(), error.take()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::tests::failed;
    use super::*;
    use crate::http::Failure;

    #[tokio::test(start_paused = true)]
    async fn only_the_time_since_the_last_answer_is_time_without_any() {
        let lessons = Lessons::new(NonZeroUsize::MIN);
        let silence = failed(Failure::Timeout(Duration::from_secs(60)));
        let start = Instant::now();
        tokio::time::advance(LONGEST_FAILURE).await;
        lessons.note_opened(&Ok(Page::default()));
        lessons.note(start, Err(&silence));
        assert!(!lessons.is_down());
        tokio::time::advance(LONGEST_FAILURE).await;
        lessons.note(start, Err(&silence));
        assert!(lessons.is_down());
    }

    #[test]
    fn answers_that_wait_to_be_opened_count_until_one_makes_no_sense() {
        let lessons = Lessons::new(NonZeroUsize::MIN);
        let garbled = || Err(failed(Failure::Unreadable("x".into())));
        for _ in 0..MOST_FAILURES {
            lessons.note_closed();
            lessons.note(Instant::now(), Err(&failed(Failure::Unreadable("x".into()))));
        }
        assert!(!lessons.is_down());
        for _ in 0..MOST_FAILURES {
            lessons.note_closed();
            lessons.note_opened(&garbled());
        }
        assert!(lessons.is_down());
    }
}

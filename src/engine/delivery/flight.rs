//! Posts in flight, and what follows when each one ends.

use std::collections::VecDeque;

use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};

use super::{Delivered, Delivery, DeliveryError, Posts};
use crate::engine::{Fault, Limits, Outcome, Receipt, Rendered, SharedError};
use crate::model::Ids;

/// Parcels between two log lines.
const LOGGED: usize = 100;

/// Parcels that may wait for what they refer to. More than this means that the mapping is wrong.
const MOST_AWAITING: usize = 10_000;

/// The contents of one post.
pub(super) struct Part {
    pub(super) parcels: Vec<Rendered>,
    pub(super) tries: Tries,
}

/// How often to try a part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tries {
    /// Once, because the whole was tried for long enough.
    One,
    AsPatient,
}

/// A post that has ended.
pub(super) struct Posted {
    pub(super) part: Part,
    pub(super) result: Result<Receipt<SharedError>, SharedError>,
}

/// Why nothing more is posted.
pub(super) enum End {
    Closed,
    Error(DeliveryError),
}

/// Posts in flight, and those waiting for a place among them.
pub(super) struct Flight<'a, R> {
    delivery: &'a Delivery<'a>,
    /// Posts in flight at once.
    most: usize,
    waiting: VecDeque<Part>,
    pub(super) posts: FuturesUnordered<LocalBoxFuture<'a, Posted>>,
    /// The ids in both.
    ids: Ids,
    /// Parcels that refer to something that was not there, and why they were not taken.
    awaiting: Vec<(Rendered, SharedError)>,
    /// Whether something was accepted after the first of them came.
    has_accepted: bool,
    limits: Limits,
    settled: usize,
    /// The last denial.
    denial: Option<SharedError>,
    record: R,
}

impl<'a, R: FnMut(Rendered, Delivered)> Flight<'a, R> {
    pub(super) fn new(delivery: &'a Delivery<'a>, limits: Limits, record: R) -> Self {
        Self {
            delivery,
            most: limits.in_flight.get(),
            waiting: VecDeque::new(),
            posts: FuturesUnordered::new(),
            ids: Ids::default(),
            awaiting: Vec::new(),
            has_accepted: false,
            limits,
            settled: 0,
            denial: None,
            record,
        }
    }

    /// Divides parcels into posts, and starts each.
    pub(super) async fn post_all(&mut self, parcels: Vec<Rendered>) -> Result<(), End> {
        for post in Posts::new(self.limits, parcels) {
            self.post(post).await?;
        }
        Ok(())
    }

    /// Starts a post as soon as there is a place for it and none of its ids is in flight.
    async fn post(&mut self, parcels: Vec<Rendered>) -> Result<(), End> {
        while parcels.iter().any(|parcel| self.ids.contains(&parcel.change().id)) {
            self.land_one().await?;
        }
        self.ids.extend(parcels.iter().map(|parcel| parcel.change().id.clone()));
        self.waiting.push_back(Part { parcels, tries: Tries::AsPatient });
        self.fill();
        while !self.waiting.is_empty() {
            self.land_one().await?;
        }
        Ok(())
    }

    /// The one place that limits posts in flight.
    fn fill(&mut self) {
        while self.posts.len() < self.most {
            let Some(part) = self.waiting.pop_front() else { break };
            let delivery = self.delivery;
            self.posts.push(delivery.post(part).boxed_local());
        }
    }

    /// Waits until everything is settled, except parcels that wait for something that did not come.
    pub(super) async fn land(&mut self) -> Result<(), End> {
        loop {
            while !self.posts.is_empty() {
                self.land_one().await?;
            }
            if self.awaiting.is_empty() || !std::mem::take(&mut self.has_accepted) {
                return Ok(());
            }
            let again = std::mem::take(&mut self.awaiting).into_iter().map(|(parcel, _)| parcel).collect();
            self.post_all(again).await?;
        }
    }

    /// Records the parcels that are still waiting: nothing more will come in this run.
    pub(super) fn give_up_waiting(&mut self) {
        for (parcel, error) in std::mem::take(&mut self.awaiting) {
            self.tell(parcel, delivered(error));
        }
    }

    async fn land_one(&mut self) -> Result<(), End> {
        match self.posts.next().await {
            Some(posted) => self.settle(posted),
            None => Ok(()),
        }
    }

    /// Waits for the attempts in flight, and starts nothing more.
    pub(super) async fn land_posts(&mut self) {
        self.most = 0;
        while self.delivery.under_way.get() > 0 {
            tokio::select! {
                biased;
                Some(posted) = self.posts.next() => {
                    if self.settle(posted).is_err() {
                        break;
                    }
                }
                () = self.delivery.landed.notified() => {}
            }
        }
    }

    pub(super) fn settle(&mut self, Posted { part, result }: Posted) -> Result<(), End> {
        match result {
            Ok(receipt) => {
                let is_interrupted =
                    |outcome: &Outcome<SharedError>| outcome.as_ref().is_err_and(|error| error.fault().may_pass());
                // A post that made no progress would be repeated forever.
                let got_on = !receipt.outcomes.iter().all(is_interrupted);
                let mut rest = Vec::new();
                for (parcel, outcome) in part.parcels.into_iter().zip(receipt.outcomes) {
                    match outcome {
                        Ok(()) => {
                            self.has_accepted = true;
                            self.tell(parcel, Delivered::Accepted);
                        }
                        outcome if got_on && is_interrupted(&outcome) => rest.push(parcel),
                        Err(error) if error.fault() == Fault::Awaits && self.awaiting.len() < MOST_AWAITING => {
                            self.ids.remove(parcel.change().id.as_str());
                            self.awaiting.push((parcel, error));
                        }
                        Err(error) => self.tell(parcel, delivered(error)),
                    }
                }
                if !rest.is_empty() {
                    self.delivery.note_retry();
                    self.waiting.push_front(Part { parcels: rest, tries: Tries::AsPatient });
                }
            }
            Err(error) => self.settle_failure(part, error)?,
        }
        self.fill();
        Ok(())
    }

    /// Settles a post that failed as a whole: the sink, a parcel, or something on the way may be to blame.
    fn settle_failure(&mut self, part: Part, error: SharedError) -> Result<(), End> {
        let Part { parcels, tries } = part;
        let fault = error.fault();
        let is_asked_singly = {
            let mut health = self.delivery.health.borrow_mut();
            // The whole post was counted when it was given up.
            if tries == Tries::AsPatient || !matches!(fault, Fault::Passing { .. }) {
                health.give_up(fault, parcels.len());
            }
            let sink = self.delivery.sink.name();
            match fault {
                Fault::Closed => return Err(End::Closed),
                Fault::Broken => return Err(End::Error(DeliveryError::Broken(error))),
                Fault::Denied if health.denies_everything() => {
                    return Err(End::Error(DeliveryError::Denied { sink, error }));
                }
                Fault::Throttled { .. } => {
                    let since = self.delivery.pace.borrow().throttled_for();
                    return Err(End::Error(DeliveryError::Throttled { sink, error, since }));
                }
                Fault::Passing { .. } | Fault::Unreachable if health.is_down() => {
                    let since = health.failing_for();
                    return Err(End::Error(DeliveryError::Down { sink, error, since }));
                }
                _ => health.is_asked_singly(fault),
            }
        };
        if fault == Fault::Denied {
            self.denial = Some(error.clone());
        }
        let is_divided = match fault {
            Fault::Rejected | Fault::Denied | Fault::Passing { .. } => parcels.len() > 1,
            Fault::Throttled { .. }
            | Fault::Awaits
            | Fault::Unproven
            | Fault::Unreachable
            | Fault::Closed
            | Fault::Broken => false,
        };
        if is_divided {
            let first = if is_asked_singly && fault != Fault::Rejected { 1 } else { parcels.len() / 2 };
            tracing::debug!("{} in one post: {error}; posting {first} and the rest separately", parcels.len());
            self.divide(parcels, first, fault);
        } else {
            for parcel in parcels {
                self.tell(parcel, delivered(error.clone()));
            }
        }
        Ok(())
    }

    /// Queues the parts of a post ahead of all other waiting posts.
    fn divide(&mut self, mut parcels: Vec<Rendered>, first: usize, fault: Fault) {
        let rest = parcels.split_off(first);
        for parcels in [rest, parcels] {
            let was_tried = matches!(fault, Fault::Passing { .. }) && parcels.len() > 1;
            let tries = if was_tried { Tries::One } else { Tries::AsPatient };
            self.waiting.push_front(Part { parcels, tries });
        }
    }

    fn tell(&mut self, parcel: Rendered, outcome: Delivered) {
        self.ids.remove(parcel.change().id.as_str());
        (self.record)(parcel, outcome);
        self.settled += 1;
        if self.settled.is_multiple_of(LOGGED) {
            tracing::debug!("{} parcels posted", self.settled);
        }
    }

    /// If the sink accepted nothing, it is the sink that denied the posts.
    pub(super) fn conclusion(&self) -> Result<(), End> {
        match &self.denial {
            Some(error) if !self.delivery.health.borrow().has_accepted() => {
                let sink = self.delivery.sink.name();
                Err(End::Error(DeliveryError::Denied { sink, error: error.clone() }))
            }
            _ => Ok(()),
        }
    }
}

/// What became of a parcel that got this error when posted alone.
fn delivered(error: SharedError) -> Delivered {
    match error.fault() {
        Fault::Rejected => Delivered::Rejected(error),
        Fault::Unproven => Delivered::Unproven(error),
        _ => Delivered::Failed(error),
    }
}

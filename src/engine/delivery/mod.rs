//! Posts parcels to a sink: a limited number of posts at once, in the order of their waves, retried if that may help,
//! and in ever smaller parts if a post fails as a whole.

mod flight;
mod pace;
mod posts;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::health::Health;
use super::{AnySink, Fault, Receipt, Rendered, SharedError};
use crate::error::Problem;
use crate::retry::{self, Next, Patience};
use flight::{End, Flight, Part, Posted, Tries};
use pace::Pace;
pub(crate) use posts::Posts;

/// How long posts to a server may take to end once the run is to stop. A stopped process gets 10 s before it is killed,
/// and a GitHub job 7.5 s before the second signal.
pub(crate) const LANDING: Duration = Duration::from_secs(6);

/// Parcels that may be posted concurrently. Everything in one wave is settled before another begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wave {
    Roots,
    Containers,
    Leaves,
    ContainerDeletes,
}

/// What to do next.
pub(crate) enum Order {
    Post {
        wave: Wave,
        parcels: Vec<Rendered>,
    },
    /// Answer once everything before it is settled.
    Settle(oneshot::Sender<()>),
}

/// What became of a parcel.
#[derive(Clone, Debug)]
pub(crate) enum Delivered {
    Accepted,
    /// Rejected individually: it will never be accepted.
    Rejected(SharedError),
    /// Taken, but not shown by the catalog: it may still appear.
    Unproven(SharedError),
    /// Not delivered.
    Failed(SharedError),
}

/// Why a delivery ended before everything was posted, or posted nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    /// Every other post would be denied as well.
    #[error("{sink} does not exist or is not yours: {error}")]
    Denied { sink: &'static str, error: SharedError },
    #[error("{sink} is down: nothing was accepted for {} s; last error: {error}", .since.as_secs())]
    Down { sink: &'static str, error: SharedError, since: Duration },
    /// It is there, but takes less than is posted.
    #[error("{sink} throttled everything for {} min; last error: {error}", .since.as_secs() / 60)]
    Throttled { sink: &'static str, error: SharedError, since: Duration },
    #[error("{0}")]
    Broken(SharedError),
}

impl Problem for DeliveryError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Denied { error, .. } | Self::Down { error, .. } | Self::Broken(error) => error.advice(),
            Self::Throttled { .. } => Some("raise its rate limit, or that of the gateway before it, and run again"),
        }
    }
}

/// One delivery to a sink. It may carry out several streams of orders at once: they share the limit of posts in flight,
/// and what is known of the sink.
pub(crate) struct Delivery<'a> {
    sink: &'a dyn AnySink,
    patience: Patience,
    /// How long the sink's limit may refuse everything.
    longest_throttle: Duration,
    /// Never borrowed across an await.
    health: RefCell<Health>,
    pace: RefCell<Pace>,
    /// A throttle is over.
    eased: Notify,
    /// Attempts in flight. No new ones start once the run is to stop.
    under_way: Cell<usize>,
    places: Semaphore,
    landed: Notify,
    is_stopping: Cell<bool>,
    /// The receiving end is closed.
    is_closed: Cell<bool>,
    retried: Cell<u64>,
    first_id: Uuid,
    posts: Cell<u64>,
}

impl<'a> Delivery<'a> {
    pub(crate) fn new(sink: &'a dyn AnySink, patience: Patience, longest_throttle: Duration) -> Self {
        Self {
            sink,
            patience,
            longest_throttle,
            health: RefCell::default(),
            pace: RefCell::default(),
            eased: Notify::new(),
            under_way: Cell::new(0),
            places: Semaphore::new(sink.limits().in_flight.get()),
            landed: Notify::new(),
            is_stopping: Cell::new(false),
            is_closed: Cell::new(false),
            retried: Cell::new(0),
            first_id: Uuid::new_v4(),
            posts: Cell::new(0),
        }
    }

    pub(crate) fn sink(&self) -> &'a dyn AnySink {
        self.sink
    }

    /// Whether it ended because the receiving end was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// How many attempts so far were retries.
    pub(crate) fn retried(&self) -> u64 {
        self.retried.get()
    }

    /// Carries out orders as they come, and reports to `record` what became of each parcel. Whatever is not settled
    /// when it ends is not reported. It ends early if the sink as a whole is down or denies everything, if the
    /// receiving end is closed, or when `stop` is ready; posts in flight may then still end.
    ///
    /// Two parcels of one id are never in flight together, nor are two of different waves: the last to arrive wins.
    pub(crate) async fn run(
        &self,
        mut orders: mpsc::Receiver<Order>,
        stop: impl Future,
        record: impl FnMut(Rendered, Delivered),
    ) -> Result<(), DeliveryError> {
        let limits = self.sink.limits();
        let mut flight = Flight::new(self, limits, record);
        let pump = async {
            let mut wave = None;
            loop {
                // The only place that waits for both sides: the next order is taken while posts are in flight.
                let order = loop {
                    tokio::select! {
                        Some(posted) = flight.posts.next() => flight.settle(posted)?,
                        order = orders.recv() => break order,
                    }
                };
                match order {
                    Some(Order::Post { wave: next, parcels }) => {
                        if wave.replace(next) != Some(next) {
                            flight.land().await?;
                        }
                        flight.post_all(parcels).await?;
                    }
                    Some(Order::Settle(answer)) => {
                        flight.land().await?;
                        // The receiver may be gone.
                        _ = answer.send(());
                    }
                    None => {
                        flight.land().await?;
                        flight.give_up_waiting();
                        return flight.conclusion();
                    }
                }
            }
        };
        let end = tokio::select! {
            end = pump => Some(end),
            _ = stop => None,
        };
        match end {
            Some(Err(End::Error(error))) => Err(error),
            Some(Ok(())) => Ok(()),
            Some(Err(End::Closed)) => {
                self.is_closed.set(true);
                Ok(())
            }
            None => {
                self.is_stopping.set(true);
                if tokio::time::timeout(limits.landing, flight.land_posts()).await.is_err() {
                    tracing::warn!("{} posts were still in flight", self.under_way.get());
                }
                let throttled_for = self.pace.borrow().throttled_for().as_secs();
                if throttled_for > 0 {
                    tracing::warn!(
                        "{} accepted nothing for the last {throttled_for} s, as it throttles",
                        self.sink.name()
                    );
                }
                Ok(())
            }
        }
    }

    /// The id of the next post. The first is random, and the others are derived from it: a call for randomness is
    /// expensive.
    fn next_id(&self) -> Uuid {
        let number = self.posts.get();
        self.posts.set(number + 1);
        Uuid::from_u128(self.first_id.as_u128() ^ u128::from(number))
    }

    /// Posts a part, with retries if they may help. Every attempt carries the same delivery id.
    async fn post(&self, part: Part) -> Posted {
        let delivery = self.next_id();
        let result = retry::retrying(
            &self.patience,
            self.sink.name(),
            || self.attempt(&part.parcels, delivery),
            |error| self.next(error, part.tries),
            || self.note_retry(),
        )
        .await;
        Posted { part, result }
    }

    /// Counts one more, and returns how many there are.
    fn note_retry(&self) -> u64 {
        self.retried.set(self.retried.get() + 1);
        self.retried.get()
    }

    /// Waits for the post's turn, and makes an attempt, again and again while the sink's limit refuses everything.
    async fn attempt(&self, parcels: &[Rendered], delivery: Uuid) -> Result<Receipt<SharedError>, SharedError> {
        loop {
            let _place = self.places.acquire().await;
            self.turn().await;
            let began = Instant::now();
            self.under_way.set(self.under_way.get() + 1);
            let result = self.sink.send(parcels, delivery).await;
            self.under_way.set(self.under_way.get() - 1);
            self.landed.notify_waiters();
            match &result {
                Ok(receipt) => {
                    if receipt.outcomes.iter().any(Result::is_ok) {
                        self.health.borrow_mut().accept();
                    }
                    self.ease(began);
                    if let Some(asked) = receipt.pause {
                        let wait = self.patience.grant(asked);
                        self.pace.borrow_mut().pause_for(wait);
                        self.tell_pause(wait, asked);
                    }
                }
                Err(error) => match error.fault() {
                    Fault::Throttled { after } if self.wait_out(began, after) => {
                        self.note_retry();
                        continue;
                    }
                    Fault::Throttled { .. } => {}
                    fault => {
                        self.health.borrow_mut().fail(fault);
                        let is_let_through = match fault {
                            Fault::Rejected | Fault::Denied => true,
                            // An answer that asks to wait may be a throttle by another name.
                            Fault::Passing { after: None } => error.status().is_some(),
                            _ => false,
                        };
                        if is_let_through {
                            self.ease(began);
                        }
                    }
                },
            }
            return result;
        }
    }

    async fn turn(&self) {
        loop {
            let wait = self.pace.borrow_mut().wait();
            let Some(wait) = wait else { break };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.eased.notified() => {}
            }
        }
        if self.is_stopping.get() {
            std::future::pending::<()>().await;
        }
    }

    fn ease(&self, began: Instant) {
        if self.pace.borrow_mut().accept(began) {
            self.eased.notify_waiters();
        }
    }

    /// Makes every post wait. Returns whether this one is to be tried again afterwards.
    fn wait_out(&self, began: Instant, asked: Option<Duration>) -> bool {
        let granted = asked.map(|asked| self.patience.grant(asked));
        let mut pace = self.pace.borrow_mut();
        if let Some(wait) = pace.refuse(began, granted) {
            match asked {
                Some(asked) => self.tell_pause(wait, asked),
                None => tracing::info!(
                    "{} throttles and does not say for how long; waiting {} s",
                    self.sink.name(),
                    wait.as_secs()
                ),
            }
        }
        pace.throttled_for() < self.longest_throttle
    }

    fn tell_pause(&self, wait: Duration, asked: Duration) {
        let capped = if wait < asked { format!(", not the {} s it asks for", asked.as_secs()) } else { String::new() };
        tracing::info!("the rate limit of {} is used up; waiting {} s{capped}", self.sink.name(), wait.as_secs());
    }

    fn next(&self, error: &SharedError, tries: Tries) -> Next {
        let health = self.health.borrow();
        let again = |after| Next::Again { after, least: Duration::ZERO };
        match error.fault() {
            Fault::Passing { after } if tries == Tries::AsPatient && !health.is_in_doubt() => again(after),
            Fault::Unreachable if !health.is_down() => again(None),
            _ => Next::GiveUp,
        }
    }
}

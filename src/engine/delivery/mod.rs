//! Posts parcels to a sink: so many posts at once, in the order of their waves, again where that may help, in ever smaller parts
//! where a post fails as a whole.

mod flight;
mod posts;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::health::Health;
use super::{Fault, Receipt, Sink, SinkError};
use crate::error::Problem;
use crate::retry::{self, Next, Patience};
use flight::{End, Flight, Part, Posted, Tries};
pub(crate) use posts::Posts;

/// How long posts to a server may take to end once the run is to stop. What kills a process gives it 10 s before, and a job of
/// GitHub's 7.5 s before the second signal.
pub(crate) const LANDING: Duration = Duration::from_secs(6);

/// Parcels that may be posted side by side. Everything of one wave is settled before another begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wave {
    Roots,
    Containers,
    Leaves,
    ContainerDeletes,
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Order<P> {
    Post {
        wave: Wave,
        parcels: Vec<P>,
    },
    /// To answer once everything before it is settled.
    Settle(oneshot::Sender<()>),
}

/// What became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivered<E> {
    Accepted,
    /// Rejected individually: it will never be accepted.
    Rejected(E),
    /// Not delivered.
    Failed(E),
}

/// Why a delivery ended before everything was posted, or came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError<E> {
    /// Every other post would be denied as well.
    #[error("{sink} does not exist or is not yours: {error}")]
    Denied { sink: &'static str, error: E },
    #[error("{sink} is down: nothing was accepted for {} s; last error: {error}", .since.as_secs())]
    Down { sink: &'static str, error: E, since: Duration },
    #[error("{0}")]
    Broken(E),
}

impl<E: Problem> Problem for DeliveryError<E> {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Denied { error, .. } | Self::Down { error, .. } | Self::Broken(error) => error.advice(),
        }
    }
}

/// One delivery to a sink.
pub(crate) struct Delivery<'a, K> {
    sink: &'a K,
    patience: Patience,
    /// Never borrowed across an await.
    health: RefCell<Health>,
    retried: Cell<u64>,
    first_id: Uuid,
    posts: Cell<u64>,
}

impl<'a, K: Sink> Delivery<'a, K> {
    pub(crate) fn new(sink: &'a K, patience: Patience) -> Self {
        Self {
            sink,
            patience,
            health: RefCell::default(),
            retried: Cell::new(0),
            first_id: Uuid::new_v4(),
            posts: Cell::new(0),
        }
    }

    /// How many attempts were repetitions so far.
    pub(crate) fn retried(&self) -> u64 {
        self.retried.get()
    }

    /// Carries out orders as they come, and tells `record` what became of each parcel. What is not settled when it ends is not
    /// told. It ends early when the sink as a whole is down or denies everything, when nobody takes anything any more, or when
    /// `stop` is ready: then posts under way may still end.
    ///
    /// Two parcels of one id are never under way together, nor two of different waves: what arrives last is what stays.
    pub(crate) async fn run(
        &self,
        mut orders: mpsc::Receiver<Order<K::Parcel>>,
        stop: impl Future,
        record: impl FnMut(K::Parcel, Delivered<K::Error>),
    ) -> Result<(), DeliveryError<K::Error>> {
        let limits = self.sink.limits();
        let mut flight = Flight::new(self, limits.in_flight.get(), record);
        let pump = async {
            let mut wave = None;
            loop {
                // The only place that waits for both sides: the next order is taken while posts are under way.
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
                        for post in Posts::new(limits.parcels.get(), limits.bytes, parcels) {
                            flight.post(post).await?;
                        }
                    }
                    Some(Order::Settle(answer)) => {
                        flight.land().await?;
                        // Whoever asked may have left.
                        _ = answer.send(());
                    }
                    None => {
                        flight.land().await?;
                        return flight.verdict();
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
            Some(Ok(()) | Err(End::Closed)) => Ok(()),
            None => {
                if tokio::time::timeout(limits.landing, flight.land_posts()).await.is_err() {
                    tracing::warn!("{} posts were still in flight", flight.posts.len());
                }
                Ok(())
            }
        }
    }

    /// The id of the next post. The first is random, and the others follow from it: one call for randomness is dear.
    fn next_id(&self) -> Uuid {
        let number = self.posts.get();
        self.posts.set(number + 1);
        Uuid::from_u128(self.first_id.as_u128() ^ u128::from(number))
    }

    /// Posts a part, again where that may help. Every attempt carries the same delivery id.
    async fn post(&self, part: Part<K::Parcel>) -> Posted<K::Parcel, K::Error> {
        let delivery = self.next_id().to_string();
        let result = retry::retrying(
            &self.patience,
            self.sink.name(),
            || self.attempt(&part.parcels, &delivery),
            |error| self.next(error, part.tries),
            || self.retried.set(self.retried.get() + 1),
        )
        .await;
        Posted { part, result }
    }

    async fn attempt(&self, parcels: &[K::Parcel], delivery: &str) -> Result<Receipt<K::Error>, K::Error> {
        loop {
            let pause = self.health.borrow().pause();
            let Some(wait) = pause else { break };
            tokio::time::sleep(wait).await;
        }
        let result = self.sink.send(parcels, delivery).await;
        match &result {
            Ok(receipt) => {
                if receipt.outcomes.iter().any(Result::is_ok) {
                    self.health.borrow_mut().accept();
                }
                self.pause(receipt.pause);
            }
            Err(error) => match error.fault() {
                Fault::Throttled { after } => self.pause(after),
                fault => self.health.borrow_mut().fail(fault),
            },
        }
        result
    }

    /// Lets every post wait for as long as the sink asks, within what it is granted.
    fn pause(&self, asked: Option<Duration>) {
        let Some(asked) = asked else { return };
        let wait = self.patience.grant(asked);
        let capped = if wait < asked { format!(", not the {} s it asks for", asked.as_secs()) } else { String::new() };
        tracing::info!("the rate limit of {} is used up; waiting {} s{capped}", self.sink.name(), wait.as_secs());
        self.health.borrow_mut().pause_for(wait);
    }

    fn next(&self, error: &K::Error, tries: Tries) -> Next {
        let health = self.health.borrow();
        let again = |after| Next::Again { after, least: Duration::ZERO };
        match error.fault() {
            Fault::Passing { after } if tries == Tries::AsPatient && !health.is_in_doubt() => again(after),
            Fault::Throttled { after } => again(after),
            Fault::Unreachable if !health.is_down() => again(None),
            _ => Next::GiveUp,
        }
    }
}

//! Posts parcels to a sink: so many posts at once, in the order of their waves, again where that may help, in ever smaller parts
//! where a post fails as a whole.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::iter::Peekable;
use std::time::Duration;
use std::vec;

use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::health::Health;
use super::{Fault, Parcel, Receipt, Sink, SinkError};
use crate::error::Problem;
use crate::model::Id;
use crate::retry::{self, Next, Patience};

/// How long posts to a server may take to end once the run is to stop.
pub(crate) const LANDING: Duration = Duration::from_secs(10);

/// Parcels between two lines of the log.
const LOGGED: usize = 100;

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
    #[error("{sink} says that it is not one, or not yours: {error}")]
    Denied { sink: &'static str, error: E },
    #[error("{sink} is down: nothing was accepted for {} s, and at last {error}", .since.as_secs())]
    Down { sink: &'static str, error: E, since: Duration },
    #[error("{0}")]
    Broken(E),
}

/// One delivery to a sink.
pub(crate) struct Delivery<'a, K> {
    sink: &'a K,
    patience: Patience,
    /// Never borrowed across an await.
    health: RefCell<Health>,
    retried: Cell<u64>,
}

/// What goes into one post.
struct Part<P> {
    parcels: Vec<P>,
    tries: Tries,
}

/// How often a part is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tries {
    /// Once, because the whole was tried for long.
    One,
    AsPatient,
}

/// A post that came to its end.
struct Posted<P, E> {
    part: Part<P>,
    result: Result<Receipt<E>, E>,
}

/// Why nothing more is posted.
enum End<E> {
    Closed,
    Error(DeliveryError<E>),
}

/// Posts under way, and those that wait for a place among them.
struct Flight<'a, K: Sink, R> {
    delivery: &'a Delivery<'a, K>,
    /// Posts under way at once.
    most: usize,
    waiting: VecDeque<Part<K::Parcel>>,
    posts: FuturesUnordered<LocalBoxFuture<'a, Posted<K::Parcel, K::Error>>>,
    /// The ids in either.
    ids: HashSet<Id>,
    settled: usize,
    /// The last denial.
    denial: Option<K::Error>,
    record: R,
}

impl<'a, K: Sink> Delivery<'a, K> {
    pub(crate) fn new(sink: &'a K, patience: Patience) -> Self {
        Self { sink, patience, health: RefCell::default(), retried: Cell::new(0) }
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

    /// Posts a part, again where that may help. Every attempt carries the same delivery id.
    async fn post(&self, part: Part<K::Parcel>) -> Posted<K::Parcel, K::Error> {
        let delivery = Uuid::new_v4().to_string();
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
        match error.fault() {
            Fault::Passing { after } if tries == Tries::AsPatient && !health.is_in_doubt() => Next::Again { after },
            Fault::Throttled { after } => Next::Again { after },
            Fault::Unreachable if !health.is_down() => Next::Again { after: None },
            _ => Next::GiveUp,
        }
    }
}

impl<'a, K: Sink, R: FnMut(K::Parcel, Delivered<K::Error>)> Flight<'a, K, R> {
    fn new(delivery: &'a Delivery<'a, K>, most: usize, record: R) -> Self {
        Self {
            delivery,
            most,
            waiting: VecDeque::new(),
            posts: FuturesUnordered::new(),
            ids: HashSet::new(),
            settled: 0,
            denial: None,
            record,
        }
    }

    /// Begins a post as soon as there is a place for it, and none of its ids is under way.
    async fn post(&mut self, parcels: Vec<K::Parcel>) -> Result<(), End<K::Error>> {
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

    /// The one point that bounds posts under way.
    fn fill(&mut self) {
        while self.posts.len() < self.most {
            let Some(part) = self.waiting.pop_front() else { break };
            let delivery = self.delivery;
            self.posts.push(delivery.post(part).boxed_local());
        }
    }

    /// Waits until everything is settled.
    async fn land(&mut self) -> Result<(), End<K::Error>> {
        while !self.posts.is_empty() {
            self.land_one().await?;
        }
        Ok(())
    }

    async fn land_one(&mut self) -> Result<(), End<K::Error>> {
        match self.posts.next().await {
            Some(posted) => self.settle(posted),
            None => Ok(()),
        }
    }

    /// Waits for what is under way, and begins nothing more.
    async fn land_posts(&mut self) {
        self.most = 0;
        while let Some(posted) = self.posts.next().await {
            if self.settle(posted).is_err() {
                break;
            }
        }
    }

    fn settle(&mut self, Posted { part, result }: Posted<K::Parcel, K::Error>) -> Result<(), End<K::Error>> {
        match result {
            Ok(receipt) => {
                for (parcel, outcome) in part.parcels.into_iter().zip(receipt.outcomes) {
                    self.tell(parcel, outcome.map_or_else(delivered, |()| Delivered::Accepted));
                }
            }
            Err(error) => self.settle_failure(part, error)?,
        }
        self.fill();
        Ok(())
    }

    /// A post that failed as a whole: whose fault it is, the sink's, some parcel's, or that of the way there.
    fn settle_failure(&mut self, part: Part<K::Parcel>, error: K::Error) -> Result<(), End<K::Error>> {
        let Part { parcels, tries } = part;
        let fault = error.fault();
        let is_asked_singly = {
            let mut health = self.delivery.health.borrow_mut();
            // The whole of it was given up before.
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
                Fault::Passing { .. } | Fault::Throttled { .. } | Fault::Unreachable if health.is_down() => {
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
            Fault::Throttled { .. } | Fault::Unreachable | Fault::Closed | Fault::Broken => false,
        };
        if is_divided {
            let first = if is_asked_singly && fault != Fault::Rejected { 1 } else { parcels.len() / 2 };
            tracing::debug!("{} in one post: {error}; posting {first} and the rest apart", parcels.len());
            self.divide(parcels, first, fault);
        } else {
            for parcel in parcels {
                self.tell(parcel, delivered(error.clone()));
            }
        }
        Ok(())
    }

    /// Lets the parts of a post go before all that waits.
    fn divide(&mut self, mut parcels: Vec<K::Parcel>, first: usize, fault: Fault) {
        let rest = parcels.split_off(first);
        for parcels in [rest, parcels] {
            let was_tried = matches!(fault, Fault::Passing { .. }) && parcels.len() > 1;
            let tries = if was_tried { Tries::One } else { Tries::AsPatient };
            self.waiting.push_front(Part { parcels, tries });
        }
    }

    fn tell(&mut self, parcel: K::Parcel, outcome: Delivered<K::Error>) {
        self.ids.remove(parcel.change().id.as_str());
        (self.record)(parcel, outcome);
        self.settled += 1;
        if self.settled.is_multiple_of(LOGGED) {
            tracing::debug!("{} parcels posted", self.settled);
        }
    }

    /// What denied some posts was the sink, if it accepted none.
    fn verdict(&self) -> Result<(), End<K::Error>> {
        match &self.denial {
            Some(error) if !self.delivery.health.borrow().has_accepted() => {
                let sink = self.delivery.sink.name();
                Err(End::Error(DeliveryError::Denied { sink, error: error.clone() }))
            }
            _ => Ok(()),
        }
    }
}

/// What became of a parcel that met this error alone.
fn delivered<E: SinkError>(error: E) -> Delivered<E> {
    match error.fault() {
        Fault::Rejected => Delivered::Rejected(error),
        _ => Delivered::Failed(error),
    }
}

impl<E: Problem> Problem for DeliveryError<E> {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Denied { error, .. } | Self::Down { error, .. } | Self::Broken(error) => error.advice(),
        }
    }
}

/// Divides parcels among posts, in their order, as many in each as fit. No id is in a post twice, since a sink need not say in
/// which order it takes what a post holds.
pub(crate) struct Posts<P> {
    parcels: Peekable<vec::IntoIter<P>>,
    /// Parcels in a post, and the sum of their sizes.
    most: usize,
    bytes: usize,
    ids: HashSet<Id>,
}

impl<P: Parcel> Posts<P> {
    /// Posts of up to `most` parcels of up to so many bytes; one that is larger goes alone.
    pub(crate) fn new(most: usize, bytes: usize, parcels: Vec<P>) -> Self {
        Self { parcels: parcels.into_iter().peekable(), most, bytes, ids: HashSet::new() }
    }
}

impl<P: Parcel> Iterator for Posts<P> {
    type Item = Vec<P>;

    fn next(&mut self) -> Option<Vec<P>> {
        let first = self.parcels.next()?;
        let most = self.most;
        if most == 1 {
            return Some(vec![first]);
        }
        let mut size = first.size();
        self.ids.clear();
        self.ids.insert(first.change().id.clone());
        let mut post = Vec::with_capacity(most.min(self.parcels.len() + 1));
        post.push(first);
        while post.len() < most {
            let fits = |parcel: &P| size + parcel.size() <= self.bytes && self.ids.insert(parcel.change().id.clone());
            let Some(parcel) = self.parcels.next_if(fits) else { break };
            size += parcel.size();
            post.push(parcel);
        }
        Some(post)
    }
}

#[cfg(test)]
mod tests;

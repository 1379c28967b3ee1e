//! What the engine asks of a sink.

use std::any::Any;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use uuid::Uuid;

use super::{Content, ContentHasher};
use crate::error::Problem;
use crate::model::{Change, Names};

/// What a sink takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Posts under way at once.
    pub(crate) in_flight: NonZeroUsize,
    /// Upserts in a post.
    pub(crate) parcels: NonZeroUsize,
    /// Deletes in a post. Where it is another number, no post has both.
    pub(crate) deletes: NonZeroUsize,
    /// The sum of [`Parcel::size`] in a post of more than one.
    pub(crate) bytes: usize,
    /// How long posts under way may take to end once the run is to stop.
    pub(crate) landing: Duration,
}

/// A change as a sink takes it.
pub(crate) trait Parcel: Any + Send {
    fn change(&self) -> &Change;

    /// Everything that its upsert says of the entity, without how and when that was found out. It is hashed once.
    fn content(&self, hasher: &ContentHasher) -> Content;

    /// How much of a post it takes.
    fn size(&self) -> usize;

    /// What is kept of it where it is rejected: JSON, as it was posted.
    fn letter(&self) -> Bytes;

    /// Under which names the catalog will have what its upsert makes.
    fn names(&self) -> Names {
        Names::UNKNOWN
    }

    /// Whether nothing is to be sent, as the catalog takes nothing of it and has nothing of it.
    fn is_void(&self) -> bool {
        false
    }
}

/// Whose fault it is that a post was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The same post may be accepted later, not before `after` where that is told.
    Passing { after: Option<Duration> },
    /// The sink cannot be reached at all: the same, and so it is with every other post.
    Unreachable,
    /// Its limit is used up. The same, and it says nothing of the post.
    Throttled { after: Option<Duration> },
    /// That of what was posted: it will never be accepted.
    Rejected,
    /// That of what a parcel refers to, which is not there. It may be accepted once that is.
    Awaits,
    /// Nobody's, as far as is known: it was taken, and the catalog does not show it.
    Unproven,
    /// Not that of what was posted: the address or the rights are wrong, or something on the way dislikes it.
    Denied,
    /// Nobody takes anything any more, and that is no error.
    Closed,
    /// Nothing will be accepted any more, whatever is tried.
    Broken,
}

impl Fault {
    /// Whether the same may be accepted in this run, without anything else being there by then.
    pub(crate) fn may_pass(self) -> bool {
        matches!(self, Self::Passing { .. } | Self::Unreachable | Self::Throttled { .. })
    }
}

/// Why a post was not accepted.
pub(crate) trait SinkError: Problem + Any {
    fn fault(&self) -> Fault;

    /// The HTTP status of the answer, where there was one.
    fn status(&self) -> Option<u16> {
        None
    }

    /// What the sink says of a parcel that it rejected.
    fn reason(&self) -> String {
        self.to_string()
    }
}

/// What became of one parcel: it is final, or the parcel awaits another, or the post was interrupted before it came to it. A post of
/// which nothing is settled fails as a whole.
pub(crate) type Outcome<E> = Result<(), E>;

/// The answer to a post that was not refused as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Receipt<E> {
    /// One for each parcel, in their order.
    pub(crate) outcomes: Vec<Outcome<E>>,
    /// How long the sink asks to wait before the next post, whichever it is.
    pub(crate) pause: Option<Duration>,
}

impl<E> From<Vec<Outcome<E>>> for Receipt<E> {
    fn from(outcomes: Vec<Outcome<E>>) -> Self {
        Self { outcomes, pause: None }
    }
}

/// A rejected parcel, for whoever fixes it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// [`Parcel::letter`].
    pub(crate) envelope: Bytes,
    /// [`SinkError::status`].
    pub(crate) status: Option<u16>,
    /// [`SinkError::reason`].
    pub(crate) reason: String,
}

impl Letter {
    pub(crate) fn of(parcel: &dyn Parcel, error: &SharedError) -> Self {
        Self { envelope: parcel.letter(), status: error.status(), reason: error.reason() }
    }
}

/// A catalog that takes changes.
pub(crate) trait Sink {
    type Parcel: Parcel;
    type Error: SinkError + Clone;

    /// What messages call it.
    fn name(&self) -> &'static str;

    /// Which catalog it is: with another, nothing that is remembered holds.
    fn identity(&self) -> String;

    fn limits(&self) -> Limits;

    /// Changes as they are to be posted, each with the names under which something of its entity is, or may be, in the catalog. A
    /// parcel for each, in their order.
    async fn render(&self, changes: Vec<(Change, Names)>) -> Vec<Self::Parcel>;

    /// One attempt at a post of these parcels. `delivery` is the same in every attempt at the same post. What became of each, or
    /// why the whole of it was not accepted.
    async fn send(&self, parcels: &[&Self::Parcel], delivery: Uuid) -> Result<Receipt<Self::Error>, Self::Error>;
}

/// A parcel of a sink, whichever it is.
pub(crate) type Rendered = Box<dyn Parcel>;

/// An error of a sink, whichever it is.
pub(crate) type SharedError = Rc<dyn SinkError>;

/// A sink, whichever it is: the engine is compiled once for all of them.
pub(crate) trait AnySink {
    /// [`Sink::name`].
    fn name(&self) -> &'static str;

    /// [`Sink::identity`].
    fn identity(&self) -> String;

    /// [`Sink::limits`].
    fn limits(&self) -> Limits;

    /// [`Sink::render`].
    fn render(&self, changes: Vec<(Change, Names)>) -> LocalBoxFuture<'_, Vec<Rendered>>;

    /// [`Sink::send`], of parcels that this sink rendered.
    fn send<'a>(
        &'a self,
        parcels: &'a [Rendered],
        delivery: Uuid,
    ) -> LocalBoxFuture<'a, Result<Receipt<SharedError>, SharedError>>;
}

impl<K: Sink> AnySink for K {
    fn name(&self) -> &'static str {
        Sink::name(self)
    }

    fn identity(&self) -> String {
        Sink::identity(self)
    }

    fn limits(&self) -> Limits {
        Sink::limits(self)
    }

    fn render(&self, changes: Vec<(Change, Names)>) -> LocalBoxFuture<'_, Vec<Rendered>> {
        let boxed = |parcel| -> Rendered { Box::new(parcel) };
        async move { Sink::render(self, changes).await.into_iter().map(boxed).collect() }.boxed_local()
    }

    fn send<'a>(
        &'a self,
        parcels: &'a [Rendered],
        delivery: Uuid,
    ) -> LocalBoxFuture<'a, Result<Receipt<SharedError>, SharedError>> {
        let shared = |error: K::Error| -> SharedError { Rc::new(error) };
        let own = |parcel: &'a Rendered| (&**parcel as &dyn Any).downcast_ref();
        let parcels: Vec<&K::Parcel> = parcels.iter().filter_map(own).collect();
        let sending = async move {
            let Receipt { outcomes, pause } = Sink::send(self, &parcels, delivery).await.map_err(shared)?;
            Ok(Receipt { outcomes: outcomes.into_iter().map(|outcome| outcome.map_err(shared)).collect(), pause })
        };
        sending.boxed_local()
    }
}

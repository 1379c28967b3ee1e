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

/// The limits of a sink.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Concurrent posts.
    pub(crate) in_flight: NonZeroUsize,
    /// Upserts in a post.
    pub(crate) parcels: NonZeroUsize,
    /// Deletes in a post. If this differs from `parcels`, no post mixes the two.
    pub(crate) deletes: NonZeroUsize,
    /// The sum of [`Parcel::size`] in a post of more than one parcel.
    pub(crate) bytes: usize,
    /// How long posts in flight may take to end once the run is to stop.
    pub(crate) landing: Duration,
}

/// A change in the form that a sink takes.
pub(crate) trait Parcel: Any + Send {
    fn change(&self) -> &Change;

    /// A hash of everything its upsert says of the entity, except how and when that was found out. It is computed once.
    fn content(&self, hasher: &ContentHasher) -> Content;

    /// How many bytes of a post it takes.
    fn size(&self) -> usize;

    /// The JSON to keep of it if it is rejected, as it was posted.
    fn letter(&self) -> Bytes;

    /// The names that its upsert creates in the catalog.
    fn names(&self) -> Names {
        Names::UNKNOWN
    }

    /// Whether there is nothing to send, because the catalog neither takes nor has anything of it.
    fn is_void(&self) -> bool {
        false
    }
}

/// What to blame if a post is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The same post may be accepted later, but not before `after`, if given.
    Passing { after: Option<Duration> },
    /// Like `Passing`, but the sink cannot be reached at all, and so every other post would fail, too.
    Unreachable,
    /// Like `Passing`, but the sink's limit is used up, which says nothing about the post.
    Throttled { after: Option<Duration> },
    /// The contents: the post will never be accepted.
    Rejected,
    /// Something that a parcel refers to and that is not there. It may be accepted once that is.
    Awaits,
    /// Nothing, as far as is known: the post was taken, but the catalog does not show it.
    Unproven,
    /// Not the contents: the address or the permissions are wrong, or something on the way dislikes it.
    Denied,
    /// The receiving end is closed, which is not an error.
    Closed,
    /// Nothing will be accepted any more, whatever is tried.
    Broken,
}

impl Fault {
    /// Whether the same post may be accepted in this run, without anything else having to be there first.
    pub(crate) fn may_pass(self) -> bool {
        matches!(self, Self::Passing { .. } | Self::Unreachable | Self::Throttled { .. })
    }
}

/// Why a post was not accepted.
pub(crate) trait SinkError: Problem + Any {
    fn fault(&self) -> Fault;

    /// The HTTP status of the answer, if there was one.
    fn status(&self) -> Option<u16> {
        None
    }

    /// What the sink says about a parcel that it rejected.
    fn reason(&self) -> String {
        self.to_string()
    }
}

/// What became of one parcel: it is final, or the parcel waits for another one, or the post was interrupted before its
/// turn. A post in which nothing is settled fails as a whole.
pub(crate) type Outcome<E> = Result<(), E>;

/// The answer to a post that was not refused as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Receipt<E> {
    /// One per parcel, in the same order.
    pub(crate) outcomes: Vec<Outcome<E>>,
    /// How long the sink asks to wait before the next post of any kind.
    pub(crate) pause: Option<Duration>,
}

impl<E> From<Vec<Outcome<E>>> for Receipt<E> {
    fn from(outcomes: Vec<Outcome<E>>) -> Self {
        Self { outcomes, pause: None }
    }
}

/// A rejected parcel, for somebody to fix.
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

    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Which catalog it is: with another one, nothing that is remembered is valid.
    fn identity(&self) -> String;

    fn limits(&self) -> Limits;

    /// Renders changes for posting: one parcel per change, in the same order. Each change comes with the names under
    /// which something of its entity is, or may be, in the catalog.
    async fn render(&self, changes: Vec<(Change, Names)>) -> Vec<Self::Parcel>;

    /// Makes one attempt to post these parcels. `delivery` is the same in every attempt at the same post. Returns what
    /// became of each parcel, or why the post as a whole was not accepted.
    async fn send(&self, parcels: &[&Self::Parcel], delivery: Uuid) -> Result<Receipt<Self::Error>, Self::Error>;
}

/// A parcel of any sink.
pub(crate) type Rendered = Box<dyn Parcel>;

/// An error of any sink.
pub(crate) type SharedError = Rc<dyn SinkError>;

/// Any sink: the engine is compiled once for all of them.
pub(crate) trait AnySink {
    /// [`Sink::name`].
    fn name(&self) -> &'static str;

    /// [`Sink::identity`].
    fn identity(&self) -> String;

    /// [`Sink::limits`].
    fn limits(&self) -> Limits;

    /// [`Sink::render`].
    fn render(&self, changes: Vec<(Change, Names)>) -> LocalBoxFuture<'_, Vec<Rendered>>;

    /// [`Sink::send`], for parcels that this sink rendered.
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

//! What the engine asks of a sink.

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;

use super::Content;
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
pub(crate) trait Parcel {
    fn change(&self) -> &Change;

    /// A hash of all that its upsert says of the entity. What says how and when it was found out is left out.
    fn content(&self) -> Content;

    /// How much of a post it takes.
    fn size(&self) -> usize;

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

/// Why a post was not accepted.
pub(crate) trait SinkError: Error + Clone + 'static {
    fn fault(&self) -> Fault;
}

/// What became of one parcel. It is final, or the parcel awaits another: what else may still pass is an error of the whole post.
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
    /// JSON, as it was posted.
    pub(crate) envelope: Bytes,
    /// The HTTP status of the answer, where there was one.
    pub(crate) status: Option<u16>,
    pub(crate) reason: String,
}

/// A catalog that takes changes.
pub(crate) trait Sink {
    type Parcel: Parcel;
    type Error: SinkError;

    /// What messages call it.
    fn name(&self) -> &'static str;

    /// Which catalog it is: with another, nothing that is remembered holds.
    fn identity(&self) -> String;

    fn limits(&self) -> Limits;

    /// A change as it is to be posted. Under `known` names something of the entity is, or may be, in the catalog.
    fn render(&self, change: Change, known: &Names) -> Self::Parcel;

    /// One attempt at a post of these parcels. `delivery` is the same in every attempt at the same post. What became of each, or
    /// why the whole of it was not accepted.
    async fn send(&self, parcels: &[Self::Parcel], delivery: &str) -> Result<Receipt<Self::Error>, Self::Error>;

    /// What is kept of a parcel that was rejected with this error.
    fn letter(&self, parcel: &Self::Parcel, error: &Self::Error) -> Letter;
}

//! What the engine asks of a sink.

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::Content;
use crate::model::Change;

/// What a sink takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Posts under way at once.
    pub(crate) in_flight: NonZeroUsize,
    /// Parcels in a post.
    pub(crate) parcels: NonZeroUsize,
    /// The sum of [`Parcel::size`] in a post of more than one.
    pub(crate) bytes: usize,
}

/// A change as a sink takes it.
pub(crate) trait Parcel {
    fn change(&self) -> &Change;

    /// A hash of all that its upsert says of the entity. What says how and when it was found out is left out.
    fn content(&self) -> Content;

    /// How much of a post it takes.
    fn size(&self) -> usize;
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
    /// Not that of what was posted: the address or the rights are wrong, or something on the way dislikes it.
    Denied,
    /// Nobody takes anything any more, and that is no error.
    Closed,
}

/// Why a post was not accepted.
pub(crate) trait SinkError: Error + Clone + 'static {
    fn fault(&self) -> Fault;
}

/// What became of one parcel.
pub(crate) type Outcome<E> = Result<(), E>;

/// A catalog that takes changes.
pub(crate) trait Sink {
    type Parcel: Parcel;
    type Error: SinkError;

    /// Which catalog it is: with another, nothing that is remembered holds.
    fn identity(&self) -> String;

    fn limits(&self) -> Limits;

    fn render(&self, change: Change) -> Self::Parcel;

    /// One attempt at a post of these parcels. `delivery` is the same in every attempt at the same post. What became of each, or
    /// why the whole of it was not accepted.
    async fn send(&self, parcels: &[Self::Parcel], delivery: &str) -> Result<Vec<Outcome<Self::Error>>, Self::Error>;
}

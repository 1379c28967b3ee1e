//! Room for pages: how many are being read or waiting to be taken, over all readings, and how many of them are open. It bounds
//! memory as well as requests.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::GraphError;
use super::queries::Query;

/// Pages that are open before their turn: the one that comes next. An open page takes ten times the memory of a closed one.
const OPEN: usize = 1;

pub(super) struct Slots {
    at_once: usize,
    pages: Room,
    open: Room,
}

/// Room for so much that is read before its turn, and for one more.
struct Room {
    all: Semaphore,
    ahead: Semaphore,
}

/// Room for a page, until it is dropped.
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    turn: Turn,
    _page: Place<'a>,
    open: Option<Place<'a>>,
}

/// Whether something is read before its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Ahead,
    Now,
}

struct Place<'a> {
    _ahead: Option<SemaphorePermit<'a>>,
    _one: SemaphorePermit<'a>,
}

impl Room {
    fn new(ahead: usize) -> Self {
        Self { all: Semaphore::new(ahead + 1), ahead: Semaphore::new(ahead) }
    }

    /// One place is left to what goes before that which is read before its turn.
    async fn acquire(&self, turn: Turn) -> Result<Place<'_>, GraphError> {
        let ahead = match turn {
            Turn::Ahead => Some(self.ahead.acquire().await.map_err(|_| GraphError::Stopped)?),
            Turn::Now => None,
        };
        Ok(Place { _ahead: ahead, _one: self.all.acquire().await.map_err(|_| GraphError::Stopped)? })
    }
}

impl Slots {
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once, pages: Room::new(at_once), open: Room::new(OPEN) }
    }

    /// Parts that are read side by side.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Waits for room for a page. All rows of resources are read before their turn.
    pub(super) async fn acquire(&self, query: Query<'_>) -> Result<Slot<'_>, GraphError> {
        let turn = if matches!(query, Query::Resources) { Turn::Ahead } else { Turn::Now };
        Ok(Slot { slots: self, turn, _page: self.pages.acquire(turn).await?, open: None })
    }
}

impl Slot<'_> {
    /// Waits until the page may be opened.
    pub(super) async fn open(&mut self) -> Result<(), GraphError> {
        self.open = Some(self.slots.open.acquire(self.turn).await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_is_read_before_its_turn_leaves_room_for_what_goes_before_it() {
        let slots = Slots::new(2);
        let take = |query| slots.acquire(query).now_or_never().map(Result::unwrap);
        let mut ahead: Vec<Slot<'_>> = std::iter::from_fn(|| take(Query::Resources)).collect();
        assert_eq!(ahead.len(), 2);
        let mut containers = take(Query::Containers).unwrap();
        assert!(take(Query::Containers).is_none());

        let mut is_open = |slot: &mut Slot<'_>| slot.open().now_or_never().is_some();
        assert_eq!(ahead.iter_mut().map(&mut is_open).collect::<Vec<_>>(), [true, false]);
        assert!(is_open(&mut containers));
        ahead.remove(0);
        assert!(is_open(&mut ahead[0]));
    }
}

//! Limits how many pages are being read, or waiting to be taken, over all readings. This bounds memory as well as
//! requests.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::GraphError;
use super::queries::Query;

/// Slots for this many pages that are read before their turn, and for one more.
pub(super) struct Slots {
    at_once: usize,
    all: Semaphore,
    ahead: Semaphore,
}

/// A slot for a page, until it is dropped.
pub(super) struct Slot<'a> {
    _page: SemaphorePermit<'a>,
    _ahead: Option<SemaphorePermit<'a>>,
}

impl Slots {
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once, all: Semaphore::new(at_once + 1), ahead: Semaphore::new(at_once) }
    }

    /// Parts that are read concurrently.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Waits for a slot. All rows of resources are read before their turn, so one slot is left for what goes before
    /// them.
    pub(super) async fn acquire(&self, query: Query<'_>) -> Result<Slot<'_>, GraphError> {
        let ahead = match query {
            Query::Resources => Some(self.ahead.acquire().await.map_err(|_| GraphError::Stopped)?),
            _ => None,
        };
        let page = self.all.acquire().await.map_err(|_| GraphError::Stopped)?;
        Ok(Slot { _page: page, _ahead: ahead })
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
        let ahead: Vec<Slot<'_>> = std::iter::from_fn(|| take(Query::Resources)).collect();
        assert_eq!(ahead.len(), 2);
        let containers = take(Query::Containers);
        assert!(containers.is_some() && take(Query::Containers).is_none());
    }
}

//! What Resource Graph covers, and its clock: one query per batch, before anything else is read.
//!
//! A query names subscriptions; those that Resource Graph does not, or not yet, know for the principal are silently
//! left out of the answer. Any row of a subscription shows that it is covered: its own, a group's or a resource's, as a
//! principal may have rights on some groups only.

use std::collections::HashSet;

use jiff::Timestamp;

use super::error::GraphError;
use crate::engine::{Found, Sight};
use crate::model::Id;

/// Which subscriptions Resource Graph covers.
#[derive(Debug, Default)]
pub(crate) struct Look {
    covered: HashSet<Id>,
    /// Subscriptions that it could not be asked about.
    unknown: HashSet<Id>,
    pub(crate) failures: Vec<GraphError>,
    /// The service's time; `None` if it was not reported.
    pub(crate) now: Option<Timestamp>,
}

impl Look {
    /// Adds what was found for some of them.
    pub(super) fn add(&mut self, shards: &[Id], found: Result<Found, GraphError>) {
        match found {
            Ok(Found { answer, .. }) => {
                self.covered.extend(answer.covered);
                self.unknown.extend(answer.unread);
            }
            Err(error) => {
                self.unknown.extend(shards.iter().cloned());
                self.failures.extend(Some(error).filter(|error| !error.is_stop()));
            }
        }
    }

    pub(crate) fn sight(&self, shard: &Id) -> Sight {
        if self.covered.contains(shard) {
            Sight::Covered
        } else if self.unknown.contains(shard) {
            Sight::Unknown
        } else {
            Sight::NotCovered
        }
    }
}

//! The pure parts, for the bench of them to measure. Not an interface: it changes as they do.

use bytes::Bytes;

use crate::azure::graph::Page;
use crate::config::Payload;
use crate::port::envelope::{self, Parcels};
use crate::sync::change::Change;

/// How many rows an answer of Resource Graph has; 0 where it is none.
pub fn rows(answer: &Bytes) -> usize {
    Page::<Change>::parse(answer).map_or(0, |page| page.rows.len())
}

/// The bodies that its rows are posted in.
pub fn bodies(answer: &Bytes, payload: Payload) -> Vec<Bytes> {
    let rows = Page::<Change>::parse(answer).map_or_else(|_| Vec::new(), |page| page.rows);
    Parcels::new(payload, rows).map(|parcel| envelope::body(payload, &parcel)).collect()
}

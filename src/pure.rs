//! The pure parts, for the bench and the fuzz targets to call. Not an interface: it changes as they do.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use crate::azure::graph::Page;
use crate::azure::kql::{self, Literal};
use crate::config::{Payload, TagFilters};
use crate::http;
use crate::id::lower;
use crate::port::envelope::{self, Parcels};
use crate::sync::change::Change;
use crate::sync::checkpoint::Checkpoint;

/// How many rows an answer of Resource Graph has; 0 where it is none.
pub fn rows(answer: &Bytes) -> usize {
    Page::<Change>::parse(answer).map_or(0, |page| page.rows.len())
}

/// The bodies that its rows are posted in.
pub fn bodies(answer: &Bytes, payload: Payload) -> Vec<Bytes> {
    let rows = Page::<Change>::parse(answer).map_or_else(|_| Vec::new(), |page| page.rows);
    Parcels::new(payload, rows).map(|parcel| envelope::body(payload, &parcel)).collect()
}

/// A text as a literal of KQL.
pub fn literal(text: &str) -> String {
    Literal(text).to_string()
}

/// The condition that a value of `RESOURCE_GROUP_TAG_FILTERS` becomes, if it is one and asks for anything, and the texts in it.
pub fn tag_condition(setting: &str) -> Option<(String, BTreeSet<String>)> {
    let filters: TagFilters = serde_json::from_str(setting).ok()?;
    let texts = filters.include.iter().chain(&filters.exclude);
    let texts = texts.flat_map(|condition| [lower(&condition.name), lower(&condition.value)]).collect();
    Some((kql::tag_condition(&filters, "tags")?, texts))
}

/// What a `Retry-After` header asks for.
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_bytes(value).ok()?);
    http::retry_after(&headers, now)
}

/// Whether the bytes of a checkpoint file, once read, written and read again, say the same; `None` where they are no checkpoint.
pub fn checkpoint_survives(file: &[u8]) -> Option<bool> {
    let read = Checkpoint::parse_any(file).ok()?;
    let written = read.to_bytes(true).ok()?;
    Some(Checkpoint::parse_any(&written).is_ok_and(|again| again == read))
}
